//! Proves what is believed of what a driver says, and what follows from it.

use std::path::Path;

use super::*;
use crate::catalog::Catalog;
use crate::policy::Policy;
use crate::units::DeviceId;

/// The demo model's key, with these other keys in its policy.
pub(super) fn key(rest: &str, device: &str) -> Key {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let text = format!(
        "models:\n- name: m\n  context_tokens: 1024\n  variants: [{{path: tidepool-3m-f16.gguf}}]\n{rest}\n"
    );
    let policy = Policy::parse(&text, "p", &files).unwrap_or_else(|error| panic!("{error}"));
    let catalog = Catalog::read(&policy.models, &files);
    let model = &catalog.models[0];
    Key::new(&model.variants[0], &model.policy, (DeviceId::Gpu(0).into(), device)).expect("the file is there")
}

/// One worker that has `instances` and uses `bytes`.
pub(super) fn sighting(instances: u32, bytes: u64) -> Vec<Sighting> {
    vec![Sighting { worker: WorkerId(1), key: key("", "gpu"), instances, bytes: ByteCount(bytes) }]
}

/// Shows each twice, so that it is believed.
fn seen(sightings: &[(u32, u64)]) -> Measured {
    let mut measured = Measured::default();
    for &(instances, bytes) in sightings {
        for _ in 0..2 {
            measured.see(sighting(instances, bytes));
        }
    }
    measured
}

pub(super) const PREDICTED: Takes = Takes { worker: ByteCount(700), instance: ByteCount(100) };

/// What follows for a worker and an instance.
#[track_caller]
fn check(sightings: &[(u32, u64)], expected: Option<(u64, u64)>) {
    let takes = seen(sightings).takes(&key("", "gpu"), PREDICTED);
    assert_eq!(takes.map(|takes| (takes.worker.0, takes.instance.0)), expected, "{sightings:?}");
}

#[test]
fn a_worker_is_told_from_its_instances_by_two_sums() {
    check(&[], None);
    check(&[(1, 1000)], Some((900, 100)));
    check(&[(1, 1000), (3, 1300)], Some((850, 150)));
    check(&[(3, 1300), (1, 1000)], Some((850, 150)));
    check(&[(3, 1300)], Some((1000, 100)));
}

#[test]
fn the_most_that_was_seen_counts() {
    check(&[(1, 1000), (1, 1100), (1, 1050)], Some((1000, 100)));
    check(&[(1, 1000), (3, 1300), (2, 1140)], Some((850, 150)));
    check(&[(1, 1000), (2, 1140), (2, 1160)], Some((840, 160)));
}

#[test]
fn sums_that_contradict_each_other_make_no_nonsense() {
    // A prediction that is larger than everything.
    check(&[(1, 60)], Some((0, 60)));
    check(&[(4, 60)], Some((0, 15)));
    // The first large batch came after the second instance had gone.
    check(&[(2, 1010), (1, 1020)], Some((920, 100)));
    check(&[(1, 10), (2, 1000)], Some((0, 990)));
    check(&[(1, 0)], None);
}

#[test]
fn what_changes_between_two_readings_is_not_believed() {
    let mut measured = Measured::default();
    for (instances, bytes) in [(1, 900), (1, 1000), (2, 1000)] {
        assert!(!measured.see(sighting(instances, bytes)), "{instances} {bytes}");
    }
    assert!(!measured.see(Vec::new()), "an instance was on its way");
    assert!(!measured.see(sighting(2, 1000)), "two in a row, not two in all");
    assert!(measured.see(sighting(2, 1000)));
    assert!(!measured.see(sighting(2, 1000)), "this is no news");
}

#[test]
fn another_size_or_device_is_another_figure() {
    let measured = seen(&[(1, 1000)]);
    assert!(measured.takes(&key("", "gpu"), PREDICTED).is_some());
    for (rest, device) in [
        ("", "another gpu"),
        ("  slots: 4", "gpu"),
        ("  engine: {batch_tokens: 256}", "gpu"),
        ("  engine: {kv_cache_type: q8_0}", "gpu"),
        ("  engine: {flash_attention: off}", "gpu"),
        ("  engine: {gpu_layers: 3}", "gpu"),
    ] {
        assert_eq!(measured.takes(&key(rest, device), PREDICTED), None, "{rest} {device}");
    }
}

#[test]
fn text_holds_everything() {
    let measured = seen(&[(1, 1000), (3, 1300)]);
    let read = Measured::from_text(&measured.to_text()).unwrap();
    assert_eq!(read.entries, measured.entries);
    assert!(!read.entries.is_empty());
}

#[test]
fn text_of_others_is_refused_or_forgotten() {
    for text in
        ["", "{}", "[]", "{\"version\":1}", &format!("{{\"version\":\"{VERSION}\",\"entries\":[{{}}]}}")]
    {
        assert!(Measured::from_text(text).is_err(), "{text}");
    }
    // What another version means by its figures is not known.
    let other = "{\"version\":\"0.0.0\",\"entries\":[{\"what\":1}]}";
    assert_eq!(Measured::from_text(other).unwrap(), Measured::default());
}

#[test]
fn the_oldest_news_go() {
    let mut measured = Measured::default();
    let key_of = |number: usize| key("", &format!("gpu {number}"));
    let base = key_of(0);
    for number in 0..ENTRIES_MAX + 2 {
        let key = Key { device: format!("gpu {number}"), ..base.clone() };
        measured.learn(key, 1, ByteCount(10));
        if number == 5 {
            assert!(measured.learn(base.clone(), 1, ByteCount(11)), "the first has news");
        }
    }
    assert_eq!(measured.entries.len(), ENTRIES_MAX);
    let known = |number| measured.takes(&key_of(number), PREDICTED).is_some();
    assert_eq!([0, 1, 2, 3, ENTRIES_MAX + 1].map(known), [true, false, false, true, true]);
    let mut long = measured.clone();
    long.entries.extend_from_within(..10);
    assert_eq!(Measured::from_text(&long.to_text()).unwrap().entries.len(), ENTRIES_MAX);
}
