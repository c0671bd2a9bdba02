//! Decides how many instances a model should have.
//!
//! Input: validated policy, prior state, signals, `now`. Output: a target with its reason, and the next state.
//! Must not: read clocks, touch a GPU, spawn, log.
//! Caller: `control::plan` only. Rules and their sources: docs/scaling.md.

mod budget;
mod calendar;
mod erlang;
mod evenness;
mod keep;
mod need;
mod pace;
mod pattern;
mod project;
mod rate;
mod reason;
mod season;
mod service;
mod state;
mod window;

pub use reason::Reason;
pub use state::ScalingState;

use std::time::Duration;

use crate::policy::ScalePolicy;
use crate::units::Timestamp;
use crate::view::QueueSignals;
use need::{Need, Outlook};
use season::Promise;

/// What a model's scaling is decided from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    /// The queue.
    pub queue: QueueSignals,
    /// Instances that take requests.
    pub ready: u32,
    /// Instances that will soon.
    pub starting: u32,
    /// Mean time since it was decided to start those; zero if there are none.
    pub starting_age: Duration,
    /// Slots of one instance.
    pub slots: u32,
    /// How long it takes until an instance is ready.
    pub load: LoadTimes,
    /// Devices that the model may use; instances on the same one slow each other.
    pub devices: u32,
    /// Date and time of day.
    pub wall_clock: jiff::Timestamp,
}

/// How long it takes until an instance is ready, as last measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadTimes {
    /// Where the weights must be loaded.
    pub first: Duration,
    /// Where they are there.
    pub further: Duration,
}

impl Signals {
    /// Ready and starting instances.
    const fn live(&self) -> u32 {
        self.ready + self.starting
    }

    /// Requests at once, waiting or in flight.
    const fn demand(&self) -> u32 {
        self.queue.depth.saturating_add(self.queue.in_flight)
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

/// A shrinking pool plans this share of the lateness that a growing one does: the gap is part of the hysteresis.
/// The rest of it is the time that fewer must have sufficed.
const SHRINK_SHARE: f64 = 0.5;
/// Part of the needed slots that may be missing before another instance starts, and the least of it in slots: errors
/// of the estimates, which are a few per cent, must not start one.
const DEADBAND: f64 = 0.02;
const DEADBAND_SLOTS: f64 = 0.5;

/// Decides; `state` is updated.
///
/// Up: the slots needed when a load that begins now has ended are more than there are. Instances that start count.
/// Down: for as long as a load takes, and at least `scale_down_after`, fewer were needed. The last instance stays for
/// as long as gaps of the past say.
pub fn decide(policy: &ScalePolicy, state: &mut ScalingState, signals: &Signals, now: Timestamp) -> Decision {
    state.observe(policy, signals, now);
    let live = signals.live();
    let is_urgent = live < state.least(policy) || (live == 0 && signals.demand() > 0);
    if !is_urgent && !state.is_due(now) {
        return hold(policy, signals);
    }
    weigh(policy, state, signals, now)
}

/// Decides from all that is known.
fn weigh(policy: &ScalePolicy, state: &mut ScalingState, signals: &Signals, now: Timestamp) -> Decision {
    let outlook = state.outlook(policy, signals, now);
    let planned = state.budget.planned(policy.late_share);
    let promise = state.promise(policy, signals, &outlook);
    let promised = promise.map_or(0.0, |promise| outlook.steady(promise.per_second, planned));
    let up = outlook.need(signals, planned);
    let down = outlook.need(signals, planned * SHRINK_SHARE);
    let usable = state.usable_slots(policy, signals.slots);
    // Apart on devices of their own, sequences slow each other less; on the same one they do as in one instance.
    let apart = instances(outlook.offered(), usable).min(signals.devices);
    let instances = |slots| instances(slots, signals.slots.into()).max(apart);
    let wanted = instances(up.slots.max(promised)).max(u32::from(signals.demand() > 0));
    let calm = state.evenness.is_calm(now, outlook.offered(), outlook.error());
    let hold_time = signals.load.further.max(policy.scale_down_after);
    state.needed.push(now, wanted.max(instances(down.slots)), hold_time);

    let (live, least) = (signals.live(), state.least(policy));
    if live < least {
        let target_instances = least.max(wanted.min(policy.max_instances));
        return Decision { target_instances, reason: state.below(least) };
    }
    if live == 0 && signals.demand() == 0 && promise.is_none() {
        return hold(policy, signals);
    }
    let waits = signals.queue.oldest_wait > state.wait(policy) / 2;
    if calm && live >= apart.max(1) && promise.is_none() && !waits && signals.demand() > 0 {
        return hold(policy, signals);
    }
    if wanted > live {
        let full = self::instances(up.slots.max(promised), signals.slots.into());
        let reason = match state.pace.mean().filter(|_| full <= live) {
            Some((itl, batch)) => Reason::ItlHigh { itl, batch, usable },
            None => why(signals, &outlook, up, promise.filter(|_| promised >= up.slots)),
        };
        return grow(policy, live, wanted, reason);
    }
    if promise.is_none() && signals.starting == 0 && live > least {
        let idle = state.idle(now);
        let worth = cold_start_worth(policy, signals, state.wait(policy));
        if idle > state.gaps.keep_for(signals.load.first.max(policy.scale_down_after), worth) {
            return Decision { target_instances: least, reason: Reason::Idle { idle } };
        }
    }
    match state.needed.peak_over(hold_time, now) {
        // The last one stays until the model is idle: to load weights costs more than another context.
        Some(needed) if !calm && needed.max(least).max(1) < live && signals.starting == 0 => Decision {
            target_instances: needed.max(least).max(1),
            reason: Reason::LoadFell { needed, over: hold_time },
        },
        _ => hold(policy, signals),
    }
}

/// As many as there are. Who waits while the policy allows no more is told so.
fn hold(policy: &ScalePolicy, signals: &Signals) -> Decision {
    let live = signals.live();
    let reason = if signals.queue.depth > 0 && live >= policy.max_instances {
        Reason::AtMaximum { max_instances: policy.max_instances }
    } else {
        Reason::Steady
    };
    Decision { target_instances: live, reason }
}

/// Instances that hold so many slots, but for a few.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a saturating cast of a positive number"
)]
fn instances(slots: f64, of_instance: f64) -> u32 {
    let slack = (slots * DEADBAND).max(DEADBAND_SLOTS);
    ((slots - slack) / of_instance).ceil().max(0.0) as u32
}

/// For how long an idle instance costs as much as a cold start. A load that is faster than requests may wait makes nobody
/// late, and counts in proportion.
fn cold_start_worth(policy: &ScalePolicy, signals: &Signals, wait: Duration) -> Duration {
    let late = signals.load.first.as_secs_f64() / wait.as_secs_f64().max(1e-3);
    policy.idle_unload_after.mul_f64(late.min(1.0))
}

/// More instances, as far as the policy allows.
fn grow(policy: &ScalePolicy, live: u32, wanted: u32, reason: Reason) -> Decision {
    if live >= policy.max_instances {
        return Decision {
            target_instances: live,
            reason: Reason::AtMaximum { max_instances: policy.max_instances },
        };
    }
    Decision { target_instances: wanted.min(policy.max_instances), reason }
}

/// What makes more instances needed.
fn why(signals: &Signals, outlook: &Outlook, up: Need, promise: Option<Promise>) -> Reason {
    if let Some(Promise { per_second, period }) = promise {
        return Reason::Forecast { rate: per_second, period };
    }
    let waiting = signals.queue.depth;
    if signals.live() == 0 {
        return Reason::ColdStart { waiting };
    }
    if up.slots > up.steady && waiting > 0 {
        return Reason::Backlog { waiting, waited: signals.queue.oldest_wait, slots: up.slots };
    }
    Reason::LoadHigh { rate: outlook.rate.per_second, service: outlook.service, slots: up.slots }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
