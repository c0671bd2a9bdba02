//! Proves that Anthropic's clients find their own API: what they send becomes the same conversation as a chat's, what they
//! get has their shapes, whole and streamed, and faults are told in their words. The engine is the fake one, or llama.cpp
//! with the embedded model where it has to call, to think or to count.

mod common;

use std::sync::atomic::Ordering;

use common::events::{events, types};
use common::hermes::hermes;
use common::keys::{KeysFile, post_as, secret};
use common::{World, merge};
use serde_json::{Value, json};

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";
const ONE_INSTANCE: &str = "  scale: {max_instances: 1}";

fn body(world: &World, more: &Value) -> Value {
    let mut body = json!({ "model": world.model, "max_tokens": 200, "temperature": 0,
        "messages": [{ "role": "user", "content": "hi" }] });
    merge(&mut body, more);
    body
}

async fn message(world: &World, more: &Value) -> Value {
    let response = world.post(MESSAGES, &body(world, more)).await;
    let status = response.status();
    let message: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{more}: {message}");
    message
}

/// What a stream's events come to, as Anthropic's clients put them together.
fn accumulated(events: &[Value]) -> Value {
    let (first, last) = (events.first().unwrap(), events.last().unwrap());
    assert_eq!((&first["type"], &last["type"]), (&json!("message_start"), &json!("message_stop")));
    let mut message = first["message"].clone();
    assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
    let mut input = String::new();
    for event in events {
        let index = event["index"].as_u64().map(|index| usize::try_from(index).unwrap());
        let delta = &event["delta"];
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, message["content"].as_array().map(Vec::len), "{event}");
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = &mut message["content"][index.unwrap()];
                for (kind, field) in [("text_delta", "text"), ("thinking_delta", "thinking")] {
                    if delta["type"] == kind {
                        let so_far = block[field].as_str().unwrap();
                        block[field] = format!("{so_far}{}", delta[field].as_str().unwrap()).into();
                    }
                }
                if delta["type"] == "input_json_delta" {
                    input.push_str(delta["partial_json"].as_str().unwrap());
                    block["input"] = serde_json::from_str(&input).unwrap_or_else(|_| json!({}));
                }
            }
            "content_block_stop" => input.clear(),
            "message_delta" => {
                merge(&mut message, delta);
                merge(&mut message["usage"], &event["usage"]);
            }
            _ => {}
        }
    }
    message
}

/// Checks that a stream comes to the same message as the whole answer, and gives that.
async fn whole_and_streamed(world: &World, more: &Value) -> Value {
    let mut more = more.clone();
    // The second one shall find no more of its prompt than the first.
    more["cache_prompt"] = false.into();
    let whole = message(world, &more).await;
    let streamed = accumulated(&events(world, MESSAGES, &body(world, &more)).await);
    let same = |message: &Value| {
        let mut message = message.clone();
        message["id"] = Value::Null;
        let blocks = message["content"].as_array_mut().unwrap();
        blocks.iter_mut().filter(|block| block["type"] == "tool_use").for_each(|block| {
            assert!(block["id"].as_str().unwrap().starts_with("toolu_"), "{block}");
            block["id"] = Value::Null;
        });
        message
    };
    assert_eq!(same(&whole), same(&streamed));
    whole
}

fn tools() -> Value {
    let schema = json!({ "type": "object", "required": ["city", "unit"], "properties": {
        "city": { "type": "string", "maxLength": 12 }, "unit": { "enum": ["celsius", "fahrenheit"] } } });
    json!([
        { "name": "weather", "description": "Weather in a city", "input_schema": schema, "cache_control": { "type": "ephemeral" } },
        { "type": "custom", "name": "now", "input_schema": { "type": "object", "properties": {}, "additionalProperties": false } },
    ])
}

#[tokio::test]
async fn answers_have_anthropics_shape() {
    let (world, _) = World::fake("").await;
    let answer = whole_and_streamed(&world, &json!({ "max_tokens": 3 })).await;
    assert!(answer["id"].as_str().unwrap().starts_with("msg_"), "{answer}");
    let expected = json!({ "id": answer["id"], "type": "message", "role": "assistant", "model": world.model,
        "content": [{ "type": "text", "text": "abc" }], "stop_reason": "max_tokens", "stop_sequence": null,
        "usage": { "input_tokens": answer["usage"]["input_tokens"], "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "output_tokens": 3, "output_tokens_details": { "thinking_tokens": 0 } } });
    assert_eq!(answer, expected);
    let answer = whole_and_streamed(&world, &json!({ "stop_sequences": ["zz", "de"] })).await;
    assert_eq!(
        (&answer["content"][0]["text"], &answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("abc"), &json!("stop_sequence"), &json!("de"))
    );
    let answer = whole_and_streamed(&world, &json!({})).await;
    assert_eq!((&answer["stop_reason"], &answer["usage"]["output_tokens"]), (&json!("end_turn"), &json!(27)));
}

#[tokio::test]
async fn a_stream_has_anthropics_events_in_their_order() {
    let (world, _) = World::fake("").await;
    let events = events(&world, MESSAGES, &body(&world, &json!({ "max_tokens": 3 }))).await;
    let order = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(types(&events), order);
    assert_eq!(
        events[2],
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "a" } })
    );
    assert!(events[0]["message"]["usage"]["input_tokens"].as_u64().unwrap() > 0, "{}", events[0]);
    assert_eq!(events.last().unwrap(), &json!({ "type": "message_stop" }));
}

#[tokio::test]
async fn what_is_cached_is_told_apart_from_what_is_computed() {
    let (world, _) = World::fake("  slots: 1\n  scale: {max_instances: 1}\n").await;
    let mut usages = Vec::new();
    for _ in 0..2 {
        usages.push(message(&world, &json!({ "max_tokens": 1 })).await["usage"].clone());
    }
    let count = |usage: &Value, field: &str| usage[field].as_u64().unwrap();
    let prompt = count(&usages[0], "input_tokens");
    assert!(count(&usages[1], "cache_read_input_tokens") > 0, "{usages:?}");
    let both = count(&usages[1], "input_tokens") + count(&usages[1], "cache_read_input_tokens");
    assert_eq!(both, prompt, "{usages:?}");
}

#[tokio::test]
async fn tokens_are_counted_as_an_answer_counts_them() {
    let world = World::real(ONE_INSTANCE).await;
    let call = json!({ "type": "tool_use", "id": "toolu_1", "name": "weather", "input": { "city": "Bern" } });
    let result = json!({ "type": "tool_result", "tool_use_id": "toolu_1", "content": [{ "type": "text", "text": "21" }] });
    for more in [
        json!({}),
        json!({ "system": [{ "type": "text", "text": "Be kind.", "cache_control": { "type": "ephemeral" } }] }),
        json!({ "tools": tools(), "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "How warm is it in Bern?" }] },
            { "role": "assistant", "content": [{ "type": "text", "text": "Let me see." }, call] },
            { "role": "user", "content": [result, { "type": "text", "text": "So?" }] },
        ] }),
    ] {
        let mut counted = body(&world, &more);
        counted.as_object_mut().unwrap().remove("max_tokens");
        let counted: Value = world.post(COUNT, &counted).await.json().await.unwrap();
        let mut more = more.clone();
        merge(&mut more, &json!({ "max_tokens": 1, "cache_prompt": false }));
        let usage = &message(&world, &more).await["usage"];
        assert_eq!(counted, json!({ "input_tokens": usage["input_tokens"] }), "{more}");
    }
}

#[tokio::test]
async fn a_tool_that_must_be_used_is_used() {
    let world = World::real(ONE_INSTANCE).await;
    let named = json!({ "tools": tools(), "tool_choice": { "type": "tool", "name": "weather" } });
    for seed in 0..3 {
        let mut more = named.clone();
        merge(&mut more, &json!({ "temperature": 1, "seed": seed }));
        let answer = whole_and_streamed(&world, &more).await;
        let [block] = answer["content"].as_array().unwrap().as_slice() else { panic!("{answer}") };
        assert_eq!((&block["type"], &block["name"]), (&json!("tool_use"), &json!("weather")), "{answer}");
        assert!(["celsius", "fahrenheit"].contains(&block["input"]["unit"].as_str().unwrap()), "{answer}");
        assert_eq!(answer["stop_reason"], "tool_use");
    }
    let any =
        json!({ "tools": tools(), "tool_choice": { "type": "any", "disable_parallel_tool_use": true } });
    assert_eq!(whole_and_streamed(&world, &any).await["stop_reason"], "tool_use");
    let cut =
        message(&world, &json!({ "tools": tools(), "tool_choice": { "type": "any" }, "max_tokens": 12 }))
            .await;
    assert_eq!(cut["stop_reason"], "max_tokens", "{cut}");
    let none = json!({ "tools": tools(), "tool_choice": { "type": "none" }, "max_tokens": 9 });
    assert_eq!(whole_and_streamed(&world, &none).await["content"][0]["type"], "text");
}

#[tokio::test]
async fn thoughts_are_blocks_of_their_own_and_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let world = hermes(folder.path()).await;
    let grammar = "root ::= \"<think>\\nA fox.\\n</think>\\n\\nHello\"";
    let answer = whole_and_streamed(&world, &json!({ "grammar": grammar })).await;
    let thinking = json!({ "type": "thinking", "thinking": "A fox.", "signature": "" });
    assert_eq!(answer["content"], json!([thinking, { "type": "text", "text": "Hello" }]));
    let thoughts = answer["usage"]["output_tokens_details"]["thinking_tokens"].as_u64().unwrap();
    assert!(thoughts > 0 && thoughts < answer["usage"]["output_tokens"].as_u64().unwrap(), "{answer}");
    let streamed = events(&world, MESSAGES, &body(&world, &json!({ "grammar": grammar }))).await;
    assert!(streamed.iter().any(|event| event["delta"]["type"] == "signature_delta"));
    let hidden = json!({ "type": "redacted_thinking", "data": "x" });
    let history = json!({ "max_tokens": 4, "thinking": { "type": "enabled", "budget_tokens": 1024 }, "messages": [
        { "role": "user", "content": "Hi" },
        { "role": "assistant", "content": [thinking, hidden, { "type": "text", "text": "Hello" }] },
        { "role": "user", "content": "And?" },
    ] });
    message(&world, &history).await;
}

#[tokio::test]
async fn a_schema_is_satisfied_and_a_begun_answer_continued() {
    let world = World::real(ONE_INSTANCE).await;
    let format = json!({ "type": "json_schema", "schema": { "type": "object", "required": ["n"],
        "properties": { "n": { "type": "integer", "minimum": 0, "maximum": 9 } }, "additionalProperties": false } });
    for more in [json!({ "output_config": { "format": format } }), json!({ "output_format": format })] {
        let answer = whole_and_streamed(&world, &more).await;
        let text: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
        assert!(text["n"].is_u64(), "{answer}");
    }
    let (fake, _) = World::fake("").await;
    let begun = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "abcw" }]);
    assert_eq!(message(&fake, &json!({ "messages": begun })).await["content"][0]["text"], "xyz");
}

/// The fields that make a good body bad, and what the message begins with.
fn bad_fields() -> Vec<(Value, &'static str)> {
    let content = |role: &str, content: Value| json!({ "messages": [{ "role": role, "content": content }] });
    let tool = |tool: Value| json!({ "tools": [tool] });
    let choice = |choice: Value| json!({ "tools": tools(), "tool_choice": choice });
    vec![
        (json!({ "max_tokens": null }), "max_tokens: missing"),
        (json!({ "max_tokens": 0 }), "max_tokens: expected a whole number of at least 1"),
        (json!({ "messages": [] }), "messages: expected at least one"),
        (json!({ "messages": "hi" }), "messages: invalid type"),
        (json!({ "messages": [{ "role": "user" }] }), "messages[0].content: missing"),
        (content("tool", json!("x")), "messages[0].role: expected user, assistant or system"),
        (content("user", json!(5)), "messages[0].content: expected a string or an array"),
        (content("user", json!([])), "messages[0].content: expected at least one block"),
        (
            content("user", json!([{ "type": "text", "text": "a" }, { "type": "image" }])),
            "messages[0].content[1].type: ",
        ),
        (
            content("user", json!([{ "type": "text", "text": 5 }])),
            "messages[0].content[0].text: expected a string",
        ),
        (content("user", json!([{ "type": "tool_use" }])), "messages[0].content[0].type: "),
        (content("user", json!([{ "type": "tool_result" }])), "messages[0].content[0].tool_use_id: missing"),
        (
            content(
                "user",
                json!([{ "type": "tool_result", "tool_use_id": "a", "content": [{ "type": "image" }] }]),
            ),
            "messages[0].content[0].content[0].type: expected text",
        ),
        (content("assistant", json!([{ "type": "tool_result" }])), "messages[0].content[0].type: "),
        (
            content("assistant", json!([{ "type": "tool_use", "id": "a", "name": "b", "input": "c" }])),
            "messages[0].content[0].input: expected an object",
        ),
        (json!({ "system": 5 }), "system: expected a string or an array"),
        (json!({ "system": [{ "type": "image" }] }), "system[0].type: expected text"),
        (json!({ "stop_sequences": [""] }), "stop_sequences[0]: "),
        (json!({ "temperature": 3 }), "temperature: "),
        (
            tool(json!({ "type": "web_search_20250305", "name": "web_search" })),
            "tools[0].type: this server runs no tools",
        ),
        (tool(json!({ "name": "a b" })), "tools[0].name: "),
        (tool(json!({ "name": "a", "input_schema": { "type": "string" } })), "tools[0].input_schema: "),
        (tool(json!({ "input_schema": {} })), "tools[0].name: missing"),
        (choice(json!({ "type": "required" })), "tool_choice.type: expected auto, any, tool or none"),
        (choice(json!({ "type": "tool", "name": "x" })), "tool_choice.name: "),
        (choice(json!({ "type": "tool" })), "tool_choice.name: missing"),
        (json!({ "tool_choice": { "type": "any" } }), "tool_choice: there is nothing to choose"),
        (json!({ "thinking": { "type": "enabled" } }), "thinking.budget_tokens: missing"),
        (json!({ "thinking": { "type": "deep" } }), "thinking.type: "),
        (json!({ "output_config": { "format": { "type": "xml" } } }), "output_config.format.type: "),
        (json!({ "output_config": { "effort": 5 } }), "output_config.effort: "),
        (json!({ "mcp_servers": [{}] }), "mcp_servers: "),
        // Only the engine sees these two.
        (content("user", json!("x".repeat(2000))), "messages: the prompt has"),
        (
            json!({ "output_config": { "format": { "type": "json_schema", "schema": {} } } }),
            "output_config.format.schema: ",
        ),
    ]
}

#[tokio::test]
async fn faults_are_named_in_anthropics_words() {
    let (world, _) = World::fake("").await;
    for (more, start) in bad_fields() {
        for stream in [false, true] {
            let mut body = body(&world, &more);
            body["stream"] = stream.into();
            let response = world.post(MESSAGES, &body).await;
            assert_eq!(response.status(), 400, "{more}");
            let id = response.headers()["request-id"].to_str().unwrap().to_owned();
            assert_eq!(response.headers()["x-request-id"], id.as_str());
            let answer: Value = response.json().await.unwrap();
            assert_eq!(
                (&answer["type"], &answer["error"]["type"], &answer["request_id"]),
                (&json!("error"), &json!("invalid_request_error"), &json!(id))
            );
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.starts_with(start), "{more}: {message}");
        }
    }
    assert_eq!(message(&world, &json!({ "max_tokens": 2 })).await["content"][0]["text"], "ab");
}

#[tokio::test]
async fn every_refusal_has_anthropics_shape() {
    let file = KeysFile::new(&[("a", ", requests_per_minute: 3")]);
    let path = file.path.clone();
    let (world, _) = World::fake_with("", |policy| policy.server.api_keys_file = Some(path)).await;
    let check = async |response: reqwest::Response, status: u16, kind: &str| {
        assert_eq!(response.status(), status, "{kind}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!((&answer["type"], &answer["error"]["type"]), (&json!("error"), &json!(kind)), "{answer}");
    };
    let url = format!("{}{MESSAGES}", world.url);
    let good = body(&world, &json!({ "max_tokens": 1 }));
    check(world.post(MESSAGES, &good).await, 401, "authentication_error").await;
    check(world.post(COUNT, &good).await, 401, "authentication_error").await;
    let wrong_method = world.client.get(&url).header("x-api-key", secret("a")).send().await.unwrap();
    assert_eq!(wrong_method.headers()["allow"], "POST");
    check(wrong_method, 405, "invalid_request_error").await;
    let unknown = body(&world, &json!({ "model": "gpt-7" }));
    check(post_as(&world.client, &url, "a", &unknown).await, 404, "not_found_error").await;
    let large = body(&world, &json!({ "system": "x".repeat(200_000) }));
    check(post_as(&world.client, &url, "a", &large).await, 413, "request_too_large").await;
    for _ in 0..3 {
        assert_eq!(post_as(&world.client, &url, "a", &good).await.status(), 200);
    }
    let limited = post_as(&world.client, &url, "a", &good).await;
    assert!(limited.headers().contains_key("retry-after"));
    check(limited, 429, "rate_limit_error").await;
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error() {
    let (world, controls) = World::fake("").await;
    message(&world, &json!({ "max_tokens": 1 })).await;
    controls.decode_micros.store(100_000, Ordering::Relaxed);
    let events = events(&world, MESSAGES, &body(&world, &json!({ "timeout": 0.8 }))).await;
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("timeout_error")), "{last}");
    assert!(types(&events).contains(&"content_block_delta"), "{events:?}");
    assert!(!types(&events).contains(&"message_stop"), "{events:?}");
}

#[tokio::test]
async fn what_is_refused_after_a_wait_is_told_in_each_apis_own_event() {
    let rest = "  slots: 1\n  scale: { max_instances: 1 }\n  queue: { timeout_ms: 1500 }";
    let (world, controls) = World::fake(rest).await;
    controls.decode_micros.store(300_000, Ordering::Relaxed);
    let running = world.post(MESSAGES, &body(&world, &json!({ "stream": true }))).await;
    assert_eq!(running.status(), 200);
    let (messages, responses) =
        tokio::join!(async { events(&world, MESSAGES, &body(&world, &json!({}))).await }, async {
            events(&world, "/v1/responses", &json!({ "model": world.model, "input": "hi", "temperature": 0 }))
                .await
        },);
    let [refused] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!((&refused["type"], &refused["error"]["type"]), (&json!("error"), &json!("overloaded_error")));
    let [refused] = responses.as_slice() else { panic!("{responses:?}") };
    assert_eq!((&refused["code"], &refused["sequence_number"]), (&json!("queue_timeout"), &json!(0)));
}
