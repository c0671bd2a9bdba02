//! What Anthropic's clients get: a message, or the events that it comes in.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::generation::Usage;

/// A message, as far as it is known.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "AnthropicMessage")]
pub(super) struct WireMessage<'a> {
    pub id: &'a str,
    pub r#type: &'static str,
    pub role: &'static str,
    pub model: &'a str,
    pub content: Vec<WireBlock<'a>>,
    #[serde(flatten)]
    pub stop: WireStop<'a>,
    pub usage: WireUsage,
}

/// Why it ended; nulls before.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize)]
#[schemars(rename = "AnthropicStop")]
pub(super) struct WireStop<'a> {
    pub stop_reason: Option<&'static str>,
    pub stop_sequence: Option<&'a str>,
}

/// Token counts as Anthropic writes them: those of the prompt that were computed, and those that were not.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[schemars(rename = "AnthropicUsage")]
pub(super) struct WireUsage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
    output_tokens_details: OutputDetails,
}

#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
struct OutputDetails {
    thinking_tokens: u32,
}

/// What whole messages look like.
pub(in crate::api) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<WireMessage<'_>>()
}

impl WireUsage {
    pub fn new(usage: Usage, thinking_tokens: u32) -> Self {
        let Usage { prompt_tokens, cached_tokens, completion_tokens } = usage;
        Self {
            input_tokens: prompt_tokens.saturating_sub(cached_tokens),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached_tokens,
            output_tokens: completion_tokens,
            output_tokens_details: OutputDetails { thinking_tokens },
        }
    }
}

/// A part of the message.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "AnthropicBlock")]
pub(super) enum WireBlock<'a> {
    Thinking { thinking: &'a str, signature: &'static str },
    Text { text: &'a str },
    ToolUse { id: Cow<'a, str>, name: &'a str, input: Value },
}

/// More of a part.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(super) enum WireDelta<'a> {
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'static str },
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

/// One event of a stream.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WireEvent<'a> {
    MessageStart { message: WireMessage<'a> },
    ContentBlockStart { index: usize, content_block: WireBlock<'a> },
    ContentBlockDelta { index: usize, delta: WireDelta<'a> },
    ContentBlockStop { index: usize },
    MessageDelta { delta: WireStop<'a>, usage: WireUsage },
    MessageStop {},
}

impl WireEvent<'_> {
    /// Its name, which is its type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop {} => "message_stop",
        }
    }
}

/// A part of the message as it is put together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Block {
    Thinking(String),
    Text(String),
    ToolUse {
        id: String,
        name: String,
        /// JSON text.
        input: String,
    },
}

impl Block {
    /// As it stands at its end.
    pub fn whole(&self) -> WireBlock<'_> {
        match self {
            // Nobody here signs thoughts, and nobody checks them; clients want to find the field.
            Self::Thinking(thinking) => WireBlock::Thinking { thinking, signature: "" },
            Self::Text(text) => WireBlock::Text { text },
            Self::ToolUse { id, name, input } => {
                // What was cut off is no object.
                let input = serde_json::from_str(input).unwrap_or_else(|_| Map::new().into());
                WireBlock::ToolUse { id: tool_use_id(id), name, input }
            }
        }
    }

    /// As it stands before anything of it came.
    pub fn empty(&self) -> WireBlock<'_> {
        match self {
            Self::Thinking(_) => WireBlock::Thinking { thinking: "", signature: "" },
            Self::Text(_) => WireBlock::Text { text: "" },
            Self::ToolUse { id, name, .. } => {
                WireBlock::ToolUse { id: tool_use_id(id), name, input: Map::new().into() }
            }
        }
    }
}

/// Where a model takes any id, it is of Anthropic's kind.
fn tool_use_id(id: &str) -> Cow<'_, str> {
    match id.strip_prefix("call_") {
        Some(rest) => format!("toolu_{rest}").into(),
        None => id.into(),
    }
}
