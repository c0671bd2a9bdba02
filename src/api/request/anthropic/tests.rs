//! What Anthropic's bodies become: the conversation that a template gets, and what is asked of the model.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::*;
use crate::catalog::Catalog;
use crate::chat::Message;
use crate::policy::Policy;

fn catalog() -> Catalog {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let text = "models: [{name: m, context_tokens: 1024, variants: [{path: tidepool-3m-f16.gguf}]}]";
    let policy = Policy::parse(text, "p", &files).unwrap_or_else(|error| panic!("{error}"));
    Catalog::read(&policy.models, &files)
}

fn object(more: &Value) -> Map<String, Value> {
    let mut body =
        json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }] });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body.as_object().unwrap().clone()
}

fn wished(more: &Value) -> Wish {
    let object = object(more);
    wish(&object, body::from_object(&object).unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn blocks_become_the_messages_that_templates_know() {
    let text = |text: &str| json!({ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } });
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "f", "input": { "a": 1 } });
    let wish = wished(&json!({ "system": [text("Be"), text("kind.")], "messages": [
        { "role": "user", "content": [text("One."), text("Two.")] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "Hm.", "signature": "s" }, { "type": "redacted_thinking", "data": "x" },
            text("I "), text("see."), call("t1"), call("t2"),
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t1", "content": [text("sun"), text("wind")] },
            { "type": "tool_result", "tool_use_id": "t2", "content": "none", "is_error": true },
            { "type": "tool_result", "tool_use_id": "t3" },
            text("So?"),
        ] },
        { "role": "user", "content": "Well?" },
    ] }));
    let calls = ["t1", "t2"].map(|id| crate::chat::ToolCall {
        id: Some(id.into()),
        name: "f".into(),
        arguments: json!({ "a": 1 }).as_object().unwrap().clone(),
    });
    let result = |id: &str, name: Option<&str>, text: &str| Message {
        call_id: Some(id.into()),
        name: name.map(Into::into),
        ..Message::text("tool", text)
    };
    let expected = [
        Message::text("system", "Be\nkind."),
        Message::text("user", "One.\nTwo."),
        Message {
            reasoning: Some("Hm.".into()),
            calls: calls.into(),
            ..Message::text("assistant", "I see.")
        },
        result("t1", Some("f"), "sun\nwind"),
        result("t2", Some("f"), "Error: none"),
        result("t3", None, ""),
        Message::text("user", "So?\nWell?"),
    ];
    assert_eq!(wish.messages, expected);
}

#[test]
fn tools_reach_templates_as_openais_do() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "null" } } });
    let tool =
        json!({ "name": "f", "description": "d", "input_schema": schema, "eager_input_streaming": true });
    let check = |choice: Value, expected: Choice, several: Option<bool>| {
        let tools = wished(&json!({ "tools": [tool], "tool_choice": choice })).tools;
        let function = json!({ "name": "f", "description": "d", "parameters": schema });
        assert_eq!(tools.list[0].definition, json!({ "type": "function", "function": function }));
        assert_eq!((tools.choice, tools.several), (expected, several), "{choice}");
    };
    check(json!(null), Choice::Auto, None);
    check(json!({ "type": "auto", "disable_parallel_tool_use": true }), Choice::Auto, Some(false));
    check(json!({ "type": "any", "disable_parallel_tool_use": false }), Choice::Required, Some(true));
    check(json!({ "type": "tool", "name": "f" }), Choice::Named(0), None);
    check(json!({ "type": "none" }), Choice::None, None);
}

#[test]
fn templates_hear_whether_to_think() {
    let check = |sent: &Value, expected: &Value| {
        assert_eq!(&Value::Object(wished(sent).variables), expected, "{sent}");
    };
    let budget = json!({ "type": "enabled", "budget_tokens": 2000 });
    check(&json!({}), &json!({}));
    check(&json!({ "thinking": { "type": "adaptive" } }), &json!({}));
    check(
        &json!({ "thinking": { "type": "disabled" } }),
        &json!({ "enable_thinking": false, "thinking": false }),
    );
    check(
        &json!({ "thinking": budget, "output_config": { "effort": "low" } }),
        &json!({ "reasoning_effort": "low", "thinking_budget": 2000, "enable_thinking": true, "thinking": true }),
    );
    check(
        &json!({ "thinking": { "type": "disabled" }, "chat_template_kwargs": { "enable_thinking": true } }),
        &json!({ "enable_thinking": true, "thinking": false }),
    );
}

#[test]
fn only_an_answer_needs_a_bound() {
    let catalog = catalog();
    let mut body = object(&json!({ "stop_sequences": ["x"], "stream": true, "seed": 4 }));
    let turn = read(&serde_json::to_vec(&body).unwrap(), &catalog, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!((turn.request.max_tokens, turn.request.sampling.seed, turn.stream), (Some(5), 4, true));
    assert_eq!(turn.request.stop, ["x"]);
    body.remove("max_tokens");
    let bytes = serde_json::to_vec(&body).unwrap();
    assert_eq!(
        read(&bytes, &catalog, SystemTime::UNIX_EPOCH).unwrap_err().to_string(),
        "max_tokens: missing"
    );
    let (_, prompt) = read_count(&bytes, &catalog, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(prompt, turn.request.prompt);
}
