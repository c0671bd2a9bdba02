//! Proves in virtual time what the scaling rule does to traffic: that it does nothing on a flat load, keeps its promise to
//! requests on changing ones at less cost than the rules of others, learns what repeats, and adapts to how long loads take.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use modelpool::policy::{ModelPolicy, Policy};
use modelpool::sim::{Comparison, Machine, Outcome, Plan, Request, Service, Shape, Slo, Trace, compare};

const SEEDS: [u64; 3] = [1, 2, 3];
const SECOND: Duration = Duration::from_secs(1);

/// One model of 8 slots with the defaults.
fn policies(scale: &str) -> Vec<Arc<ModelPolicy>> {
    let text = format!("models: [{{ name: m, slots: 8, variants: [{{ path: a.gguf }}], scale: {scale} }}]");
    Policy::parse(&text, "test", Path::new("/")).expect("a legal policy").models
}

fn machine(load_seconds: f64) -> Machine {
    let service = Service { load_seconds, instance_seconds: load_seconds, ..Service::default() };
    Machine { services: vec![service], gpus: 1, memory: None }
}

fn run(plans: &[Plan], trace: &Trace, load_seconds: f64, from: u64) -> Comparison {
    let slo = Slo { ttft: SECOND * 2, from: SECOND * u32::try_from(from).unwrap() };
    compare(plans, &policies("{ max_instances: 200 }"), &machine(load_seconds), trace, slo)
}

/// Means over the seeds: the share in time, and the cost as a multiple of the clairvoyant plan's.
fn means(plan: Plan, shape: Shape, load_seconds: f64, from: u64) -> (f64, f64) {
    let of = |seed| {
        let compared = run(&[plan], &shape.trace(3600.0, 1.0, seed), load_seconds, from);
        let outcome = &compared.outcomes[0].1;
        (outcome.attainment(), outcome.instance_seconds / compared.clairvoyant.instance_seconds)
    };
    let all = SEEDS.map(of);
    let mean = |pick: fn(&(f64, f64)) -> f64| all.iter().map(pick).sum::<f64>() / 3.0;
    (mean(|(attainment, _)| *attainment), mean(|(_, cost)| *cost))
}

#[test]
fn one_policy_serves_all_shapes_in_time_at_little_more_than_foresight_costs() {
    for (shape, from, in_time, cost) in [
        (Shape::Poisson, 0, 0.99, 1.05),
        (Shape::Ramp, 0, 0.99, 1.08),
        (Shape::Diurnal, 0, 0.99, 1.10),
        // From the fourth on, what repeats is known.
        (Shape::Burst, 1790, 0.99, 1.6),
        (Shape::Spike, 0, 0.93, 1.3),
    ] {
        let (reached, paid) = means(Plan::Policy, shape, 8.0, from);
        println!("{}: {:.2} % at {paid:.3}", shape.name(), 100.0 * reached);
        assert!(reached >= in_time && paid <= cost, "{shape:?}: {reached} at {paid}");
    }
}

#[test]
fn what_nobody_can_know_yet_is_served_no_worse_than_by_knatives_rule() {
    let until_the_fourth = |plan| {
        let trace = Shape::Burst.trace(1790.0, 1.0, 4);
        let compared = run(&[plan], &trace, 8.0, 0);
        (compared.outcomes[0].1.attainment(), compared.outcomes[0].1.instance_seconds)
    };
    let (ours, knative) = (until_the_fourth(Plan::Policy), until_the_fourth(Plan::Knative));
    assert!(ours.0 >= knative.0 && ours.1 <= knative.1, "{ours:?} {knative:?}");
}

#[test]
fn a_spike_starts_no_more_instances_than_its_backlog_can_use() {
    for seed in SEEDS {
        let trace = Shape::Spike.trace(3600.0, 1.0, seed);
        let outcome = run(&[Plan::Policy], &trace, 8.0, 0).outcomes.remove(0).1;
        let waiting = outcome.moments.iter().map(|moment| moment.waiting).max().unwrap();
        // What waits, and what is in the slots of the few that were there before.
        let usable = f64::from(waiting) / 8.0 + 4.0;
        assert!(
            f64::from(outcome.peak_instances) <= 1.5 * usable,
            "{} for {waiting}",
            outcome.peak_instances
        );
    }
}

#[test]
fn the_same_policy_fits_models_that_load_fast_and_slowly() {
    for (load_seconds, in_time, cost) in
        [(0.05, 0.999, 1.25), (0.5, 0.999, 1.25), (2.0, 0.998, 1.2), (20.0, 0.985, 1.1)]
    {
        let (reached, paid) = means(Plan::Policy, Shape::Diurnal, load_seconds, 0);
        let (_, knative) = means(Plan::Knative, Shape::Diurnal, load_seconds, 0);
        println!("{load_seconds} s: {:.2} % at {paid:.3}, Knative's rule at {knative:.3}", 100.0 * reached);
        assert!(
            reached >= in_time && paid <= cost && paid < knative,
            "{load_seconds} s: {reached} at {paid}"
        );
    }
}

/// Evenly spaced requests that keep `busy` of so many slots busy.
fn even(busy: f64, slots: u32, hold_seconds: f64, seconds: f64) -> Trace {
    let rate = busy * f64::from(slots) / hold_seconds;
    let mut requests = Vec::new();
    while requests.len() < 1_000_000 {
        #[expect(clippy::cast_precision_loss, reason = "a count below a million")]
        let at = requests.len() as f64 / rate;
        if at >= seconds {
            break;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of tokens")]
        let answer_tokens = (hold_seconds / 0.02).round() as u32;
        requests.push(Request { at: Duration::from_secs_f64(at), model: 0, prompt_tokens: 1, answer_tokens });
    }
    Trace::new("even", requests, Duration::from_secs_f64(seconds))
}

fn late_changes(outcome: &Outcome) -> usize {
    outcome.notes.iter().filter(|note| note.millis > 60_000).count()
}

#[test]
fn a_flat_load_changes_nothing_after_the_first_minute() {
    let mut runs = 0;
    for max in [4, 16] {
        for slots in [1, 2, 8] {
            for hold in [0.2, 1.0, 5.0, 20.0] {
                for share in [0.1, 0.25, 0.4, 0.5, 0.62, 0.75, 0.9] {
                    for load in [0.5, 8.0] {
                        let mut policies = policies(&format!("{{ max_instances: {max} }}"));
                        Arc::make_mut(&mut policies[0]).slots = slots;
                        let trace = even(share, max * slots, hold, 600.0);
                        let slo = Slo { ttft: SECOND * 2, from: Duration::ZERO };
                        let compared = compare(&[Plan::Policy], &policies, &machine(load), &trace, slo);
                        let outcome = &compared.outcomes[0].1;
                        let what = format!("max {max} slots {slots} hold {hold} share {share} load {load}");
                        assert_eq!(late_changes(outcome), 0, "{what}: {:?}", outcome.notes);
                        assert!(outcome.starts > 0, "{what}");
                        runs += 1;
                    }
                }
            }
        }
    }
    assert_eq!(runs, 336);
}

#[test]
fn memory_bounds_what_a_burst_may_take() {
    // Room for the weights and three instances.
    let service = Service::default();
    let memory = service.worker_bytes.0 + 3 * service.instance_bytes.0;
    let machine = Machine { memory: Some(modelpool::units::ByteCount(memory)), ..machine(8.0) };
    let slo = Slo { ttft: SECOND * 2, from: Duration::ZERO };
    let trace = Shape::Burst.trace(1200.0, 1.0, 1);
    let compared = compare(&[Plan::Policy], &policies("{ max_instances: 200 }"), &machine, &trace, slo);
    let outcome = &compared.outcomes[0].1;
    assert_eq!(outcome.peak_instances, 3);
    assert!(outcome.moments.iter().all(|moment| moment.bytes <= memory));
}
