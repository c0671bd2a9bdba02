//! Proves that what a request asks of its output reaches the text: probabilities, grammars, schemas, biases and choices
//! do over HTTP what docs/api.md says. With llama.cpp and the embedded model where the model's own text matters, with
//! the fake engine where known tokens do.

mod common;

use common::{World, stream};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
/// One worker for all requests of a test.
const ONE_INSTANCE: &str = "  scale: {max_instances: 1}";

/// Posts a request that must be answered.
async fn answer(world: &World, path: &str, body: &Value) -> Value {
    let response = world.post(path, body).await;
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

/// The texts of a completion's choices.
async fn texts(world: &World, prompt: &str, fields: &Value) -> Vec<String> {
    let mut body = json!({ "model": world.model, "prompt": prompt, "max_tokens": 24 });
    common::merge(&mut body, fields);
    let answer = answer(world, COMPLETIONS, &body).await;
    let choices = answer["choices"].as_array().unwrap();
    choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
}

/// The text of the only choice of a chat, and why it ended.
async fn said(world: &World, fields: &Value) -> (String, String) {
    let answer = answer(world, CHAT, &world.chat("Tell me about a fox.", fields)).await;
    let choice = &answer["choices"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&choice["message"]["content"]), text(&choice["finish_reason"]))
}

/// Checks one token's figures: they are probabilities, ordered, and the chosen token is the likeliest.
fn check_token(token: &Value) {
    let logprob = |token: &Value| token["logprob"].as_f64().unwrap();
    let top = token["top_logprobs"].as_array().unwrap();
    assert_eq!(top.len(), 20, "{token}");
    let all: Vec<f64> = top.iter().map(logprob).collect();
    assert!(all.is_sorted_by(|one, next| one >= next), "{token}");
    let sum: f64 = all.iter().map(|logprob| logprob.exp()).sum();
    assert!(sum > 0.0 && sum < 1.0001, "probabilities that sum to {sum}: {token}");
    assert_eq!((&token["token"], &token["bytes"]), (&top[0]["token"], &top[0]["bytes"]), "temperature 0");
    assert!((logprob(token) - all[0]).abs() < 1e-4 && all[0] <= 0.0, "{token}");
}

#[tokio::test]
async fn a_chat_tells_the_probability_of_each_token() {
    let world = World::real(ONE_INSTANCE).await;
    let fields = json!({ "temperature": 0, "max_tokens": 30, "logprobs": true, "top_logprobs": 20 });
    let body = world.chat("Tell me about a fox.", &fields);
    let whole = answer(&world, CHAT, &body).await;
    let choice = &whole["choices"][0];
    let content = choice["logprobs"]["content"].as_array().unwrap();
    content.iter().for_each(check_token);
    let bytes: Vec<u8> = content
        .iter()
        .flat_map(|token| token["bytes"].as_array().unwrap())
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), choice["message"]["content"].as_str().unwrap());
    // The token that ends the turn belongs to no text.
    let ended = u64::from(choice["finish_reason"] == "stop");
    assert_eq!(whole["usage"]["completion_tokens"], content.len() as u64 + ended);

    let streamed = stream(&world.client, &format!("{}{CHAT}", world.url), &body).await;
    let tokens = |chunk: &Value| chunk["choices"][0]["logprobs"]["content"].as_array().cloned();
    let sent: Vec<Value> = streamed.chunks.iter().filter_map(tokens).flatten().collect();
    let names = |tokens: &[Value]| tokens.iter().map(|token| token["token"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&sent), names(content));
    assert_eq!(streamed.text, choice["message"]["content"].as_str().unwrap());
}

#[tokio::test]
async fn a_completion_tells_them_in_arrays() {
    let world = World::real(ONE_INSTANCE).await;
    let body = json!({ "model": world.model, "prompt": "Once upon a time", "temperature": 0, "max_tokens": 10, "logprobs": 2 });
    let choice = answer(&world, COMPLETIONS, &body).await["choices"][0].clone();
    let array = |name: &str| choice["logprobs"][name].as_array().unwrap().clone();
    let tokens: Vec<String> =
        array("tokens").iter().map(|token| token.as_str().unwrap().to_owned()).collect();
    assert_eq!(tokens.concat(), choice["text"].as_str().unwrap());
    let mut characters = 0;
    for (index, token) in tokens.iter().enumerate() {
        assert_eq!(array("text_offset")[index], characters);
        characters += token.chars().count();
        let own = array("token_logprobs")[index].as_f64().unwrap();
        let top = array("top_logprobs")[index].as_object().unwrap().clone();
        assert!(own <= 0.0 && top.len() == 2 && top.contains_key(token), "{top:?}");
    }
    let body = json!({ "model": world.model, "prompt": "Once upon", "max_tokens": 3, "logprobs": 0, "temperature": 0 });
    let choice = answer(&world, COMPLETIONS, &body).await["choices"][0].clone();
    assert_eq!(choice["logprobs"]["top_logprobs"][0].as_object().unwrap().len(), 1, "the chosen one alone");
}

#[tokio::test]
async fn a_text_keeps_to_its_grammar() {
    let world = World::real(ONE_INSTANCE).await;
    for seed in 0..8 {
        let fields = json!({ "temperature": 1.5, "seed": seed, "max_tokens": 64,
            "grammar": "root ::= (\"yes\" | \"no\") \" \" [0-9]{3} [a-c]+ \".\"" });
        let (text, reason) = said(&world, &fields).await;
        let rest = text.strip_prefix("yes ").or_else(|| text.strip_prefix("no ")).expect(&text);
        let (digits, letters) = rest.split_at(rest.len().min(3));
        assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
        let letters = if reason == "stop" { letters.strip_suffix('.').expect(&text) } else { letters };
        assert!(letters.bytes().all(|byte| (b'a'..=b'c').contains(&byte)), "{text}");
    }
}

#[tokio::test]
async fn a_schema_gives_json_that_satisfies_it() {
    let world = World::real(ONE_INSTANCE).await;
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 12 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "colour": { "enum": ["red", "green"] },
            "alive": { "type": "boolean" },
        },
        "required": ["name", "age", "colour", "alive"],
        "additionalProperties": false,
    });
    for fields in [
        json!({ "json_schema": schema }),
        json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "fox", "schema": schema } } }),
        json!({ "response_format": { "type": "json_object", "schema": schema } }),
    ] {
        for seed in 0..4 {
            let mut fields = fields.clone();
            common::merge(&mut fields, &json!({ "temperature": 1, "seed": seed, "max_tokens": 400 }));
            let (text, reason) = said(&world, &fields).await;
            assert_eq!(reason, "stop", "{text}");
            let object: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let object = object.as_object().expect(&text);
            let names: Vec<&str> = object.keys().map(String::as_str).collect();
            assert_eq!(names, ["name", "age", "colour", "alive"], "in the schema's order");
            assert!(object["name"].as_str().unwrap().chars().count() <= 12, "{text}");
            assert!(object["age"].as_u64().unwrap() <= 150 && object["alive"].is_boolean(), "{text}");
        }
    }
    let any = json!({ "response_format": { "type": "json_object" }, "max_tokens": 20 });
    assert!(said(&world, &any).await.0.starts_with('{'));
}

#[tokio::test]
async fn grammars_that_cannot_be_used_are_refused_and_the_worker_lives_on() {
    let world = World::real(ONE_INSTANCE).await;
    for (fields, param) in [
        (json!({ "grammar": "root ::= nowhere" }), "grammar"),
        (json!({ "grammar": "start ::= \"a\"" }), "grammar"),
        (json!({ "json_schema": { "type": "colour" } }), "json_schema"),
    ] {
        world.check_refused(&fields, param).await;
    }
    said(&world, &json!({ "max_tokens": 2 })).await;
    let metrics =
        world.client.get(format!("{}/metrics", world.url)).send().await.unwrap().text().await.unwrap();
    let exits = format!("modelpool_worker_exits_total{{model=\"{}\"", world.model);
    assert!(!metrics.contains(&exits), "{metrics}");
}

#[tokio::test]
async fn choices_differ_and_come_again_with_their_seed() {
    let world = World::real(ONE_INSTANCE).await;
    let fields = json!({ "n": 4, "temperature": 1, "seed": 7 });
    let first = texts(&world, "Once upon a time", &fields).await;
    assert_eq!(first.len(), 4);
    for (index, text) in first.iter().enumerate() {
        assert!(!first[..index].contains(text), "{first:?}");
    }
    assert_eq!(texts(&world, "Once upon a time", &fields).await, first);
    let third = texts(&world, "Once upon a time", &json!({ "temperature": 1, "seed": 9 })).await;
    assert_eq!(third, first[2..3], "each can be asked for alone");
}

#[tokio::test]
async fn the_narrowest_filters_leave_the_likeliest_token() {
    let world = World::real(ONE_INSTANCE).await;
    let greedy = texts(&world, "One day, a fox", &json!({ "temperature": 0 })).await;
    for filter in [json!({ "top_k": 1 }), json!({ "min_p": 1 }), json!({ "top_p": 1e-6 })] {
        let mut fields = json!({ "temperature": 1.5, "seed": 3 });
        common::merge(&mut fields, &filter);
        assert_eq!(texts(&world, "One day, a fox", &fields).await, greedy, "{filter}");
    }
}

#[tokio::test]
async fn biases_forbid_and_favour_tokens() {
    let (world, _) = World::fake("").await;
    let greedy = |bias: Value| json!({ "temperature": 0, "max_tokens": 3, "logit_bias": bias });
    assert_eq!(texts(&world, "w", &greedy(json!({}))).await, ["xyz"]);
    // Without x, a is the likeliest token that is left, and b follows a.
    assert_eq!(texts(&world, "w", &greedy(json!([[120, false], [97, 100]]))).await, ["abc"]);
    assert_eq!(texts(&world, "w", &greedy(json!({ "120": false, "98": 50 }))).await, ["bcd"]);
    let mut body = json!({ "model": world.model, "prompt": "w" });
    common::merge(&mut body, &greedy(json!({ "257": 1 })));
    let response = world.post(COMPLETIONS, &body).await;
    assert_eq!(response.status(), 400);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["error"]["param"], "logit_bias", "{answer}");
}

#[tokio::test]
async fn a_text_that_may_not_end_goes_on_to_max_tokens() {
    let (fake, _) = World::fake("").await;
    let real = World::real(ONE_INSTANCE).await;
    for world in [fake, real] {
        let fields = json!({ "temperature": 0, "max_tokens": 300, "ignore_eos": true });
        let whole = answer(&world, CHAT, &world.chat("Say hello.", &fields)).await;
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert_eq!(whole["usage"]["completion_tokens"], 300);
    }
}

#[tokio::test]
async fn a_prompt_that_came_before_is_not_computed_again() {
    let world = World::real(ONE_INSTANCE).await;
    let story = "Once upon a time there was a fox who lived in a forest. ".repeat(8);
    let cached = async |fields: Value| {
        let mut body = json!({ "model": world.model, "prompt": story, "max_tokens": 4, "temperature": 0 });
        common::merge(&mut body, &fields);
        let usage = answer(&world, COMPLETIONS, &body).await["usage"].clone();
        let count = |value: &Value| value.as_u64().unwrap();
        (count(&usage["prompt_tokens_details"]["cached_tokens"]), count(&usage["prompt_tokens"]))
    };
    assert_eq!(cached(json!({})).await.0, 0);
    let (again, prompt) = cached(json!({})).await;
    assert!(again > prompt / 2 && again < prompt, "{again} of {prompt}");
    assert_eq!(cached(json!({ "cache_prompt": false })).await.0, 0);
}
