//! Starts, drains and stops workers and instances, as the controller decides.
//!
//! Owned by the controller's driver, and by nothing else: no lock. It knows every instance from the decision to
//! start it until its thread has ended; the pool knows only those that can be leased.

mod events;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};

use crate::catalog::{Catalog, CatalogModel};
use crate::engine::{ContextSpec, WeightsSpec};
use crate::pool::{Instance, InstanceCommand, InstanceIdentity, ModelInstances, PoolSnapshot};
use crate::telemetry as names;
use crate::units::{ByteCount, DeviceId, InstanceId, ModelName, Timestamp, WorkerId};
use crate::view::{InstanceState, InstanceView, LoadFailure};
use crate::worker::{EventSender, WorkerCommand, WorkerHandle, WorkerSpawner, WorkerSpec};

/// Called with a model's name when one of its slots became free.
pub type OnFree = Arc<dyn Fn(&ModelName) + Send + Sync>;

/// What a new instance is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// Index of the variant.
    pub variant: usize,
    /// Where.
    pub device: DeviceId,
    /// CPU threads to begin with.
    pub threads: u32,
    /// The reason's name in metrics.
    pub reason: &'static str,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkerState {
    Loading,
    Loaded,
    /// Told to unload: takes no more instances.
    Unloading,
}

struct Worker {
    model: ModelName,
    variant: usize,
    device: DeviceId,
    state: WorkerState,
    handle: WorkerHandle,
}

struct Member {
    identity: InstanceIdentity,
    state: InstanceState,
    threads: u32,
    slots: u32,
    decided: Timestamp,
    /// There once it is ready.
    instance: Option<Arc<Instance>>,
    /// Told to stop.
    stopping: bool,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    at: Timestamp,
    in_a_row: u32,
}

/// All workers and instances.
pub struct Fleet {
    catalog: Arc<Catalog>,
    spawner: Arc<dyn WorkerSpawner>,
    events: EventSender,
    on_free: OnFree,
    workers: BTreeMap<WorkerId, Worker>,
    members: BTreeMap<InstanceId, Member>,
    /// Failed loads by model and variant; removed when one succeeds.
    failures: BTreeMap<(ModelName, usize), Failure>,
    /// What the last failed load of a model said.
    last_failure: BTreeMap<ModelName, String>,
    next_id: u64,
    /// Whether the set of ready instances changed since the last snapshot.
    changed: bool,
}

impl Fleet {
    /// An empty fleet. Workers report to `events`.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        spawner: Arc<dyn WorkerSpawner>,
        events: EventSender,
        on_free: OnFree,
    ) -> Self {
        Self {
            catalog,
            spawner,
            events,
            on_free,
            workers: BTreeMap::new(),
            members: BTreeMap::new(),
            failures: BTreeMap::new(),
            last_failure: BTreeMap::new(),
            next_id: 1,
            // The first snapshot names the models.
            changed: true,
        }
    }

    /// Starts one instance, and its worker if no loaded or loading one has the weights.
    pub fn start(&mut self, start: Start<'_>, now: Timestamp) {
        let Some(model) = self.catalog.model(start.model.as_str()).cloned() else { return };
        let worker = match self.worker_for(start) {
            Some(worker) => worker,
            None => match self.spawn_worker(start, &model) {
                Ok(worker) => worker,
                Err(error) => return self.load_failed(start.model, start.variant, &error.to_string(), now),
            },
        };
        let id = InstanceId(self.next_number());
        let policy = &model.policy;
        let context = ContextSpec {
            slots: policy.slots,
            context_tokens: policy.context_tokens,
            threads: start.threads,
        };
        let identity = InstanceIdentity {
            id,
            worker,
            model: start.model.clone(),
            variant: start.variant,
            variant_name: Arc::clone(&model.variants[start.variant].name),
            device: start.device,
        };
        self.members.insert(
            id,
            Member {
                identity,
                state: InstanceState::Starting,
                threads: start.threads,
                slots: policy.slots,
                decided: now,
                instance: None,
                stopping: false,
            },
        );
        counter!(names::INSTANCE_STARTS, "model" => start.model.to_string(), "reason" => start.reason)
            .increment(1);
        // A worker that has ended already could not load: its report is on its way, and takes its instances along.
        self.workers[&worker].handle.send(WorkerCommand::StartInstance { id, context });
    }

    /// Lets an instance finish what it has; it gets nothing new from now on.
    pub fn drain(&mut self, id: InstanceId, reason: &'static str) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if let (InstanceState::Ready, Some(instance)) = (member.state, &member.instance) {
            instance.drain();
            member.state = InstanceState::Draining;
            self.changed = true;
            let model = member.identity.model.to_string();
            counter!(names::INSTANCE_STOPS, "model" => model, "reason" => reason).increment(1);
        }
    }

    /// Lets an instance compute with another number of CPU threads.
    pub fn set_threads(&mut self, id: InstanceId, threads: u32) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(instance) = &member.instance else { return };
        if instance.send(InstanceCommand::SetThreads(threads)).is_ok() {
            member.threads = threads;
        }
    }

    /// Stops instances that have drained.
    pub fn collect(&mut self) {
        for member in self.members.values_mut() {
            let Some(instance) = &member.instance else { continue };
            // A request that finds an instance's thread deaf lets it drain, too.
            if member.state == InstanceState::Ready && instance.view(0).state == InstanceState::Draining {
                member.state = InstanceState::Draining;
                self.changed = true;
            }
            // A full inbox is read in time; the next round tries again.
            if member.state == InstanceState::Draining && !member.stopping && instance.leased() == 0 {
                member.stopping = instance.send(InstanceCommand::Stop).is_ok();
            }
        }
    }

    /// Stops everything at once: what still runs fails.
    pub fn stop_all(&mut self) {
        for member in self.members.values_mut() {
            if let Some(instance) = &member.instance {
                instance.drain();
                member.state = InstanceState::Draining;
                member.stopping |= instance.send(InstanceCommand::Stop).is_ok();
            }
        }
        for worker in self.workers.values_mut() {
            worker.state = WorkerState::Unloading;
            worker.handle.send(WorkerCommand::Unload);
        }
        self.changed = true;
    }

    /// Whether no worker is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// The pool's next snapshot, if the ready instances changed since the last one.
    pub fn snapshot_if_changed(&mut self) -> Option<PoolSnapshot> {
        if !std::mem::replace(&mut self.changed, false) {
            return None;
        }
        let ready = |model: &CatalogModel| {
            let members = self.members.values().filter(|m| m.identity.model == model.policy.name);
            let ready = members.filter(|m| m.state == InstanceState::Ready);
            let instances = ready.filter_map(|m| m.instance.clone()).collect();
            ModelInstances { model: model.policy.name.clone(), instances }
        };
        Some(PoolSnapshot { models: self.catalog.models.iter().map(ready).collect() })
    }

    /// The instances of a model in any state, oldest first.
    #[must_use]
    pub fn views(&self, model: &ModelName) -> Vec<InstanceView> {
        self.members
            .values()
            .filter(|member| member.identity.model == *model)
            .map(|member| match &member.instance {
                Some(instance) => instance.view(member.threads),
                None => InstanceView {
                    id: member.identity.id,
                    variant: member.identity.variant,
                    device: member.identity.device,
                    state: member.state,
                    slots: member.slots,
                    leased: 0,
                    threads: member.threads,
                },
            })
            .collect()
    }

    /// The last failed load of a variant, if none succeeded since.
    #[must_use]
    pub fn failure(&self, model: &ModelName, variant: usize, now: Timestamp) -> Option<LoadFailure> {
        let failure = self.failures.get(&(model.clone(), variant))?;
        Some(LoadFailure { ago: now.since(failure.at), in_a_row: failure.in_a_row })
    }

    /// What the last failed load of a model said.
    #[must_use]
    pub fn last_failure(&self, model: &ModelName) -> Option<&str> {
        self.last_failure.get(model).map(String::as_str)
    }

    /// Predicted bytes on a device: of all weights and instances, and of those that are not there yet.
    #[must_use]
    pub fn predicted_bytes(&self, device: DeviceId) -> PredictedBytes {
        let mut predicted = PredictedBytes::default();
        for worker in self.workers.values().filter(|worker| worker.device == device) {
            let bytes =
                self.variant(&worker.model, worker.variant).map_or(ByteCount::ZERO, |v| v.weights_bytes);
            predicted.add(bytes, worker.state == WorkerState::Loading);
        }
        for member in self.members.values().filter(|member| member.identity.device == device) {
            let identity = &member.identity;
            let bytes =
                self.variant(&identity.model, identity.variant).map_or(ByteCount::ZERO, |v| v.instance_bytes);
            predicted.add(bytes, member.state == InstanceState::Starting);
        }
        predicted
    }

    /// Publishes instances by state, and slots.
    pub fn report(&self) {
        for model in &self.catalog.models {
            let name = &model.policy.name;
            let views = self.views(name);
            for (index, variant) in model.variants.iter().enumerate() {
                for state in InstanceState::ALL {
                    let count = views.iter().filter(|v| v.variant == index && v.state == state).count();
                    gauge!(names::INSTANCES, "model" => name.to_string(), "variant" => variant.name.to_string(),
                        "state" => state.name())
                    .set(float(count));
                }
            }
            let ready = || views.iter().filter(|view| view.state == InstanceState::Ready);
            let slots: u32 = ready().map(|view| view.slots).sum();
            let busy: u32 = views.iter().map(|view| view.leased).sum();
            gauge!(names::SLOTS, "model" => name.to_string()).set(f64::from(slots));
            gauge!(names::SLOTS_BUSY, "model" => name.to_string()).set(f64::from(busy));
        }
    }

    /// A worker that has, or will have, the weights.
    fn worker_for(&self, start: Start<'_>) -> Option<WorkerId> {
        let usable = |worker: &Worker| {
            worker.model == *start.model
                && worker.variant == start.variant
                && worker.device == start.device
                && worker.state != WorkerState::Unloading
        };
        self.workers.iter().find(|(_, worker)| usable(worker)).map(|(id, _)| *id)
    }

    fn spawn_worker(&mut self, start: Start<'_>, model: &CatalogModel) -> std::io::Result<WorkerId> {
        let id = WorkerId(self.next_number());
        let variant = &model.variants[start.variant];
        let weights = WeightsSpec { path: variant.path.clone(), device: start.device };
        tracing::info!(model = %start.model, variant = %variant.name, device = %start.device, worker = %id,
            weights = %variant.weights_bytes, "loading");
        let handle = self.spawner.spawn(WorkerSpec { id, weights }, self.events.clone())?;
        self.workers.insert(
            id,
            Worker {
                model: start.model.clone(),
                variant: start.variant,
                device: start.device,
                state: WorkerState::Loading,
                handle,
            },
        );
        Ok(id)
    }

    fn variant(&self, model: &ModelName, variant: usize) -> Option<&crate::catalog::CatalogVariant> {
        self.catalog.model(model.as_str())?.variants.get(variant)
    }

    /// Name of a variant, for metrics and logs.
    fn variant_name(&self, model: &ModelName, variant: usize) -> String {
        self.variant(model, variant).map_or_else(String::new, |variant| variant.name.to_string())
    }

    fn next_number(&mut self) -> u64 {
        let number = self.next_id;
        self.next_id += 1;
        number
    }
}

/// Predicted bytes on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PredictedBytes {
    /// Of everything.
    pub total: ByteCount,
    /// Of what is being loaded or made, and may not show in measurements yet.
    pub coming: ByteCount,
}

impl PredictedBytes {
    fn add(&mut self, bytes: ByteCount, coming: bool) {
        self.total += bytes;
        if coming {
            self.coming += bytes;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of instances are small")]
fn float(count: usize) -> f64 {
    count as f64
}

/// Milliseconds for the log.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
