//! The iteration loop over the fake context.

mod reuse;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::fake::FakeWeights;
use crate::engine::{ContextSpec, InlineEngine};
use crate::generation::{
    Event, FinishReason, GenerationRequest, Prompt, SamplingSettings, SequenceSpec, Token,
};
use crate::policy::Pooling;

/// What a sink received, readable after the engine dropped it.
#[derive(Default)]
struct Record {
    events: Mutex<Vec<Event>>,
    tokens: AtomicUsize,
    lost: Mutex<Option<Loss>>,
    gone: AtomicBool,
    dropped: AtomicBool,
}

struct Recorder(Arc<Record>);

impl EventSink for Recorder {
    fn emit(&mut self, event: Event) {
        match &event {
            Event::Token { .. } => drop(self.0.tokens.fetch_add(1, Ordering::Relaxed)),
            Event::Finished { usage, .. } => {
                self.0.tokens.store(usage.completion_tokens as usize, Ordering::Relaxed);
            }
            _ => {}
        }
        self.0.events.lock().unwrap().push(event);
    }
    fn lost(self: Box<Self>, loss: Loss) {
        *self.0.lost.lock().unwrap() = Some(loss);
    }
    fn wanted(&self) -> bool {
        !self.0.gone.load(Ordering::Relaxed)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::Relaxed);
    }
}

impl Record {
    fn text(&self) -> String {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter_map(|e| match e {
                Event::Token { text, .. } | Event::Finished { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The tokens after which the sequence went on.
    fn generated(&self) -> Vec<Token> {
        let events = self.events.lock().unwrap();
        let token = |event: &Event| if let Event::Token { token, .. } = event { Some(*token) } else { None };
        events.iter().filter_map(token).collect()
    }

    fn last(&self) -> Event {
        self.events.lock().unwrap().last().cloned().expect("an event")
    }
}

type FakeEngine<'weights> = InlineEngine<'weights, FakeWeights>;

fn engine(weights: &FakeWeights, slots: u32, context_tokens: u32) -> FakeEngine<'_> {
    let spec = ContextSpec { batch_tokens: 32, ..ContextSpec::sized(slots, context_tokens, 1) };
    InlineEngine::new(weights, spec).expect("fake contexts never fail")
}

fn request(prompt: &str) -> GenerationRequest {
    GenerationRequest {
        sampling: SamplingSettings { temperature: 0.0, ..SamplingSettings::default() },
        max_tokens: None,
        ..GenerationRequest::new(Prompt::Text(prompt.into()))
    }
}

fn admit(engine: &mut FakeEngine<'_>, request: impl Into<SequenceSpec>) -> Arc<Record> {
    let record = Arc::new(Record::default());
    engine.admit(request.into(), Box::new(Recorder(Arc::clone(&record))));
    record
}

fn run(engine: &mut FakeEngine<'_>) {
    for _ in 0..1000 {
        if engine.is_idle() {
            return;
        }
        engine.step().expect("the fake decodes");
    }
    panic!("the engine did not come to an end");
}

/// The reason and the counts of a sequence's end.
fn end(record: &Record) -> (FinishReason, u32, u32) {
    match record.last() {
        Event::Finished { reason, usage, .. } => (reason, usage.prompt_tokens, usage.completion_tokens),
        other => panic!("not an end: {other:?}"),
    }
}

#[test]
fn a_sequence_runs_to_its_end_and_frees_its_slot() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 2, 64);
    let record = admit(&mut engine, request("!"));
    run(&mut engine);
    assert_eq!(record.text(), "abcdefghijklmnopqrstuvwxyz");
    assert_eq!(end(&record), (FinishReason::Stop, 1, 27));
    assert_eq!(record.tokens.load(Ordering::Relaxed), 27);
    assert!(record.dropped.load(Ordering::Relaxed));
}

#[test]
fn sequences_that_join_at_different_times_do_not_disturb_each_other() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 3, 128);
    let first = admit(&mut engine, request("m"));
    engine.step().unwrap();
    let second = admit(&mut engine, request(&"long prompt ".repeat(8)));
    engine.step().unwrap();
    let third = admit(&mut engine, request("w"));
    run(&mut engine);
    assert_eq!(first.text(), "nopqrstuvwxyz");
    assert_eq!(second.text(), "abcdefghijklmnopqrstuvwxyz");
    assert_eq!(third.text(), "xyz");
}

#[test]
fn limits_end_a_sequence_with_the_reason_length() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 8);
    let record = admit(&mut engine, GenerationRequest { max_tokens: Some(3), ..request("a") });
    run(&mut engine);
    assert_eq!((record.text().as_str(), end(&record)), ("bcd", (FinishReason::Length, 1, 3)));
    let record = admit(&mut engine, request("aaaa"));
    run(&mut engine);
    assert_eq!((record.text().as_str(), end(&record)), ("bcde", (FinishReason::Length, 4, 4)));
}

#[test]
fn stop_strings_end_a_sequence_and_are_not_sent() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 64);
    let record =
        admit(&mut engine, GenerationRequest { stop: vec!["hij".into(), "q".into()], ..request("a") });
    run(&mut engine);
    assert_eq!(record.text(), "bcdefg");
    assert_eq!(end(&record), (FinishReason::StopString(0), 1, 9));
}

#[test]
fn prompts_that_cannot_be_served_fail_alone() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 8);
    let too_long = GenerationError::PromptTooLong { prompt_tokens: 8, context_tokens: 8 };
    for (prompt, error) in [
        (Prompt::Text("12345678".into()), too_long),
        (Prompt::Text(String::new()), GenerationError::PromptEmpty),
        (
            Prompt::Tokens(vec![1, 900]),
            GenerationError::UnknownToken { place: "the prompt".into(), token: 900, last: 256 },
        ),
    ] {
        let record = admit(&mut engine, GenerationRequest { prompt, ..request("") });
        assert_eq!(record.last(), Event::Failed(error));
        assert!(record.dropped.load(Ordering::Relaxed));
        assert!(engine.is_idle());
    }
}

#[test]
fn an_abandoned_sequence_is_dropped_with_the_step_after_the_one_that_noticed() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 64);
    let record = admit(&mut engine, request("a"));
    engine.step().unwrap();
    record.gone.store(true, Ordering::Relaxed);
    assert_eq!(engine.step().unwrap().released, 0);
    assert_eq!(engine.step().unwrap().released, 1);
    assert!(record.dropped.load(Ordering::Relaxed));
    let next = admit(&mut engine, request("y"));
    run(&mut engine);
    assert_eq!(next.text(), "z");
}

#[test]
fn a_failed_decode_loses_its_sequences_and_the_engine_goes_on() {
    let weights = FakeWeights::default();
    let controls = weights.controls();
    let mut engine = engine(&weights, 2, 64);
    for (sequences, suspicion) in [(1, Suspicion::Alone), (2, Suspicion::Shared)] {
        let lost: Vec<_> = (0..sequences).map(|_| admit(&mut engine, request("a"))).collect();
        engine.step().unwrap();
        controls.fail_next_decode.store(true, Ordering::Relaxed);
        let reason = engine.step().unwrap_err().to_string();
        for record in lost {
            let expected = Loss::Interrupted { reason: reason.clone(), suspicion };
            assert_eq!(record.lost.lock().unwrap().take(), Some(expected));
        }
    }
    let next = admit(&mut engine, request("y"));
    run(&mut engine);
    assert_eq!(next.text(), "z");
}

/// Wherever a sequence is interrupted, another instance sends exactly what was not sent, with the same counts.
#[test]
fn a_sequence_goes_on_where_another_instance_left_it() {
    for asked in [
        request("ab"),
        GenerationRequest { max_tokens: Some(9), ..request("m") },
        GenerationRequest { stop: vec!["stu".into(), "uvx".into()], ..request("a") },
    ] {
        let weights = FakeWeights::default();
        let mut whole = engine(&weights, 1, 64);
        let expected = admit(&mut whole, asked.clone());
        run(&mut whole);
        for tokens in 0..=expected.generated().len() {
            let sent: String = expected.events.lock().unwrap()[..=tokens]
                .iter()
                .filter_map(
                    |event| if let Event::Token { text, .. } = event { Some(text.as_str()) } else { None },
                )
                .collect();
            let generated = expected.generated()[..tokens].to_vec();
            let weights = FakeWeights::default();
            let mut other = engine(&weights, 2, 64);
            let rest = admit(&mut other, SequenceSpec { request: Arc::new(asked.clone()), generated });
            run(&mut other);
            assert_eq!(sent + &rest.text(), expected.text(), "interrupted after {tokens} tokens");
            assert_eq!(end(&rest), end(&expected), "interrupted after {tokens} tokens");
        }
    }
}

#[test]
fn a_sequence_that_was_complete_ends_at_once() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 64);
    let asked = GenerationRequest { max_tokens: Some(2), ..request("a") };
    let spec = SequenceSpec { request: Arc::new(asked), generated: vec![98, 99] };
    let record = admit(&mut engine, spec);
    assert_eq!((end(&record), engine.is_idle()), ((FinishReason::Length, 1, 2), true));
}

#[test]
fn more_sequences_than_slots_find_another_instance() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 64);
    let (_first, second) = (admit(&mut engine, request("a")), admit(&mut engine, request("a")));
    assert_eq!(second.lost.lock().unwrap().take(), Some(Loss::Undelivered));
}

#[test]
fn a_long_prompt_does_not_hold_up_a_decoding_sequence() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 2, 512);
    let decoding = admit(&mut engine, request("a"));
    engine.step().unwrap();
    let _long = admit(&mut engine, request(&"x".repeat(300)));
    for step in 0..9 {
        let before = decoding.tokens.load(Ordering::Relaxed);
        let report = engine.step().unwrap();
        assert_eq!(decoding.tokens.load(Ordering::Relaxed), before + 1, "step {step}");
        assert!(step == 0 || report.load.prefill_tokens > 0, "step {step}");
    }
}

#[test]
fn stopping_fails_what_still_runs() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 1, 64);
    let record = admit(&mut engine, request("a"));
    engine.step().unwrap();
    engine.stop();
    assert_eq!(record.last(), Event::Failed(GenerationError::Stopped));
    assert!(engine.is_idle());
}

fn cached(record: &Record) -> u32 {
    match record.last() {
        Event::Finished { usage, .. } => usage.cached_tokens,
        other => panic!("not an end: {other:?}"),
    }
}

/// The fake checks that batches are ordered and positions have no gap, also where fillers were.
#[test]
fn gaps_between_slots_are_filled_and_nobody_notices() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 4, 64);
    let first = admit(&mut engine, request("a"));
    let short = admit(&mut engine, GenerationRequest { max_tokens: Some(2), ..request("m") });
    let third = admit(&mut engine, request("c"));
    for _ in 0..5 {
        engine.step().unwrap();
    }
    assert_eq!(end(&short), (FinishReason::Length, 1, 2));
    let controls = weights.controls();
    let before = controls.decoded.load(Ordering::Relaxed);
    engine.step().unwrap();
    assert_eq!(controls.decoded.load(Ordering::Relaxed) - before, 3, "two answers and a filler");
    let again = admit(&mut engine, request("mno"));
    run(&mut engine);
    assert_eq!((first.text().len(), third.text().len(), again.text().as_str()), (25, 23, "pqrstuvwxyz"));
    assert_eq!(cached(&again), 2);
}

#[test]
fn prompts_of_nearly_the_same_length_are_padded_and_nobody_notices() {
    let weights = FakeWeights::default();
    let mut engine = engine(&weights, 4, 64);
    let prompts = ["one e", "two r", "b d", "much longer c"];
    let records = prompts.map(|prompt| admit(&mut engine, request(prompt)));
    let before = weights.controls().decoded.load(Ordering::Relaxed);
    engine.step().unwrap();
    let prompt_tokens: usize = prompts.iter().map(|prompt| prompt.len()).sum();
    let decoded = weights.controls().decoded.load(Ordering::Relaxed) - before;
    assert_eq!(decoded, prompt_tokens as u64 + 2, "the third one has two more");
    run(&mut engine);
    let texts = records.each_ref().map(|record| record.text());
    let rest = |from| ('a'..='z').skip_while(|letter| *letter != from).collect::<String>();
    assert_eq!(texts, [rest('f'), rest('s'), rest('e'), rest('d')]);
}

#[test]
fn an_answer_can_forget_the_oldest_text_and_go_on() {
    let weights = FakeWeights::default();
    let spec = ContextSpec { overflow: ContextOverflow::Shift, ..ContextSpec::sized(1, 16, 1) };
    let mut engine = InlineEngine::new(&weights, spec).unwrap();
    let record = admit(&mut engine, GenerationRequest { max_tokens: Some(26), ..request("some longer a") });
    run(&mut engine);
    assert_eq!(record.text(), "bcdefghijklmnopqrstuvwxyz");
    assert_eq!(end(&record), (FinishReason::Stop, 13, 26));
}

#[test]
fn texts_of_other_lengths_wait_where_they_would_be_divided() {
    let weights = FakeWeights::default();
    weights.controls().divides_texts.store(true, Ordering::Relaxed);
    let spec = ContextSpec { pooling: Some(Pooling::Mean), ..ContextSpec::sized(4, 64, 1) };
    let mut engine = InlineEngine::new(&weights, spec).unwrap();
    for text in ["aab", "abcdef", "xyz", "abcdeg"] {
        admit(&mut engine, request(text));
    }
    let computed = [engine.step().unwrap(), engine.step().unwrap()].map(|report| report.load.prefill_tokens);
    assert_eq!((computed, engine.is_idle()), ([3 + 3, 6 + 6], true));
}

#[test]
fn texts_become_vectors_of_length_one_as_many_as_fit_at_once() {
    let weights = FakeWeights::default();
    let spec = ContextSpec { pooling: Some(Pooling::Mean), batch_tokens: 32, ..ContextSpec::sized(3, 64, 1) };
    let mut engine = InlineEngine::new(&weights, spec).unwrap();
    let records =
        ["aab", "axyzaxyzaxyz", "abcdefghijklmnopqrst"].map(|text| admit(&mut engine, request(text)));
    let first = engine.step().unwrap();
    assert_eq!(first.load.prefill_tokens, 3 + 12, "the third does not fit any more");
    run(&mut engine);
    for (record, [x, y]) in records.iter().zip([[2.0, 3.0], [3.0, 12.0], [1.0, 20.0_f32]]) {
        let events = record.events.lock().unwrap();
        let Event::Embedding(values) = &events[1] else { panic!("{events:?}") };
        let length = x.hypot(y);
        assert!((values[0] - x / length).abs() < 1e-6 && (values[1] - y / length).abs() < 1e-6, "{values:?}");
    }
    let too_long = admit(&mut engine, request(&"x".repeat(32)));
    let error = GenerationError::TextTooLong {
        text_tokens: 32,
        max_tokens: 31,
        limits: "engine.batch_tokens".into(),
    };
    assert_eq!(too_long.last(), Event::Failed(error));
}
