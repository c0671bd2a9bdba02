//! Minima by the clock, and targets that have no default.

use std::time::Duration;

use super::*;

fn scale(line: &str) -> ScalePolicy {
    parse(&format!("{MODEL}  scale: {{{line}}}\n")).expect("a legal policy").models[0].scale.clone()
}

#[test]
fn entries_arrive_as_they_are_written() {
    let schedule = scale("schedule: [{at: '50 8 * * mon-fri UTC', min_instances: 3}]").schedule;
    let at = |time: &str| schedule.at(time.parse().unwrap()).map(|entry| entry.min_instances);
    assert_eq!(at("2026-11-26T12:00:00Z"), Some(3));
    for none in ["", "schedule: []", "schedule: null"] {
        assert!(scale(none).schedule.is_empty(), "{none}");
    }
}

#[test]
fn faults_of_entries_are_named() {
    for (entry, expected) in [
        (
            "{at: '0 8 * * *', min_instances: 5}",
            "[0].min_instances: 5 is more than max_instances (4); raise max_instances or lower this",
        ),
        ("{at: '0 8 * *', min_instances: 1}", "[0].at: \"0 8 * *\" is no cron expression: "),
        (
            "{at: '0 0 30 2 *', min_instances: 1}",
            "[0].at: \"0 0 30 2 *\" is no cron expression: there is no such day within four years",
        ),
        ("{at: '0 8 * * *'}", "[0].min_instances: missing; give the least number of instances from then on"),
        ("{min_instances: 1}", "[0].at: missing; give a cron expression such as \"50 8 * * mon-fri\""),
        (
            "{at: 8, min_instances: 1}",
            "[0].at: expected a cron expression such as \"50 8 * * mon-fri\", got 8; put it in quotes",
        ),
        ("null", "[0]: missing; give `at` and `min_instances`, or remove this element"),
        ("{from: 8}", "[0].from: unknown key; known here: at, min_instances"),
    ] {
        let faults = faults(&format!("{MODEL}  scale: {{schedule: [{entry}]}}\n"));
        let found = faults.iter().any(|fault| fault.contains(&format!("models[0].scale.schedule{expected}")));
        assert!(found, "{entry}: {faults:?}");
    }
}

#[test]
fn a_target_for_first_tokens_alone_bounds_the_wait() {
    let waits = |line| {
        let scale = scale(line);
        (scale.target_queue_wait.as_millis(), scale.target_ttft.map(|ttft| ttft.as_millis()))
    };
    assert_eq!(waits(""), (1500, None));
    assert_eq!(waits("target_ttft_ms: 400"), (400, Some(400)));
    assert_eq!(waits("target_ttft_ms: 400, target_queue_wait_ms: 200"), (200, Some(400)));
    assert_eq!(scale("target_itl_ms: 40").target_itl, Some(Duration::from_millis(40)));
    check_model(
        "scale: {target_itl_ms: 0}",
        "4:11: models[0].scale.target_itl_ms: expected a whole number from 1 to 60000, got 0",
    );
    check_model(
        "scale: {target_ttft_ms: x}",
        "4:11: models[0].scale.target_ttft_ms: expected a whole number from 1 to 3600000, got \"x\"",
    );
}
