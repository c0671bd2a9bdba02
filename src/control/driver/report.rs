//! What the controller tells of its decisions and of what it sees: log, metrics, and explanations for those who wait.

use std::time::Duration;

use metrics::{counter, gauge};

use super::Controller;
use crate::admission::Condition;
use crate::control::step::{Action, ModelStep};
use crate::scaling::Reason;
use crate::telemetry as names;
use crate::units::Timestamp;
use crate::view::Observation;

/// Least time between two log lines about decisions that change nothing: under load their reasons alternate.
const IDLE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The last decision for a model, so that only changes are counted and logged.
#[derive(Clone, Copy, Default)]
pub(super) struct Note {
    reason: &'static str,
    /// When a decision that changed nothing was last logged.
    idle_logged: Option<Timestamp>,
}

impl Controller {
    /// Logs and counts a decision that differs from the one before, or does something.
    pub(super) fn note(&mut self, step: &ModelStep, now: Timestamp) {
        let reason = step.reason.name();
        let count = |wanted: fn(&Action) -> bool| step.actions.iter().filter(|action| wanted(action)).count();
        let starts = count(|action| matches!(action, Action::Start { .. }));
        let drains = count(|action| matches!(action, Action::Drain { .. }));
        gauge!(names::TARGET_INSTANCES, "model" => step.model.to_string())
            .set(f64::from(step.target_instances));
        let trouble = self.fleet.trouble(&step.model);
        let crash_loop = trouble.as_ref().is_some_and(|trouble| trouble.crash_loop);
        let trouble = trouble.map(|trouble| trouble.reason);
        let condition = Condition { explanation: step.reason.to_string(), trouble, crash_loop };
        self.setup.admission.explain(&step.model, condition);
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

    pub(super) fn report(&mut self, observation: &Observation) {
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
