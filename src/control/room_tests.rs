//! Who goes, as tables.

use super::*;
use crate::control::fixtures;
use crate::units::ModelName;
use crate::view::{QueueSignals, Takes, VariantView};

const GPU: DeviceId = DeviceId::Gpu(0);
const READY: InstanceState = InstanceState::Ready;

fn instance(id: u64, leased: u32, age: u64) -> InstanceView {
    InstanceView {
        devices: GPU.into(),
        leased,
        age: Duration::from_secs(age),
        ..fixtures::instance(id, 0, READY)
    }
}

/// Weights of 100 bytes, and 10 for each instance.
fn model(instances: Vec<InstanceView>, waiting: u32) -> ModelObservation {
    let variant = VariantView {
        takes: Takes { worker: ByteCount(100), instance: ByteCount(10) },
        each: Takes::default(),
        max_threads: 1,
        load_time: Duration::from_secs(2),
        start_time: Duration::from_millis(50),
        failed: None,
        shortage: None,
    };
    let queue = QueueSignals { depth: waiting, ..QueueSignals::default() };
    ModelObservation {
        model: ModelName::new("m"),
        queue,
        instances,
        variants: vec![variant],
        spreads: Vec::new(),
    }
}

fn standing(priority: u32, min_instances: u32, idle: u64) -> Standing {
    Standing {
        priority,
        min_instances,
        min_residence: Duration::from_secs(30),
        idle: Duration::from_secs(idle),
    }
}

/// Model 0 asks; the others have what there is.
fn check(others: &[(ModelObservation, Standing)], needed: u64, claim: Claim, expected: Option<&[u64]>) {
    let asks = (model(vec![], 1), standing(50, 0, 0));
    let (models, standings): (Vec<_>, Vec<_>) = [asks].into_iter().chain(others.iter().cloned()).unzip();
    let gone = make(&models, &standings, GPU, ByteCount(needed), claim);
    let expected = expected.map(|ids| ids.iter().map(|id| InstanceId(*id)).collect::<Vec<_>>());
    assert_eq!(gone, expected, "{claim:?} of {needed}");
}

const FIRST: Claim = Claim::First { model: 0 };
const MORE: Claim = Claim::More { model: 0 };

#[test]
fn the_least_valuable_goes_first_and_the_last_one_takes_the_weights_along() {
    let idle_long = (model(vec![instance(1, 0, 99), instance(2, 0, 99)], 0), standing(50, 0, 600));
    let idle_now = (model(vec![instance(3, 0, 99)], 0), standing(50, 0, 5));
    check(&[idle_long.clone(), idle_now.clone()], 10, FIRST, Some(&[2]));
    check(&[idle_long.clone(), idle_now.clone()], 110, FIRST, Some(&[2, 1]));
    check(&[idle_long.clone(), idle_now.clone()], 130, FIRST, Some(&[2, 1, 3]));
    // All or nothing.
    check(&[idle_long.clone(), idle_now], 300, FIRST, None);
    // Important ones are worth more: 2^4 times as much outweighs the idle time.
    let important = (idle_long.0, standing(90, 0, 50));
    let idle = (model(vec![instance(3, 0, 99)], 0), standing(50, 0, 5));
    check(&[important, idle], 10, FIRST, Some(&[3]));
}

#[test]
fn what_serves_or_is_new_or_waited_for_stays() {
    let one = |leased, age, waiting| [(model(vec![instance(1, leased, age)], waiting), standing(50, 0, 60))];
    check(&one(0, 30, 0), 10, FIRST, Some(&[1]));
    check(&one(1, 30, 0), 10, FIRST, None);
    check(&one(0, 29, 0), 10, FIRST, None);
    check(&one(0, 30, 1), 10, FIRST, None);
    let mut starting = one(0, 99, 0);
    starting[0].0.instances[0].state = InstanceState::Starting;
    check(&starting, 10, FIRST, None);
}

#[test]
fn minimums_hold_unless_a_model_has_nothing() {
    let at_minimum = |priority| [(model(vec![instance(1, 0, 99)], 0), standing(priority, 1, 60))];
    check(&at_minimum(50), 10, MORE, None);
    check(&at_minimum(50), 10, FIRST, Some(&[1]));
    check(&at_minimum(51), 10, FIRST, None);
    let above =
        |priority| [(model(vec![instance(1, 0, 99), instance(2, 0, 99)], 0), standing(priority, 1, 60))];
    check(&above(50), 10, MORE, Some(&[2]));
    check(&above(51), 10, MORE, None);
    check(&above(51), 10, FIRST, Some(&[2]));
}

#[test]
fn models_that_cannot_be_there_together_take_turns() {
    let busy = |priority, age| [(model(vec![instance(1, 4, age)], 9), standing(priority, 0, 0))];
    let turn = |seconds| Claim::Turn { model: 0, waited: Duration::from_secs(seconds) };
    check(&busy(50, 30), 10, turn(30), Some(&[1]));
    check(&busy(50, 29), 10, turn(30), None);
    check(&busy(50, 30), 10, turn(29), None);
    check(&busy(70, 99), 10, turn(119), None);
    check(&busy(70, 99), 10, turn(120), Some(&[1]));
}

#[test]
fn what_other_programs_take_is_given_unused_ones_first() {
    let models =
        vec![model(vec![instance(1, 2, 5), instance(2, 0, 5)], 3), model(vec![instance(3, 0, 5)], 0)];
    let standings = [standing(50, 0, 0), standing(50, 1, 99)];
    let given = |needed| give(&models, &standings, GPU, ByteCount(needed));
    assert_eq!(given(10), [InstanceId(2)]);
    assert_eq!(given(11), [InstanceId(2), InstanceId(1)]);
    assert_eq!(given(1000), [InstanceId(2), InstanceId(1), InstanceId(3)], "a minimum goes last");
    assert_eq!(given(2300).len(), 3);
    assert_eq!(given(2301), [], "230 bytes would hardly help");
    assert_eq!(give(&models, &standings, DeviceId::Host, ByteCount(1)), []);
}

#[test]
fn what_leaves_already_is_counted_once_with_its_weights() {
    let leaving = |state| InstanceView { state, ..instance(1, 1, 9) };
    let with = |state, others: Vec<InstanceView>| {
        let instances = [vec![leaving(state)], others].concat();
        coming_free(&[model(instances, 0)], GPU)
    };
    assert_eq!(with(READY, vec![]), ByteCount(0));
    assert_eq!(with(InstanceState::Draining, vec![]), ByteCount(110));
    assert_eq!(with(InstanceState::Stopping, vec![instance(2, 0, 9)]), ByteCount(10));
}
