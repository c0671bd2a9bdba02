//! Controller steps as tables.

use super::*;
use crate::control::fixtures;
use crate::policy::Policy;
use crate::units::{ByteCount, DeviceId};
use crate::view::{DeviceView, Flow, InstanceView, LoadFailure, QueueSignals, Takes, VariantView};

const MIB: u64 = 1 << 20;

/// Nobody is to wait, so that what waits decides at once.
pub(super) fn policies(scale: &str) -> Vec<Arc<ModelPolicy>> {
    let scale = scale.replacen('{', "{ target_queue_wait_ms: 1, ", 1);
    let text = format!(
        "models: [{{ name: m, slots: 4, variants: [{{ path: a.gguf }}, {{ path: b.gguf }}], scale: {scale} }}]"
    );
    Policy::parse(&text, "test", std::path::Path::new("/")).expect("a valid policy").models
}

pub(super) fn instance(
    id: u64,
    variant: usize,
    state: InstanceState,
    leased: u32,
    threads: u32,
) -> InstanceView {
    InstanceView { leased, threads, ..fixtures::instance(id, variant, state) }
}

fn variant(weights_mib: u64) -> VariantView {
    VariantView {
        takes: Takes { worker: ByteCount(weights_mib * MIB), instance: ByteCount(10 * MIB) },
        each: Takes::default(),
        max_threads: 4,
        load_time: Duration::from_secs(1),
        start_time: Duration::from_millis(50),
        failed: None,
        shortage: None,
    }
}

/// One model with a variant of 100 MiB and one of 40, `waiting` requests that have waited a second, 1 GiB and
/// 4 CPU threads.
pub(super) fn observation(waiting: u32, instances: Vec<InstanceView>) -> Observation {
    let in_flight = instances.iter().map(|instance| instance.leased).sum();
    let queue = QueueSignals {
        depth: waiting,
        oldest_wait: Duration::from_secs(1),
        in_flight,
        peak_demand: waiting + in_flight,
        flow: Flow::default(),
    };
    Observation {
        models: vec![ModelObservation {
            model: ModelName::new("m"),
            queue,
            instances,
            variants: vec![variant(100), variant(40)],
            spreads: Vec::new(),
        }],
        devices: vec![host(1024)],
        cpu_threads: 4,
        wall_clock: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn host(available_mib: u64) -> DeviceView {
    DeviceView {
        device: DeviceId::Host,
        free: Some(ByteCount(available_mib * MIB)),
        available: Some(ByteCount(available_mib * MIB)),
        capacity: Some(ByteCount(2048 * MIB)),
        deficit: ByteCount::ZERO,
    }
}

fn check(scale: &str, observation: &Observation, reason: &str, actions: &[Action]) {
    let steps = step(&policies(scale), &mut ControlState::default(), observation, Timestamp::from_millis(1));
    assert_eq!((steps[0].reason.name(), steps[0].actions.as_slice()), (reason, actions), "{observation:?}");
}

pub(super) fn start(variant: usize, threads: u32) -> Action {
    Action::Start { variant, devices: DeviceSet::HOST, threads }
}

fn set_threads(id: u64, threads: u32) -> Action {
    Action::SetThreads { instance: InstanceId(id), threads }
}

const READY: InstanceState = InstanceState::Ready;
const STARTING: InstanceState = InstanceState::Starting;

#[test]
fn starts_instances_and_divides_the_cpu() {
    check("{}", &observation(0, vec![]), "steady", &[]);
    check("{}", &observation(1, vec![]), "cold_start", &[start(0, 4)]);
    let one_full = vec![instance(1, 0, READY, 4, 4)];
    check("{}", &observation(3, one_full.clone()), "backlog", &[start(0, 2), set_threads(1, 2)]);
    let three = [start(0, 1), start(0, 1), start(0, 1), set_threads(1, 1)];
    check("{}", &observation(99, one_full), "backlog", &three);
    // Three instances on four threads: the first one gets what remains.
    let starting = vec![instance(1, 0, READY, 4, 2), instance(2, 0, STARTING, 0, 2)];
    check("{}", &observation(5, starting), "backlog", &[start(0, 1)]);
    check("{ min_instances: 2 }", &observation(0, vec![]), "below_minimum", &[start(0, 2), start(0, 2)]);
}

#[test]
fn an_instance_gets_no_more_threads_than_it_can_use() {
    let mut small = observation(0, vec![instance(1, 0, READY, 1, 4)]);
    small.models[0].variants[0].max_threads = 2;
    check("{}", &small, "steady", &[set_threads(1, 2)]);
}

#[test]
fn threads_return_to_the_instances_that_remain() {
    check("{}", &observation(0, vec![instance(1, 0, READY, 1, 1)]), "steady", &[set_threads(1, 4)]);
    let draining = vec![instance(1, 0, READY, 1, 2), instance(2, 0, InstanceState::Draining, 1, 2)];
    check("{}", &observation(0, draining), "steady", &[]);
}

#[test]
fn takes_the_best_variant_that_fits() {
    let with_memory = |mib: u64, instances: Vec<InstanceView>| {
        let mut observation = observation(4, instances);
        observation.devices[0].available = Some(ByteCount(mib * MIB));
        observation
    };
    check("{}", &with_memory(110, vec![]), "cold_start", &[start(0, 4)]);
    check("{}", &with_memory(109, vec![]), "cold_start", &[start(1, 4)]);
    check("{}", &with_memory(49, vec![]), "no_headroom", &[]);
    // Loaded weights are shared: only the KV cache counts, and only for those that fit.
    let loaded = vec![instance(1, 0, READY, 4, 4)];
    let mut limited = with_memory(15, loaded);
    limited.models[0].queue.depth = 9;
    check("{}", &limited, "backlog", &[start(0, 2), set_threads(1, 2)]);
    let steps = step(&policies("{}"), &mut ControlState::default(), &limited, Timestamp::from_millis(1));
    assert_eq!(
        (steps[0].target_instances, steps[0].limit.map(|limit| limit.name())),
        (2, Some("no_headroom"))
    );
    let mut unknown = observation(1, vec![]);
    unknown.devices[0].available = None;
    check("{}", &unknown, "cold_start", &[start(0, 4)]);
}

#[test]
fn no_more_instances_than_cpu_threads_but_always_the_first_of_a_model() {
    let mut crowded = observation(9, vec![instance(1, 0, READY, 4, 1)]);
    crowded.cpu_threads = 1;
    check("{}", &crowded, "cpu_saturated", &[]);
    crowded.models[0].instances.clear();
    check("{}", &crowded, "cold_start", &[start(0, 1)]);
}

#[test]
fn a_variant_that_failed_to_load_is_tried_again_later_and_others_at_once() {
    let failed = |ago_ms, in_a_row| {
        Some(LoadFailure { ago: Duration::from_millis(ago_ms), in_a_row, hopeless: in_a_row > 2 })
    };
    let mut observation = observation(1, vec![]);
    observation.models[0].variants[0].failed = failed(10, 1);
    check("{}", &observation, "cold_start", &[start(1, 4)]);
    observation.models[0].variants[1].failed = failed(1_999, 3);
    check("{}", &observation, "loads_failing", &[]);
    observation.models[0].variants[0].failed = failed(10, 9);
    check("{}", &observation, "loads_failing", &[Action::RefuseWaiting]);
    observation.models[0].variants[1].failed = failed(2_000, 3);
    check("{}", &observation, "cold_start", &[start(1, 4)]);
    observation.models[0].variants[1].failed = failed(59_999, 40);
    check("{}", &observation, "loads_failing", &[Action::RefuseWaiting]);
}

#[test]
fn drains_the_worst_variant_first_then_the_least_busy_then_the_newest() {
    let policies = policies("{ scale_down_after_ms: 1000, idle_unload_after_ms: 100000 }");
    let drained = |instances: Vec<InstanceView>| {
        let mut state = ControlState::default();
        let mut observation = observation(0, instances);
        observation.cpu_threads = 3;
        step(&policies, &mut state, &observation, Timestamp::from_millis(0));
        let steps = step(&policies, &mut state, &observation, Timestamp::from_millis(1000));
        assert_eq!(steps[0].reason.name(), "load_fell");
        steps[0].actions.clone()
    };
    let drain = |id| Action::Drain { instance: InstanceId(id) };
    let instance = |id, variant, leased| instance(id, variant, READY, leased, 1);
    assert_eq!(drained(vec![instance(1, 1, 1), instance(2, 0, 0), instance(3, 0, 0)]), [drain(1), drain(3)]);
    assert_eq!(drained(vec![instance(1, 0, 0), instance(2, 0, 1), instance(3, 0, 1)]), [drain(1), drain(3)]);
}

#[test]
fn a_load_that_ran_out_of_memory_teaches_what_does_not_suffice() {
    let mut observation = observation(1, vec![]);
    observation.models[0].variants[0].shortage = Some((DeviceSet::HOST, ByteCount(2000 * MIB)));
    check("{}", &observation, "cold_start", &[start(1, 4)]);
    observation.devices[0].available = Some(ByteCount(2001 * MIB));
    check("{}", &observation, "cold_start", &[start(0, 4)]);
}

#[test]
fn a_frozen_instance_is_ended_and_its_model_keeps_its_step() {
    let policies = policies("{}");
    let (mut state, seen) = (ControlState::default(), observation(0, vec![instance(3, 0, READY, 2, 4)]));
    for tick in 0..60 {
        let steps = step(&policies, &mut state, &seen, Timestamp::from_millis(tick * 400));
        let killed: Vec<_> = steps[0]
            .actions
            .iter()
            .filter(|action| matches!(action, Action::Kill { instance: InstanceId(3), .. }))
            .collect();
        assert_eq!(killed.len(), usize::from(tick == 50), "at tick {tick}");
    }
}

fn stale(id: u64, leased: u32) -> InstanceView {
    InstanceView { stale: true, ..instance(id, 0, READY, leased, 2) }
}

fn drain_action(id: u64) -> Action {
    Action::Drain { instance: InstanceId(id) }
}

#[test]
fn stale_instances_go_as_fresh_ones_come() {
    let both = vec![stale(1, 2), stale(2, 1)];
    check(
        "{}",
        &observation(0, both.clone()),
        "replacing",
        &[start(0, 1), start(0, 1), set_threads(1, 1), set_threads(2, 1)],
    );
    let mut one_came = both.clone();
    one_came.push(instance(3, 0, READY, 0, 1));
    one_came.push(instance(4, 0, STARTING, 0, 1));
    let threads = [set_threads(1, 1), set_threads(2, 1)];
    check("{}", &observation(0, one_came), "replacing", &[[drain_action(2)].as_slice(), &threads].concat());
    let mut all_came = both;
    all_came.extend([instance(3, 0, READY, 0, 1), instance(4, 0, READY, 0, 1)]);
    let drained = [drain_action(2), drain_action(1)];
    check("{}", &observation(0, all_came), "replacing", &[drained.as_slice(), &threads].concat());
}

#[test]
fn a_stale_instance_makes_room_where_both_do_not_fit() {
    let mut crowded = observation(0, vec![stale(1, 2), stale(2, 1)]);
    crowded.devices[0].available = Some(ByteCount(MIB));
    check("{}", &crowded, "no_headroom", &[drain_action(2)]);
    crowded.models[0].instances[1].state = InstanceState::Draining;
    check("{}", &crowded, "no_headroom", &[]);
}

/// Two models of the kind above, of which the first has these instances and the second waits, with so much memory.
fn two_models(first: Vec<InstanceView>, waited: u64, available_mib: u64) -> Observation {
    let mut both = observation(0, first);
    let second = ModelObservation { model: ModelName::new("n"), ..observation(1, vec![]).models[0].clone() };
    both.models.push(second);
    both.models[1].queue.oldest_wait = Duration::from_secs(waited);
    both.devices = vec![host(available_mib)];
    both
}

fn step_two(observation: &Observation, priorities: [u32; 2]) -> Vec<ModelStep> {
    let model = |name, priority| {
        format!(
            "{{ name: {name}, priority: {priority}, slots: 4, variants: [{{ path: a.gguf }}, {{ path: b.gguf }}] }}"
        )
    };
    let text = format!("models: [{}, {}]", model("m", priorities[0]), model("n", priorities[1]));
    let policies = Policy::parse(&text, "test", std::path::Path::new("/")).expect("a valid policy").models;
    step(&policies, &mut ControlState::default(), observation, Timestamp::from_millis(1_000_000))
}

#[test]
fn an_unused_instance_of_another_model_makes_room_and_is_waited_for() {
    let evict = [Action::Evict { instance: InstanceId(1) }];
    let steps = step_two(&two_models(vec![instance(1, 0, READY, 0, 4)], 1, 5), [50, 50]);
    assert_eq!((steps[1].reason.name(), steps[1].actions.as_slice()), ("making_room", &evict[..]));
    let leaving = vec![instance(1, 0, InstanceState::Draining, 0, 4)];
    let steps = step_two(&two_models(leaving, 1, 5), [50, 50]);
    assert_eq!((steps[1].reason.name(), steps[1].actions.len()), ("making_room", 0));
    // One that serves stays, for a while.
    let busy = || vec![instance(1, 0, READY, 2, 4)];
    let steps = step_two(&two_models(busy(), 29, 5), [50, 50]);
    assert_eq!((steps[1].reason.name(), steps[1].actions.len()), ("no_headroom", 0));
    let steps = step_two(&two_models(busy(), 30, 5), [50, 50]);
    assert_eq!((steps[1].reason.name(), steps[1].actions.as_slice()), ("making_room", &evict[..]));
    // A smaller variant that fits needs nobody to go.
    let steps = step_two(&two_models(busy(), 30, 50), [50, 50]);
    assert_eq!(steps[1].actions, [start(1, 2)]);
}

#[test]
fn who_is_more_important_gets_the_memory() {
    for (priorities, variants) in [([50, 50], [Some(1), None]), ([50, 60], [None, Some(1)])] {
        let mut observation = two_models(vec![], 1, 60);
        observation.models[0].queue = observation.models[1].queue;
        let steps = step_two(&observation, priorities);
        let started = |step: &ModelStep| {
            step.actions.iter().find_map(|action| match action {
                Action::Start { variant, .. } => Some(*variant),
                _ => None,
            })
        };
        assert_eq!([started(&steps[0]), started(&steps[1])], variants, "{priorities:?}");
    }
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let mut small = observation(1, vec![]);
    small.devices[0].available = Some(ByteCount(10 * MIB));
    small.devices[0].capacity = Some(ByteCount(49 * MIB));
    check("{}", &small, "never_fits", &[Action::RefuseWaiting]);
    small.devices[0].capacity = Some(ByteCount(50 * MIB));
    check("{}", &small, "no_headroom", &[]);
    check("{ quality: pinned }", &small, "never_fits", &[Action::RefuseWaiting]);
}

#[test]
fn other_programs_get_back_what_they_take() {
    let mut short = observation(0, vec![instance(1, 0, READY, 2, 2), instance(2, 0, READY, 0, 2)]);
    short.devices[0].available = Some(ByteCount::ZERO);
    short.devices[0].deficit = ByteCount(10 * MIB);
    let evict = |id| Action::Evict { instance: InstanceId(id) };
    check("{}", &short, "yielding", &[evict(2)]);
    short.devices[0].deficit = ByteCount(11 * MIB);
    check("{}", &short, "yielding", &[evict(2), evict(1)]);
    // What leaves already is enough.
    short.models[0].instances[1].state = InstanceState::Draining;
    short.devices[0].deficit = ByteCount(10 * MIB);
    check("{}", &short, "steady", &[]);
}

#[test]
fn a_better_variant_takes_over_once_it_has_fit_for_long_enough() {
    let policies = policies("{ upgrade_after_ms: 60000, max_instances: 1 }");
    let mut state = ControlState::default();
    let mut at = |seconds: u64, instances: Vec<InstanceView>, available: u64| {
        let mut observation = observation(0, instances);
        observation.devices = vec![host(available)];
        let now = Timestamp::from_millis(seconds * 1000);
        let step = step(&policies, &mut state, &observation, now).remove(0);
        (step.reason.name(), step.actions)
    };
    let worse = || instance(1, 1, READY, 1, 4);
    assert_eq!(at(0, vec![worse()], 200), ("steady", vec![]));
    assert_eq!(at(59, vec![worse()], 109), ("steady", vec![]));
    assert_eq!(at(60, vec![worse()], 200), ("steady", vec![]));
    assert_eq!(at(120, vec![worse()], 200), ("upgrading", vec![start(0, 2), set_threads(1, 2)]));
    let starting = instance(2, 0, STARTING, 0, 2);
    let begun = at(121, vec![InstanceView { threads: 2, ..worse() }, starting], 90);
    assert_eq!(begun, ("upgrading", vec![]));
    let both = vec![InstanceView { threads: 2, ..worse() }, InstanceView { state: READY, ..starting }];
    assert_eq!(at(122, both, 90), ("upgrading", vec![drain_action(1)]));
}

#[test]
fn a_stale_instance_makes_no_other_model_go() {
    let mut crowded = two_models(vec![stale(1, 2)], 0, 5);
    crowded.models[1].queue = QueueSignals::default();
    crowded.models[1].instances = vec![instance(2, 0, READY, 0, 2)];
    let steps = step_two(&crowded, [50, 50]);
    assert_eq!(
        (steps[0].reason.name(), steps[0].actions.as_slice()),
        ("no_headroom", &[drain_action(1)][..])
    );
}
