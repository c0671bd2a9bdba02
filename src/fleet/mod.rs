//! Starts, drains and stops workers and instances, as the controller decides.
//!
//! Owned by the controller's driver, and by nothing else: no lock. It knows every instance from the decision to
//! start it until it has ended; the pool knows only those that can be leased.

mod ending;
mod events;
mod lifecycle;
mod measure;
mod overview;
mod report;
mod setbacks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;

use crate::catalog::{Catalog, CatalogModel};
use crate::engine::{ContextSpec, WeightsSpec};
use crate::measured::Remembered;
use crate::pool::{Instance, InstanceCommand, InstanceIdentity, ModelInstances, PoolSnapshot};
use crate::telemetry as names;
use crate::units::{ByteCount, DeviceId, DeviceSet, InstanceId, ModelName, Timestamp, WorkerId};
use crate::view::{InstanceState, Spread};
use crate::worker::{EventSender, WorkerCommand, WorkerHandle, WorkerSpawner, WorkerSpec};
use lifecycle::{Happening, Lifecycle};
pub use report::PredictedBytes;
use setbacks::Setbacks;
pub use setbacks::Trouble;

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
    pub devices: DeviceSet,
    /// CPU threads to begin with.
    pub threads: u32,
    /// Bytes that could be taken there when it was decided, on all devices together.
    pub available: Option<ByteCount>,
    /// How a worker that loads now is divided between the devices.
    pub spread: &'a Spread,
    /// The reason's name in metrics.
    pub reason: &'static str,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkerState {
    Loading,
    Loaded,
    /// Told to unload, or killed: takes no more instances.
    Leaving,
}

struct Worker {
    /// The model as it was when the worker was started.
    model: Arc<CatalogModel>,
    variant: usize,
    devices: DeviceSet,
    spread: Spread,
    state: WorkerState,
    stale: bool,
    /// Whether any of its instances completed a step.
    achieved: bool,
    /// Since when it has had no instance and was told to end.
    idle_since: Option<Timestamp>,
    available: Option<ByteCount>,
    handle: Box<dyn WorkerHandle>,
}

/// What an instance waits for before it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StartKind {
    /// Its worker, which loads for it.
    Load,
    /// Its context alone.
    Context,
    /// A load that began before.
    Behind,
}

struct Member {
    identity: InstanceIdentity,
    kind: StartKind,
    life: Lifecycle,
    threads: u32,
    slots: u32,
    decided: Timestamp,
    /// There once it is ready.
    instance: Option<Arc<Instance>>,
    /// Whether its thread was told to end.
    told: bool,
}

impl Member {
    /// Takes no more requests; tells its worker when it has none.
    fn leave(&mut self, happening: Happening) -> bool {
        if let Some(instance) = &self.instance {
            instance.drain();
        }
        self.life.take(happening)
    }

    /// Tells a stopping instance to end, once it is there to be told. A full inbox is read in time; the next round
    /// tries again.
    fn tell(&mut self) {
        if let (InstanceState::Stopping, Some(instance), false) =
            (self.life.state(), &self.instance, self.told)
        {
            self.told = instance.send(InstanceCommand::Stop).is_ok();
        }
    }
}

/// All workers and instances.
pub struct Fleet {
    catalog: Arc<Catalog>,
    spawner: Arc<dyn WorkerSpawner>,
    events: EventSender,
    on_free: OnFree,
    workers: BTreeMap<WorkerId, Worker>,
    members: BTreeMap<InstanceId, Member>,
    setbacks: Setbacks,
    /// How long instances took from the decision until they were ready, by model and variant, and by whether their weights
    /// had to be loaded.
    start_times: BTreeMap<(ModelName, usize, StartKind), Duration>,
    remembered: Remembered,
    /// What devices are called, of those that could be read once.
    device_names: BTreeMap<DeviceId, String>,
    next_id: u64,
    /// Whether the catalog or the set of ready instances changed since the last snapshot.
    changed: bool,
    /// Models and variants whose instances were reported, so that gauges return to zero.
    reported: BTreeSet<(ModelName, Arc<str>)>,
}

impl Fleet {
    /// An empty fleet. Workers report to `events`; what they took of GPUs is added to `remembered`.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        spawner: Arc<dyn WorkerSpawner>,
        events: EventSender,
        on_free: OnFree,
        remembered: Remembered,
    ) -> Self {
        Self {
            catalog,
            spawner,
            events,
            on_free,
            workers: BTreeMap::new(),
            members: BTreeMap::new(),
            setbacks: Setbacks::default(),
            start_times: BTreeMap::new(),
            remembered,
            device_names: BTreeMap::new(),
            next_id: 1,
            // The first snapshot names the models.
            changed: true,
            reported: BTreeSet::new(),
        }
    }

    /// Serves another catalog from now on. What was made for a model that is still the same stays; the rest is stale,
    /// and serves until the controller lets it go.
    pub fn adopt(&mut self, catalog: Arc<Catalog>) {
        for worker in self.workers.values_mut() {
            match catalog.model(worker.model.policy.name.as_str()) {
                Some(new) if new.makes_the_same(&worker.model) => worker.model = Arc::clone(new),
                _ => worker.stale = true,
            }
        }
        for new in &catalog.models {
            let old = self.catalog.model(new.policy.name.as_str());
            if old.is_none_or(|old| !new.makes_the_same(old)) {
                self.setbacks.forget(&new.policy.name);
            }
        }
        self.catalog = catalog;
        self.changed = true;
    }

    /// Starts one instance of a model of `catalog`, and its worker if no loaded or loading one has the weights.
    pub fn start(&mut self, model: &Arc<CatalogModel>, start: Start<'_>, now: Timestamp) {
        let (worker, kind) = match self.worker_for(start) {
            Some(worker) if self.workers[&worker].state == WorkerState::Loaded => {
                (worker, StartKind::Context)
            }
            Some(worker) => (worker, StartKind::Behind),
            None => match self.spawn_worker(start, model) {
                Ok(worker) => (worker, StartKind::Load),
                Err(error) => {
                    return self.cannot_spawn(model, start.variant, &error, now);
                }
            },
        };
        let id = InstanceId(self.next_number());
        let policy = &model.policy;
        let context = ContextSpec::new(policy, start.threads);
        let identity = InstanceIdentity {
            id,
            worker,
            model: start.model.clone(),
            variant: start.variant,
            variant_name: Arc::clone(&model.variants[start.variant].name),
            devices: start.devices,
            files: model.files(),
        };
        let member = Member {
            identity,
            kind,
            life: Lifecycle::starting(),
            threads: start.threads,
            slots: policy.slots,
            decided: now,
            instance: None,
            told: false,
        };
        self.members.insert(id, member);
        counter!(names::INSTANCE_STARTS, "model" => start.model.to_string(), "reason" => start.reason)
            .increment(1);
        // A worker that has ended already could not load: its report is on its way, and takes its instances along.
        let worker = self.workers.get_mut(&worker).expect("found or made above");
        worker.available = start.available;
        worker.handle.send(WorkerCommand::StartInstance { id, context });
    }

    /// Lets an instance finish what it has; it gets nothing new from now on.
    pub fn drain(&mut self, id: InstanceId, reason: &'static str) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.leave(Happening::Drain) {
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

    /// Stops instances that have drained, and looks what workers have achieved.
    pub fn collect(&mut self, now: Timestamp) {
        self.note_achievements();
        for member in self.members.values_mut() {
            let Some(instance) = &member.instance else { continue };
            let view = instance.view(0);
            // A request that finds an instance deaf lets it drain, too.
            if view.state == InstanceState::Draining && member.life.take(Happening::Drain) {
                self.changed = true;
            }
            if member.life.state() == InstanceState::Draining && view.leased == 0 {
                let _stopping = member.life.take(Happening::Stop);
            }
            member.tell();
        }
        self.end_idle_workers(now);
        self.setbacks.tick(now);
    }

    /// Looks which workers have an instance that completed a step: that ends a row of setbacks.
    fn note_achievements(&mut self) {
        for member in self.members.values() {
            let achieves = member.instance.as_ref().is_some_and(|instance| instance.view(0).progress > 0);
            if let Some(worker) = self.workers.get_mut(&member.identity.worker)
                && achieves
                && !worker.achieved
            {
                worker.achieved = true;
                self.setbacks.overcome(&worker.model.policy.name, worker.variant);
            }
        }
    }

    /// Whether no worker is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Processes of workers that have one of their own.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        self.workers.values().filter_map(|worker| worker.handle.process_id()).collect()
    }

    /// The pool's next snapshot, if anything in it changed since the last one.
    pub fn snapshot_if_changed(&mut self) -> Option<PoolSnapshot> {
        if !std::mem::replace(&mut self.changed, false) {
            return None;
        }
        let mut models: BTreeMap<&ModelName, Vec<Arc<Instance>>> =
            self.catalog.models.iter().map(|model| (&model.policy.name, Vec::new())).collect();
        for member in self.members.values() {
            if let (InstanceState::Ready, Some(instance)) = (member.life.state(), &member.instance) {
                models.entry(&member.identity.model).or_default().push(Arc::clone(instance));
            }
        }
        let models = models
            .into_iter()
            .map(|(model, instances)| ModelInstances { model: model.clone(), instances })
            .collect();
        Some(PoolSnapshot { catalog: Arc::clone(&self.catalog), models })
    }

    /// A worker that has, or will have, the weights.
    fn worker_for(&self, start: Start<'_>) -> Option<WorkerId> {
        let usable = |worker: &Worker| {
            worker.model.policy.name == *start.model
                && worker.variant == start.variant
                && worker.devices == start.devices
                && worker.state != WorkerState::Leaving
                && !worker.stale
        };
        self.workers.iter().find(|(_, worker)| usable(worker)).map(|(id, _)| *id)
    }

    fn spawn_worker(&mut self, start: Start<'_>, model: &Arc<CatalogModel>) -> std::io::Result<WorkerId> {
        let id = WorkerId(self.next_number());
        let variant = &model.variants[start.variant];
        let engine = &model.policy.engine;
        let (gpu_layers, split) = (engine.gpu_layers, engine.split);
        let weights = WeightsSpec { path: variant.path.clone(), devices: start.devices, gpu_layers, split };
        tracing::info!(model = %start.model, variant = %variant.name, devices = %start.devices, worker = %id,
            weights = %variant.weights_bytes, "loading");
        let spec = WorkerSpec { id, weights, isolation: model.policy.isolation };
        let handle = self.spawner.spawn(spec, self.events.clone())?;
        let worker = Worker {
            model: Arc::clone(model),
            variant: start.variant,
            devices: start.devices,
            spread: start.spread.clone(),
            state: WorkerState::Loading,
            stale: false,
            achieved: false,
            idle_since: None,
            available: start.available,
            handle,
        };
        self.workers.insert(id, worker);
        Ok(id)
    }

    fn next_number(&mut self) -> u64 {
        let number = self.next_id;
        self.next_id += 1;
        number
    }
}
