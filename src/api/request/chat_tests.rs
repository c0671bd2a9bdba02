//! Functions, their choice, earlier calls and variables of templates: what arrives, and which faults are named.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::generation::{Grammar, Prompt};
use crate::policy::Policy;

fn catalog() -> Catalog {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let text = "models: [{name: m, context_tokens: 1024, variants: [{path: tidepool-3m-f16.gguf}]}]";
    let policy = Policy::parse(text, "p", &files).unwrap_or_else(|error| panic!("{error}"));
    Catalog::read(&policy.models, &files)
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object", "properties": { "a": { "type": "null" } } } } })
}

fn body(more: &Value) -> Vec<u8> {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "tools": [tool("f"), tool("g")] });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    serde_json::to_vec(&body).unwrap()
}

/// The prompt, the grammar, and whether calls are read.
fn accepted(more: &Value) -> (String, Option<Grammar>, bool) {
    let catalog = catalog();
    let job = super::read(&body(more), Shape::Chat, &catalog, SystemTime::UNIX_EPOCH);
    let job = job.unwrap_or_else(|error| panic!("{more}: {error}"));
    let Prompt::Text(prompt) = job.request.prompt else { panic!("a chat is text") };
    let mut parser = job.parser.expect("a chat is read");
    parser.push("{\"name\": \"f\", \"arguments\": {}}");
    (prompt, job.request.grammar, parser.calls() == 1)
}

#[test]
fn the_choice_decides_what_the_model_hears_and_must_do() {
    let named = json!({ "type": "function", "function": { "name": "g" } });
    for (choice, heard, functions) in [
        (json!(null), true, 0),
        (json!("auto"), true, 0),
        (json!("none"), false, 0),
        (json!("required"), true, 2),
        (named, true, 1),
    ] {
        let (prompt, grammar, reads) = accepted(&json!({ "tool_choice": choice }));
        assert_eq!((prompt.contains("\"name\": \"f\""), reads), (heard, heard), "{choice}: {prompt}");
        let forced = match &grammar {
            Some(Grammar::Calls(calls)) => calls.frames.len(),
            None => 0,
            other => panic!("{choice}: {other:?}"),
        };
        assert_eq!(forced, functions, "{choice}");
    }
    for (several, choice, expected) in
        [(json!(true), "required", true), (json!(null), "required", false), (json!(false), "required", false)]
    {
        let (_, grammar, _) = accepted(&json!({ "tool_choice": choice, "parallel_tool_calls": several }));
        let Some(Grammar::Calls(calls)) = grammar else { panic!("a grammar") };
        assert_eq!(calls.between.is_some(), expected, "{several}");
    }
    let either = accepted(&json!({ "response_format": { "type": "json_object" } })).1;
    assert!(matches!(either, Some(Grammar::Calls(calls)) if calls.answers && calls.frames.len() == 2));
    let call = json!({ "tool_choice": "required", "response_format": { "type": "json_object" } });
    assert!(matches!(accepted(&call).1, Some(Grammar::Calls(calls)) if !calls.answers));
    let json_answer = json!({ "tool_choice": "none", "response_format": { "type": "json_object" } });
    assert!(matches!(accepted(&json_answer).1, Some(Grammar::JsonSchema(_))));
}

#[test]
fn earlier_calls_and_their_results_reach_the_model() {
    let call = |arguments: Value| json!({ "id": "c1", "type": "function", "function": { "name": "f", "arguments": arguments } });
    for arguments in [json!("{\"a\": null}"), json!({ "a": null })] {
        let messages = json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": null, "tool_calls": [call(arguments)] },
            { "role": "tool", "tool_call_id": "c1", "content": [{ "type": "text", "text": "sun" }] },
        ]);
        let (prompt, ..) = accepted(&json!({ "messages": messages }));
        let turns = "assistant\n{\"name\": \"f\", \"arguments\": {\"a\": null}}<|im_end|>\n<|im_start|>user\nResult of f: sun<|im_end|>\n";
        assert!(prompt.contains(turns), "{prompt}");
    }
    let messages = json!([
        { "role": "user", "content": "hi" },
        { "role": "assistant", "tool_calls": [call(json!(""))] },
        { "role": "tool", "content": "sun" },
    ]);
    assert!(accepted(&json!({ "messages": messages })).0.contains("\nResult: sun<"));
}

#[test]
fn what_a_function_leaves_out_has_a_meaning() {
    let plain =
        json!([{ "type": "function", "function": { "name": "f", "description": null, "strict": true } }]);
    let (prompt, grammar, _) = accepted(&json!({ "tools": plain, "tool_choice": "required" }));
    assert!(
        prompt.contains("\"name\": \"f\", \"strict\": true, \"parameters\": {\"type\": \"object\""),
        "{prompt}"
    );
    assert!(
        matches!(grammar, Some(Grammar::Calls(calls)) if calls.schema.contains("\"additionalProperties\":false"))
    );
}

#[test]
fn faults_of_functions_are_named() {
    let function =
        |function: Value| json!({ "tools": [tool("x"), { "type": "function", "function": function }] });
    let deep = (0..40).fold(json!({}), |inner, _| json!({ "items": inner }));
    for (sent, field, words) in [
        (json!({ "tools": {} }), "tools", "expected an array"),
        (json!({ "tools": vec![tool("f"); 129] }), "tools", "at most 128 functions, got 129"),
        (json!({ "tools": [5] }), "tools[0]", "expected an object"),
        (json!({ "tools": [{}] }), "tools[0].type", "missing"),
        (
            json!({ "tools": [{ "type": "web_search" }] }),
            "tools[0].type",
            "expected \"function\", got \"web_search\"",
        ),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].function", "missing"),
        (function(json!({})), "tools[1].function.name", "missing"),
        (function(json!({ "name": "a b" })), "tools[1].function.name", "1 to 64 letters, digits"),
        (function(json!({ "name": "x".repeat(65) })), "tools[1].function.name", "1 to 64 letters"),
        (function(json!({ "name": "x" })), "tools[1].function.name", "another function is called \"x\""),
        (function(json!({ "name": "y", "description": 5 })), "tools[1].function.description", "a string"),
        (
            function(json!({ "name": "y", "parameters": [] })),
            "tools[1].function.parameters",
            "schema of an object",
        ),
        (
            function(json!({ "name": "y", "parameters": { "type": "string" } })),
            "tools[1].function.parameters",
            "schema of an object",
        ),
        (json!({ "tool_choice": "always" }), "tool_choice", "expected none, auto, required or"),
        (json!({ "tool_choice": { "type": "function" } }), "tool_choice", "expected none, auto"),
        (
            json!({ "tool_choice": { "type": "function", "function": { "name": "h" } } }),
            "tool_choice.function.name",
            "expected the name of one of the tools, got \"h\"",
        ),
        (json!({ "tools": [], "tool_choice": "required" }), "tool_choice", "give tools"),
        (json!({ "parallel_tool_calls": "yes" }), "parallel_tool_calls", "expected true or false"),
        (json!({ "grammar": "root ::= \"a\"" }), "tools", "cannot be combined with a grammar"),
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "f", "parameters": deep } }], "tool_choice": "required" }),
            "tools[0].function.parameters",
            "more than 32 levels",
        ),
    ] {
        check_fault(&sent, field, words);
    }
    // What nothing is made of needs no bound of its own.
    accepted(&json!({ "tools": [{ "type": "function", "function": { "name": "f", "parameters": deep } }] }));
}

#[test]
fn faults_of_messages_and_variables_are_named() {
    let message = |message: Value| json!({ "messages": [{ "role": "user", "content": "hi" }, message] });
    let called = |function: Value| {
        message(json!({ "role": "assistant", "tool_calls": [{ "id": "1", "function": function }] }))
    };
    for (sent, field, words) in [
        (message(json!({ "role": "tool" })), "messages[1].content", "missing"),
        (message(json!({ "role": "assistant", "tool_calls": [] })), "messages[1].content", "missing"),
        (
            message(json!({ "role": "user", "tool_calls": [{ "function": { "name": "f" } }] })),
            "messages[1].tool_calls",
            "only the assistant",
        ),
        (called(json!({})), "messages[1].tool_calls[0].function.name", "missing"),
        (
            called(json!({ "name": "f", "arguments": "{" })),
            "messages[1].tool_calls[0].function.arguments",
            "JSON text of an object",
        ),
        (
            called(json!({ "name": "f", "arguments": "[1]" })),
            "messages[1].tool_calls[0].function.arguments",
            "JSON text",
        ),
        (json!({ "chat_template_kwargs": [] }), "chat_template_kwargs", "expected an object"),
        (
            json!({ "chat_template_kwargs": { "messages": 1 } }),
            "chat_template_kwargs.messages",
            "leave it out",
        ),
        (
            json!({ "chat_template_kwargs": { "x": "y".repeat(20_000) } }),
            "chat_template_kwargs",
            "at most 16384 bytes, got 20008",
        ),
        (json!({ "reasoning_format": "xml" }), "reasoning_format", "expected auto, deepseek or none"),
        (json!({ "reasoning_effort": 5 }), "reasoning_effort", "a word such as low, got 5"),
    ] {
        check_fault(&sent, field, words);
    }
}

/// A chat with these fields is refused with a message that begins with the field and has these words.
fn check_fault(sent: &Value, field: &str, words: &str) {
    let catalog = catalog();
    let error =
        super::read(&body(sent), Shape::Chat, &catalog, SystemTime::UNIX_EPOCH).expect_err(&sent.to_string());
    let ApiError::Invalid { param, message } = &error else { panic!("{sent}: {error:?}") };
    assert_eq!(param.as_deref(), Some(field), "{message}");
    assert!(message.starts_with(&format!("{field}: ")) && message.contains(words), "{message}");
}
