//! What a body of Responses becomes: the conversation that a template gets, and what is asked of the model.

use serde_json::{Map, Value, json};

use super::*;
use crate::chat::{Message, ToolCall};

fn object(more: &Value) -> Map<String, Value> {
    let mut body = json!({ "model": "m", "input": "hi" });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body.as_object().unwrap().clone()
}

fn wished(more: &Value) -> (Wish, Echo) {
    let object = object(more);
    let raw: RawResponses = body::from_object(&object).unwrap();
    let wish = wish(&object, &raw).unwrap_or_else(|error| panic!("{more}: {error}"));
    (wish, Echo::of(&raw).unwrap())
}

#[test]
fn items_become_the_messages_that_templates_know() {
    let text = |kind: &str, text: &str| json!([{ "type": kind, "text": text }]);
    let (wish, _) = wished(&json!({ "instructions": "Be kind.", "input": [
        { "role": "developer", "content": "Be brief." },
        { "role": "user", "content": [{ "type": "input_text", "text": "a" }, { "type": "input_text", "text": "b" }] },
        { "type": "reasoning", "summary": text("summary_text", "short"), "content": text("reasoning_text", "long") },
        { "type": "message", "role": "assistant", "content": text("output_text", "I see.") },
        { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}" },
        { "type": "function_call", "call_id": "c2", "name": "g", "arguments": "" },
        { "type": "function_call_output", "call_id": "c1", "output": "sun" },
        { "type": "function_call_output", "call_id": "c2", "output": text("input_text", "rain") },
        { "type": "reasoning", "summary": text("summary_text", "short"), "encrypted_content": "x" },
        { "role": "assistant", "content": [{ "type": "refusal", "refusal": "No." }] },
        { "role": "user", "content": "So?" },
    ] }));
    let call = |id: &str, name: &str, arguments: Value| ToolCall {
        id: Some(id.into()),
        name: name.into(),
        arguments: arguments.as_object().unwrap().clone(),
    };
    let result = |id: &str, name: &str, text: &str| Message {
        call_id: Some(id.into()),
        name: Some(name.into()),
        ..Message::text("tool", text)
    };
    let expected = [
        Message::text("system", "Be kind.\nBe brief."),
        Message::text("user", "a\nb"),
        Message {
            reasoning: Some("long".into()),
            calls: vec![call("c1", "f", json!({ "a": 1 })), call("c2", "g", json!({}))],
            ..Message::text("assistant", "I see.")
        },
        result("c1", "f", "sun"),
        result("c2", "g", "rain"),
        Message { reasoning: Some("short".into()), ..Message::text("assistant", "No.") },
        Message::text("user", "So?"),
    ];
    assert_eq!(wish.messages, expected);
}

#[test]
fn tools_are_those_of_chats_in_one_level() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "null" } } });
    let tool = json!({ "type": "function", "name": "f", "parameters": schema, "strict": true });
    for (choice, several, expected) in [
        (json!(null), json!(null), (Choice::Auto, None)),
        (json!("none"), json!(null), (Choice::None, None)),
        (json!("required"), json!(true), (Choice::Required, Some(true))),
        (json!({ "type": "function", "name": "f" }), json!(false), (Choice::Named(0), Some(false))),
    ] {
        let more = json!({ "tools": [tool], "tool_choice": choice, "parallel_tool_calls": several });
        let (wish, echo) = wished(&more);
        let function = json!({ "name": "f", "parameters": schema, "strict": true });
        assert_eq!(wish.tools.list[0].definition, json!({ "type": "function", "function": function }));
        assert_eq!((wish.tools.choice, wish.tools.several), expected, "{choice}");
        assert_eq!(echo.parallel_tool_calls, several != false);
    }
}

#[test]
fn effort_and_probabilities_are_asked_for_in_their_own_ways() {
    let variables = |effort: &str| wished(&json!({ "reasoning": { "effort": effort } })).0.variables;
    assert_eq!(Value::Object(variables("low")), json!({ "reasoning_effort": "low" }));
    let none = json!({ "reasoning_effort": "none", "enable_thinking": false, "thinking": false });
    assert_eq!(Value::Object(variables("none")), none);
    let logprobs = |more: &Value| wished(more).1.logprobs;
    assert_eq!(logprobs(&json!({ "include": ["reasoning.encrypted_content"] })), None);
    assert_eq!(logprobs(&json!({ "include": ["message.output_text.logprobs"] })), Some(0));
    assert_eq!(logprobs(&json!({ "top_logprobs": 3 })), Some(3));
}
