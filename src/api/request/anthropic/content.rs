//! Anthropic's messages: blocks of text, thoughts, calls and results become the messages that templates know.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ApiError;
use crate::api::request::range::{missing, out_of_range, shorten};
use crate::api::request::transcript::Transcript;
use crate::chat::{Message, ToolCall};

#[derive(Debug, Deserialize)]
pub(super) struct RawMessage {
    role: String,
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

/// One of several blocks.
struct Block<'a> {
    fields: &'a Map<String, Value>,
    kind: &'a str,
    at: String,
}

/// The blocks of a content; a string is one of text.
enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<Block<'a>>),
}

fn read<'a>(content: &'a Value, at: &str) -> Result<Content<'a>, ApiError> {
    match content {
        Value::String(text) => Ok(Content::Text(text)),
        Value::Array(blocks) => {
            let blocks = blocks.iter().enumerate().map(|(index, block)| Block::new(block, at, index));
            Ok(Content::Blocks(blocks.collect::<Result<_, _>>()?))
        }
        _ => Err(ApiError::invalid(at, format!("{at}: expected a string or an array of blocks"))),
    }
}

impl<'a> Block<'a> {
    fn new(block: &'a Value, at: &str, index: usize) -> Result<Self, ApiError> {
        let at = format!("{at}[{index}]");
        let Value::Object(fields) = block else {
            return Err(ApiError::invalid(at.clone(), format!("{at}: expected an object")));
        };
        let mut block = Self { fields, kind: "", at };
        block.kind = block.string("type")?;
        Ok(block)
    }

    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.at)
    }

    fn string(&self, field: &str) -> Result<&'a str, ApiError> {
        match self.fields.get(field) {
            Some(Value::String(text)) => Ok(text),
            None | Some(Value::Null) => Err(missing(self.at(field))),
            Some(other) => Err(out_of_range(&self.at(field), "a string", shorten(&other.to_string()))),
        }
    }

    /// The kinds that are known here are others.
    fn unknown(&self, known: &str) -> ApiError {
        let field = self.at("type");
        ApiError::invalid(field.clone(), format!("{field}: expected {known}, got {:?}", shorten(self.kind)))
    }
}

/// A content that is text alone.
fn texts(content: &Value, at: &str) -> Result<String, ApiError> {
    match read(content, at)? {
        Content::Text(text) => Ok(text.to_owned()),
        Content::Blocks(blocks) => {
            let texts = blocks.iter().map(|block| match block.kind {
                "text" => block.string("text"),
                _ => Err(block.unknown("text")),
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
    }
}

fn of_user(content: &Value, at: &str, transcript: &mut Transcript) -> Result<(), ApiError> {
    let blocks = match read(content, at)? {
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
                    Some(other) => {
                        let got = shorten(&other.to_string());
                        return Err(out_of_range(&block.at("is_error"), "true or false", got));
                    }
                };
                transcript.result(block.string("tool_use_id")?, text);
            }
            _ => return Err(block.unknown("text or tool_result from a user")),
        }
    }
    Ok(())
}

fn of_assistant(content: &Value, at: &str, transcript: &mut Transcript) -> Result<(), ApiError> {
    let blocks = match read(content, at)? {
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
                let arguments = match block.fields.get("input") {
                    Some(Value::Object(input)) => input.clone(),
                    None | Some(Value::Null) => return Err(missing(block.at("input"))),
                    Some(other) => {
                        let got = shorten(&other.to_string());
                        return Err(out_of_range(&block.at("input"), "an object", got));
                    }
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
