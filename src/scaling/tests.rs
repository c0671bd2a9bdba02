//! Scaling decisions as tables, and the properties that hold for all of them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::Quality;

const SLOTS: u32 = 4;

fn policy(min_instances: u32, max_instances: u32) -> ScalePolicy {
    ScalePolicy {
        min_instances,
        max_instances,
        target_queue_wait: Duration::from_millis(200),
        target_utilization: 0.75,
        scale_down_after: Duration::from_secs(10),
        idle_unload_after: Duration::from_secs(60),
        quality: Quality::Flexible,
        upgrade_after: Duration::from_secs(300),
        min_residence: Duration::from_secs(30),
    }
}

fn signals(depth: u32, wait_ms: u64, in_flight: u32, ready: u32, starting: u32) -> Signals {
    let oldest_wait = Duration::from_millis(wait_ms);
    let queue = QueueSignals { depth, oldest_wait, in_flight, peak_demand: depth + in_flight };
    Signals { queue, ready, starting, slots: SLOTS }
}

/// Decides with a fresh memory.
fn check(policy: &ScalePolicy, signals: Signals, target: u32, reason: &str) {
    let decision = decide(policy, &mut ScalingState::default(), &signals, Timestamp::from_millis(1));
    assert_eq!((decision.target_instances, decision.reason.name()), (target, reason), "{signals:?}");
}

#[test]
fn grows_while_the_queue_waits_too_long() {
    let policy = policy(0, 4);
    check(&policy, signals(0, 0, 0, 0, 0), 0, "steady");
    check(&policy, signals(1, 0, 0, 0, 0), 1, "cold_start");
    check(&policy, signals(30, 500, 0, 0, 0), 1, "cold_start");
    check(&policy, signals(30, 500, 0, 0, 1), 4, "queue_wait_high");
    check(&policy, signals(3, 100, 4, 1, 0), 1, "steady");
    check(&policy, signals(3, 200, 4, 1, 0), 1, "steady");
    check(&policy, signals(3, 201, 4, 1, 0), 2, "queue_wait_high");
    check(&policy, signals(5, 201, 4, 1, 0), 3, "queue_wait_high");
    check(&policy, signals(5, 201, 4, 1, 2), 3, "capacity_coming");
    check(&policy, signals(90, 9000, 16, 4, 0), 4, "at_maximum");
}

#[test]
fn keeps_the_minimum_without_demand() {
    check(&policy(2, 4), signals(0, 0, 0, 0, 0), 2, "below_minimum");
    check(&policy(2, 4), signals(0, 0, 0, 1, 0), 2, "below_minimum");
    check(&policy(2, 4), signals(0, 0, 0, 1, 1), 2, "steady");
}

/// Runs a schedule of (second, requests in flight) and returns the times at which the target fell.
fn falls(
    policy: &ScalePolicy,
    mut ready: u32,
    load: impl Fn(u64) -> u32,
    seconds: u64,
) -> Vec<(u64, u32, &'static str)> {
    let mut state = ScalingState::default();
    let mut falls = Vec::new();
    for tick in 0..seconds * 10 {
        let now = Timestamp::from_millis(tick * 100);
        let in_flight = load(tick / 10).min(ready * SLOTS);
        let decision = decide(policy, &mut state, &signals(0, 0, in_flight, ready, 0), now);
        if decision.target_instances < ready {
            falls.push((tick / 10, decision.target_instances, decision.reason.name()));
            ready = decision.target_instances;
        }
    }
    falls
}

#[test]
fn holds_for_the_hold_time_then_shrinks_and_at_last_unloads() {
    let burst = |second| if second < 5 { 16 } else { 0 };
    assert_eq!(falls(&policy(0, 4), 4, burst, 120), [(15, 1, "demand_fell"), (64, 0, "idle")]);
    assert_eq!(falls(&policy(2, 4), 4, burst, 120), [(15, 2, "demand_fell")]);
    // A request every 9 s is never an idle minute.
    let rare = |second| u32::from(second % 9 == 0);
    assert_eq!(falls(&policy(0, 4), 4, rare, 300), [(10, 1, "demand_fell")]);
}

#[test]
fn short_requests_between_two_observations_count_as_demand() {
    let mut state = ScalingState::default();
    let mut seen = signals(0, 0, 0, 1, 0);
    seen.queue.peak_demand = 1;
    for second in 0..200 {
        let decision = decide(&policy(0, 4), &mut state, &seen, Timestamp::from_millis(second * 1000));
        assert_eq!(decision.target_instances, 1, "second {second}");
    }
}

proptest! {
    /// The target lies in the policy's bounds whatever the signals are.
    #[test]
    fn target_is_in_bounds(
        min in 0u32..4, more in 0u32..6, steps in proptest::collection::vec((0u32..200, 0u64..2000, 0u32..40, 0u32..10, 0u32..3), 1..60),
    ) {
        let policy = policy(min, (min + more).max(1));
        let mut state = ScalingState::default();
        for (tick, (depth, wait, in_flight, ready, starting)) in steps.into_iter().enumerate() {
            let live = ready + starting;
            let now = Timestamp::from_millis(tick as u64 * 5000);
            let target = decide(&policy, &mut state, &signals(depth, wait, in_flight, ready, starting), now).target_instances;
            prop_assert!(target >= policy.min_instances.min(live), "{target}");
            prop_assert!(target <= policy.max_instances.max(live), "{target}");
        }
    }

    /// A flat load ends in a fixed number of instances: no action after the hold time.
    #[test]
    fn flat_load_never_oscillates(load in 0u32..16) {
        let policy = policy(1, 4);
        let mut state = ScalingState::default();
        let mut ready = 1;
        let mut last_change = 0;
        for tick in 0..1000u64 {
            let in_flight = load.min(ready * SLOTS);
            let depth = load - in_flight;
            let seen = signals(depth, if depth > 0 { 500 } else { 0 }, in_flight, ready, 0);
            let target = decide(&policy, &mut state, &seen, Timestamp::from_millis(tick * 100)).target_instances;
            if target != ready {
                last_change = tick;
                ready = target;
            }
        }
        prop_assert!(last_change <= 200, "changed at tick {last_change}");
        prop_assert!(ready * SLOTS >= load);
    }
}
