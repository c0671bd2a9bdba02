//! The text to continue: the messages of a conversation.

use serde::Deserialize;

use super::ApiError;
use super::range::shorten;
use crate::chat::Message;

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of text parts")]
enum RawContent {
    Text(String),
    Parts(Vec<RawPart>),
}

#[derive(Debug, Deserialize)]
struct RawPart {
    r#type: String,
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawMessage {
    role: String,
    content: Option<RawContent>,
}

/// The messages of a chat.
pub(super) fn messages(messages: Option<Vec<RawMessage>>) -> Result<Vec<Message>, ApiError> {
    let messages = messages.ok_or_else(|| ApiError::invalid("messages", "messages: missing"))?;
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "messages: expected at least one message, got none"));
    }
    messages.into_iter().enumerate().map(|(index, message)| read_message(index, message)).collect()
}

fn read_message(index: usize, message: RawMessage) -> Result<Message, ApiError> {
    let role = match message.role.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        other => {
            let field = format!("messages[{index}].role");
            let message =
                format!("{field}: expected system, developer, user or assistant, got {:?}", shorten(other));
            return Err(ApiError::invalid(field, message));
        }
    };
    let content = match message.content {
        Some(RawContent::Text(text)) => text,
        Some(RawContent::Parts(parts)) => {
            let texts = parts.into_iter().enumerate().map(|(at, part)| read_part(index, at, part));
            texts.collect::<Result<String, _>>()?
        }
        None => {
            let field = format!("messages[{index}].content");
            let message = format!("{field}: missing; give a string");
            return Err(ApiError::invalid(field, message));
        }
    };
    Ok(Message { role: role.to_owned(), content })
}

fn read_part(message: usize, at: usize, part: RawPart) -> Result<String, ApiError> {
    let field = format!("messages[{message}].content[{at}]");
    match (part.r#type.as_str(), part.text) {
        ("text", Some(text)) => Ok(text),
        ("text", None) => Err(ApiError::invalid(format!("{field}.text"), format!("{field}.text: missing"))),
        (other, _) => {
            let message = format!("{field}.type: only \"text\" is supported, got {:?}", shorten(other));
            Err(ApiError::invalid(format!("{field}.type"), message))
        }
    }
}
