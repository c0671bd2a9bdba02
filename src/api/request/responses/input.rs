//! The items of an input: messages, calls, their results and thoughts become the messages that templates know.

use serde_json::{Map, Value};

use super::ApiError;
use crate::api::request::blocks::{Block, Content};
use crate::api::request::range::shorten;
use crate::api::request::transcript::Transcript;
use crate::chat::{Message, ToolCall};

/// What parts of a message have text, and in which field.
const PARTS: [(&str, &str); 3] = [("input_text", "text"), ("output_text", "text"), ("refusal", "refusal")];
const THOUGHTS: [(&str, &str); 1] = [("reasoning_text", "text")];
const SUMMARIES: [(&str, &str); 1] = [("summary_text", "text")];

/// All messages; `instructions` are the first one.
pub(super) fn messages(instructions: Option<&str>, input: &Value) -> Result<Vec<Message>, ApiError> {
    let mut transcript = Transcript::default();
    if let Some(instructions) = instructions {
        transcript.say("system", instructions);
    }
    match Content::read(input, "input", Some("message"))? {
        Content::Text(text) => transcript.say("user", text),
        Content::Blocks(items) if items.is_empty() => {
            return Err(ApiError::invalid("input", "input: expected at least one item, got none"));
        }
        Content::Blocks(items) => items.iter().try_for_each(|item| read(item, &mut transcript))?,
    }
    transcript.finish("input")
}

fn read(item: &Block<'_>, transcript: &mut Transcript) -> Result<(), ApiError> {
    match item.kind {
        "message" => {
            let texts = Content::read(item.field("content")?, &item.at("content"), None)?.texts(&PARTS)?;
            match item.string("role")? {
                "assistant" => transcript.answer(&texts.concat()),
                "system" | "developer" => transcript.say("system", &texts.join("\n")),
                "user" => transcript.say("user", &texts.join("\n")),
                other => {
                    let expected = "user, assistant, system or developer";
                    return Err(item.wrong("role", expected, &other.into()));
                }
            }
        }
        "function_call" => transcript.call(ToolCall {
            id: Some(item.string("call_id")?.to_owned()),
            name: item.string("name")?.to_owned(),
            arguments: arguments(item)?,
        }),
        "function_call_output" => {
            let output = Content::read(item.field("output")?, &item.at("output"), None)?.texts(&PARTS)?;
            transcript.result(item.string("call_id")?, output.join("\n"));
        }
        "reasoning" => {
            for (field, kinds) in [("content", THOUGHTS), ("summary", SUMMARIES)] {
                let Some(content) = item.fields.get(field).filter(|content| !content.is_null()) else {
                    continue;
                };
                let texts = Content::read(content, &item.at(field), None)?.texts(&kinds)?;
                // A summary stands for thoughts that are not there.
                if !texts.is_empty() {
                    transcript.think(&texts.concat());
                    break;
                }
            }
        }
        _ => return Err(item.unknown("message, function_call, function_call_output or reasoning")),
    }
    Ok(())
}

/// The arguments of a call, which are JSON text.
fn arguments(item: &Block<'_>) -> Result<Map<String, Value>, ApiError> {
    let text = item.string("arguments")?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text).map_err(|_| {
        let field = item.at("arguments");
        let message = format!("{field}: expected the JSON text of an object, got {:?}", shorten(text));
        ApiError::invalid(field, message)
    })
}
