//! Operators' orders, as steps of the controller.

use super::tests::{instance, observation, policies, start};
use super::*;
use crate::policy::ModelPolicy;
use crate::view::InstanceView;

/// A controller of one model, second by second.
struct World {
    policies: Vec<Arc<ModelPolicy>>,
    state: ControlState,
    second: u64,
}

const READY: InstanceState = InstanceState::Ready;

impl World {
    fn new(scale: &str) -> Self {
        Self { policies: policies(scale), state: ControlState::default(), second: 1 }
    }

    fn order(&mut self, order: Order) {
        self.state.order(&self.policies[0].name, order);
    }

    /// What is done at this second without the division of threads, and why.
    fn step(&mut self, waiting: u32, instances: &[InstanceView]) -> (&'static str, Vec<Action>) {
        let now = Timestamp::from_millis(self.second * 1000);
        self.second += 1;
        let steps = step(&self.policies, &mut self.state, &observation(waiting, instances.to_vec()), now);
        let mut actions = steps[0].actions.clone();
        actions.retain(|action| !matches!(action, Action::SetThreads { .. }));
        (steps[0].reason.name(), actions)
    }
}

fn drain(id: u64) -> Action {
    Action::Drain { instance: InstanceId(id) }
}

/// An instance that has just been started.
fn young(id: u64, variant: usize, state: InstanceState) -> InstanceView {
    InstanceView { age: Duration::ZERO, ..instance(id, variant, state, 0, 4) }
}

#[test]
fn a_load_starts_instances_and_holds_them_for_a_while() {
    let mut world = World::new("{ idle_unload_after_ms: 1000, scale_down_after_ms: 0, forecast: false }");
    assert_eq!(world.step(0, &[]), ("steady", vec![]));
    world.order(Order::Load { instances: 2, hold: Duration::from_secs(60) });
    assert_eq!(world.step(0, &[]), ("ordered", vec![start(0, 2), start(0, 2)]));
    let coming = [young(1, 0, InstanceState::Starting), young(2, 0, InstanceState::Starting)];
    // However long that takes.
    world.second += 1000;
    assert_eq!(world.step(0, &coming).1, vec![]);
    let ready = [young(1, 0, READY), young(2, 0, READY)];
    for _ in 0..59 {
        assert_eq!(world.step(0, &ready).1, vec![], "second {}", world.second);
    }
    world.second += 2;
    let after: Vec<_> = (0..5).flat_map(|_| world.step(0, &ready).1).collect();
    assert!(after.contains(&drain(1)) && after.contains(&drain(2)), "{after:?}");
}

#[test]
fn no_more_are_held_than_the_policy_allows() {
    let mut world = World::new("{ max_instances: 1 }");
    world.order(Order::Pin { instances: 3, variant: None });
    assert_eq!(world.step(0, &[]), ("ordered", vec![start(0, 4)]));
}

#[test]
fn a_pin_holds_until_it_is_taken_back() {
    let mut world = World::new("{ idle_unload_after_ms: 1000, scale_down_after_ms: 0, forecast: false }");
    world.order(Order::Pin { instances: 1, variant: None });
    assert_eq!(world.step(0, &[]).0, "ordered");
    let ready = [young(1, 0, READY)];
    world.second += 100_000;
    assert_eq!(world.step(0, &ready), ("steady", vec![]));
    world.order(Order::Unpin);
    world.step(0, &ready);
    world.second += 100;
    assert_eq!(world.step(0, &ready), ("idle", vec![drain(1)]));
}

#[test]
fn a_pinned_variant_takes_the_place_of_others_without_a_gap() {
    let mut world = World::new("{}");
    world.order(Order::Pin { instances: 1, variant: Some(1) });
    let best = young(1, 0, READY);
    assert_eq!(world.step(0, &[best]), ("replacing", vec![start(1, 2)]));
    let both = [best, young(2, 1, READY)];
    assert_eq!(world.step(0, &both).1, vec![drain(1)]);
    assert_eq!(world.step(0, &[young(2, 1, READY)]).1, vec![]);
    // Any further instance is of that variant, too.
    let full = InstanceView { leased: 4, ..young(2, 1, READY) };
    assert_eq!(world.step(3, &[full]).1, vec![start(1, 2)]);
}

#[test]
fn an_unloaded_model_stays_so_until_somebody_asks_whatever_its_minimum() {
    let mut world = World::new("{ min_instances: 1 }");
    world.order(Order::Pin { instances: 2, variant: None });
    world.order(Order::Unload);
    let (busy, coming) =
        (InstanceView { leased: 2, ..young(1, 0, READY) }, young(2, 0, InstanceState::Starting));
    assert_eq!(world.step(0, &[busy, coming]), ("unloaded", vec![drain(1), drain(2)]));
    let draining = InstanceView { state: InstanceState::Draining, ..busy };
    assert_eq!(world.step(0, &[draining]), ("unloaded", vec![]));
    assert_eq!(world.step(0, &[]), ("unloaded", vec![]));
    assert_eq!(world.step(1, &[]).1, vec![start(0, 4)]);
    assert_eq!(world.step(0, &[]).0, "below_minimum", "the order is over, and so is the pin");
}

#[test]
fn a_variant_that_another_policy_does_not_have_is_not_pinned_any_more() {
    let mut world = World::new("{}");
    world.order(Order::Pin { instances: 1, variant: Some(1) });
    let name = world.policies[0].name.clone();
    world.state.renumber(&name, |variant| Some(variant - 1));
    assert_eq!(world.step(0, &[]).1, vec![start(0, 4)]);
    world.state.renumber(&name, |_| None);
    let (_, actions) = world.step(0, &[young(1, 1, READY)]);
    assert_eq!(actions, vec![], "any variant will do");
}
