//! Decides how many instances a model should have.
//!
//! Input: validated policy, prior state, signals, `now`. Output: a target with its reason, and the next state.
//! Must not: read clocks, touch a GPU, spawn, log.
//! Caller: `control::plan` only. Rules and their sources: docs/scaling.md.

mod reason;
mod window;

pub use reason::Reason;

use std::time::Duration;

use crate::policy::ScalePolicy;
use crate::units::Timestamp;
use crate::view::QueueSignals;
use window::PeakWindow;

/// What a model's scaling is decided from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    /// The queue.
    pub queue: QueueSignals,
    /// Instances that take requests.
    pub ready: u32,
    /// Instances that will soon.
    pub starting: u32,
    /// Slots of one instance.
    pub slots: u32,
}

/// What a model's scaling remembers from decision to decision.
#[derive(Clone, Debug, Default)]
pub struct ScalingState {
    /// Demand in requests over the hold time of a scale-down.
    demand: PeakWindow,
    /// When somebody last asked for the model.
    last_demand: Timestamp,
}

impl ScalingState {
    /// Time since somebody last asked for the model.
    #[must_use]
    pub fn idle(&self, now: Timestamp) -> Duration {
        now.since(self.last_demand)
    }
}

/// How many instances there should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Ready and starting instances together.
    pub target_instances: u32,
    /// Why.
    pub reason: Reason,
}

/// Decides; `state` is updated.
///
/// Demand is counted in requests at once, waiting or in flight; an instance serves `slots` of them.
/// Up: a request waits longer than `target_queue_wait` → enough instances for the demand of this moment. Instances
/// that start count as capacity, so that a slow load is not answered by more loads.
/// Down: the highest demand of the last `scale_down_after` fits into fewer instances at `target_utilization`.
/// The band between the two (100 % and `target_utilization` of the slots) is the hysteresis.
pub fn decide(policy: &ScalePolicy, state: &mut ScalingState, signals: &Signals, now: Timestamp) -> Decision {
    let queue = &signals.queue;
    let demand = queue.peak_demand.max(queue.depth + queue.in_flight);
    state.demand.push(now, demand, policy.scale_down_after);
    if demand > 0 {
        state.last_demand = now;
    }
    let live = signals.ready + signals.starting;
    let hold = |reason| Decision { target_instances: live, reason };
    if live < policy.min_instances {
        return Decision { target_instances: policy.min_instances, reason: Reason::BelowMinimum };
    }
    if live == 0 {
        if queue.depth > 0 {
            return Decision { target_instances: 1, reason: Reason::ColdStart { waiting: queue.depth } };
        }
        return hold(Reason::Steady);
    }
    if queue.depth > 0 && queue.oldest_wait > policy.target_queue_wait {
        return grow(policy, signals, hold);
    }
    shrink(policy, state, signals, now).unwrap_or_else(|| hold(Reason::Steady))
}

/// More instances, because requests wait too long.
fn grow(policy: &ScalePolicy, signals: &Signals, hold: impl Fn(Reason) -> Decision) -> Decision {
    let queue = &signals.queue;
    let live = signals.ready + signals.starting;
    if live >= policy.max_instances {
        return hold(Reason::AtMaximum { max_instances: policy.max_instances });
    }
    let wanted = (queue.depth + queue.in_flight).div_ceil(signals.slots).min(policy.max_instances);
    if wanted <= live {
        return hold(Reason::CapacityComing { starting: signals.starting });
    }
    Decision {
        target_instances: wanted,
        reason: Reason::QueueWaitHigh {
            waited: queue.oldest_wait,
            target: policy.target_queue_wait,
            waiting: queue.depth,
        },
    }
}

/// Fewer instances, because the demand of the whole hold time fits into fewer; `None` if it does not.
fn shrink(policy: &ScalePolicy, state: &ScalingState, signals: &Signals, now: Timestamp) -> Option<Decision> {
    let idle = state.idle(now);
    if idle >= policy.idle_unload_after && signals.ready > policy.min_instances {
        return Some(Decision { target_instances: policy.min_instances, reason: Reason::Idle { idle } });
    }
    let peak = state.demand.peak_over(policy.scale_down_after, now)?;
    let slots_used = f64::from(signals.slots) * policy.target_utilization;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "demand is a count; a saturating cast is right for any remainder"
    )]
    let keep = (f64::from(peak) / slots_used).ceil() as u32;
    // The last one stays until `idle_unload_after`: reloading weights costs more than another context.
    let keep = keep.max(policy.min_instances).max(1);
    (keep < signals.ready && signals.starting == 0).then_some(Decision {
        target_instances: keep,
        reason: Reason::DemandFell { peak_demand: peak, over: policy.scale_down_after },
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
