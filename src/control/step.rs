//! One step of the controller: what to start, what to drain, how to divide the CPU.
//!
//! Input: policies, prior state, an observation, `now`. Output: actions with their reasons. PURE; the
//! driver calls it. Sole caller of [`scaling::decide`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::threads;
use super::watchdog::{Frozen, Watchdog};
use crate::policy::ModelPolicy;
use crate::scaling::{self, Reason, ScalingState, Signals};
use crate::units::{ByteCount, DeviceId, InstanceId, ModelName, Timestamp};
use crate::view::{InstanceState, InstanceView, LoadFailure, ModelObservation, Observation, VariantView};

/// Wait after the first failed load; doubles with each failure in a row.
const LOAD_RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest wait between two tries to load a variant.
const LOAD_RETRY_MAX: Duration = Duration::from_secs(60);

/// What the controller remembers from step to step.
#[derive(Clone, Debug, Default)]
pub struct ControlState {
    models: HashMap<ModelName, ScalingState>,
    watchdog: Watchdog,
    last: Option<Timestamp>,
}

/// What the fleet shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start one instance; load the weights first if no worker holds them on that device.
    Start {
        /// Index of the variant in the policy's list.
        variant: usize,
        /// Where.
        device: DeviceId,
        /// CPU threads to begin with.
        threads: u32,
    },
    /// Let one instance finish what it has, then remove it.
    Drain {
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

/// Decides for all models. The order of `policies` and of `observation.models` is the same.
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
    let mut plan = Plan::new(observation);
    state.models.retain(|model, _| policies.iter().any(|policy| policy.name == *model));
    let mut steps: Vec<ModelStep> = policies
        .iter()
        .zip(&observation.models)
        .map(|(policy, model)| {
            assert_eq!(policy.name, model.model, "policies and observations come in one order");
            let scaling = state.models.entry(model.model.clone()).or_default();
            plan.model(policy, scaling, model, now)
        })
        .collect();
    plan.divide_threads(observation, &mut steps);
    watch(policies, state, observation, &mut steps, now);
    steps
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

/// What the decisions of one step share: memory and CPU that earlier ones have taken.
struct Plan {
    /// Bytes that may be taken, by device; `None` where that is not known.
    available: Vec<(DeviceId, Option<ByteCount>)>,
    cpu_threads: u32,
    /// Instances on the host, all models and states, the ones started in this step included.
    host_instances: u32,
}

impl Plan {
    fn new(observation: &Observation) -> Self {
        let instances = observation.models.iter().flat_map(|model| &model.instances);
        Self {
            available: observation.devices.iter().map(|view| (view.device, view.available)).collect(),
            cpu_threads: observation.cpu_threads.max(1),
            host_instances: count(instances.filter(|instance| instance.device == DeviceId::Host)),
        }
    }

    fn model(
        &mut self,
        policy: &ModelPolicy,
        scaling: &mut ScalingState,
        model: &ModelObservation,
        now: Timestamp,
    ) -> ModelStep {
        let counted = Counts::of(model);
        let signals = counted.signals(policy, model);
        let decision = scaling::decide(&policy.scale, scaling, &signals, now);
        let mut step = ModelStep {
            model: model.model.clone(),
            target_instances: decision.target_instances,
            reason: decision.reason,
            limit: None,
            actions: Vec::new(),
        };
        let live = counted.ready + counted.starting;
        if decision.target_instances > live {
            self.start(decision.target_instances - live, live, model, &mut step);
        } else {
            let surplus = (live - decision.target_instances).min(counted.ready);
            step.actions.extend(drain(model, surplus as usize, false));
        }
        if counted.stale_ready > 0 && step.reason == Reason::Steady {
            step.reason = Reason::Replacing { stale: counted.stale_ready };
        }
        replace_stale(&counted, decision.target_instances, model, &mut step);
        step
    }

    /// Starts up to `wanted` instances; where one cannot be, `step` says why.
    fn start(&mut self, wanted: u32, live: u32, model: &ModelObservation, step: &mut ModelStep) {
        let mut loaded: Vec<(usize, DeviceId)> =
            model.instances.iter().filter(|i| !i.stale).map(|i| (i.variant, i.device)).collect();
        for started in 0..wanted {
            match self.place(model, &loaded, live + started) {
                Ok((variant, device, cost)) => {
                    self.take(device, cost);
                    loaded.push((variant, device));
                    step.actions.push(Action::Start { variant, device, threads: 1 });
                }
                Err(limit) => {
                    step.target_instances = live + started;
                    let failing = matches!(limit, Reason::LoadsFailing { .. });
                    if step.target_instances == 0 && failing && model.variants.iter().all(is_hopeless) {
                        step.actions.push(Action::RefuseWaiting);
                    }
                    if started > 0 {
                        step.limit = Some(limit);
                    } else {
                        step.reason = limit;
                    }
                    break;
                }
            }
        }
    }

    /// The best variant that fits on the first device where one does, and its bytes.
    fn place(
        &self,
        model: &ModelObservation,
        loaded: &[(usize, DeviceId)],
        live: u32,
    ) -> Result<(usize, DeviceId, ByteCount), Reason> {
        let usable: Vec<(usize, &VariantView)> =
            model.variants.iter().enumerate().filter(|(_, variant)| retry_in(variant).is_none()).collect();
        if usable.is_empty() {
            let retry_in = model.variants.iter().filter_map(retry_in).min().unwrap_or_default();
            return Err(Reason::LoadsFailing { retry_in });
        }
        let mut smallest = ByteCount(u64::MAX);
        for &(device, available) in &self.available {
            if device == DeviceId::Host && live > 0 && self.host_instances >= self.cpu_threads {
                return Err(Reason::CpuSaturated { cpu_threads: self.cpu_threads });
            }
            for &(index, variant) in &usable {
                let shared = loaded.contains(&(index, device));
                let weights = if shared { ByteCount::ZERO } else { variant.weights_bytes };
                let mut cost = weights + variant.instance_bytes;
                if let Some((_, sufficed_not)) = variant.shortage.filter(|(at, _)| *at == device) {
                    // A measured fact beats a prediction.
                    cost = cost.max(sufficed_not + ByteCount(1));
                }
                if available.is_none_or(|available| cost <= available) {
                    return Ok((index, device, cost));
                }
                smallest = smallest.min(cost);
            }
        }
        let available = self.available.iter().filter_map(|(_, available)| *available).max();
        Err(Reason::NoHeadroom { needed: smallest, available: available.unwrap_or_default() })
    }

    fn take(&mut self, device: DeviceId, cost: ByteCount) {
        for (candidate, available) in &mut self.available {
            if *candidate == device {
                *available = available.map(|available| available.saturating_sub(cost));
            }
        }
        self.host_instances += u32::from(device == DeviceId::Host);
    }

    /// Divides the CPU between the instances on the host, those of this step included.
    fn divide_threads(&self, observation: &Observation, steps: &mut [ModelStep]) {
        // A stale instance's variant may be gone.
        let most = |model: &ModelObservation, variant: usize| {
            model.variants.get(variant).map_or(self.cpu_threads, |variant| variant.max_threads)
        };
        let starts = |step: &ModelStep| -> Vec<(DeviceId, usize)> {
            let start = |action: &Action| match action {
                Action::Start { device, variant, .. } => Some((*device, *variant)),
                _ => None,
            };
            step.actions.iter().filter_map(start).collect()
        };
        let mut wants = Vec::new();
        for (step, model) in steps.iter().zip(&observation.models) {
            let running = model.instances.iter().map(|instance| (instance.device, instance.variant));
            let on_host = running.chain(starts(step)).filter(|(device, _)| *device == DeviceId::Host);
            wants.extend(on_host.map(|(_, variant)| most(model, variant)));
        }
        let mut shares = threads::divide(self.cpu_threads, &wants).into_iter();
        let mut share = |device| match device {
            DeviceId::Host => shares.next().expect("every instance on the host was counted"),
            // On a GPU the CPU only prepares batches.
            DeviceId::Gpu(_) => 1,
        };
        for (step, model) in steps.iter_mut().zip(&observation.models) {
            let mut changes = Vec::new();
            for instance in &model.instances {
                let threads = share(instance.device);
                if instance.state == InstanceState::Ready && instance.threads != threads {
                    changes.push(Action::SetThreads { instance: instance.id, threads });
                }
            }
            for action in &mut step.actions {
                if let Action::Start { device, threads, .. } = action {
                    *threads = share(*device);
                }
            }
            step.actions.extend(changes);
        }
    }
}

/// The instances of a model by what they are good for.
struct Counts {
    /// Fresh ones.
    ready: u32,
    starting: u32,
    stale_ready: u32,
    /// Draining or stopping.
    leaving: u32,
}

impl Counts {
    fn of(model: &ModelObservation) -> Self {
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
    fn signals(&self, policy: &ModelPolicy, model: &ModelObservation) -> Signals {
        let starting = self.starting.saturating_sub(self.stale_ready);
        let ready = self.ready + self.stale_ready.saturating_sub(self.ready);
        Signals { queue: model.queue, ready, starting, slots: policy.slots }
    }
}

fn is_hopeless(variant: &VariantView) -> bool {
    variant.failed.is_some_and(|failure| failure.hopeless)
}

/// Lets stale instances go as fresh ones come; where both do not fit, one stale one goes first.
fn replace_stale(counted: &Counts, wanted: u32, model: &ModelObservation, step: &mut ModelStep) {
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
fn drain(model: &ModelObservation, surplus: usize, stale: bool) -> Vec<Action> {
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

/// Time until a variant whose load failed is tried again; `None` if it may be tried now.
fn retry_in(variant: &VariantView) -> Option<Duration> {
    let LoadFailure { ago, in_a_row, .. } = variant.failed?;
    let doublings = in_a_row.saturating_sub(1).min(16);
    let wait = LOAD_RETRY_FIRST.saturating_mul(1 << doublings).min(LOAD_RETRY_MAX);
    wait.checked_sub(ago).filter(|left| !left.is_zero())
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
