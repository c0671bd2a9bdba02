//! One step of the controller: what to start, what to drain, how to divide the CPU.
//!
//! Input: policies, prior state, an observation, `now`. Output: actions with their reasons. PURE; the
//! driver calls it. What one model needs is decided in `plan.rs`, the sole caller of [`crate::scaling::decide`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::census::is_bare;
use super::orders::{Order, Orders};
use super::plan::Plan;
use super::quality::Upgrade;
use super::threads;
use super::watchdog::{Frozen, Watchdog};
use crate::policy::ModelPolicy;
use crate::scaling::{Reason, ScalingState};
use crate::units::{DeviceSet, InstanceId, ModelName, Timestamp};
use crate::view::{InstanceState, InstanceView, ModelObservation, Observation};

/// What the controller remembers from step to step.
#[derive(Clone, Debug, Default)]
pub struct ControlState {
    models: HashMap<ModelName, ModelState>,
    watchdog: Watchdog,
    last: Option<Timestamp>,
}

/// What is remembered of one model.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelState {
    pub scaling: ScalingState,
    pub upgrade: Upgrade,
    pub orders: Orders,
}

impl ControlState {
    /// Follows an operator's order for a model from the next step on.
    pub fn order(&mut self, model: &ModelName, order: Order) {
        self.models.entry(model.clone()).or_default().orders.take(order);
    }

    /// A model's variants have other numbers from now on; see [`Orders::renumber`].
    pub fn renumber(&mut self, model: &ModelName, new: impl Fn(usize) -> Option<usize>) {
        if let Some(state) = self.models.get_mut(model) {
            state.orders.renumber(new);
        }
    }
}

/// What the fleet shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start one instance; load the weights first if no worker holds them there.
    Start {
        /// Index of the variant in the policy's list.
        variant: usize,
        /// Where.
        devices: DeviceSet,
        /// CPU threads to begin with.
        threads: u32,
    },
    /// Let one instance finish what it has, then remove it.
    Drain {
        /// Which.
        instance: InstanceId,
    },
    /// Let one instance, of any model, finish what it has and go, because its memory is wanted.
    Evict {
        /// Which.
        instance: InstanceId,
    },
    /// Compute with another number of CPU threads.
    SetThreads {
        /// Which instance.
        instance: InstanceId,
        /// How many.
        threads: u32,
    },
    /// Refuse the requests that wait: nothing can be loaded for them at present.
    RefuseWaiting,
    /// End the worker of a frozen instance; its requests go on elsewhere.
    Kill {
        /// The instance.
        instance: InstanceId,
        /// Why.
        why: Frozen,
    },
}

/// What one step decided for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelStep {
    /// The model.
    pub model: ModelName,
    /// Instances there should be, starting ones included.
    pub target_instances: u32,
    /// Why.
    pub reason: Reason,
    /// What kept some, but not all, of the instances that should start from starting.
    pub limit: Option<Reason>,
    /// What follows from it now.
    pub actions: Vec<Action>,
}

impl ModelStep {
    /// Nothing is decided yet.
    pub(super) fn steady(model: &ModelName) -> Self {
        let (model, reason) = (model.clone(), Reason::Steady);
        Self { model, target_instances: 0, reason, limit: None, actions: Vec::new() }
    }

    /// All go, as an operator wants.
    fn unload(model: &ModelObservation) -> Self {
        let live = |instance: &&InstanceView| {
            matches!(instance.state, InstanceState::Starting | InstanceState::Ready)
        };
        let drains = model.instances.iter().filter(live);
        let actions = drains.map(|instance| Action::Drain { instance: instance.id }).collect();
        Self { reason: Reason::Unloaded, actions, ..Self::steady(&model.model) }
    }
}

/// Decides for all models. The order of `policies` and of `observation.models` is the same. Who is most urgent is
/// asked first what it wants of the memory.
///
/// # Panics
///
/// If the two do not name the same models in the same order.
pub fn step(
    policies: &[Arc<ModelPolicy>],
    state: &mut ControlState,
    observation: &Observation,
    now: Timestamp,
) -> Vec<ModelStep> {
    state.models.retain(|model, _| policies.iter().any(|policy| policy.name == *model));
    for (policy, model) in policies.iter().zip(&observation.models) {
        assert_eq!(policy.name, model.model, "policies and observations come in one order");
    }
    let policies = &ordered(policies, state, observation, now)[..];
    let mut plan = Plan::new(policies, &state.models, observation, now);
    let mut order: Vec<usize> = (0..policies.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(urgency(&policies[*at], &observation.models[*at])));
    let mut steps: Vec<Option<ModelStep>> = vec![None; policies.len()];
    for at in order {
        let (model, seen) =
            (state.models.entry(policies[at].name.clone()).or_default(), &observation.models[at]);
        let unload = model.orders.keep_unloaded(seen);
        steps[at] = Some(if unload { ModelStep::unload(seen) } else { plan.model(at, model) });
    }
    let mut steps: Vec<ModelStep> = steps.into_iter().flatten().collect();
    plan.yield_memory(&mut steps);
    divide_threads(observation, &mut steps);
    watch(policies, state, observation, &mut steps, now);
    steps
}

/// The policies, with as many instances at least as operators want.
fn ordered(
    policies: &[Arc<ModelPolicy>],
    state: &mut ControlState,
    observation: &Observation,
    now: Timestamp,
) -> Vec<Arc<ModelPolicy>> {
    let mut raised = |policy: &Arc<ModelPolicy>, model: &ModelObservation| {
        let orders = &mut state.models.get_mut(&policy.name)?.orders;
        orders.look(model, now);
        let least = orders.least()?.min(policy.scale.max_instances);
        let mut policy = (**policy).clone();
        policy.scale.min_instances = policy.scale.min_instances.max(least);
        policy.scale.schedule.raise(least);
        Some(Arc::new(policy))
    };
    let pairs = policies.iter().zip(&observation.models);
    pairs.map(|(policy, model)| raised(policy, model).unwrap_or_else(|| Arc::clone(policy))).collect()
}

/// Who is asked first: models that have nothing, by how long their requests have waited, which counts twice for each ten
/// steps of priority; then the others by priority.
fn urgency(policy: &ModelPolicy, model: &ModelObservation) -> (Duration, u32) {
    let waited = if is_bare(model) { model.queue.oldest_wait } else { Duration::ZERO };
    (waited.saturating_mul(1 << (policy.priority / 10)), policy.priority)
}

/// Ends what is frozen.
fn watch(
    policies: &[Arc<ModelPolicy>],
    state: &mut ControlState,
    observation: &Observation,
    steps: &mut [ModelStep],
    now: Timestamp,
) {
    let passed = state.last.replace(now).map_or(Duration::ZERO, |last| now.since(last));
    let instances = policies
        .iter()
        .zip(&observation.models)
        .flat_map(|(policy, model)| model.instances.iter().map(|instance| (&policy.watchdog, instance)));
    for (instance, why) in state.watchdog.look(instances, passed) {
        let of = |model: &ModelObservation| model.instances.iter().any(|view| view.id == instance);
        if let Some(at) = observation.models.iter().position(of) {
            steps[at].actions.push(Action::Kill { instance, why });
        }
    }
}

/// Divides the CPU between the instances on the host, those of this step included.
fn divide_threads(observation: &Observation, steps: &mut [ModelStep]) {
    let cpu_threads = observation.cpu_threads.max(1);
    // A stale instance's variant may be gone.
    let most = |model: &ModelObservation, variant: usize| {
        model.variants.get(variant).map_or(cpu_threads, |variant| variant.max_threads)
    };
    let starts = |step: &ModelStep| -> Vec<(DeviceSet, usize)> {
        let start = |action: &Action| match action {
            Action::Start { devices, variant, .. } => Some((*devices, *variant)),
            _ => None,
        };
        step.actions.iter().filter_map(start).collect()
    };
    let mut wants = Vec::new();
    for (step, model) in steps.iter().zip(&observation.models) {
        let running = model.instances.iter().map(|instance| (instance.devices, instance.variant));
        let on_host = running.chain(starts(step)).filter(|(devices, _)| *devices == DeviceSet::HOST);
        wants.extend(on_host.map(|(_, variant)| most(model, variant)));
    }
    let mut shares = threads::divide(cpu_threads, &wants).into_iter();
    let mut share = |devices| match devices {
        DeviceSet::HOST => shares.next().expect("every instance on the host was counted"),
        // On a GPU the CPU only prepares batches.
        _ => 1,
    };
    for (step, model) in steps.iter_mut().zip(&observation.models) {
        let mut changes = Vec::new();
        for instance in &model.instances {
            let threads = share(instance.devices);
            if instance.state == InstanceState::Ready && instance.threads != threads {
                changes.push(Action::SetThreads { instance: instance.id, threads });
            }
        }
        for action in &mut step.actions {
            if let Action::Start { devices, threads, .. } = action {
                *threads = share(*devices);
            }
        }
        step.actions.extend(changes);
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "orders_tests.rs"]
mod orders_tests;
