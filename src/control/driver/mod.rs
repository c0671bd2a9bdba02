//! The controller's driver: reads the world, asks [`step`], and acts through the fleet.
//!
//! One task. It owns the fleet and is the sole writer of the pool's snapshot. It ends when told to, after all
//! workers have ended.

mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::report::Note;
use super::step::{self, Action, ControlState, ModelStep};
use super::watchdog::Frozen;
use super::{place, threads};
use crate::admission::Admission;
use crate::catalog::{Catalog, CatalogModel, CatalogVariant};
use crate::clock::Clock;
use crate::fleet::{Fleet, OnFree, Start, StartKind};
use crate::gpu::{DeviceMemory, MemoryReader};
use crate::measured::Remembered;
use crate::policy::{DevicesPolicy, ModelPolicy, ScalePolicy};
use crate::pool::Pool;
use crate::scaling::Reason;
use crate::units::{ByteCount, DeviceId, DeviceSet, ModelName, Timestamp};
use crate::view::{DeviceView, ModelObservation, Observation, Takes, VariantView};
use crate::worker::{Kill, WorkerEvent, WorkerSpawner};

/// Time between two observations when nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// Time between two readings of the devices' memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);
/// What workers get to end in when the server stops: a load cannot be interrupted, and nobody waits for it any more.
const END_PATIENCE: Duration = Duration::from_secs(4);
/// When to come back where only another policy or another machine would help.
const HOPELESS_RETRY: Duration = Duration::from_secs(60);
/// Time between two clean-ups of the metrics' recorder.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What the controller works with.
pub struct Setup {
    /// The models.
    pub catalog: Arc<Catalog>,
    /// What the policy says of devices.
    pub devices_policy: DevicesPolicy,
    /// Devices to place instances on, best first.
    pub devices: Vec<DeviceId>,
    /// CPU threads to divide.
    pub cpu_threads: u32,
    /// Where requests wait.
    pub admission: Arc<Admission>,
    /// Whose snapshot it writes.
    pub pool: Arc<Pool>,
    /// Starts workers.
    pub spawner: Arc<dyn WorkerSpawner>,
    /// Reads memory.
    pub memory: Box<dyn MemoryReader>,
    /// What workers took of GPUs before.
    pub remembered: Remembered,
    /// The server's clock.
    pub clock: Clock,
    /// Notified when a request waits for a model without instances.
    pub wake: Arc<Notify>,
    /// The metrics' recorder.
    pub metrics: PrometheusHandle,
    /// New policies.
    pub reloads: mpsc::Receiver<Reload>,
}

/// Another policy to follow, with its files read.
pub struct Reload {
    /// The models.
    pub catalog: Arc<Catalog>,
    /// What it says of devices.
    pub devices: DevicesPolicy,
    /// Told once it is followed.
    pub done: oneshot::Sender<()>,
}

/// The controller.
pub struct Controller {
    setup: Setup,
    /// Models of the catalog, then those that are no longer in it and still have requests or instances.
    models: Vec<Arc<CatalogModel>>,
    fleet: Fleet,
    events: mpsc::UnboundedReceiver<WorkerEvent>,
    state: ControlState,
    memory: Vec<DeviceMemory>,
    memory_read: Option<Timestamp>,
    reported: Option<Timestamp>,
    upkeep: Timestamp,
    /// What was last decided, by model.
    notes: HashMap<ModelName, Note>,
}

impl Controller {
    /// A controller with nothing loaded.
    #[must_use]
    pub fn new(mut setup: Setup) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let admission = Arc::clone(&setup.admission);
        let on_free: OnFree = Arc::new(move |model| admission.dispatch(model));
        let (catalog, spawner) = (Arc::clone(&setup.catalog), Arc::clone(&setup.spawner));
        let fleet = Fleet::new(catalog, spawner, sender, on_free, std::mem::take(&mut setup.remembered));
        Self {
            models: setup.catalog.models.clone(),
            fleet,
            events,
            state: ControlState::default(),
            memory: Vec::new(),
            memory_read: None,
            reported: None,
            upkeep: Timestamp::default(),
            notes: HashMap::new(),
            setup,
        }
    }

    /// Keeps the pool in shape until `stop`; then ends all workers.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wake = Arc::clone(&self.setup.wake);
        loop {
            self.round();
            tokio::select! {
                // In this order, so that a simulation with the same seed runs the same way.
                biased;
                () = stop.cancelled() => break,
                Some(event) = self.events.recv() => self.handle(event),
                Some(reload) = self.setup.reloads.recv() => self.adopt(reload),
                () = wake.notified() => {}
                _ = ticks.tick() => {}
            }
        }
        self.end_all().await;
    }

    /// Ends all workers: first by telling them, then by force.
    async fn end_all(&mut self) {
        self.fleet.stop_all();
        let patience = tokio::time::sleep(END_PATIENCE);
        tokio::pin!(patience);
        let mut forced = false;
        while !self.fleet.is_empty() {
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    let Some(event) = event else { break };
                    self.handle(event);
                    // An instance that became ready while everything stops is told, too.
                    self.fleet.stop_all();
                }
                () = &mut patience, if !forced => {
                    forced = true;
                    self.fleet.kill_all();
                }
            }
        }
        self.publish();
    }

    /// Follows another policy. Requests that wait or run go on: instances that no longer fit serve until others have
    /// taken their place, models that are gone until nobody asks them for anything.
    fn adopt(&mut self, reload: Reload) {
        let Reload { catalog, devices, done } = reload;
        let mut models = catalog.models.clone();
        for old in &self.models {
            if catalog.model(old.policy.name.as_str()).is_none() {
                models.push(retired(old));
            }
        }
        self.models = models;
        self.setup.devices_policy = devices;
        self.setup.admission.apply(&catalog.policies());
        self.fleet.adopt(Arc::clone(&catalog));
        self.setup.catalog = catalog;
        self.memory_read = None;
        self.publish();
        // Who asked may be gone.
        let _gone = done.send(());
    }

    /// Forgets models that are no longer in the catalog once nobody asks them for anything.
    fn forget_retired(&mut self) {
        let Self { models, setup, fleet, notes, .. } = self;
        models.retain(|model| {
            let name = &model.policy.name;
            let stays = setup.catalog.model(name.as_str()).is_some()
                || fleet.has(name)
                || !setup.admission.remove(name);
            if !stays {
                tracing::info!(model = %name, "no longer in the policy, and no longer used");
                notes.remove(name);
            }
            stays
        });
    }

    fn handle(&mut self, event: WorkerEvent) {
        let now = self.setup.clock.now();
        self.fleet.handle(event, now);
        while let Ok(event) = self.events.try_recv() {
            self.fleet.handle(event, now);
        }
        // What was predicted has become real: only a new reading shows it.
        self.memory_read = None;
    }

    /// Observe, step, act.
    fn round(&mut self) {
        let now = self.setup.clock.now();
        self.publish();
        self.read_memory(now);
        self.forget_retired();
        let observation = self.observe(now);
        let policies: Vec<Arc<ModelPolicy>> =
            self.models.iter().map(|model| Arc::clone(&model.policy)).collect();
        for step in step::step(&policies, &mut self.state, &observation, now) {
            self.act(&step, &observation, now);
        }
        self.fleet.collect(now);
        self.publish();
        if self.reported.is_none_or(|last| now.since(last) >= TICK) {
            self.reported = Some(now);
            self.report(&observation);
        }
        if now.since(self.upkeep) >= UPKEEP_INTERVAL {
            self.upkeep = now;
            self.setup.metrics.run_upkeep();
        }
    }

    /// Stores a new snapshot if the ready instances changed, and hands new slots to those who wait.
    fn publish(&mut self) {
        if let Some(snapshot) = self.fleet.snapshot_if_changed() {
            self.setup.pool.store(snapshot);
            for model in &self.models {
                self.setup.admission.dispatch(&model.policy.name);
            }
        }
    }

    fn read_memory(&mut self, now: Timestamp) {
        if self.memory_read.is_none_or(|last| now.since(last) >= MEMORY_INTERVAL) {
            self.memory_read = Some(now);
            self.memory = self.setup.memory.read(&self.fleet.process_ids());
            self.fleet.learn(&self.memory);
        }
    }

    fn observe(&self, now: Timestamp) -> Observation {
        let models = self.models.iter().map(|model| {
            let name = &model.policy.name;
            let start_time = |index, kind| self.fleet.start_time(name, index, kind);
            let variants = model.variants.iter().enumerate().map(|(index, variant)| VariantView {
                takes: self.takes(model, index),
                each: variant.on_gpu.each,
                load_time: start_time(index, StartKind::Load).unwrap_or_else(|| guessed_load_time(variant)),
                start_time: start_time(index, StartKind::Context).unwrap_or(GUESSED_START_TIME),
                max_threads: threads::most_useful(model.policy.engine.threads, variant.weights_bytes),
                failed: self.fleet.failure(name, index, now),
                shortage: self.fleet.shortage(name, index),
            });
            ModelObservation {
                model: name.clone(),
                queue: self.setup.admission.observe(name),
                instances: self.fleet.views(name, now),
                variants: variants.collect(),
                spreads: self.fleet.spreads(name),
            }
        });
        Observation {
            models: models.collect(),
            devices: self.setup.devices.iter().map(|device| self.device_view(*device)).collect(),
            cpu_threads: self.setup.cpu_threads,
        }
    }

    /// What a variant takes of a device that its model may use, the most where they differ. If it fits on none of them, it
    /// is known from where it was divided.
    fn takes(&self, model: &CatalogModel, variant: usize) -> Takes {
        let gpus = self.setup.devices.iter().any(|device| *device != DeviceId::Host);
        let default = |device: &DeviceId| !gpus || *device != DeviceId::Host;
        let allowed = |device: &&DeviceId| match &model.policy.devices {
            Some(devices) => devices.contains(device),
            None => default(device),
        };
        let devices: Vec<DeviceId> = self.setup.devices.iter().filter(allowed).copied().collect();
        let takes = devices.iter().map(|device| self.fleet.takes(model, variant, *device));
        let takes = takes.fold(Takes::default(), Takes::max);
        let too_large = |device: &DeviceId| {
            self.device_view(*device)
                .capacity
                .is_some_and(|capacity| takes.worker + takes.instance > capacity)
        };
        let divided = devices.len() > 1 && devices.iter().all(too_large);
        let measured = || self.fleet.measured(model, variant, devices.iter().copied().collect::<DeviceSet>());
        if divided { measured().unwrap_or(takes) } else { takes }
    }

    /// What may still be taken on a device. One that could be read once and cannot now is not there: nothing fits. One
    /// that never could is not known, and everything fits.
    fn device_view(&self, device: DeviceId) -> DeviceView {
        let Some(memory) = self.memory.iter().find(|memory| memory.device == device) else {
            let lost = self.fleet.known_devices().any(|known| known == device);
            let available = lost.then_some(ByteCount::ZERO);
            return DeviceView {
                device,
                free: available,
                available,
                capacity: None,
                deficit: ByteCount::ZERO,
            };
        };
        let policy = &self.setup.devices_policy;
        let available = self.fleet.predicted_bytes(device).leaves(memory, policy);
        let headroom = policy.headroom(memory.total);
        let mut capacity = memory.total.saturating_sub(headroom);
        if device == DeviceId::Host {
            capacity = capacity.min(policy.host_memory_limit.of(memory.total));
        }
        // Predictions err a little: only when half of the headroom is gone, somebody else must have taken it.
        let missing = headroom.saturating_sub(memory.free);
        let deficit = if missing > headroom.fraction(0.5) { missing } else { ByteCount::ZERO };
        let (free, available, capacity) = (Some(memory.free), Some(available), Some(capacity));
        DeviceView { device, free, available, capacity, deficit }
    }

    fn act(&mut self, step: &ModelStep, observation: &Observation, now: Timestamp) {
        self.note(step, now);
        let reason = step.reason.name();
        for action in &step.actions {
            match *action {
                Action::Start { variant, devices, threads } => {
                    let views = observation.devices.iter().filter(|view| devices.contains(view.device));
                    let available = views.map(|view| view.available).sum();
                    if let Some(model) = self.models.iter().find(|model| model.policy.name == step.model) {
                        let split = model.policy.engine.split;
                        let spread = &place::spread_over(split, devices, &observation.devices);
                        let model_name = &step.model;
                        let start =
                            Start { model: model_name, variant, devices, threads, available, spread, reason };
                        self.fleet.start(model, start, now);
                    }
                }
                Action::Drain { instance } => self.fleet.drain(instance, reason),
                Action::Evict { instance } => self.fleet.drain(instance, "evicted"),
                Action::SetThreads { instance, threads } => self.fleet.set_threads(instance, threads),
                Action::RefuseWaiting => self.refuse_waiting(step),
                Action::Kill { instance, why } => self.fleet.kill(
                    instance,
                    match why {
                        Frozen::NoProgress { stalled } => Kill::Frozen { stalled },
                        Frozen::LoadTimeout { after } => Kill::LoadTimeout { after },
                    },
                ),
            }
        }
    }

    fn refuse_waiting(&self, step: &ModelStep) {
        let trouble = || self.fleet.trouble(&step.model).map(|trouble| trouble.reason);
        let (why, retry) = match step.reason {
            Reason::LoadsFailing { retry_in } => {
                (trouble().unwrap_or_else(|| "the load failed".to_owned()), retry_in)
            }
            reason => (reason.to_string(), HOPELESS_RETRY),
        };
        self.setup.admission.refuse_waiting(&step.model, &why, retry);
    }
}

/// Before there was a second instance: as long as a context takes on a GPU.
const GUESSED_START_TIME: Duration = Duration::from_millis(50);

/// Before a variant was ever loaded: a gigabyte a second, as from a fast disk.
fn guessed_load_time(variant: &CatalogVariant) -> Duration {
    Duration::from_millis(variant.weights_bytes.0 / 1_000_000)
}

/// A model that is no longer in the policy: served as long as somebody waits for it, and not a moment longer.
fn retired(model: &CatalogModel) -> Arc<CatalogModel> {
    let scale = ScalePolicy {
        min_instances: 0,
        scale_down_after: Duration::ZERO,
        idle_unload_after: Duration::ZERO,
        ..model.policy.scale.clone()
    };
    let policy = Arc::new(ModelPolicy { scale, ..(*model.policy).clone() });
    Arc::new(CatalogModel { policy, ..model.clone() })
}

#[cfg(test)]
mod tests;
