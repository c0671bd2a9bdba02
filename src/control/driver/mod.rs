//! The controller's driver: reads the world, asks [`step`], and acts through the fleet.
//!
//! One task. It owns the fleet and is the sole writer of the pool's snapshot. It ends when told to, after all
//! workers have ended.

mod observe;
mod operate;
mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::report::Note;
use super::place;
use super::step::{self, Action, ControlState, ModelStep};
use super::watchdog::Frozen;
use crate::admission::Admission;
use crate::catalog::{Catalog, CatalogModel};
use crate::clock::Clock;
use crate::fleet::{Fleet, OnFree, Start};
use crate::gpu::{DeviceMemory, MemoryReader};
use crate::measured::Remembered;
use crate::operator::{Board, Errand};
use crate::policy::{DevicesPolicy, ModelPolicy, ScalePolicy};
use crate::pool::Pool;
use crate::scaling::Reason;
use crate::units::{DeviceId, ModelName, Timestamp};
use crate::view::Observation;
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
    /// What operators order.
    pub errands: mpsc::Receiver<Errand>,
    /// What they are shown.
    pub board: Arc<Board>,
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
                Some(errand) = self.setup.errands.recv() => self.obey(errand),
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
        self.renumber_pins(&catalog);
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
            self.setup.board.show(self.fleet.overview(now));
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

    fn act(&mut self, step: &ModelStep, observation: &Observation, now: Timestamp) {
        self.note(step, observation, now);
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
