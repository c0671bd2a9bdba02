//! Counts a model's instances, and says which go first. PURE.

use std::time::Duration;

use super::step::{Action, ModelStep};
use crate::policy::ModelPolicy;
use crate::scaling::{LoadTimes, Signals};
use crate::view::{InstanceState, InstanceView, ModelObservation};

/// The instances of a model by what they are good for.
pub(super) struct Counts {
    /// Fresh ones.
    pub ready: u32,
    pub starting: u32,
    pub stale_ready: u32,
    /// Draining or stopping.
    pub leaving: u32,
}

impl Counts {
    pub fn of(model: &ModelObservation) -> Self {
        let matching = |wanted: &dyn Fn(&InstanceView) -> bool| {
            count(model.instances.iter().filter(|instance| wanted(instance)))
        };
        Self {
            ready: matching(&|i| i.state == InstanceState::Ready && !i.stale),
            starting: matching(&|i| i.state == InstanceState::Starting && !i.stale),
            stale_ready: matching(&|i| i.state == InstanceState::Ready && i.stale),
            leaving: matching(&|i| matches!(i.state, InstanceState::Draining | InstanceState::Stopping)),
        }
    }

    /// Stale instances count as capacity until fresh ones have taken their place.
    pub fn signals(
        &self,
        policy: &ModelPolicy,
        model: &ModelObservation,
        devices: u32,
        wall_clock: jiff::Timestamp,
    ) -> Signals {
        let starting = self.starting.saturating_sub(self.stale_ready);
        let ready = self.ready + self.stale_ready.saturating_sub(self.ready);
        let ages =
            model.instances.iter().filter(|i| i.state == InstanceState::Starting && !i.stale).map(|i| i.age);
        let starting_age = ages.sum::<Duration>().checked_div(self.starting).unwrap_or_default();
        let load = model.variants.iter().find(|variant| variant.failed.is_none()).or(model.variants.first());
        let load = load.map_or_else(LoadTimes::default, |variant| LoadTimes {
            first: variant.load_time,
            further: variant.start_time,
        });
        Signals {
            queue: model.queue,
            ready,
            starting,
            starting_age,
            slots: policy.slots,
            load,
            devices,
            wall_clock,
        }
    }
}

/// Lets stale instances go as fresh ones come; where both do not fit, one stale one goes first.
pub(super) fn replace_stale(counted: &Counts, wanted: u32, model: &ModelObservation, step: &mut ModelStep) {
    if counted.stale_ready == 0 {
        return;
    }
    let starts = step.actions.iter().any(|action| matches!(action, Action::Start { .. }));
    let fresh = counted.ready + counted.starting;
    let blocked = !starts && fresh < wanted && counted.starting == 0 && counted.leaving == 0;
    let mut keep = wanted.saturating_sub(counted.ready);
    if blocked {
        keep = keep.min(counted.stale_ready - 1);
    }
    let surplus = counted.stale_ready.saturating_sub(keep);
    step.actions.extend(drain(model, surplus as usize, true));
}

/// Drains `surplus` ready instances, stale or fresh ones: the worst variant first, then the least busy, then the
/// newest.
pub(super) fn drain(model: &ModelObservation, surplus: usize, stale: bool) -> Vec<Action> {
    let mut ready: Vec<&InstanceView> = model
        .instances
        .iter()
        .filter(|instance| instance.state == InstanceState::Ready && instance.stale == stale)
        .collect();
    ready.sort_by_key(|instance| {
        (std::cmp::Reverse(instance.variant), instance.leased, std::cmp::Reverse(instance.id))
    });
    ready.into_iter().take(surplus).map(|instance| Action::Drain { instance: instance.id }).collect()
}

pub(super) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// Whether requests wait for a model that has nothing and starts nothing.
pub(super) fn is_bare(model: &ModelObservation) -> bool {
    let live = |i: &InstanceView| matches!(i.state, InstanceState::Ready | InstanceState::Starting);
    model.queue.depth > 0 && !model.instances.iter().any(live)
}
