//! The messages of a conversation.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ApiError;
use super::range::{missing, out_of_range, shorten};
use crate::chat::{Message, ToolCall};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or an array of text parts")]
#[schemars(rename = "Content")]
enum RawContent {
    Text(String),
    Parts(Vec<RawPart>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TextPart")]
struct RawPart {
    #[schemars(extend("const" = "text"))]
    r#type: String,
    #[schemars(with = "String")]
    text: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Message")]
pub(super) struct RawMessage {
    #[schemars(extend("enum" = ["system", "developer", "user", "assistant", "tool"]))]
    role: String,
    content: Option<RawContent>,
    name: Option<String>,
    tool_calls: Option<Vec<RawCall>>,
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "MessageCall")]
struct RawCall {
    id: Option<String>,
    #[schemars(extend("enum" = ["function", null]))]
    r#type: Option<String>,
    function: RawFunction,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "MessageFunction")]
struct RawFunction {
    name: String,
    /// The JSON text of an object, or the object.
    #[schemars(extend("type" = ["string", "object", "null"]))]
    arguments: Option<Value>,
}

/// The most messages of a chat: more than a template writes within its own bounds.
pub(super) const MAX_MESSAGES: usize = 32_768;

/// Refuses what has too many messages in a field before any of them is looked at.
pub(super) fn bounded(object: &Map<String, Value>, field: &str) -> Result<(), ApiError> {
    match object.get(field).and_then(Value::as_array) {
        Some(messages) if messages.len() > MAX_MESSAGES => {
            let message = format!("{field}: at most {MAX_MESSAGES} messages, got {}", messages.len());
            Err(ApiError::invalid(field, message))
        }
        _ => Ok(()),
    }
}

/// The messages of a chat.
pub(super) fn messages(messages: Option<Vec<RawMessage>>) -> Result<Vec<Message>, ApiError> {
    let messages = messages.ok_or_else(|| missing("messages"))?;
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "messages: expected at least one message, got none"));
    }
    let messages = messages.into_iter().enumerate().map(|(index, message)| read_message(index, message));
    let mut messages: Vec<Message> = messages.collect::<Result<_, _>>()?;
    name_results(&mut messages);
    Ok(messages)
}

fn read_message(index: usize, message: RawMessage) -> Result<Message, ApiError> {
    let at = |rest: &str| format!("messages[{index}].{rest}");
    let role = match message.role.as_str() {
        "system" | "developer" => "system",
        known @ ("user" | "assistant" | "tool") => known,
        other => {
            let got = format!("{:?}", shorten(other));
            return Err(out_of_range(&at("role"), "system, developer, user, assistant or tool", got));
        }
    };
    let calls = message.tool_calls.unwrap_or_default();
    if !calls.is_empty() && role != "assistant" {
        let field = at("tool_calls");
        return Err(ApiError::invalid(field.clone(), format!("{field}: only the assistant calls functions")));
    }
    let content = match message.content {
        Some(RawContent::Text(text)) => Some(text),
        Some(RawContent::Parts(parts)) => {
            let texts = parts.into_iter().enumerate().map(|(part, raw)| read_part(index, part, raw));
            Some(texts.collect::<Result<String, _>>()?)
        }
        None if !calls.is_empty() => None,
        None => {
            let field = at("content");
            return Err(ApiError::invalid(field.clone(), format!("{field}: missing; give a string")));
        }
    };
    let calls = calls.into_iter().enumerate();
    let calls = calls.map(|(call, raw)| read_call(&at(&format!("tool_calls[{call}]")), raw));
    Ok(Message {
        role: role.to_owned(),
        content,
        reasoning: message.reasoning_content.filter(|_| role == "assistant"),
        calls: calls.collect::<Result<_, _>>()?,
        call_id: message.tool_call_id.filter(|_| role == "tool"),
        name: message.name,
    })
}

fn read_part(message: usize, at: usize, part: RawPart) -> Result<String, ApiError> {
    let field = format!("messages[{message}].content[{at}]");
    match (part.r#type.as_str(), part.text) {
        ("text", Some(text)) => Ok(text),
        ("text", None) => Err(missing(format!("{field}.text"))),
        (other, _) => {
            let message = format!("{field}.type: only \"text\" is supported, got {:?}", shorten(other));
            Err(ApiError::invalid(format!("{field}.type"), message))
        }
    }
}

/// A call, whose arguments OpenAI sends as JSON text and others as an object.
fn read_call(field: &str, call: RawCall) -> Result<ToolCall, ApiError> {
    if let Some(kind) = call.r#type.filter(|kind| kind != "function") {
        return Err(out_of_range(&format!("{field}.type"), "function", format!("{:?}", shorten(&kind))));
    }
    let arguments = match call.function.arguments {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(arguments)) => Some(arguments),
        Some(Value::String(text)) if text.trim().is_empty() => Some(Map::new()),
        Some(Value::String(text)) => serde_json::from_str(&text).ok(),
        Some(_) => None,
    };
    let Some(arguments) = arguments else {
        let field = format!("{field}.function.arguments");
        return Err(ApiError::invalid(
            field.clone(),
            format!("{field}: expected the JSON text of an object"),
        ));
    };
    Ok(ToolCall { id: call.id, name: call.function.name, arguments })
}

/// Some templates want to know whose result a result is, and OpenAI's clients say it only by the call's id.
pub(super) fn name_results(messages: &mut [Message]) {
    let mut calls: HashMap<String, String> = HashMap::new();
    for message in messages {
        calls.extend(message.calls.iter().filter_map(|call| Some((call.id.clone()?, call.name.clone()))));
        if let (None, Some(id)) = (&message.name, &message.call_id) {
            message.name = calls.get(id).cloned();
        }
    }
}
