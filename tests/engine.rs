//! Proves, with llama.cpp and the embedded model, that sequences sharing decode calls give the model's own answers,
//! whatever joins or leaves, and that a change of threads does not disturb them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use modelpool::engine::llama::{LlamaLoader, LlamaWeights};
use modelpool::engine::{ContextSpec, InlineEngine, Loader, Weights, WeightsSpec};
use modelpool::generation::{
    Event, EventSink, FinishReason, GenerationRequest, Loss, Prompt, SamplingSettings, SequenceSpec, Token,
};
use modelpool::policy::{Pooling, Split};
use modelpool::units::{ByteCount, DeviceSet};
use serde::Deserialize;

/// One prompt with the answer of the program that trained the model, from `examples/demo-model/reference.json`.
#[derive(Deserialize)]
struct Reference {
    prompt: String,
    prompt_ids: Vec<Token>,
    answer: String,
}

fn demo_model(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model").join(file)
}

fn references() -> Vec<Reference> {
    let text = std::fs::read_to_string(demo_model("reference.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn weights() -> LlamaWeights {
    let path = demo_model("tidepool-3m-f16.gguf");
    LlamaLoader
        .load(&WeightsSpec { path, devices: DeviceSet::HOST, gpu_layers: None, split: Split::Off })
        .unwrap()
}

fn spec(slots: u32, threads: u32) -> ContextSpec {
    ContextSpec::sized(slots, 1024, threads)
}

fn request(prompt: &str) -> GenerationRequest {
    GenerationRequest {
        sampling: SamplingSettings { temperature: 0.0, ..SamplingSettings::default() },
        max_tokens: Some(400),
        ..GenerationRequest::new(Prompt::Text(prompt.into()))
    }
}

type Events = Arc<Mutex<Vec<Event>>>;

struct Recorder(Events);

impl EventSink for Recorder {
    fn emit(&mut self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
    fn wanted(&self) -> bool {
        true
    }
    fn lost(self: Box<Self>, loss: Loss) {
        panic!("lost: {loss:?}");
    }
}

fn admit(engine: &mut InlineEngine<'_, LlamaWeights>, request: impl Into<SequenceSpec>) -> Events {
    let events = Events::default();
    engine.admit(request.into(), Box::new(Recorder(Arc::clone(&events))));
    events
}

/// The text, and the reason of the end if there was one.
fn outcome(events: &Events) -> (String, Option<FinishReason>) {
    let (mut text, mut end) = (String::new(), None);
    for event in events.lock().unwrap().iter() {
        match event {
            Event::Token { text: piece, .. } => text.push_str(piece),
            Event::Finished { reason, text: last, .. } => {
                text.push_str(last);
                end = Some(*reason);
            }
            Event::Failed(error) => panic!("{error}"),
            Event::Started { .. } | Event::Cached { .. } | Event::Embedding(_) => {}
        }
    }
    (text, end)
}

fn run(engine: &mut InlineEngine<'_, LlamaWeights>) {
    while !engine.is_idle() {
        engine.step().unwrap();
    }
}

/// Counts references whose answer is equal; all must have ended by themselves.
fn equal(references: &[Reference], answers: &[Events]) -> usize {
    let same = |(reference, events): (&Reference, &Events)| {
        let (text, end) = outcome(events);
        assert_eq!(end, Some(FinishReason::Stop), "{}: {text}", reference.prompt);
        text == reference.answer
    };
    references.iter().zip(answers).filter(|pair| same(*pair)).count()
}

#[test]
fn prompts_become_the_tokens_of_training() {
    let weights = &weights();
    for reference in references() {
        assert_eq!(weights.tokenize(&reference.prompt), reference.prompt_ids, "{}", reference.prompt);
    }
}

/// At temperature 0 and one at a time, every answer is the one of training. Together, the shape of the batch
/// changes the arithmetic's rounding, and a rare tie falls the other way: a few may differ, and none may break.
#[test]
fn answers_are_those_of_training_alone_and_together() {
    let references = references();
    let weights = &weights();
    let mut engine = InlineEngine::new(weights, spec(1, 2)).unwrap();
    let alone: Vec<Events> = references
        .iter()
        .map(|reference| {
            let events = admit(&mut engine, request(&reference.prompt));
            run(&mut engine);
            events
        })
        .collect();
    let equal_alone = equal(&references, &alone);
    assert!(equal_alone >= 47, "{equal_alone} of {} alone", references.len());

    let mut engine = InlineEngine::new(weights, spec(8, 2)).unwrap();
    let mut together = Vec::new();
    for group in references.chunks(8) {
        for reference in group {
            together.push(admit(&mut engine, request(&reference.prompt)));
            // They join one after the other, while those before already answer.
            engine.step().unwrap();
        }
        run(&mut engine);
    }
    let equal_together = equal(&references, &together);
    assert!(equal_together >= 44, "{equal_together} of {} together", references.len());
}

#[test]
fn a_change_of_threads_keeps_the_sequences() {
    let reference = &references()[0];
    let weights = &weights();
    let mut engine = InlineEngine::new(weights, spec(4, 2)).unwrap();
    let first = admit(&mut engine, request(&reference.prompt));
    for threads in [1, 2, 1] {
        for _ in 0..5 {
            engine.step().unwrap();
        }
        engine.set_threads(threads).unwrap();
    }
    let second = admit(&mut engine, request(&reference.prompt));
    run(&mut engine);
    assert_eq!(outcome(&first).0, reference.answer);
    assert_eq!(outcome(&second).0, reference.answer);
}

#[test]
fn two_contexts_share_one_model_in_two_threads() {
    let references = references();
    let weights = &weights();
    std::thread::scope(|scope| {
        for half in references.chunks(references.len() / 2) {
            scope.spawn(move || {
                let mut engine = InlineEngine::new(weights, spec(4, 1)).unwrap();
                for reference in half.iter().take(8) {
                    let events = admit(&mut engine, request(&reference.prompt));
                    run(&mut engine);
                    assert_eq!(outcome(&events).1, Some(FinishReason::Stop));
                }
            });
        }
    });
}

/// Characters outside of the vocabulary are several tokens, each with bytes that are no text of their own; together
/// they are what was written.
#[test]
fn the_bytes_of_tokens_are_those_of_the_text() {
    let weights = &weights();
    let text = "A whale: \u{1f433}, a caf\u{e9}.";
    let vocabulary = weights.vocabulary();
    let pieces: Vec<_> =
        weights.tokenize(text).into_iter().map(|token| vocabulary.piece(token).to_vec()).collect();
    assert!(pieces.iter().any(|piece| std::str::from_utf8(piece).is_err()), "{pieces:?}");
    assert_eq!(String::from_utf8(pieces.concat()).unwrap(), text);
}

#[test]
fn a_seed_gives_the_same_text_again() {
    let weights = &weights();
    let text = |seed| {
        let mut engine = InlineEngine::new(weights, spec(4, 1)).unwrap();
        let warm = SamplingSettings {
            temperature: 0.9,
            top_k: 40,
            top_p: 0.95,
            seed,
            ..SamplingSettings::default()
        };
        let prompt = "<|im_start|>user\nTell me a story about a fox.<|im_end|>\n<|im_start|>assistant\n";
        let events = admit(&mut engine, GenerationRequest { sampling: warm, ..request(prompt) });
        run(&mut engine);
        outcome(&events).0
    };
    assert_eq!(text(7), text(7));
    assert_ne!(text(7), text(8));
}

#[test]
fn files_that_are_no_model_give_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.gguf");
    std::fs::write(&path, b"GGUF and nothing else").unwrap();
    let error = LlamaLoader
        .load(&WeightsSpec { path, devices: DeviceSet::HOST, gpu_layers: None, split: Split::Off })
        .err()
        .unwrap();
    assert!(error.to_string().contains("broken.gguf"), "{error}");
}

/// What an interrupted answer goes on with is, to the letter, what a fresh request gives from the prompt and the
/// tokens that were sent.
#[test]
fn an_interrupted_answer_goes_on_as_a_fresh_request_from_prompt_and_prefix() {
    let weights = &weights();
    let mut engine = InlineEngine::new(weights, spec(1, 1)).unwrap();
    for reference in references().iter().step_by(6) {
        let whole = admit(&mut engine, request(&reference.prompt));
        run(&mut engine);
        let generated: Vec<Token> = whole
            .lock()
            .unwrap()
            .iter()
            .filter_map(|event| if let Event::Token { token, .. } = event { Some(*token) } else { None })
            .collect();
        for cut in [1, generated.len() / 3, generated.len() / 2, generated.len()] {
            let asked = Arc::new(request(&reference.prompt));
            let resumed = SequenceSpec { request: asked, generated: generated[..cut].to_vec() };
            let resumed = admit(&mut engine, resumed);
            run(&mut engine);
            let prefix = [reference.prompt_ids.as_slice(), &generated[..cut]].concat();
            let fresh = GenerationRequest { prompt: Prompt::Tokens(prefix), ..request("") };
            let fresh = admit(&mut engine, fresh);
            run(&mut engine);
            assert_eq!(outcome(&resumed), outcome(&fresh), "{} after {cut} tokens", reference.prompt);
        }
    }
}

fn embed(engine: &mut InlineEngine<'_, LlamaWeights>, text: &str) -> Vec<f32> {
    let events = admit(engine, request(text));
    run(engine);
    vector(&events)
}

fn vector(events: &Events) -> Vec<f32> {
    let events = events.lock().unwrap();
    let [Event::Started { .. }, Event::Embedding(values), Event::Finished { .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    values.clone()
}

/// Equal texts have equal vectors, alone and together; texts that share words are nearer than others.
#[test]
fn texts_become_vectors_that_tell_how_near_they_are() {
    let weights = &weights();
    for pooling in [Pooling::Mean, Pooling::Last, Pooling::Cls] {
        let spec = ContextSpec { pooling: Some(pooling), ..spec(4, 1) };
        let mut engine = InlineEngine::new(weights, spec).unwrap();
        let fox = embed(&mut engine, "The fox lives in the forest.");
        let again = embed(&mut engine, "The fox lives in the forest.");
        let other = embed(&mut engine, "What is 12 + 30?");
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!((dot(&fox, &fox) - 1.0).abs() < 1e-4, "{pooling:?}: length {}", dot(&fox, &fox));
        assert!(dot(&fox, &again) > 0.9999, "{pooling:?}");
        // Beside a shorter and a longer one as well.
        let texts =
            ["Rain.", "The fox lives in the forest.", "The very old fox lives in the deep dark forest."];
        let together = texts.map(|text| admit(&mut engine, request(text)));
        run(&mut engine);
        let beside = vector(&together[1]);
        assert!(dot(&fox, &beside) > 0.999, "{pooling:?}: {}", dot(&fox, &beside));
        if pooling != Pooling::Cls {
            // In a model that reads from left to right, the first token's vector knows nothing of the rest.
            assert!(dot(&fox, &other) < 0.99, "{pooling:?}: {}", dot(&fox, &other));
        }
    }
}

/// What an instance held that was given up is not computed again by the next one on the same weights.
#[test]
fn the_texts_of_an_instance_that_is_gone_are_restored() {
    let weights = &weights();
    let mut spec = spec(2, 1);
    spec.prefix_cache.host_bytes = ByteCount::from_mib(64);
    let reference = references().into_iter().max_by_key(|reference| reference.prompt_ids.len()).unwrap();
    let mut first = InlineEngine::new(weights, spec).unwrap();
    let before = admit(&mut first, request(&reference.prompt));
    run(&mut first);
    first.stop();
    drop(first);
    let mut second = InlineEngine::new(weights, spec).unwrap();
    let after = admit(&mut second, request(&reference.prompt));
    run(&mut second);
    let usage = |events: &Events| match events.lock().unwrap().last().cloned() {
        Some(Event::Finished { usage, .. }) => usage,
        other => panic!("not an end: {other:?}"),
    };
    assert_eq!(outcome(&after), outcome(&before));
    assert_eq!(usage(&before).cached_tokens, 0);
    assert_eq!(usage(&after).cached_tokens, usage(&after).prompt_tokens - 1);
}

/// A common beginning is taken from another slot, also while that one answers, and the answers stay the model's own.
#[test]
fn answers_from_a_copied_beginning_are_those_of_training() {
    let weights = &weights();
    let references = references();
    let mut engine = InlineEngine::new(weights, spec(4, 1)).unwrap();
    let mut equal_texts = 0;
    for reference in references.iter().take(12) {
        let events: Vec<Events> = (0..3)
            .map(|_| {
                let events = admit(&mut engine, request(&reference.prompt));
                engine.step().unwrap();
                engine.step().unwrap();
                events
            })
            .collect();
        run(&mut engine);
        equal_texts += events.iter().filter(|events| outcome(events).0 == reference.answer).count();
    }
    // Another batch can round otherwise.
    assert!(equal_texts >= 33, "{equal_texts} of 36");
}
