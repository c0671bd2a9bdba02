//! Anthropic's messages: blocks of text, thoughts, calls and results become the messages that templates know.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::ApiError;
use crate::api::request::blocks::Content;
use crate::api::request::range::{out_of_range, shorten};
use crate::api::request::transcript::Transcript;
use crate::chat::{Message, ToolCall};

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "MessagesMessage")]
pub(super) struct RawMessage {
    #[schemars(extend("enum" = ["user", "assistant", "system"]))]
    role: String,
    #[schemars(extend("type" = ["string", "array"]))]
    content: Value,
}

/// All messages; `system` is the first one.
pub(super) fn messages(system: Option<&Value>, messages: Vec<RawMessage>) -> Result<Vec<Message>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "messages: expected at least one message, got none"));
    }
    let mut transcript = Transcript::default();
    if let Some(system) = system.filter(|system| !system.is_null()) {
        transcript.say("system", &texts(system, "system")?);
    }
    for (index, RawMessage { role, content }) in messages.into_iter().enumerate() {
        let at = format!("messages[{index}].content");
        match role.as_str() {
            "user" => of_user(&content, &at, &mut transcript)?,
            "assistant" => of_assistant(&content, &at, &mut transcript)?,
            "system" => transcript.say("system", &texts(&content, &at)?),
            other => {
                let field = format!("messages[{index}].role");
                let got = format!("{:?}", shorten(other));
                return Err(out_of_range(&field, "user, assistant or system", got));
            }
        }
    }
    transcript.finish("messages")
}

/// A content that is text alone.
fn texts(content: &Value, at: &str) -> Result<String, ApiError> {
    Ok(Content::read(content, at, None)?.texts(&[("text", "text")])?.join("\n"))
}

fn of_user(content: &Value, at: &str, transcript: &mut Transcript) -> Result<(), ApiError> {
    let blocks = match Content::read(content, at, None)? {
        Content::Text(text) => {
            transcript.say("user", text);
            return Ok(());
        }
        Content::Blocks(blocks) if blocks.is_empty() => {
            return Err(ApiError::invalid(at, format!("{at}: expected at least one block, got none")));
        }
        Content::Blocks(blocks) => blocks,
    };
    for block in blocks {
        match block.kind {
            "text" => transcript.say("user", block.string("text")?),
            "tool_result" => {
                let text = match block.fields.get("content") {
                    None | Some(Value::Null) => String::new(),
                    Some(content) => texts(content, &block.at("content"))?,
                };
                // Templates have no other way to say it.
                let text = match block.fields.get("is_error") {
                    None | Some(Value::Null | Value::Bool(false)) => text,
                    Some(Value::Bool(true)) => format!("Error: {text}"),
                    Some(other) => return Err(block.wrong("is_error", "true or false", other)),
                };
                transcript.result(block.string("tool_use_id")?, text);
            }
            _ => return Err(block.unknown("text or tool_result from a user")),
        }
    }
    Ok(())
}

fn of_assistant(content: &Value, at: &str, transcript: &mut Transcript) -> Result<(), ApiError> {
    let blocks = match Content::read(content, at, None)? {
        Content::Text(text) => {
            transcript.answer(text);
            return Ok(());
        }
        Content::Blocks(blocks) => blocks,
    };
    transcript.assistant();
    for block in blocks {
        match block.kind {
            "text" => transcript.answer(block.string("text")?),
            "thinking" => transcript.think(block.string("thinking")?),
            // Nobody here can read it.
            "redacted_thinking" => {}
            "tool_use" => {
                let arguments = match block.field("input")? {
                    Value::Object(input) => input.clone(),
                    other => return Err(block.wrong("input", "an object", other)),
                };
                let (id, name) = (block.string("id")?.to_owned(), block.string("name")?.to_owned());
                transcript.call(ToolCall { id: Some(id), name, arguments });
            }
            _ => {
                let known = "text, thinking, redacted_thinking or tool_use from the assistant";
                return Err(block.unknown(known));
            }
        }
    }
    Ok(())
}
