//! Proves that functions can be called over HTTP as OpenAI's clients expect it, by a real model and in the way of its
//! family: a call that must be is one, whole and streamed; what is thought and what is called is told apart from what is
//! said. llama.cpp with the embedded model, once as it is and once with the template of another family in its file.

mod common;

use common::hermes::hermes;
use common::{World, stream};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const ONE_INSTANCE: &str = "  scale: {max_instances: 1}";

fn tools() -> Value {
    let weather = json!({
        "type": "object",
        "properties": {
            "city": { "$ref": "#/$defs/city" },
            "unit": { "enum": ["celsius", "fahrenheit"] },
        },
        "required": ["city", "unit"],
        "$defs": { "city": { "type": "string", "maxLength": 12 } },
    });
    let add = json!({
        "type": "object",
        "properties": { "numbers": { "type": "array", "items": { "type": "integer", "maximum": 99, "minimum": 0 }, "minItems": 2, "maxItems": 3 } },
        "required": ["numbers"],
    });
    json!([
        { "type": "function", "function": { "name": "weather", "description": "Weather in a city", "parameters": weather } },
        { "type": "function", "function": { "name": "add", "description": "Adds numbers", "parameters": add } },
    ])
}

/// A chat with the tools, answered.
async fn choice(world: &World, fields: &Value) -> Value {
    let mut body = world.chat("How warm is it in Bern?", &json!({ "tools": tools(), "max_tokens": 400 }));
    common::merge(&mut body, fields);
    let response = world.post(CHAT, &body).await;
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{fields}: {answer}");
    answer["choices"][0].clone()
}

/// Checks that a call is one of `weather` or `add` with arguments that satisfy its schema; gives its name.
fn check_call(call: &Value) -> String {
    assert_eq!(call["type"], "function", "{call}");
    assert!(call["id"].as_str().is_some_and(|id| !id.is_empty()), "{call}");
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    let name = call["function"]["name"].as_str().unwrap();
    match name {
        "weather" => {
            assert!(arguments["city"].as_str().unwrap().chars().count() <= 12, "{call}");
            assert!(["celsius", "fahrenheit"].contains(&arguments["unit"].as_str().unwrap()), "{call}");
        }
        "add" => assert!((2..=3).contains(&arguments["numbers"].as_array().unwrap().len()), "{call}"),
        other => panic!("no function is called {other}"),
    }
    name.to_owned()
}

/// Puts a streamed call together from its pieces, which must come as OpenAI sends them.
fn calls_of(chunks: &[Value]) -> Vec<Value> {
    let mut calls: Vec<Value> = Vec::new();
    for piece in chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0)) {
        let index = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
        let arguments = piece["function"]["arguments"].as_str().unwrap();
        if index == calls.len() {
            assert_eq!((arguments, &piece["type"]), ("", &json!("function")), "{piece}");
            calls.push(piece.clone());
        } else {
            assert_eq!(index + 1, calls.len(), "{piece}");
            assert!(piece.get("id").is_none() && piece["function"].get("name").is_none(), "{piece}");
            let so_far = calls[index]["function"]["arguments"].as_str().unwrap();
            calls[index]["function"]["arguments"] = format!("{so_far}{arguments}").into();
        }
    }
    calls
}

async fn streamed(world: &World, fields: &Value) -> common::Streamed {
    let mut body = world.chat("How warm is it in Bern?", &json!({ "tools": tools(), "max_tokens": 400 }));
    common::merge(&mut body, fields);
    let streamed = stream(&world.client, &format!("{}{CHAT}", world.url), &body).await;
    assert!(streamed.done && streamed.error.is_none(), "{streamed:?}");
    streamed
}

#[tokio::test]
async fn a_call_that_must_be_is_one() {
    let world = World::real(ONE_INSTANCE).await;
    for seed in 0..4 {
        let named = json!({ "type": "function", "function": { "name": "add" } });
        let fields = json!({ "tool_choice": named, "temperature": 1.2, "seed": seed });
        let choice = choice(&world, &fields).await;
        assert_eq!(
            (&choice["finish_reason"], &choice["message"]["content"]),
            (&json!("tool_calls"), &Value::Null),
            "{choice}"
        );
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        assert_eq!((calls.len(), check_call(&calls[0]).as_str()), (1, "add"), "{choice}");
        assert!(calls[0].get("index").is_none(), "only streams have it: {choice}");
    }
    let required = json!({ "tool_choice": "required", "temperature": 1, "seed": 5 });
    let whole = choice(&world, &required).await;
    check_call(&whole["message"]["tool_calls"][0]);
    let streamed = streamed(&world, &required).await;
    let calls = calls_of(&streamed.chunks);
    assert_eq!(
        (streamed.finish.as_deref(), streamed.text.as_str(), calls.len()),
        (Some("tool_calls"), "", 1)
    );
    assert_eq!(calls[0]["function"], whole["message"]["tool_calls"][0]["function"], "the same call, whole");
    check_call(&calls[0]);
    let pieces =
        streamed.chunks.iter().filter(|chunk| chunk["choices"][0]["delta"].get("tool_calls").is_some());
    assert!(pieces.count() > 3, "arguments come as they are generated");
}

#[tokio::test]
async fn a_call_that_is_cut_off_says_so() {
    let world = World::real(ONE_INSTANCE).await;
    let choice =
        choice(&world, &json!({ "tool_choice": "required", "max_tokens": 12, "temperature": 0 })).await;
    assert_eq!(choice["finish_reason"], "length", "{choice}");
}

#[tokio::test]
async fn several_calls_come_where_several_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let world = hermes(folder.path()).await;
    let fields = json!({ "tool_choice": "required", "parallel_tool_calls": true, "temperature": 1.5, "max_tokens": 700 });
    let mut most = 0;
    for seed in 0..8 {
        let mut fields = fields.clone();
        fields["seed"] = seed.into();
        let choice = choice(&world, &fields).await;
        // It may think until nothing is left.
        let Some(calls) = choice["message"]["tool_calls"].as_array() else { continue };
        // The last one may be cut off.
        let whole = if choice["finish_reason"] == "length" { calls.len() - 1 } else { calls.len() };
        calls[..whole].iter().for_each(|call| drop(check_call(call)));
        most = most.max(whole);
    }
    assert!(most > 1, "at most {most} calls");
}

#[tokio::test]
async fn a_model_calls_in_the_way_of_its_family_and_may_think_before() {
    let folder = tempfile::tempdir().unwrap();
    let world = hermes(folder.path()).await;
    let said = |grammar: &str, more: Value| {
        let mut body =
            world.chat("Hi", &json!({ "grammar": format!("root ::= {grammar}"), "temperature": 0 }));
        common::merge(&mut body, &more);
        let world = &world;
        async move { world.post(CHAT, &body).await.json::<Value>().await.unwrap()["choices"][0].clone() }
    };
    let thoughts = "\"<think>\\nA fox.\\n</think>\\n\\nHello\"";
    let choice_of = said(thoughts, json!({})).await;
    let message = json!({ "role": "assistant", "content": "Hello", "reasoning_content": "A fox." });
    assert_eq!((&choice_of["message"], &choice_of["finish_reason"]), (&message, &json!("stop")));
    let whole = said(thoughts, json!({ "reasoning_format": "none" })).await;
    assert_eq!(whole["message"]["content"], "<think>\nA fox.\n</think>\n\nHello");
    for seed in 0..3 {
        let choice =
            choice(&world, &json!({ "tool_choice": "required", "temperature": 1.5, "seed": seed })).await;
        if choice["finish_reason"] == "tool_calls" {
            check_call(&choice["message"]["tool_calls"][0]);
        } else {
            // It thought until nothing was left.
            assert!(choice["message"]["reasoning_content"].is_string(), "{choice}");
        }
    }
}

#[tokio::test]
async fn a_model_that_may_call_may_as_well_answer() {
    let world = World::real(ONE_INSTANCE).await;
    for fields in [json!({ "temperature": 0 }), json!({ "temperature": 0, "tool_choice": "none" })] {
        let choice = choice(&world, &fields).await;
        assert!(choice["message"]["content"].as_str().is_some_and(|text| !text.is_empty()), "{choice}");
        assert!(choice["message"].get("tool_calls").is_none(), "{choice}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_call_satisfies_its_schema() {
    let world = World::real(ONE_INSTANCE).await;
    let begun_with = async |token: &str| {
        let fields =
            json!({ "json_schema": { "type": "boolean" }, "temperature": 0, "logit_bias": { token: 100 } });
        choice(&world, &fields).await
    };
    // What the demo model begins with is decided here: token 86 is "t", 93 is "{".
    let answer = begun_with("86").await;
    assert_eq!(
        (&answer["message"]["content"], &answer["finish_reason"]),
        (&json!("true"), &json!("stop")),
        "{answer}"
    );
    let call = begun_with("93").await;
    check_call(&call["message"]["tool_calls"][0]);
}

#[tokio::test]
async fn results_go_back_to_the_model() {
    let world = World::real(ONE_INSTANCE).await;
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\": \"Bern\"}" } });
    let messages = json!([
        { "role": "user", "content": "How warm is it in Bern?" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_1", "content": "21 degrees" },
    ]);
    let choice = choice(&world, &json!({ "messages": messages, "max_tokens": 16 })).await;
    assert!(choice["message"]["content"].is_string(), "{choice}");
}

#[tokio::test]
async fn faults_are_named_and_the_worker_lives_on() {
    let world = World::real(ONE_INSTANCE).await;
    let unknown = json!({ "type": "object", "properties": { "a": { "type": "colour" } } });
    let bad = json!([{ "type": "function", "function": { "name": "f", "parameters": unknown } }]);
    for (fields, param) in [
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "a b" } }] }),
            "tools[0].function.name",
        ),
        (json!({ "tool_choice": "always", "tools": tools() }), "tool_choice"),
        (json!({ "tools": tools(), "grammar": "root ::= \"a\"" }), "tools"),
        (json!({ "tools": bad, "tool_choice": "required" }), "tools[0].function.parameters"),
    ] {
        world.check_refused(&fields, param).await;
    }
    choice(&world, &json!({ "max_tokens": 2 })).await;
}
