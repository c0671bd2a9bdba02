//! The paths that speak Anthropic's dialect, whose errors name no field but in words, and OpenAI's Responses.

use serde_json::{Value, json};

use crate::case::{Case, MODEL};
use crate::common::merge;
use crate::schemas;

const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

/// A request for a message, with these fields besides, which is refused in Anthropic's words.
fn message(fields: &Value, says: &str) -> Case {
    let mut body =
        json!({ "model": MODEL, "max_tokens": 4, "messages": [{ "role": "user", "content": "hi" }] });
    merge(&mut body, fields);
    Case { code: "", param: None, ..Case::post(MESSAGES, body.to_string(), "", says) }
}

fn response(fields: &Value, param: &str, says: &str) -> Case {
    let mut body = json!({ "model": MODEL, "input": "hi" });
    merge(&mut body, fields);
    Case::post(RESPONSES, body.to_string(), param, says)
}

fn messages() -> Vec<Case> {
    let said = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
    let many = vec![json!({ "role": "user", "content": "a" }); 300_000];
    let tool = |schema: Value| json!({ "tools": [{ "name": "f", "input_schema": schema }], "tool_choice": { "type": "any" } });
    let of_schema =
        |schema: Value| json!({ "output_config": { "format": { "type": "json_schema", "schema": schema } } });
    vec![
        message(&json!({ "model": "claude-99" }), "does not exist").missing().code(""),
        message(&json!({ "model": "vectors" }), "makes embeddings, not text"),
        message(&json!({ "max_tokens": null }), "max_tokens"),
        message(&json!({ "max_tokens": 0 }), "max_tokens: expected a whole number of at least 1"),
        message(&json!({ "max_tokens": "x" }), "max_tokens: invalid type"),
        message(&json!({ "messages": [] }), "messages: expected at least one message"),
        message(&json!({ "messages": many }), "messages: at most 32768 messages, got 300000"),
        message(&json!({ "messages": [{ "role": "pirate", "content": "x" }] }), "messages[0].role"),
        message(&said(json!(5)), "messages[0].content"),
        message(&said(json!([{ "type": "image" }])), "messages[0].content[0]"),
        message(&said(json!("hello ".repeat(2000))), "the context holds 1024"),
        message(&json!({ "system": 5 }), "system"),
        message(&json!({ "temperature": 5 }), "temperature: expected a number from 0 to 2, got 5"),
        message(&json!({ "stop_sequences": vec!["a"; 17] }), "stop_sequences: at most 16 strings"),
        message(&json!({ "tool_choice": { "type": "any" } }), "there is nothing to choose"),
        message(&json!({ "tools": [{ "name": "a b", "input_schema": {} }] }), "tools[0].name"),
        message(&json!({ "tools": [{ "type": "web_search", "name": "f" }] }), "runs no tools of its own"),
        message(
            &tool(json!({ "type": "object", "properties": schemas::optional(129)["properties"] })),
            "at most 128 properties",
        ),
        message(&json!({ "thinking": { "type": "deep" } }), "thinking.type"),
        message(&json!({ "mcp_servers": [{}] }), "mcp_servers: this server runs no tools of its own"),
        message(&json!({ "grammar": "(".repeat(20_000) }), "grammar"),
        message(&of_schema(schemas::branching()), "more than 32 levels"),
    ]
}

fn responses() -> Vec<Case> {
    let many = vec![json!({ "role": "user", "content": "a" }); 300_000];
    let of_schema = |schema: Value| json!({ "text": { "format": { "type": "json_schema", "name": "a", "schema": schema } } });
    vec![
        response(&json!({ "model": "gpt-7" }), "model", "does not exist").missing(),
        response(&json!({ "input": null }), "input", "missing"),
        response(&json!({ "input": 5 }), "input", "expected a string or an array"),
        response(&json!({ "input": [] }), "input", "expected at least one item"),
        response(&json!({ "input": many }), "input", "at most 32768 messages, got 300000"),
        response(&json!({ "input": [{ "type": "image" }] }), "input[0].type", "image"),
        response(&json!({ "input": "hello ".repeat(2000) }), "input", "the context holds 1024")
            .code("context_length_exceeded"),
        response(&json!({ "previous_response_id": "a" }), "previous_response_id", "keeps no answers"),
        response(&json!({ "background": true }), "background", "keeps no answers"),
        response(&json!({ "max_output_tokens": 0 }), "max_output_tokens", "at least 1"),
        response(&json!({ "temperature": 5 }), "temperature", "from 0 to 2"),
        response(&json!({ "top_logprobs": 21 }), "top_logprobs", "from 0 to 20"),
        response(&json!({ "tool_choice": "required" }), "tool_choice", "there is nothing to choose"),
        response(&json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type", "web_search"),
        response(&json!({ "metadata": { "a": 5 } }), "metadata.a", "strings of at most"),
        response(&of_schema(schemas::branching()), "text.format.schema", "more than 32 levels"),
        response(
            &of_schema(json!({ "type": "array", "minItems": 5, "maxItems": 2 })),
            "text.format.schema",
            "minItems (5)",
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    let count =
        messages().into_iter().take(2).map(|case| Case { path: format!("{MESSAGES}/count_tokens"), ..case });
    count.chain(messages()).chain(responses()).collect()
}
