//! The controller's driver: reads the world, asks [`step`], and acts through the fleet.
//!
//! One task. It owns the fleet and is the sole writer of the pool's snapshot. It ends when told to, after all
//! workers have ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::step::{self, Action, ControlState, ModelStep};
use crate::admission::Admission;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::fleet::{Fleet, OnFree, Start};
use crate::gpu::{DeviceMemory, MemoryReader};
use crate::policy::{DevicesPolicy, ModelPolicy};
use crate::pool::Pool;
use crate::scaling::Reason;
use crate::telemetry as names;
use crate::units::{DeviceId, ModelName, Timestamp};
use crate::view::{DeviceView, ModelObservation, Observation, VariantView};
use crate::worker::{WorkerEvent, WorkerSpawner};

/// Time between two observations when nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// Time between two readings of the devices' memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);
/// Time between two clean-ups of the metrics' recorder.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Least time between two log lines about decisions that change nothing: under load their reasons alternate.
const IDLE_LOG_INTERVAL: Duration = Duration::from_secs(10);

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
    /// The server's clock.
    pub clock: Clock,
    /// Notified when a request waits for a model without instances.
    pub wake: Arc<Notify>,
    /// The metrics' recorder.
    pub metrics: PrometheusHandle,
}

/// The last decision for a model, so that only changes are counted and logged.
#[derive(Clone, Copy, Default)]
struct Note {
    reason: &'static str,
    /// When a decision that changed nothing was last logged.
    idle_logged: Option<Timestamp>,
}

/// The controller.
pub struct Controller {
    setup: Setup,
    policies: Vec<Arc<ModelPolicy>>,
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
    pub fn new(setup: Setup) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let admission = Arc::clone(&setup.admission);
        let on_free: OnFree = Arc::new(move |model| admission.dispatch(model));
        let fleet = Fleet::new(Arc::clone(&setup.catalog), Arc::clone(&setup.spawner), sender, on_free);
        Self {
            policies: setup.catalog.policies(),
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
                () = stop.cancelled() => break,
                Some(event) = self.events.recv() => self.handle(event),
                () = wake.notified() => {}
                _ = ticks.tick() => {}
            }
        }
        self.fleet.stop_all();
        while !self.fleet.is_empty() {
            let Some(event) = self.events.recv().await else { break };
            self.handle(event);
            // An instance that became ready while everything stops is told, too.
            self.fleet.stop_all();
        }
        self.publish();
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
        let observation = self.observe(now);
        for step in step::step(&self.policies, &mut self.state, &observation, now) {
            self.act(&step, now);
        }
        self.fleet.collect();
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
            for policy in &self.policies {
                self.setup.admission.dispatch(&policy.name);
            }
        }
    }

    fn read_memory(&mut self, now: Timestamp) {
        if self.memory_read.is_none_or(|last| now.since(last) >= MEMORY_INTERVAL) {
            self.memory_read = Some(now);
            self.memory = self.setup.memory.read();
        }
    }

    fn observe(&self, now: Timestamp) -> Observation {
        let models = self.setup.catalog.models.iter().map(|model| {
            let name = &model.policy.name;
            let variants = model.variants.iter().enumerate().map(|(index, variant)| VariantView {
                weights_bytes: variant.weights_bytes,
                instance_bytes: variant.instance_bytes,
                failed: self.fleet.failure(name, index, now),
            });
            ModelObservation {
                model: name.clone(),
                queue: self.setup.admission.observe(name),
                instances: self.fleet.views(name),
                variants: variants.collect(),
            }
        });
        Observation {
            models: models.collect(),
            devices: self.setup.devices.iter().map(|device| self.device_view(*device)).collect(),
            cpu_threads: self.setup.cpu_threads,
        }
    }

    /// What may still be taken on a device: free memory less headroom and what is on its way; on the host also no
    /// more than the policy's limit for all models together.
    fn device_view(&self, device: DeviceId) -> DeviceView {
        let Some(memory) = self.memory.iter().find(|memory| memory.device == device) else {
            return DeviceView { device, available: None };
        };
        let policy = &self.setup.devices_policy;
        let predicted = self.fleet.predicted_bytes(device);
        let headroom = memory.total.fraction(policy.headroom_fraction);
        let mut available = memory.free.saturating_sub(headroom).saturating_sub(predicted.coming);
        if device == DeviceId::Host {
            let limit = policy.host_memory_limit.of(memory.total);
            available = available.min(limit.saturating_sub(predicted.total));
        }
        DeviceView { device, available: Some(available) }
    }

    fn act(&mut self, step: &ModelStep, now: Timestamp) {
        self.note(step, now);
        let reason = step.reason.name();
        for action in &step.actions {
            match *action {
                Action::Start { variant, device, threads } => {
                    self.fleet.start(Start { model: &step.model, variant, device, threads, reason }, now);
                }
                Action::Drain { instance } => self.fleet.drain(instance, reason),
                Action::SetThreads { instance, threads } => self.fleet.set_threads(instance, threads),
                Action::RefuseWaiting => self.refuse_waiting(step),
            }
        }
    }

    fn refuse_waiting(&self, step: &ModelStep) {
        let retry = if let Reason::LoadsFailing { retry_in } = step.reason { retry_in } else { TICK };
        let why = self.fleet.last_failure(&step.model).unwrap_or("the load failed");
        self.setup.admission.refuse_waiting(&step.model, why, retry);
    }

    /// Logs and counts a decision that differs from the one before, or does something.
    fn note(&mut self, step: &ModelStep, now: Timestamp) {
        let reason = step.reason.name();
        let count = |wanted: fn(&Action) -> bool| step.actions.iter().filter(|action| wanted(action)).count();
        let starts = count(|action| matches!(action, Action::Start { .. }));
        let drains = count(|action| matches!(action, Action::Drain { .. }));
        gauge!(names::TARGET_INSTANCES, "model" => step.model.to_string())
            .set(f64::from(step.target_instances));
        self.setup.admission.explain(&step.model, step.reason.to_string());
        let note = self.notes.entry(step.model.clone()).or_default();
        let changed = std::mem::replace(&mut note.reason, reason) != reason;
        let acts = starts + drains > 0;
        if !changed && !acts {
            return;
        }
        counter!(names::DECISIONS, "model" => step.model.to_string(), "reason" => reason).increment(1);
        if !acts {
            let recent = note.idle_logged.is_some_and(|last| now.since(last) < IDLE_LOG_INTERVAL);
            if step.reason == Reason::Steady || recent {
                return;
            }
            note.idle_logged = Some(now);
        }
        let limit = step.limit.map(tracing::field::display);
        tracing::info!(model = %step.model, target = step.target_instances, starts, drains,
            reason = %step.reason, limit, "scaling");
    }

    fn report(&self, observation: &Observation) {
        self.fleet.report();
        for model in &observation.models {
            let name = model.model.to_string();
            gauge!(names::QUEUE_DEPTH, "model" => name.clone()).set(f64::from(model.queue.depth));
            gauge!(names::QUEUE_OLDEST_WAIT, "model" => name.clone())
                .set(model.queue.oldest_wait.as_secs_f64());
            gauge!(names::IN_FLIGHT, "model" => name).set(f64::from(model.queue.in_flight));
        }
        for memory in &self.memory {
            let device = memory.device.to_string();
            gauge!(names::MEMORY_TOTAL, "device" => device.clone()).set(bytes(memory.total));
            gauge!(names::MEMORY_USED, "device" => device.clone()).set(bytes(memory.used));
            gauge!(names::MEMORY_FREE, "device" => device.clone()).set(bytes(memory.free));
            if let Some(own) = memory.used_by_self {
                gauge!(names::MEMORY_SELF, "device" => device).set(bytes(own));
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating point by Prometheus's definition")]
fn bytes(count: crate::units::ByteCount) -> f64 {
    count.0 as f64
}
