//! What of a prompt is not computed again.

use std::sync::atomic::Ordering;

use super::*;
use crate::policy::PrefixCachePolicy;

/// Tokens that the fake decodes until the engine is idle.
fn decoded(weights: &FakeWeights, engine: &mut FakeEngine<'_>) -> u64 {
    let controls = weights.controls();
    let before = controls.decoded.load(Ordering::Relaxed);
    run(engine);
    controls.decoded.load(Ordering::Relaxed) - before
}

/// A prompt of `shared` common characters and a last one, of which one token is generated.
fn about(shared: usize, last: char) -> GenerationRequest {
    let prompt = format!("{}{last}", "system prompt ".repeat(shared)[..shared].to_owned());
    GenerationRequest { max_tokens: Some(1), ..request(&prompt) }
}

#[test]
fn a_prompt_that_begins_like_the_last_one_is_computed_from_where_it_differs() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 256);
    let first = admit(&mut engine, about(100, 'a'));
    assert_eq!((decoded(&weights, &mut engine), cached(&first)), (101, 0));
    let second = admit(&mut engine, about(100, 'b'));
    assert_eq!((decoded(&weights, &mut engine), cached(&second)), (1, 100));
    assert_eq!(second.text(), "c");
    // The same again: what follows the last token has to be computed.
    let third = admit(&mut engine, about(100, 'b'));
    assert_eq!((decoded(&weights, &mut engine), cached(&third)), (1, 100));
    let unwilling = admit(&mut engine, GenerationRequest { reuse_prefix: false, ..about(100, 'b') });
    assert_eq!((decoded(&weights, &mut engine), cached(&unwilling)), (101, 0));
}

#[test]
fn what_was_generated_is_reused_by_the_next_turn_of_a_conversation() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 256);
    let first = admit(&mut engine, request("hello m"));
    run(&mut engine);
    let next = format!("hello m{} and a", first.text());
    let second = admit(&mut engine, GenerationRequest { max_tokens: Some(1), ..request(&next) });
    run(&mut engine);
    assert_eq!((cached(&second), second.text().as_str()), (7 + 13, "b"));
}

/// Requests that come at once and begin alike: one computes the beginning, the others wait for it and copy it.
#[test]
fn a_common_beginning_is_computed_once_for_all_slots() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 4, 256);
    let records: Vec<_> = ['a', 'b', 'c', 'd'].map(|last| admit(&mut engine, about(128, last))).into();
    assert_eq!(decoded(&weights, &mut engine), 128 + 4);
    let texts: Vec<_> = records.iter().map(|record| record.text()).collect();
    assert_eq!(texts, ["b", "c", "d", "e"]);
    let cached: Vec<_> = records.iter().map(|record| cached(record)).collect();
    assert_eq!(cached, [0, 128, 128, 128]);
}

#[test]
fn without_a_prefix_cache_every_prompt_is_computed() {
    let weights = FakeWeights::default();
    let spec = ContextSpec::sized(1, 256, 1);
    let prefix_cache = PrefixCachePolicy { enabled: false, ..spec.prefix_cache };
    let mut engine = InlineEngine::new(&weights, ContextSpec { prefix_cache, ..spec }).unwrap();
    for _ in 0..2 {
        let record = admit(&mut engine, about(100, 'a'));
        assert_eq!((decoded(&weights, &mut engine), cached(&record)), (101, 0));
    }
}
