//! Scaling decisions as tables, and the properties that hold for all of them. What the rule does to traffic is tested in
//! virtual time, in tests/scaling.

use proptest::prelude::*;

use super::*;
use crate::policy::{Quality, Schedule};
use crate::view::Flow;

const SLOTS: u32 = 4;

fn policy(min_instances: u32, max_instances: u32) -> ScalePolicy {
    ScalePolicy {
        min_instances,
        max_instances,
        schedule: Schedule::default(),
        target_queue_wait: Duration::from_millis(1500),
        target_ttft: None,
        target_itl: None,
        late_share: 0.01,
        scale_down_after: Duration::from_secs(5),
        idle_unload_after: Duration::from_secs(60),
        forecast: true,
        quality: Quality::Flexible,
        upgrade_after: Duration::from_secs(300),
        min_residence: Duration::from_secs(30),
    }
}

fn signals(depth: u32, wait_ms: u64, in_flight: u32, ready: u32, starting: u32) -> Signals {
    let queue = QueueSignals {
        depth,
        oldest_wait: Duration::from_millis(wait_ms),
        in_flight,
        peak_demand: depth + in_flight,
        flow: Flow { arrivals: depth + in_flight, ..Flow::default() },
    };
    let load = LoadTimes { first: Duration::from_secs(8), further: Duration::from_secs(2) };
    Signals {
        queue,
        ready,
        starting,
        starting_age: Duration::ZERO,
        slots: SLOTS,
        load,
        devices: 1,
        wall_clock: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// The same, and nobody came since the last look.
fn quiet(mut signals: Signals) -> Signals {
    signals.queue.flow.arrivals = 0;
    signals
}

/// Decides with a fresh memory.
fn check(policy: &ScalePolicy, signals: Signals, target: u32, reason: &str) {
    let decision = decide(policy, &mut ScalingState::default(), &signals, Timestamp::from_millis(1));
    assert_eq!((decision.target_instances, decision.reason.name()), (target, reason), "{signals:?}");
}

#[test]
fn grows_with_what_waits_and_counts_what_starts() {
    let policy = policy(0, 4);
    check(&policy, signals(0, 0, 0, 0, 0), 0, "steady");
    check(&policy, signals(1, 0, 0, 0, 0), 1, "cold_start");
    check(&policy, signals(90, 0, 0, 0, 0), 4, "cold_start");
    check(&policy, quiet(signals(90, 500, 4, 1, 0)), 4, "backlog");
    check(&policy, signals(90, 500, 4, 1, 0), 4, "load_high");
    check(&policy, signals(90, 500, 4, 1, 3), 4, "at_maximum");
    check(&policy, quiet(signals(1, 100, 16, 4, 0)), 4, "at_maximum");
    // They are served within the target: 6 slots end one every 2 s each.
    check(&policy, quiet(signals(3, 100, 4, 1, 0)), 1, "steady");
    check(&policy, signals(0, 0, 4, 4, 0), 4, "steady");
}

#[test]
fn keeps_the_minimum_without_demand() {
    check(&policy(2, 4), signals(0, 0, 0, 0, 0), 2, "below_minimum");
    check(&policy(2, 4), signals(0, 0, 0, 1, 0), 2, "below_minimum");
    check(&policy(2, 4), signals(0, 0, 0, 1, 1), 2, "steady");
}

#[test]
fn everything_is_weighed_four_times_a_second_but_a_cold_start_at_once() {
    let (policy, mut state) = (policy(0, 4), ScalingState::default());
    let mut at = |millis, signals| {
        let decision = decide(&policy, &mut state, &signals, Timestamp::from_millis(millis));
        (decision.target_instances, decision.reason.name())
    };
    assert_eq!(at(0, signals(0, 0, 1, 1, 0)), (1, "steady"));
    assert_eq!(at(240, signals(90, 240, 4, 1, 0)), (1, "steady"));
    assert_eq!(at(250, signals(90, 250, 4, 1, 0)), (4, "load_high"));
    assert_eq!(at(260, signals(1, 10, 0, 0, 0)).1, "cold_start");
}

#[test]
fn a_schedule_sets_the_minimum_by_the_clock() {
    let mut policy = policy(1, 4);
    policy.schedule.add("50 8 * * mon-fri UTC", 3).unwrap();
    policy.schedule.add("0 18 * * mon-fri UTC", 0).unwrap();
    let mut state = ScalingState::default();
    let mut at = |time: &str, seconds: u64, ready| {
        let seen = Signals { wall_clock: time.parse().unwrap(), ..signals(0, 0, 0, ready, 0) };
        let decision = decide(&policy, &mut state, &seen, Timestamp::from_millis(seconds * 1000));
        (decision.target_instances, decision.reason.name())
    };
    assert_eq!(at("2026-11-26T08:49:59Z", 1, 0), (0, "steady"));
    assert_eq!(at("2026-11-26T08:50:00Z", 2, 0), (3, "schedule"));
    assert_eq!(at("2026-11-26T17:59:59Z", 33_000, 3), (3, "steady"));
    assert_eq!(at("2026-11-26T18:00:00Z", 33_001, 3), (0, "idle"));
    // The clock was set back.
    assert_eq!(at("2026-11-26T17:00:00Z", 33_002, 0), (3, "schedule"));
}

#[test]
fn prompts_leave_less_of_a_first_tokens_time_for_the_wait() {
    let mut policy = policy(0, 4);
    policy.target_ttft = Some(Duration::from_secs(1));
    let mut state = ScalingState::default();
    let mut wait_after = |prefill_ms| {
        let mut seen = signals(0, 0, 1, 1, 0);
        seen.queue.flow.first_tokens = 10_000;
        seen.queue.flow.prefill_time = Duration::from_millis(prefill_ms) * 10_000;
        decide(&policy, &mut state, &seen, Timestamp::from_millis(1));
        state.wait(&policy).as_millis()
    };
    assert!((595..=600).contains(&wait_after(400)));
    assert_eq!(wait_after(5000), 50);
}

#[test]
fn tokens_too_far_apart_need_another_device_where_there_is_one() {
    let mut policy = policy(0, 4);
    policy.target_itl = Some(Duration::from_millis(30));
    // Two requests a second, of two seconds each.
    let target = |devices, itl_ms| {
        let mut state = ScalingState::default();
        let mut seen = Signals { devices, slots: 8, ..signals(0, 0, 4, 1, 0) };
        let second = Flow {
            arrivals: 2,
            completions: 2,
            slot_time: Duration::from_secs(4),
            gaps: 100,
            decode_time: Duration::from_millis(itl_ms) * 100,
            ..Flow::default()
        };
        seen.queue.flow = second;
        let decide = |at: u64| decide(&policy, &mut state, &seen, Timestamp::from_millis(at * 1000));
        let last = (1..=100).map(decide).last().unwrap();
        (last.target_instances, last.reason.name())
    };
    // Four sequences share an instance; two could.
    assert_eq!(target(2, 60), (2, "itl_high"));
    assert_eq!(target(1, 60), (1, "steady"));
    assert_eq!(target(4, 29), (1, "steady"));
}

/// Decides four times a second; gives the times at which the target fell.
fn falls(
    policy: &ScalePolicy,
    mut ready: u32,
    load: impl Fn(u64) -> u32,
    seconds: u64,
) -> Vec<(u64, u32, &'static str)> {
    let mut state = ScalingState::default();
    let mut falls = Vec::new();
    for tick in 0..seconds * 4 {
        let now = Timestamp::from_millis(tick * 250);
        let in_flight = load(tick / 4).min(ready * SLOTS);
        let mut seen = signals(0, 0, in_flight, ready, 0);
        // Requests of one second each.
        let come = in_flight / 4 + u32::from(tick % 4 < u64::from(in_flight % 4));
        let slot_time = Duration::from_millis(250) * in_flight;
        seen.queue.flow =
            Flow { arrivals: come, completions: come, started: come, slot_time, ..Flow::default() };
        let decision = decide(policy, &mut state, &seen, now);
        if decision.target_instances < ready {
            falls.push((tick / 4, decision.target_instances, decision.reason.name()));
            ready = decision.target_instances;
        }
    }
    falls
}

#[test]
fn holds_for_the_hold_time_then_shrinks_and_at_last_unloads() {
    let burst = |second| if second < 20 { 16 } else { 0 };
    let seen = falls(&policy(0, 4), 4, burst, 200);
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    assert!((25..=32).contains(&first.0) && first.2 == "load_fell", "{seen:?}");
    assert!((79..=82).contains(&last.0) && (last.1, last.2) == (0, "idle"), "{seen:?}");
    let kept = falls(&policy(2, 4), 4, burst, 200);
    assert_eq!(kept[kept.len() - 1].1, 2, "{kept:?}");
}

proptest! {
    /// The target lies in the policy's bounds whatever the signals are.
    #[test]
    fn target_is_in_bounds(
        min in 0u32..4, more in 0u32..6, tick in 100u64..60_000,
        steps in proptest::collection::vec((0u32..200, 0u64..5000, 0u32..40, 0u32..10, 0u32..3, 0u32..100), 1..100),
    ) {
        let policy = policy(min, (min + more).max(1));
        let mut state = ScalingState::default();
        for (at, (depth, wait, in_flight, ready, starting, flow)) in (0u64..).zip(steps) {
            let mut seen = signals(depth, wait, in_flight, ready, starting);
            seen.queue.flow = Flow {
                arrivals: flow,
                completions: flow / 2,
                started: flow / 2,
                late: flow / 5,
                slot_time: Duration::from_millis(wait),
                ..Flow::default()
            };
            seen.load.first = Duration::from_millis(wait * 12);
            let live = ready + starting;
            let target = decide(&policy, &mut state, &seen, Timestamp::from_millis(at * tick)).target_instances;
            prop_assert!(target >= policy.min_instances.min(live), "{target} {seen:?}");
            prop_assert!(target <= policy.max_instances.max(live), "{target} {seen:?}");
        }
    }
}
