//! Proves that the API has OpenAI's shapes, that bad requests get a 4xx that names the field, and that the server
//! lives on after each of them. The engine is the fake one.

mod common;

use common::{World, stream};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

#[tokio::test]
async fn answers_have_openais_shapes() {
    let (world, _) = World::fake("").await;
    let body = json!({ "model": world.model, "prompt": "w", "temperature": 0 });
    let response = world.post(COMPLETIONS, &body).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("content-length"));
    assert_eq!(response.headers()["x-modelpool-variant"], "tidepool-3m-f16");
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(
        answer["choices"],
        json!([{ "index": 0, "text": "xyz", "logprobs": null, "finish_reason": "stop" }])
    );
    assert_eq!(
        answer["usage"],
        json!({ "prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5,
            "prompt_tokens_details": { "cached_tokens": 0 } })
    );

    let answer: Value =
        world.post(CHAT, &world.chat("hi", &json!({ "max_tokens": 3 }))).await.json().await.unwrap();
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(answer["model"], world.model.as_str());
    assert_eq!(
        answer["choices"],
        json!([{ "index": 0, "message": { "role": "assistant", "content": "abc" }, "logprobs": null, "finish_reason": "length" }])
    );

    let models: Value =
        world.client.get(format!("{}/v1/models", world.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!(world.model)));
}

#[tokio::test]
async fn streams_send_each_token_and_end_with_done() {
    let (world, _) = World::fake("").await;
    let url = format!("{}{CHAT}", world.url);
    let body = world.chat("hi", &json!({ "stream_options": { "include_usage": true }, "stop": ["f"] }));
    let streamed = stream(&world.client, &url, &body).await;
    assert_eq!(
        (streamed.text.as_str(), streamed.finish.as_deref(), streamed.done),
        ("abcde", Some("stop"), true)
    );
    assert_eq!(streamed.chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(streamed.chunks.len(), 1 + 5 + 1 + 1, "role, tokens, finish, usage");
    assert_eq!(streamed.chunks[7]["usage"]["completion_tokens"], 6);
    assert_eq!(streamed.chunks[7]["choices"], json!([]));

    let body = json!({ "model": world.model, "prompt": [119], "stream": true });
    let streamed = stream(&world.client, &format!("{}{COMPLETIONS}", world.url), &body).await;
    assert_eq!((streamed.text.as_str(), streamed.done), ("xyz", true));
    assert_eq!(streamed.chunks[0]["object"], "text_completion");
}

#[tokio::test]
async fn request_ids_are_echoed_or_made() {
    let (world, _) = World::fake("").await;
    let ask = |id: Option<&str>| {
        let request = world.client.get(format!("{}/health", world.url));
        let request = if let Some(id) = id { request.header("x-request-id", id) } else { request };
        async { request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned() }
    };
    assert_eq!(ask(Some("my-id 7")).await, "my-id 7");
    assert_eq!(ask(None).await.len(), 36);
    assert_eq!(ask(Some(&"x".repeat(200))).await.len(), 36);
}

/// Sends a body and returns status, code, param and message of the error.
async fn error(world: &World, path: &str, body: &Value) -> (u16, String, Option<String>, String) {
    let response = world.post(path, body).await;
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{body}: no JSON: {text}"));
    let error = &answer["error"];
    assert!(error["type"].is_string(), "{answer}");
    let text = |field: &str| error[field].as_str().map(ToOwned::to_owned);
    (status, text("code").unwrap(), text("param"), text("message").unwrap())
}

/// An endpoint, the fields that make a good body bad, and the field that the error must name.
type BadField = ((&'static str, Value), &'static str);

fn bad_prompts() -> Vec<BadField> {
    let messages = |messages: Value| (CHAT, json!({ "messages": messages }));
    let prompt = |value: Value| (COMPLETIONS, json!({ "prompt": value }));
    vec![
        (messages(json!([])), "messages"),
        (messages(json!(null)), "messages"),
        (messages(json!("hi")), "messages"),
        (messages(json!([5])), "messages[0]"),
        (messages(json!([{ "content": "x" }])), "messages[0].role"),
        (messages(json!([{ "role": "pirate", "content": "x" }])), "messages[0].role"),
        (messages(json!([{ "role": 5, "content": "x" }])), "messages[0].role"),
        (messages(json!([{ "role": "user" }])), "messages[0].content"),
        (messages(json!([{ "role": "user", "content": 5 }])), "messages[0].content"),
        (
            messages(json!([{ "role": "user", "content": [{ "type": "image_url" }] }])),
            "messages[0].content[0].type",
        ),
        (
            messages(json!([{ "role": "user", "content": [{ "type": "text" }] }])),
            "messages[0].content[0].text",
        ),
        (
            messages(json!([{ "role": "assistant", "tool_calls": [{}] }])),
            "messages[0].tool_calls[0].function",
        ),
        (messages(json!([{ "role": "user", "content": "x".repeat(2000) }])), "messages"),
        (prompt(json!(null)), "prompt"),
        (prompt(json!(5)), "prompt"),
        (prompt(json!(["a", ["b", ["c"]]])), "prompt"),
        (prompt(json!([-1])), "prompt"),
        (prompt(json!([257])), "prompt"),
        (prompt(json!("")), "prompt"),
        (prompt(json!("x".repeat(1024))), "prompt"),
    ]
}

fn bad_values() -> Vec<BadField> {
    let field = |name: &str, value: Value| (CHAT, json!({ name: value }));
    vec![
        (field("model", json!(null)), "model"),
        (field("model", json!(7)), "model"),
        (field("temperature", json!("hot")), "temperature"),
        (field("temperature", json!(-0.1)), "temperature"),
        (field("temperature", json!(2.1)), "temperature"),
        (field("top_p", json!(0)), "top_p"),
        (field("top_p", json!(1.5)), "top_p"),
        (field("top_k", json!(-1)), "top_k"),
        (field("top_k", json!(1.5)), "top_k"),
        (field("seed", json!("x")), "seed"),
        (field("max_tokens", json!(0)), "max_tokens"),
        (field("max_tokens", json!(-5)), "max_tokens"),
        (field("max_tokens", json!(1e30)), "max_tokens"),
        (field("max_completion_tokens", json!(0)), "max_completion_tokens"),
        (field("stop", json!("")), "stop[0]"),
        (field("stop", json!(["a", ""])), "stop[1]"),
        (field("stop", json!(vec!["a"; 17])), "stop"),
        (field("stop", json!(["a", 5])), "stop"),
        (field("stop", json!(["x".repeat(1025)])), "stop[0]"),
        (field("stream", json!("yes")), "stream"),
        (field("stream_options", json!(5)), "stream_options"),
        (field("n", json!(0)), "n"),
        (field("n", json!(17)), "n"),
        (field("logprobs", json!(3)), "logprobs"),
        (field("top_logprobs", json!(3)), "top_logprobs"),
        (field("tools", json!([{ "type": "function" }])), "tools[0].function"),
        (field("tool_choice", json!("required")), "tool_choice"),
        (field("parallel_tool_calls", json!(1)), "parallel_tool_calls"),
        (field("chat_template_kwargs", json!({ "tools": [] })), "chat_template_kwargs.tools"),
        (field("reasoning_format", json!(1)), "reasoning_format"),
        (field("response_format", json!({ "type": "yaml" })), "response_format.type"),
        (field("grammar", json!("(".repeat(20_000))), "grammar"),
        (field("json_schema", json!({ "enum": vec![0; 30_000] })), "json_schema"),
        (field("logit_bias", json!({ "5": 1000 })), "logit_bias.5"),
        (field("min_p", json!(1.1)), "min_p"),
        (field("repeat_penalty", json!(0)), "repeat_penalty"),
        (field("repeat_last_n", json!(-2)), "repeat_last_n"),
        (field("mirostat", json!(3)), "mirostat"),
    ]
}

#[tokio::test]
async fn bad_fields_are_named() {
    let (world, _) = World::fake("").await;
    for ((path, more), param) in bad_prompts().into_iter().chain(bad_values()) {
        let mut body = world.chat("hi", &json!({ "prompt": "hi" }));
        common::merge(&mut body, &more);
        for stream in [false, true] {
            if more.get("stream").is_none() {
                body["stream"] = stream.into();
            }
            let (status, _, found, message) = error(&world, path, &body).await;
            assert_eq!((status, found.as_deref()), (400, Some(param)), "{more}: {message}");
        }
    }
    works(&world).await;
}

/// A normal request is answered.
async fn works(world: &World) {
    let answer: Value =
        world.post(CHAT, &world.chat("hi", &json!({ "max_tokens": 2 }))).await.json().await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "ab");
}

#[tokio::test]
async fn neutral_values_of_unsupported_fields_are_accepted() {
    let (world, _) = World::fake("").await;
    let neutral = json!({
        "n": 1, "logprobs": false, "top_logprobs": null, "logit_bias": {}, "presence_penalty": 0,
        "frequency_penalty": 0.0, "min_p": 0, "repeat_penalty": 1.0, "ignore_eos": false, "tools": [], "tool_choice": "none", "response_format": { "type": "text" },
        "user": "someone", "metadata": { "a": 1 }, "max_tokens": null, "stop": null, "seed": -5,
        "messages": [{ "role": "developer", "content": [{ "type": "text", "text": "x" }] }],
    });
    let response = world.post(CHAT, &world.chat("hi", &neutral)).await;
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
}

#[tokio::test]
async fn errors_have_the_right_status_and_the_server_lives_on() {
    let (world, _) = World::fake("").await;
    let (status, code, param, message) =
        error(&world, CHAT, &world.chat("x", &json!({ "model": "gpt-7" }))).await;
    assert_eq!((status, code.as_str(), param.as_deref()), (404, "model_not_found", Some("model")));
    assert!(message.contains(&world.model), "{message}");
    let long = json!({ "model": world.model, "prompt": "x".repeat(5000) });
    let (status, code, _, message) = error(&world, COMPLETIONS, &long).await;
    assert_eq!((status, code.as_str()), (400, "context_length_exceeded"));
    assert!(message.contains("5000") && message.contains("1024"), "{message}");
    let (status, code, ..) = error(&world, CHAT, &world.chat(&"x".repeat(100_001), &json!({}))).await;
    assert_eq!((status, code.as_str()), (413, "body_too_large"));
    let (status, code, ..) = error(&world, "/v1/nothing", &json!({})).await;
    assert_eq!((status, code.as_str()), (404, "not_found"));
    let (status, code, ..) = error(&world, "/health", &json!({})).await;
    assert_eq!((status, code.as_str()), (405, "method_not_allowed"));
    let get = world.client.get(format!("{}{CHAT}", world.url)).send().await.unwrap();
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    works(&world).await;
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let (world, _) = World::fake("").await;
    let deep = "[".repeat(50_000);
    let hostile = format!("{{\"model\": \"m\", \"ignored\": {deep}}}");
    for body in ["", "{", "null", "[]", "\"text\"", "{\"model\": }", "\u{0}\u{1}", &deep, &hostile] {
        let response =
            world.client.post(format!("{}{CHAT}", world.url)).body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 400, "{body:.50}");
        let answer: Value = response.json().await.unwrap();
        assert!(answer["error"]["message"].as_str().unwrap().starts_with("the body"), "{answer}");
    }
    let invalid_utf8 = b"{\"model\": \"\xff\"}".to_vec();
    let response = world.client.post(format!("{}{CHAT}", world.url)).body(invalid_utf8).send().await.unwrap();
    assert_eq!(response.status(), 400);
    works(&world).await;
}

#[tokio::test]
async fn health_and_metrics_answer_without_waking_a_model() {
    let (world, controls) = World::fake("").await;
    for path in ["/health", "/metrics", "/v1/models"] {
        let response = world.client.get(format!("{}{path}", world.url)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let head = world.client.head(format!("{}{path}", world.url)).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(controls.loads.load(std::sync::atomic::Ordering::Relaxed), 0);
    works(&world).await;
    let text = world.client.get(format!("{}/metrics", world.url)).send().await.unwrap().text().await.unwrap();
    for series in [
        "modelpool_build_info{",
        "modelpool_ttft_seconds_bucket{",
        "modelpool_memory_total_bytes{device=\"host\"}",
    ] {
        assert!(text.contains(series), "{series} is missing in\n{text}");
    }
    let health: Value =
        world.client.get(format!("{}/health", world.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&health["status"], &health["models"][&world.model]["ready_instances"]),
        (&json!("ok"), &json!(1))
    );
}
