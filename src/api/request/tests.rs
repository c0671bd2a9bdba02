//! Bodies in, validated requests or errors that name the field out.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::generation::{Dry, Grammar, Mirostat, MirostatVersion, Penalties, Prompt, Xtc};
use crate::policy::Policy;

/// The demo model as `m`, with these sampling defaults.
fn catalog() -> Catalog {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let text = "models: [{name: m, context_tokens: 1024, variants: [{path: tidepool-3m-f16.gguf}], sampling: \
                {temperature: 0.5, top_k: 7, top_p: 0.9, min_p: 0.25, repeat_penalty: 1.5}}]";
    let policy = Policy::parse(text, "p", &files).unwrap_or_else(|error| panic!("{error}"));
    Catalog::read(&policy.models, &files)
}

/// A request to an endpoint with these fields besides those that are required.
fn body(more: &Value) -> Vec<u8> {
    let mut body = json!({ "model": "m", "prompt": "a", "messages": [{ "role": "user", "content": "a" }] });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    serde_json::to_vec(&body).unwrap()
}

/// The first choice, and how many there are.
fn accepted(shape: Shape, more: &Value) -> (GenerationRequest, u32) {
    let catalog = Arc::new(catalog());
    let job = read(&body(more), shape, &catalog, SystemTime::UNIX_EPOCH)
        .unwrap_or_else(|error| panic!("{more}: {error}"));
    (job.request, job.choices)
}

fn settings(more: &Value) -> SamplingSettings {
    accepted(Shape::Completion, more).0.sampling
}

/// The field that an error names, and its message.
fn refused(shape: Shape, more: &Value) -> (String, String) {
    let catalog = catalog();
    let error = read(&body(more), shape, &catalog, SystemTime::UNIX_EPOCH).expect_err(&more.to_string());
    match &error {
        ApiError::Invalid { param: Some(param), message } => (param.clone(), message.clone()),
        other => panic!("{more}: {other:?}"),
    }
}

#[test]
fn what_a_request_leaves_open_the_policy_says() {
    for open in [json!({ "seed": 3 }), json!({ "seed": 3, "temperature": null, "min_p": null, "n": null })] {
        let expected = SamplingSettings {
            temperature: 0.5,
            top_k: 7,
            top_p: 0.9,
            min_p: 0.25,
            penalties: Penalties { repeat: 1.5, ..Penalties::default() },
            seed: 3,
            ..SamplingSettings::default()
        };
        let (request, choices) = accepted(Shape::Completion, &open);
        let expected =
            GenerationRequest { sampling: expected, ..GenerationRequest::new(Prompt::Text("a".into())) };
        assert_eq!((request, choices), (expected, 1), "{open}");
    }
    assert_ne!(settings(&json!({})).seed, settings(&json!({})).seed, "no seed is a random one");
}

#[test]
fn every_sampling_field_arrives() {
    let sent = json!({
        "temperature": 1.25, "top_k": 9, "top_p": 0.75, "min_p": 0.125, "typical_p": 0.5,
        "repeat_penalty": 1.25, "repeat_last_n": 32, "presence_penalty": -2, "frequency_penalty": 2,
        "dry_multiplier": 0.5, "dry_base": 2, "dry_allowed_length": 3, "dry_penalty_last_n": 100,
        "dry_sequence_breakers": ["\n", "."], "xtc_probability": 0.5, "xtc_threshold": 0.25,
        "mirostat": 2, "mirostat_tau": 4.5, "mirostat_eta": 0.25, "seed": -1,
        "logit_bias": { "5": -100, "3": 1.5 },
    });
    let expected = SamplingSettings {
        temperature: 1.25,
        top_k: 9,
        top_p: 0.75,
        min_p: 0.125,
        typical_p: 0.5,
        penalties: Penalties { last_tokens: 32, repeat: 1.25, frequency: 2.0, presence: -2.0 },
        dry: Dry {
            multiplier: 0.5,
            base: 2.0,
            allowed_length: 3,
            last_tokens: Some(100),
            sequence_breakers: vec!["\n".into(), ".".into()],
        },
        xtc: Xtc { probability: 0.5, threshold: 0.25 },
        mirostat: Some(Mirostat { version: MirostatVersion::V2, tau: 4.5, eta: 0.25 }),
        logit_bias: vec![(3, 1.5), (5, -100.0)],
        seed: u64::MAX,
    };
    assert_eq!(settings(&sent), expected);
}

#[test]
fn values_with_a_meaning_of_their_own_are_understood() {
    let penalties = |more: Value| settings(&more).penalties;
    assert_eq!(penalties(json!({ "repetition_penalty": 2 })).repeat.to_bits(), 2.0_f32.to_bits());
    assert_eq!(penalties(json!({ "repeat_last_n": -1 })).last_tokens, u32::MAX);
    assert_eq!(penalties(json!({ "repeat_last_n": 0 })).last_tokens, 0);
    let dry = |more: Value| settings(&more).dry.last_tokens;
    assert_eq!(dry(json!({})), None);
    assert_eq!(dry(json!({ "dry_penalty_last_n": -1 })), None);
    assert_eq!(dry(json!({ "dry_penalty_last_n": 0 })), Some(0));
    let mirostat = |more: Value| settings(&more).mirostat.map(|mirostat| mirostat.version);
    assert_eq!(mirostat(json!({ "mirostat": 0, "mirostat_tau": 3 })), None);
    assert_eq!(mirostat(json!({ "mirostat": 1 })), Some(MirostatVersion::V1));
    let bias = |bias: Value| settings(&json!({ "logit_bias": bias })).logit_bias;
    for nothing in [json!(null), json!({}), json!([])] {
        assert_eq!(bias(nothing), []);
    }
    assert_eq!(bias(json!([[6, false], [2, -1.5]])), [(2, -1.5), (6, f32::NEG_INFINITY)]);
    assert_eq!(bias(json!({ "6": false })), [(6, f32::NEG_INFINITY)]);
}

#[test]
fn output_fields_arrive() {
    let (request, choices) = accepted(
        Shape::Completion,
        &json!({ "max_tokens": 5, "max_completion_tokens": 6, "stop": "x", "n": 3, "best_of": 3, "logprobs": 0,
            "ignore_eos": true, "cache_prompt": false }),
    );
    assert_eq!((request.max_tokens, request.stop.as_slice()), (Some(6), ["x".to_owned()].as_slice()));
    assert_eq!((choices, request.logprobs), (3, Some(0)));
    assert!(request.ignore_eos && !request.reuse_prefix);
    let logprobs = |shape, more: Value| accepted(shape, &more).0.logprobs;
    assert_eq!(logprobs(Shape::Completion, json!({ "logprobs": 20 })), Some(20));
    assert_eq!(logprobs(Shape::Completion, json!({ "logprobs": null, "top_logprobs": 0 })), None);
    assert_eq!(logprobs(Shape::Chat, json!({ "logprobs": true })), Some(0));
    assert_eq!(logprobs(Shape::Chat, json!({ "logprobs": true, "top_logprobs": 20 })), Some(20));
    assert_eq!(logprobs(Shape::Chat, json!({ "logprobs": false, "top_logprobs": 0 })), None);
}

#[test]
fn choices_differ_in_their_seeds_alone() {
    let catalog = catalog();
    let sent = body(&json!({ "n": 3, "seed": -2 }));
    let job = read(&sent, Shape::Completion, &catalog, SystemTime::UNIX_EPOCH).unwrap();
    let requests: Vec<_> = job.requests().collect();
    let seeds: Vec<_> = requests.iter().map(|request| request.sampling.seed).collect();
    assert_eq!(seeds, [u64::MAX - 1, u64::MAX, 0]);
    let alone = settings(&json!({ "seed": -1 }));
    assert_eq!(requests[1].sampling, alone, "the second choice asked for again alone");
}

#[test]
fn grammars_arrive_whatever_field_they_come_in() {
    let grammar = |more: Value| accepted(Shape::Chat, &more).0.grammar;
    let schema = |text: &str| Some(Grammar::JsonSchema(text.into()));
    let object = json!({ "type": "object", "properties": { "z": { "type": "null" }, "a": { "const": 1 } } });
    // In the order in which it was sent: the answer has its properties in that order.
    let text = r#"{"type":"object","properties":{"z":{"type":"null"},"a":{"const":1}}}"#;
    for (sent, expected) in [
        (json!({}), None),
        (json!({ "grammar": "", "json_schema": null, "response_format": { "type": "text" } }), None),
        (json!({ "grammar": "root ::= \"a\"" }), Some(Grammar::Gbnf("root ::= \"a\"".into()))),
        (json!({ "json_schema": object }), schema(text)),
        (json!({ "json_schema": {} }), schema("{}")),
        (json!({ "response_format": { "type": "json_object" } }), schema(r#"{"type":"object"}"#)),
        (json!({ "response_format": { "type": "json_object", "schema": object } }), schema(text)),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": object } } }),
            schema(text),
        ),
    ] {
        assert_eq!(grammar(sent.clone()), expected, "{sent}");
    }
}

/// A completion with these fields is refused with a message that begins with the field and goes on like this.
fn check_fault(sent: &Value, field: &str, message: &str) {
    let (param, text) = refused(Shape::Completion, sent);
    assert_eq!(param, field, "{sent}: {text}");
    assert!(text.starts_with(&format!("{field}: ")) && text.contains(message), "{sent}: {text}");
}

#[test]
fn faults_of_sampling_are_told_with_field_value_and_remedy() {
    for (sent, field, message) in [
        (json!({ "min_p": 1.5 }), "min_p", "expected a number from 0 to 1, got 1.5"),
        (json!({ "top_p": 0 }), "top_p", "expected a number above 0 and up to 1, got 0"),
        (json!({ "typical_p": 0 }), "typical_p", "expected a number above 0 and up to 1, got 0"),
        (json!({ "repeat_penalty": 0 }), "repeat_penalty", "expected a number above 0 and up to 10, got 0"),
        (
            json!({ "repetition_penalty": 11 }),
            "repetition_penalty",
            "expected a number above 0 and up to 10, got 11",
        ),
        (
            json!({ "repeat_last_n": -2 }),
            "repeat_last_n",
            "expected a whole number from 0 to 4294967295, or -1 for the whole context, got -2",
        ),
        (json!({ "presence_penalty": 2.5 }), "presence_penalty", "expected a number from -2 to 2, got 2.5"),
        (json!({ "dry_base": 0.5 }), "dry_base", "expected a number from 1 to 100, got 0.5"),
        (json!({ "dry_multiplier": 1e30 }), "dry_multiplier", "expected a number from 0 to 100, got 1"),
        (
            json!({ "dry_sequence_breakers": [""] }),
            "dry_sequence_breakers[0]",
            "expected 1 to 40 bytes, got 0",
        ),
        (
            json!({ "dry_sequence_breakers": vec!["a"; 65] }),
            "dry_sequence_breakers",
            "at most 64 strings, got 65",
        ),
        (json!({ "mirostat": 3 }), "mirostat", "expected 0, 1 or 2, got 3"),
    ] {
        check_fault(&sent, field, message);
    }
}

#[test]
fn faults_of_the_output_are_told_with_field_value_and_remedy() {
    for (sent, field, message) in [
        (json!({ "n": 0 }), "n", "expected a whole number from 1 to 16, got 0"),
        (json!({ "n": 17 }), "n", "expected a whole number from 1 to 16, got 17"),
        (json!({ "n": 2, "best_of": 3 }), "best_of", "leave it out, or give n (2), got 3"),
        (json!({ "logprobs": 21 }), "logprobs", "expected a whole number from 0 to 20, got 21"),
        (json!({ "logprobs": true }), "logprobs", "expected a whole number from 0 to 20, got true"),
        (json!({ "top_logprobs": 2 }), "top_logprobs", "give the number as logprobs"),
        (json!({ "ignore_eos": 1 }), "ignore_eos", "expected a boolean"),
        (json!({ "grammar": 5 }), "grammar", "expected a string"),
        (json!({ "grammar": "root = x" }), "grammar", "line 1: expected ::= after the name of a rule"),
        (json!({ "json_schema": true }), "json_schema", "expected a JSON schema, which is an object"),
        (json!({ "response_format": "json" }), "response_format", "expected an object"),
        (json!({ "response_format": {} }), "response_format.type", "missing"),
        (
            json!({ "response_format": { "type": "xml" } }),
            "response_format.type",
            "expected text, json_object or json_schema, got \"xml\"",
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": {} } }),
            "response_format.json_schema.schema",
            "missing",
        ),
        (
            json!({ "grammar": "root ::= \"a\"", "json_schema": {} }),
            "json_schema",
            "cannot be combined with grammar; give one of them",
        ),
        (
            json!({ "json_schema": {}, "response_format": { "type": "json_object" } }),
            "response_format",
            "cannot be combined with json_schema; give one of them",
        ),
    ] {
        check_fault(&sent, field, message);
    }
    for (sent, field, message) in [
        (json!({ "logprobs": 5 }), "logprobs", "expected true or false, got 5"),
        (json!({ "top_logprobs": 3 }), "top_logprobs", "needs logprobs to be true"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs", "from 0 to 20, got 21"),
    ] {
        let (param, text) = refused(Shape::Chat, &sent);
        assert_eq!(param, field, "{sent}: {text}");
        assert!(text.contains(message), "{sent}: {text}");
    }
}

#[test]
fn biases_are_bounded_and_each_token_has_one() {
    let check = |bias: Value, field: &str, message: &str| {
        let (param, text) = refused(Shape::Chat, &json!({ "logit_bias": bias }));
        assert_eq!(param, field, "{text}");
        assert!(text.contains(message), "{text}");
    };
    check(json!(5), "logit_bias", "expected an object of token ids and biases, or an array");
    check(json!({ "hello": 1 }), "logit_bias.hello", "expected a token id as the key");
    check(json!({ "-1": 1 }), "logit_bias.-1", "expected a token id as the key");
    check(json!({ "5": 101 }), "logit_bias.5", "expected a bias from -100 to 100, got 101");
    check(json!({ "5": true }), "logit_bias.5", "or false to forbid the token");
    check(json!({ "5": 1, "05": 1 }), "logit_bias.05", "the token 5 has a bias already");
    check(json!([5]), "logit_bias[0]", "expected [token id, bias]");
    check(json!([[1, 1], ["x", 1]]), "logit_bias[1][0]", "expected a token id");
    check(json!([[1, 1], [1, 2]]), "logit_bias[1]", "the token 1 has a bias already");
    let many: Vec<_> = (0..1025).map(|token| json!([token, 1])).collect();
    check(json!(many), "logit_bias", "at most 1024 tokens, got 1025");
    assert_eq!(settings(&json!({ "logit_bias": many[..1024] })).logit_bias.len(), 1024);
}

#[test]
fn what_is_not_implemented_is_refused_unless_it_asks_for_nothing() {
    for field in ["echo", "suffix", "functions", "function_call", "audio"] {
        assert_eq!(refused(Shape::Chat, &json!({ field: [1] })).0, field);
        for nothing in [json!(null), json!(false), json!(0), json!([]), json!({})] {
            accepted(Shape::Chat, &json!({ field: nothing }));
        }
    }
    for (field, value) in [("tools", json!([1])), ("tool_choice", json!("required"))] {
        assert_eq!(refused(Shape::Completion, &json!({ field: value })).0, field);
    }
    accepted(Shape::Completion, &json!({ "tools": [], "tool_choice": "auto" }));
    accepted(Shape::Chat, &json!({ "tool_choice": "none", "function_call": "auto" }));
}
