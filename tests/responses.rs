//! Proves that clients of OpenAI's Responses find their own API: items become the same conversation as a chat's, answers and
//! events have their shapes and their order, whole and streamed, and what needs kept answers is refused. The engine is the
//! fake one, or llama.cpp with the embedded model where it has to call or to think.

mod common;

use std::sync::atomic::Ordering;

use common::events::{events, types};
use common::hermes::hermes;
use common::{World, merge};
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";
const ONE_INSTANCE: &str = "  scale: {max_instances: 1}";

fn body(world: &World, more: &Value) -> Value {
    let mut body = json!({ "model": world.model, "input": "hi", "temperature": 0 });
    merge(&mut body, more);
    body
}

async fn response(world: &World, more: &Value) -> Value {
    let response = world.post(RESPONSES, &body(world, more)).await;
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{more}: {answer}");
    answer
}

/// Checks that events are numbered, that each item is told from its beginning to its end, and that all pieces of it are what
/// it has at the end; gives the last response.
fn check_events(events: &[Value]) -> Value {
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], json!(number), "{event}");
    }
    assert_eq!(types(&events[..2]), ["response.created", "response.in_progress"]);
    assert_eq!(
        (&events[0]["response"]["output"], &events[0]["response"]["status"]),
        (&json!([]), &json!("in_progress"))
    );
    let last = &events.last().unwrap()["response"];
    for (index, item) in last["output"].as_array().unwrap().iter().enumerate() {
        let of_item: Vec<&Value> =
            events.iter().filter(|event| event["output_index"] == json!(index)).collect();
        let names: Vec<&str> = of_item.iter().map(|event| event["type"].as_str().unwrap()).collect();
        let (first, end) = (of_item[0], of_item[of_item.len() - 1]);
        assert_eq!(
            (names[0], names[names.len() - 1]),
            ("response.output_item.added", "response.output_item.done")
        );
        assert_eq!((&first["item"]["status"], &first["item"]["id"]), (&json!("in_progress"), &item["id"]));
        assert_eq!(&end["item"], item);
        let pieces: String = of_item.iter().filter_map(|event| event["delta"].as_str()).collect();
        let (kind, expected) = match item["type"].as_str().unwrap() {
            "message" => ("output_text", &item["content"][0]["text"]),
            "reasoning" => ("reasoning_text", &item["content"][0]["text"]),
            "function_call" => ("function_call_arguments", &item["arguments"]),
            other => panic!("{other}"),
        };
        assert_eq!(json!(pieces), *expected, "{item}");
        let mut order = vec!["response.output_item.added".to_owned()];
        let part = |end: &str| format!("response.content_part.{end}");
        let has_part = kind != "function_call_arguments";
        order.extend(has_part.then(|| part("added")));
        order.extend([format!("response.{kind}.delta"), format!("response.{kind}.done")]);
        order.extend(has_part.then(|| part("done")));
        order.push("response.output_item.done".into());
        let mut names = names;
        names.dedup();
        assert_eq!(names, order, "{item}");
        let content = of_item.iter().filter(|event| event.get("item").is_none());
        content.for_each(|event| assert_eq!(event["item_id"], item["id"], "{event}"));
    }
    last.clone()
}

/// Checks that a stream comes to the same response as the whole answer, and gives that.
async fn whole_and_streamed(world: &World, more: &Value) -> Value {
    let mut more = more.clone();
    // The second one shall find no more of its prompt than the first.
    more["cache_prompt"] = false.into();
    let whole = response(world, &more).await;
    let events = events(world, RESPONSES, &body(world, &more)).await;
    let status = whole["status"].as_str().unwrap();
    assert_eq!(types(&events).last(), Some(&format!("response.{status}").as_str()));
    let same = |response: &Value| {
        let mut response = response.clone();
        merge(&mut response, &json!({ "id": null, "created_at": null, "completed_at": null }));
        for item in response["output"].as_array_mut().unwrap() {
            merge(item, &json!({ "id": null, "call_id": null }));
        }
        response
    };
    assert_eq!(same(&whole), same(&check_events(&events)));
    whole
}

fn tools() -> Value {
    let schema = json!({ "type": "object", "required": ["city", "unit"], "additionalProperties": false, "properties": {
        "city": { "type": "string", "maxLength": 12 }, "unit": { "enum": ["celsius", "fahrenheit"] } } });
    json!([{ "type": "function", "name": "weather", "description": "Weather in a city", "parameters": schema, "strict": true }])
}

#[tokio::test]
async fn answers_have_the_shape_that_clients_parse() {
    let (world, _) = World::fake("").await;
    let more = json!({ "max_output_tokens": 3, "metadata": { "a": "b" }, "instructions": "Be kind.", "user": "u",
        "store": true, "truncation": "auto", "include": ["reasoning.encrypted_content"] });
    let answer = whole_and_streamed(&world, &more).await;
    assert!(answer["id"].as_str().unwrap().starts_with("resp_"), "{answer}");
    assert!(answer["output"][0]["id"].as_str().unwrap().starts_with("msg_"), "{answer}");
    let input = answer["usage"]["input_tokens"].as_u64().unwrap();
    let text = json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": "abc" });
    let expected = json!({
        "id": answer["id"], "object": "response", "created_at": answer["created_at"], "completed_at": null,
        "status": "incomplete", "background": false, "error": null,
        "incomplete_details": { "reason": "max_output_tokens" }, "instructions": "Be kind.", "max_output_tokens": 3,
        "max_tool_calls": null, "model": world.model,
        "output": [{ "type": "message", "id": answer["output"][0]["id"], "status": "incomplete", "role": "assistant", "content": [text] }],
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": { "effort": null, "summary": null },
        "service_tier": "default", "store": false, "temperature": 0.0, "text": { "format": { "type": "text" } },
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": answer["top_p"], "truncation": "disabled",
        "usage": { "input_tokens": input, "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": 3, "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": input + 3 },
        "user": null, "metadata": { "a": "b" },
    });
    assert_eq!(answer, expected);
    let answer = whole_and_streamed(&world, &json!({})).await;
    assert_eq!((&answer["status"], &answer["incomplete_details"]), (&json!("completed"), &Value::Null));
    assert!(answer["completed_at"].is_u64(), "{answer}");
}

#[tokio::test]
async fn items_of_all_kinds_are_a_conversation_that_goes_on() {
    let (world, _) = World::fake("").await;
    let text = |kind: &str, text: &str| json!([{ "type": kind, "text": text, "annotations": [] }]);
    let input = json!([
        { "role": "developer", "content": "Be kind." },
        { "type": "message", "role": "user", "content": text("input_text", "How warm is it?") },
        { "type": "reasoning", "id": "rs_1", "summary": [], "content": [{ "type": "reasoning_text", "text": "Hm." }] },
        { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{\"city\": \"Bern\"}", "status": "completed" },
        { "type": "function_call_output", "call_id": "c1", "output": text("input_text", "21") },
        { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": text("output_text", "abcw") },
    ]);
    let answer = response(&world, &json!({ "input": input })).await;
    assert_eq!(answer["output"][0]["content"][0]["text"], "xyz", "the last message is continued");
}

#[tokio::test]
async fn a_function_that_must_be_called_is_called_and_its_result_goes_back() {
    let world = World::real(ONE_INSTANCE).await;
    for choice in [json!("required"), json!({ "type": "function", "name": "weather" })] {
        let more = json!({ "tools": tools(), "tool_choice": choice, "temperature": 1, "seed": 5 });
        let answer = whole_and_streamed(&world, &more).await;
        let [call] = answer["output"].as_array().unwrap().as_slice() else { panic!("{answer}") };
        assert_eq!(
            (&call["type"], &call["name"], &call["status"]),
            (&json!("function_call"), &json!("weather"), &json!("completed"))
        );
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert!(["celsius", "fahrenheit"].contains(&arguments["unit"].as_str().unwrap()), "{answer}");
        assert_eq!((&answer["tools"], &answer["tool_choice"]), (&tools(), &choice));
        let input = json!([
            { "role": "user", "content": "How warm is it in Bern?" }, call,
            { "type": "function_call_output", "call_id": call["call_id"], "output": "21 degrees" },
        ]);
        let answer =
            response(&world, &json!({ "input": input, "tools": tools(), "max_output_tokens": 12 })).await;
        assert!(!answer["output"][0]["content"][0]["text"].as_str().unwrap().is_empty(), "{answer}");
    }
    let none =
        response(&world, &json!({ "tools": tools(), "tool_choice": "none", "max_output_tokens": 9 })).await;
    assert_eq!(none["output"][0]["type"], "message");
}

#[tokio::test]
async fn thoughts_are_an_item_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let world = hermes(folder.path()).await;
    let grammar = "root ::= \"<think>\\nA fox.\\n</think>\\n\\nHello\"";
    let more = json!({ "grammar": grammar, "include": ["message.output_text.logprobs"], "top_logprobs": 2 });
    let answer = whole_and_streamed(&world, &more).await;
    let [thoughts, message] = answer["output"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((&thoughts["type"], &thoughts["summary"]), (&json!("reasoning"), &json!([])));
    assert_eq!(thoughts["content"], json!([{ "type": "reasoning_text", "text": "A fox." }]));
    let content = &message["content"][0];
    assert_eq!(content["text"], "Hello");
    let figures = content["logprobs"].as_array().unwrap();
    assert!(figures.iter().all(|token| token["top_logprobs"].as_array().unwrap().len() == 2), "{content}");
    let written: String = figures.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert!(written.ends_with("Hello") && !written.contains("fox"), "{written}");
    let reasoning = answer["usage"]["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    assert!(reasoning > 0 && reasoning < answer["usage"]["output_tokens"].as_u64().unwrap(), "{answer}");
}

#[tokio::test]
async fn a_schema_is_satisfied() {
    let world = World::real(ONE_INSTANCE).await;
    let schema = json!({ "type": "object", "required": ["n"], "additionalProperties": false,
        "properties": { "n": { "type": "integer", "minimum": 0, "maximum": 9 } } });
    let format = json!({ "type": "json_schema", "name": "digit", "strict": true, "schema": schema });
    let answer = whole_and_streamed(&world, &json!({ "text": { "format": format } })).await;
    let text: Value =
        serde_json::from_str(answer["output"][0]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert!(text["n"].is_u64(), "{answer}");
    assert_eq!(answer["text"], json!({ "format": format }));
}

/// The fields that make a good body bad, and the field that the error must name.
fn bad_fields() -> Vec<(Value, &'static str)> {
    let item = |item: Value| json!({ "input": [item] });
    let content = |content: Value| json!({ "input": [{ "role": "user", "content": content }] });
    let many: serde_json::Map<_, _> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
    vec![
        (json!({ "input": null }), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": 5 }), "input"),
        (json!({ "input": [5] }), "input[0]"),
        (item(json!({ "type": "item_reference", "id": "x" })), "input[0].type"),
        (item(json!({ "type": "web_search_call" })), "input[0].type"),
        (item(json!({ "role": "user" })), "input[0].content"),
        (item(json!({ "content": "x" })), "input[0].role"),
        (item(json!({ "role": "pirate", "content": "x" })), "input[0].role"),
        (
            content(json!([{ "type": "input_text", "text": "a" }, { "type": "input_image" }])),
            "input[0].content[1].type",
        ),
        (content(json!([{ "type": "input_text" }])), "input[0].content[0].text"),
        (item(json!({ "type": "function_call", "call_id": "a", "name": "f" })), "input[0].arguments"),
        (
            item(json!({ "type": "function_call", "call_id": "a", "name": "f", "arguments": "{" })),
            "input[0].arguments",
        ),
        (item(json!({ "type": "function_call_output", "output": "x" })), "input[0].call_id"),
        (item(json!({ "type": "function_call_output", "call_id": "a" })), "input[0].output"),
        (json!({ "previous_response_id": "resp_1" }), "previous_response_id"),
        (json!({ "conversation": { "id": "c" } }), "conversation"),
        (json!({ "background": true }), "background"),
        (json!({ "prompt": { "id": "p" } }), "prompt"),
        (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "temperature": 3 }), "temperature"),
        (json!({ "instructions": 5 }), "instructions"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].name"),
        (json!({ "tools": [{ "type": "function", "name": "f", "parameters": 5 }] }), "tools[0].parameters"),
        (json!({ "tools": tools(), "tool_choice": { "type": "web_search" } }), "tool_choice"),
        (json!({ "tools": tools(), "tool_choice": { "type": "function", "name": "f" } }), "tool_choice.name"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "parallel_tool_calls": 1 }), "parallel_tool_calls"),
        (json!({ "text": { "format": { "type": "yaml" } } }), "text.format.type"),
        (json!({ "text": { "format": { "type": "json_schema" } } }), "text.format.schema"),
        (json!({ "reasoning": { "effort": 5 } }), "reasoning.effort"),
        (json!({ "top_logprobs": 21 }), "top_logprobs"),
        (json!({ "metadata": many }), "metadata"),
        (json!({ "metadata": { "a": 5 } }), "metadata.a"),
        // Only the engine sees these two.
        (json!({ "input": "x".repeat(2000) }), "input"),
        (json!({ "text": { "format": { "type": "json_schema", "schema": {} } } }), "text.format.schema"),
    ]
}

#[tokio::test]
async fn faults_are_named() {
    let (world, _) = World::fake("").await;
    for (more, param) in bad_fields() {
        for stream in [false, true] {
            let mut body = body(&world, &more);
            body["stream"] = stream.into();
            let response = world.post(RESPONSES, &body).await;
            assert_eq!(response.status(), 400, "{more}");
            let answer: Value = response.json().await.unwrap();
            assert_eq!(answer["error"]["param"], param, "{more}: {answer}");
            assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
        }
    }
    let unknown = world.post(RESPONSES, &body(&world, &json!({ "model": "gpt-7" }))).await;
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.json::<Value>().await.unwrap()["error"]["code"], "model_not_found");
    assert_eq!(
        response(&world, &json!({ "max_output_tokens": 2 })).await["output"][0]["content"][0]["text"],
        "ab"
    );
}

#[tokio::test]
async fn a_stream_that_breaks_fails_and_says_why() {
    let (world, controls) = World::fake("").await;
    response(&world, &json!({ "max_output_tokens": 1 })).await;
    controls.decode_micros.store(100_000, Ordering::Relaxed);
    let events = events(&world, RESPONSES, &body(&world, &json!({ "timeout": 0.8 }))).await;
    let [.., failed, error] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (&failed["type"], &failed["response"]["status"]),
        (&json!("response.failed"), &json!("failed"))
    );
    assert_eq!(failed["response"]["error"]["code"], "server_error");
    assert_eq!(failed["response"]["output"][0]["status"], "incomplete");
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("deadline_exceeded")));
    assert_eq!(error["message"], error["error"]["message"]);
    assert_eq!(error["sequence_number"], json!(events.len() - 1));
}
