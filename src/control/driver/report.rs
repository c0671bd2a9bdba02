//! What the controller tells of its decisions and of what it sees: log, metrics, and explanations for those who wait.

use std::time::Duration;

use metrics::{counter, gauge};

use super::Controller;
use crate::admission::{Condition, Loading};
use crate::control::step::{Action, ModelStep};
use crate::gpu::Sensors;
use crate::scaling::Reason;
use crate::telemetry as names;
use crate::units::{DeviceId, DeviceSet, Timestamp};
use crate::view::{InstanceState, ModelObservation, Observation, Takes};

/// Least time between two log lines about decisions that change nothing: under load their reasons alternate.
const IDLE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What is read of each device: memory, and then what only GPUs have.
const DEVICE_READINGS: [&str; 7] = [
    names::MEMORY_TOTAL,
    names::MEMORY_USED,
    names::MEMORY_FREE,
    names::MEMORY_SELF,
    names::GPU_UTILIZATION,
    names::GPU_TEMPERATURE,
    names::GPU_POWER,
];

/// The last decision for a model, so that only changes are counted and logged.
#[derive(Clone, Copy, Default)]
pub(super) struct Note {
    reason: &'static str,
    /// When a decision that changed nothing was last logged.
    idle_logged: Option<Timestamp>,
}

impl Controller {
    /// Logs and counts a decision that differs from the one before, or does something.
    pub(super) fn note(&mut self, step: &ModelStep, observation: &Observation, now: Timestamp) {
        let reason = step.reason.name();
        let count = |wanted: fn(&Action) -> bool| step.actions.iter().filter(|action| wanted(action)).count();
        let starts = count(|action| matches!(action, Action::Start { .. }));
        let drains = count(|action| matches!(action, Action::Drain { .. } | Action::Evict { .. }));
        gauge!(names::TARGET_INSTANCES, "model" => step.model.to_string())
            .set(f64::from(step.target_instances));
        let trouble = self.fleet.trouble(&step.model);
        let crash_loop = trouble.as_ref().is_some_and(|trouble| trouble.crash_loop);
        let trouble = trouble.map(|trouble| trouble.reason);
        let model = observation.models.iter().find(|model| model.model == step.model);
        let loading = model.and_then(first_loading);
        let condition = Condition { explanation: step.reason.to_string(), trouble, crash_loop, loading };
        self.setup.admission.explain(&step.model, condition);
        let acts = starts + drains > 0;
        let changed =
            std::mem::replace(&mut self.notes.entry(step.model.clone()).or_default().reason, reason)
                != reason;
        if count(|action| matches!(action, Action::Kill { .. })) > 0 && !acts {
            self.note_for_operators(step);
        }
        if !changed && !acts {
            return;
        }
        counter!(names::DECISIONS, "model" => step.model.to_string(), "reason" => reason).increment(1);
        if !acts {
            let note = self.notes.entry(step.model.clone()).or_default();
            let recent = note.idle_logged.is_some_and(|last| now.since(last) < IDLE_LOG_INTERVAL);
            if step.reason == Reason::Steady || recent {
                return;
            }
            note.idle_logged = Some(now);
        }
        self.note_for_operators(step);
        let limit = step.limit.map(tracing::field::display);
        tracing::info!(model = %step.model, target = step.target_instances, starts, drains,
            reason = %step.reason, limit, "scaling");
    }

    pub(super) fn report(&mut self, observation: &Observation) {
        self.fleet.report();
        for model in &observation.models {
            let name = model.model.to_string();
            gauge!(names::QUEUE_DEPTH, "model" => name.clone()).set(f64::from(model.queue.depth));
            gauge!(names::QUEUE_OLDEST_WAIT, "model" => name.clone())
                .set(model.queue.oldest_wait.as_secs_f64());
            gauge!(names::IN_FLIGHT, "model" => name).set(f64::from(model.queue.in_flight));
        }
        self.report_devices();
        self.report_variants();
    }

    fn report_devices(&self) {
        for memory in &self.memory {
            let device = memory.device.to_string();
            let set = |name, value| gauge!(name, "device" => device.clone()).set(value);
            set(names::MEMORY_TOTAL, bytes(memory.total));
            set(names::MEMORY_USED, bytes(memory.used));
            set(names::MEMORY_FREE, bytes(memory.free));
            let Sensors { utilization_percent, temperature_celsius, power_milliwatts } = memory.sensors;
            for (name, value) in [
                (names::MEMORY_SELF, memory.used_by_self.map(bytes)),
                (names::GPU_UTILIZATION, utilization_percent.map(|percent| f64::from(percent) / 100.0)),
                (names::GPU_TEMPERATURE, temperature_celsius.map(f64::from)),
                (names::GPU_POWER, power_milliwatts.map(|milliwatts| f64::from(milliwatts) / 1000.0)),
            ] {
                if let Some(value) = value {
                    set(name, value);
                }
            }
        }
        let is_read = |device| self.memory.iter().any(|memory| memory.device == device);
        for gone in self.fleet.known_devices().filter(|known| !is_read(*known)) {
            // The last values would look like readings.
            let readings = if gone == DeviceId::Host { &DEVICE_READINGS[..4] } else { &DEVICE_READINGS[..] };
            for name in readings.iter().copied() {
                gauge!(name, "device" => gone.to_string()).set(f64::NAN);
            }
        }
    }

    /// Publishes what the variants take of the device that computes, as predicted and as measured.
    fn report_variants(&self) {
        let devices = &self.setup.devices;
        for model in &self.models {
            for (index, variant) in model.variants.iter().enumerate() {
                let predicted = devices.iter().map(|device| variant.footprint(*device).takes(*device));
                let gpus = devices.iter().filter(|device| **device != DeviceId::Host);
                let divided = gpus.copied().collect::<DeviceSet>();
                let sets = devices.iter().map(|device| DeviceSet::from(*device)).chain([divided]);
                let measured = sets.filter_map(|set| self.fleet.measured(model, index, set));
                for (name, takes) in [
                    (names::PREDICTED, predicted.reduce(Takes::max)),
                    (names::MEASURED, measured.reduce(Takes::max)),
                ] {
                    let Some(takes) = takes else { continue };
                    for (part, amount) in [("worker", takes.worker), ("instance", takes.instance)] {
                        gauge!(name, "model" => model.policy.name.to_string(),
                            "variant" => variant.name.to_string(), "part" => part)
                        .set(bytes(amount));
                    }
                }
            }
        }
    }
}

/// The instance that will be ready first, of those that start.
fn first_loading(model: &ModelObservation) -> Option<Loading> {
    let starting = model.instances.iter().filter(|instance| instance.state == InstanceState::Starting);
    let loading = starting.filter_map(|instance| {
        let variant = model.variants.get(instance.variant)?;
        Some(Loading { elapsed: instance.age, expected: variant.load_time })
    });
    loading.min_by_key(|loading| loading.expected.saturating_sub(loading.elapsed))
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating point by Prometheus's definition")]
fn bytes(count: crate::units::ByteCount) -> f64 {
    count.0 as f64
}
