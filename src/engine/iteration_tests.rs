//! The iteration loop over the fake context.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::ContextSpec;
use crate::engine::fake::FakeContext;

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

fn engine(slots: u32, context_tokens: u32) -> Engine<FakeContext> {
    Engine::new(FakeContext::new(ContextSpec { slots, context_tokens, threads: 1 }))
}

fn request(prompt: &str) -> GenerationRequest {
    GenerationRequest {
        sampling: SamplingSettings { temperature: 0.0, ..SamplingSettings::default() },
        max_tokens: None,
        ..GenerationRequest::new(Prompt::Text(prompt.into()))
    }
}

fn admit(engine: &mut Engine<FakeContext>, request: impl Into<SequenceSpec>) -> Arc<Record> {
    let record = Arc::new(Record::default());
    engine.admit(request.into(), Box::new(Recorder(Arc::clone(&record))));
    record
}

fn run(engine: &mut Engine<FakeContext>) {
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
    let mut engine = engine(2, 64);
    let record = admit(&mut engine, request("!"));
    run(&mut engine);
    assert_eq!(record.text(), "abcdefghijklmnopqrstuvwxyz");
    assert_eq!(end(&record), (FinishReason::Stop, 1, 27));
    assert_eq!(record.tokens.load(Ordering::Relaxed), 27);
    assert!(record.dropped.load(Ordering::Relaxed));
}

#[test]
fn sequences_that_join_at_different_times_do_not_disturb_each_other() {
    let mut engine = engine(3, 128);
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
    let mut engine = engine(1, 8);
    let record = admit(&mut engine, GenerationRequest { max_tokens: Some(3), ..request("a") });
    run(&mut engine);
    assert_eq!((record.text().as_str(), end(&record)), ("bcd", (FinishReason::Length, 1, 3)));
    let record = admit(&mut engine, request("aaaa"));
    run(&mut engine);
    assert_eq!((record.text().as_str(), end(&record)), ("bcde", (FinishReason::Length, 4, 4)));
}

#[test]
fn stop_strings_end_a_sequence_and_are_not_sent() {
    let mut engine = engine(1, 64);
    let record =
        admit(&mut engine, GenerationRequest { stop: vec!["hij".into(), "q".into()], ..request("a") });
    run(&mut engine);
    assert_eq!(record.text(), "bcdefg");
    assert_eq!(end(&record), (FinishReason::Stop, 1, 9));
}

#[test]
fn prompts_that_cannot_be_served_fail_alone() {
    let mut engine = engine(1, 8);
    let too_long = GenerationError::PromptTooLong { prompt_tokens: 8, context_tokens: 8 };
    for (prompt, error) in [
        (Prompt::Text("12345678".into()), too_long),
        (Prompt::Text(String::new()), GenerationError::PromptEmpty),
        (Prompt::Tokens(vec![1, 900]), GenerationError::UnknownToken { token: 900, last: 256 }),
    ] {
        let record = admit(&mut engine, GenerationRequest { prompt, ..request("") });
        assert_eq!(record.last(), Event::Failed(error));
        assert!(record.dropped.load(Ordering::Relaxed));
        assert!(engine.is_idle());
    }
}

#[test]
fn an_abandoned_sequence_is_dropped_within_one_step() {
    let mut engine = engine(1, 64);
    let record = admit(&mut engine, request("a"));
    engine.step().unwrap();
    record.gone.store(true, Ordering::Relaxed);
    assert_eq!(engine.step().unwrap().abandoned, 1);
    assert!(record.dropped.load(Ordering::Relaxed));
    let next = admit(&mut engine, request("y"));
    run(&mut engine);
    assert_eq!(next.text(), "z");
}

#[test]
fn a_failed_decode_loses_its_sequences_and_the_engine_goes_on() {
    let context = FakeContext::new(ContextSpec { slots: 2, context_tokens: 64, threads: 1 });
    let controls = context.controls();
    let mut engine = Engine::new(context);
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
        let mut whole = engine(1, 64);
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
            let mut other = engine(2, 64);
            let rest = admit(&mut other, SequenceSpec { request: Arc::new(asked.clone()), generated });
            run(&mut other);
            assert_eq!(sent + &rest.text(), expected.text(), "interrupted after {tokens} tokens");
            assert_eq!(end(&rest), end(&expected), "interrupted after {tokens} tokens");
        }
    }
}

#[test]
fn a_sequence_that_was_complete_ends_at_once() {
    let mut engine = engine(1, 64);
    let asked = GenerationRequest { max_tokens: Some(2), ..request("a") };
    let spec = SequenceSpec { request: Arc::new(asked), generated: vec![98, 99] };
    let record = admit(&mut engine, spec);
    assert_eq!((end(&record), engine.is_idle()), ((FinishReason::Length, 1, 2), true));
}

#[test]
fn more_sequences_than_slots_find_another_instance() {
    let mut engine = engine(1, 64);
    let (_first, second) = (admit(&mut engine, request("a")), admit(&mut engine, request("a")));
    assert_eq!(second.lost.lock().unwrap().take(), Some(Loss::Undelivered));
}

#[test]
fn a_long_prompt_does_not_hold_up_a_decoding_sequence() {
    let mut engine = engine(2, 512);
    let decoding = admit(&mut engine, request("a"));
    engine.step().unwrap();
    let _long = admit(&mut engine, request(&"x".repeat(300)));
    for step in 0..9 {
        let before = decoding.tokens.load(Ordering::Relaxed);
        let report = engine.step().unwrap();
        assert_eq!(decoding.tokens.load(Ordering::Relaxed), before + 1, "step {step}");
        assert!(report.prefill_tokens > 0, "step {step}");
    }
}

#[test]
fn stopping_fails_what_still_runs() {
    let mut engine = engine(1, 64);
    let record = admit(&mut engine, request("a"));
    engine.step().unwrap();
    engine.stop();
    assert_eq!(record.last(), Event::Failed(GenerationError::Stopped));
    assert!(engine.is_idle());
}
