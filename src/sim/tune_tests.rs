//! What a search for settings must never do, and what it finds.

use std::path::Path;

use super::*;
use crate::policy::Policy;
use crate::sim::{Service, Shape};

fn policies(text: &str) -> Vec<Arc<ModelPolicy>> {
    let policy = Policy::parse(text, "the test", Path::new(".")).expect("a legal policy");
    policy.models
}

fn one(scale: &str) -> Vec<Arc<ModelPolicy>> {
    policies(&format!(
        "models: [{{name: m, variants: [path: m.gguf], scale: {{max_instances: 32, {scale}}}}}]"
    ))
}

fn machine() -> Machine {
    Machine { services: vec![Service::default()], gpus: 1, memory: None }
}

#[test]
fn values_are_legal_ascending_and_written_as_a_policy_reads_them() {
    for Parameter { key, values, get, set, yaml } in &PARAMETERS {
        assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{key}");
        for value in *values {
            // A policy refuses to unload before it removes.
            let longest =
                if *key == "scale_down_after_ms" { "idle_unload_after_ms: 602400000, " } else { "" };
            let least = if *key == "idle_unload_after_ms" { "scale_down_after_ms: 0, " } else { "" };
            let read = one(&format!("{longest}{least}{key}: {}", yaml(*value)));
            assert!((get(&read[0].scale) - value).abs() < 1e-9, "{key}: {value}");
            let mut scale = read[0].scale.clone();
            set(&mut scale, values[0]);
            assert!((get(&scale) - values[0]).abs() < 1e-9, "{key}");
        }
    }
}

/// Whatever the traffic: what keeps the SLO still does, and costs no more; what does not comes nearer.
#[test]
fn settings_that_are_found_are_never_worse() {
    let machine = machine();
    let slo = Slo { ttft: Duration::from_secs(2), from: Duration::ZERO };
    let mut kept = 0;
    for shape in Shape::ALL {
        let trace = shape.trace(700.0, 1.0, 3);
        for share in [0.5, 0.95] {
            let goal = Goal { machine: &machine, trace: &trace, slo, share };
            let (start, mut told) = (one(""), 0);
            let tuned = tune(&start, &goal, &mut |replays, _| told = replays);
            let case = format!("{shape:?} {share}");
            assert!(tuned.replays <= REPLAYS_MAX && told == tuned.replays, "{case}: {}", tuned.replays);
            assert!(is_legal(&tuned.policies[0].scale), "{case}");
            let (before, after) = (&tuned.before, &tuned.after);
            if goal.is_kept(before) {
                kept += 1;
                assert!(goal.is_kept(after), "{case}: {} of the requests in time", after.attainment());
                assert!(after.instance_seconds <= before.instance_seconds, "{case}");
            } else {
                assert!(after.attainment() >= before.attainment(), "{case}");
            }
            // What is reported is what the policies that are returned come to.
            let again = goal.replay(&tuned.policies);
            assert_eq!((again.in_time, again.starts), (after.in_time, after.starts), "{case}");
            let changed = !changes(&start, &tuned.policies).is_empty();
            assert_eq!(changed, goal.is_better(after, before), "{case}");
        }
    }
    assert!(kept >= 3, "only {kept} cases kept the SLO at the start: the test shows too little");
}

#[test]
fn a_search_is_repeatable_and_finds_what_is_obvious() {
    let machine = machine();
    let trace = Shape::Burst.trace(3600.0, 1.0, 1);
    let goal = Goal {
        machine: &machine,
        trace: &trace,
        slo: Slo { ttft: Duration::from_secs(2), from: Duration::ZERO },
        share: 0.5,
    };
    // Instances that are kept for eight minutes after a burst of one.
    let start = one("scale_down_after_ms: 240000");
    let tuned = tune(&start, &goal, &mut |_, _| ());
    assert_eq!(tuned.policies, tune(&start, &goal, &mut |_, _| ()).policies);
    let (before, after) = (tuned.before.instance_seconds, tuned.after.instance_seconds);
    assert!(after < 0.5 * before, "{after} of {before} instance-seconds");
    let changes = changes(&start, &tuned.policies);
    assert!(changes.iter().any(|change| change.key == "scale_down_after_ms" && change.old == "240000"));
}

#[test]
fn each_model_has_settings_of_its_own() {
    let start = policies(
        "models: [{name: a, variants: [path: m.gguf]}, {name: b, variants: [path: m.gguf], scale: {target_queue_wait_ms: 300}}]",
    );
    let mut tuned = start.clone();
    let mut policy = ModelPolicy::clone(&start[1]);
    policy.scale.target_queue_wait = Duration::from_millis(20);
    tuned[1] = Arc::new(policy);
    let expected = Change {
        model: start[1].name.clone(),
        key: "target_queue_wait_ms",
        old: "300".into(),
        new: "20".into(),
    };
    assert_eq!(changes(&start, &tuned), [expected]);
    assert_eq!(changes(&start, &start), []);
}
