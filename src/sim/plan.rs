//! Replays a trace with several ways to scale, side by side.

use std::sync::Arc;
use std::time::Duration;

use super::clairvoyant::Clairvoyant;
use super::outcome::{Outcome, Slo};
use super::rules::{IdleTtl, Knative, Rule, Seen, Static};
use super::trace::Trace;
use super::world::{Decider, Machine, World};
use crate::control::step::{Action, ControlState, ModelStep, step};
use crate::policy::ModelPolicy;
use crate::scaling::Reason;
use crate::units::{DeviceId, InstanceId, Timestamp};
use crate::view::{InstanceState, InstanceView, ModelObservation, Observation};

/// A way to scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The policy, through the server's own controller.
    Policy,
    /// As many instances as the most requests at once need, all the time.
    Peak,
    /// As many as the mean of the requests at once needs, all the time.
    Mean,
    /// On demand, until nobody used it for a minute.
    IdleTtl,
    /// Knative's rule with its defaults.
    Knative,
}

impl Plan {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Policy, Self::Peak, Self::Mean, Self::IdleTtl, Self::Knative];

    /// What it is called in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "this policy",
            Self::Peak => "static at peak",
            Self::Mean => "static at mean",
            Self::IdleTtl => "idle TTL 60 s",
            Self::Knative => "Knative's rule",
        }
    }
}

const IDLE_TTL: Duration = Duration::from_secs(60);

/// All ways to scale, on one trace.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What each came to.
    pub outcomes: Vec<(Plan, Outcome)>,
    /// What would have been enough.
    pub clairvoyant: Clairvoyant,
}

/// Replays with each of `plans`. Instances have as many slots as those of the first policy.
#[must_use]
pub fn compare(
    plans: &[Plan],
    policies: &[Arc<ModelPolicy>],
    machine: &Machine,
    trace: &Trace,
    slo: Slo,
) -> Comparison {
    let clairvoyant = Clairvoyant::of(trace, machine.service(0), policies[0].slots, slo.from);
    let outcomes =
        plans.iter().map(|plan| (*plan, replay(*plan, policies, machine, trace, slo, &clairvoyant)));
    Comparison { outcomes: outcomes.collect(), clairvoyant }
}

/// Replays with one of them.
#[must_use]
pub fn replay(
    plan: Plan,
    policies: &[Arc<ModelPolicy>],
    machine: &Machine,
    trace: &Trace,
    slo: Slo,
    clairvoyant: &Clairvoyant,
) -> Outcome {
    let mut world = World::new(policies, machine, trace, slo);
    let mut fixed = |instances| {
        world.begin_with(instances);
        Box::new(Static(instances)) as Box<dyn Rule>
    };
    let rule: Box<dyn Rule> = match plan {
        Plan::Policy => {
            return world.run(&mut Server { policies: policies.to_vec(), state: ControlState::default() });
        }
        Plan::Peak => fixed(clairvoyant.peak_instances),
        Plan::Mean => fixed(clairvoyant.mean_instances),
        Plan::IdleTtl => Box::new(IdleTtl::new(IDLE_TTL)),
        Plan::Knative => Box::new(Knative::new()),
    };
    world.run(&mut ByRule { rule, slots: policies[0].slots })
}

/// The server's controller.
struct Server {
    policies: Vec<Arc<ModelPolicy>>,
    state: ControlState,
}

impl Decider for Server {
    fn decide(&mut self, seen: &Observation, now: Timestamp) -> Vec<ModelStep> {
        step(&self.policies, &mut self.state, seen, now)
    }
}

/// Another rule, for the first model alone and without a look at memory.
struct ByRule {
    rule: Box<dyn Rule>,
    slots: u32,
}

impl Decider for ByRule {
    fn decide(&mut self, seen: &Observation, now: Timestamp) -> Vec<ModelStep> {
        seen.models.iter().take(1).map(|model| follow(self.rule.as_mut(), model, self.slots, now)).collect()
    }
}

fn follow(rule: &mut dyn Rule, model: &ModelObservation, slots: u32, now: Timestamp) -> ModelStep {
    let of = |state| {
        let instances: Vec<&InstanceView> = model.instances.iter().filter(|i| i.state == state).collect();
        (u32::try_from(instances.len()).unwrap_or(u32::MAX), instances)
    };
    let ((ready, mut settled), (starting, _)) = (of(InstanceState::Ready), of(InstanceState::Starting));
    let target = rule.target(&Seen { queue: model.queue, ready, starting, slots }, now);
    let start = Action::Start { variant: 0, devices: DeviceId::Gpu(0).into(), threads: 1 };
    let mut actions: Vec<Action> = (ready + starting..target).map(|_| start).collect();
    // The least busy go first, then the newest.
    settled.sort_by_key(|instance| (instance.leased, std::cmp::Reverse(instance.id)));
    let surplus = (ready + starting).saturating_sub(target) as usize;
    let drain = |instance: InstanceId| Action::Drain { instance };
    actions.extend(settled.into_iter().take(surplus).map(|instance| drain(instance.id)));
    ModelStep {
        model: model.model.clone(),
        target_instances: target,
        reason: Reason::Steady,
        limit: None,
        actions,
    }
}
