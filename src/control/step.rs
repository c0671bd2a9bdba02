//! One step of the controller: what to start, what to drain, how to divide the CPU.
//!
//! Input: policies, prior state, an observation, `now`. Output: actions with their reasons. PURE; the
//! driver calls it. Sole caller of [`scaling::decide`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::ModelPolicy;
use crate::scaling::{self, Reason, ScalingState, Signals};
use crate::units::{ByteCount, DeviceId, InstanceId, ModelName, Timestamp};
use crate::view::{InstanceState, InstanceView, LoadFailure, ModelObservation, Observation, VariantView};

/// Wait after the first failed load; doubles with each failure in a row.
const LOAD_RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two tries to load a variant.
const LOAD_RETRY_MAX: Duration = Duration::from_secs(60);

/// What the controller remembers from step to step.
#[derive(Clone, Debug, Default)]
pub struct ControlState {
    models: HashMap<ModelName, ScalingState>,
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
    steps
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
        let in_state = |state| count(model.instances.iter().filter(|instance| instance.state == state));
        let (ready, starting) = (in_state(InstanceState::Ready), in_state(InstanceState::Starting));
        let signals = Signals { queue: model.queue, ready, starting, slots: policy.slots };
        let decision = scaling::decide(&policy.scale, scaling, &signals, now);
        let mut step = ModelStep {
            model: model.model.clone(),
            target_instances: decision.target_instances,
            reason: decision.reason,
            limit: None,
            actions: Vec::new(),
        };
        let live = ready + starting;
        if decision.target_instances > live {
            self.start(decision.target_instances - live, live, model, &mut step);
        } else {
            let surplus = (live - decision.target_instances).min(ready);
            step.actions.extend(drain(model, surplus as usize));
        }
        step
    }

    /// Starts up to `wanted` instances; where one cannot be, `step` says why.
    fn start(&mut self, wanted: u32, live: u32, model: &ModelObservation, step: &mut ModelStep) {
        let mut loaded: Vec<(usize, DeviceId)> =
            model.instances.iter().map(|instance| (instance.variant, instance.device)).collect();
        for started in 0..wanted {
            match self.place(model, &loaded, live + started) {
                Ok((variant, device, cost)) => {
                    self.take(device, cost);
                    loaded.push((variant, device));
                    step.actions.push(Action::Start { variant, device, threads: 1 });
                }
                Err(limit) => {
                    step.target_instances = live + started;
                    if step.target_instances == 0 && matches!(limit, Reason::LoadsFailing { .. }) {
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
                let cost = weights + variant.instance_bytes;
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

    /// Divides the CPU between the instances on the host, those of this step included: never more threads than
    /// there are, as long as every instance can have one. The first ones get what remains.
    fn divide_threads(&self, observation: &Observation, steps: &mut [ModelStep]) {
        let each = (self.cpu_threads / self.host_instances.max(1)).max(1);
        let mut remaining = self.cpu_threads.saturating_sub(each * self.host_instances);
        let mut share = |device| {
            if device != DeviceId::Host {
                // On a GPU the CPU only prepares batches.
                return 1;
            }
            let extra = u32::from(remaining > 0);
            remaining -= extra;
            each + extra
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

/// Drains `surplus` ready instances: the worst variant first, then the least busy, then the newest.
fn drain(model: &ModelObservation, surplus: usize) -> Vec<Action> {
    let mut ready: Vec<&InstanceView> =
        model.instances.iter().filter(|instance| instance.state == InstanceState::Ready).collect();
    ready.sort_by_key(|instance| {
        (std::cmp::Reverse(instance.variant), instance.leased, std::cmp::Reverse(instance.id))
    });
    ready.into_iter().take(surplus).map(|instance| Action::Drain { instance: instance.id }).collect()
}

/// Time until a variant whose load failed is tried again; `None` if it may be tried now.
fn retry_in(variant: &VariantView) -> Option<Duration> {
    let LoadFailure { ago, in_a_row } = variant.failed?;
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
