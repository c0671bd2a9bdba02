//! What clients of OpenAI's Responses get: a response, its items, and the events that they come in.

use std::time::{SystemTime, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::api::error::ApiError;
use crate::api::logprobs::{self, ChatToken};
use crate::api::request::{Echo, Turn};
use crate::generation::{TokenLogprobs, Usage};

/// How far a response, or an item of it, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ResponseStatus")]
pub(super) enum Status {
    InProgress,
    Completed,
    /// Cut off at `max_output_tokens`, or at the end of the context.
    Incomplete,
    Failed,
}

/// What is known of a response before it begins.
#[derive(Debug)]
pub(super) struct Heading {
    id: String,
    created_at: u64,
    model: String,
    temperature: f32,
    top_p: f32,
    pub echo: Echo,
}

/// What whole responses look like.
pub(in crate::api) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<WireResponse<'_>>()
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Heading {
    /// That of the answer to a turn, which repeats `echo`.
    pub fn new(turn: &Turn<'_>, echo: Echo) -> Self {
        let sampling = &turn.request.sampling;
        Self {
            id: format!("resp_{}", Uuid::new_v4().simple()),
            created_at: now(),
            model: turn.model.policy.name.to_string(),
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            echo,
        }
    }

    /// The response, as far as it has come.
    pub fn response<'a>(&'a self, progress: Progress<'a>) -> WireResponse<'a> {
        let Progress { status, items, usage, completed_at, error } = progress;
        let echo = &self.echo;
        let cut = status == Status::Incomplete;
        WireResponse {
            id: &self.id,
            object: "response",
            created_at: self.created_at,
            completed_at,
            status,
            background: false,
            error: error.map(WireError::from),
            incomplete_details: cut.then_some(Incomplete { reason: "max_output_tokens" }),
            instructions: echo.instructions.as_deref(),
            max_output_tokens: echo.max_output_tokens,
            max_tool_calls: None,
            model: &self.model,
            output: items.iter().map(Item::whole).collect(),
            parallel_tool_calls: echo.parallel_tool_calls,
            previous_response_id: None,
            reasoning: json!({ "effort": echo.effort, "summary": null }),
            service_tier: "default",
            store: false,
            temperature: self.temperature,
            text: json!({ "format": echo.format }),
            tool_choice: &echo.tool_choice,
            tools: &echo.tools,
            top_logprobs: echo.logprobs.unwrap_or(0),
            top_p: self.top_p,
            truncation: "disabled",
            usage,
            user: None,
            metadata: &echo.metadata,
        }
    }
}

/// How far a response has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress<'a> {
    pub status: Status,
    pub items: &'a [Item],
    pub usage: Option<WireUsage>,
    pub completed_at: Option<u64>,
    pub error: Option<&'a ApiError>,
}

/// A response as JSON. Its nulls are what clients expect to find of what there is not.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Response")]
pub(super) struct WireResponse<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    completed_at: Option<u64>,
    status: Status,
    background: bool,
    error: Option<WireError>,
    incomplete_details: Option<Incomplete>,
    instructions: Option<&'a str>,
    max_output_tokens: Option<u32>,
    max_tool_calls: Option<u32>,
    model: &'a str,
    output: Vec<WireItem<'a>>,
    parallel_tool_calls: bool,
    previous_response_id: Option<&'a str>,
    reasoning: Value,
    service_tier: &'static str,
    store: bool,
    temperature: f32,
    text: Value,
    tool_choice: &'a Value,
    tools: &'a Value,
    top_logprobs: u32,
    top_p: f32,
    truncation: &'static str,
    usage: Option<WireUsage>,
    user: Option<&'a str>,
    metadata: &'a Map<String, Value>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Incomplete {
    reason: &'static str,
}

#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "ResponseError")]
struct WireError {
    code: &'static str,
    message: String,
}

impl From<&ApiError> for WireError {
    fn from(error: &ApiError) -> Self {
        let (status, code) = error.status();
        let code = if status.is_server_error() { "server_error" } else { code };
        Self { code, message: error.to_string() }
    }
}

/// Token counts as the Responses have them.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[schemars(rename = "ResponseUsage")]
pub(super) struct WireUsage {
    input_tokens: u32,
    input_tokens_details: InputDetails,
    output_tokens: u32,
    output_tokens_details: OutputDetails,
    total_tokens: u32,
}

#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
struct InputDetails {
    cached_tokens: u32,
    cache_write_tokens: u32,
}

#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
struct OutputDetails {
    reasoning_tokens: u32,
}

impl WireUsage {
    pub fn new(usage: Usage, reasoning_tokens: u32) -> Self {
        let Usage { prompt_tokens, cached_tokens, completion_tokens } = usage;
        Self {
            input_tokens: prompt_tokens,
            input_tokens_details: InputDetails { cached_tokens, cache_write_tokens: 0 },
            output_tokens: completion_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens },
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
        }
    }
}

/// An item of the output, as it is put together.
#[derive(Debug)]
pub(super) struct Item {
    pub id: String,
    pub status: Status,
    pub content: ItemContent,
}

/// What an item has.
#[derive(Debug)]
pub(super) enum ItemContent {
    Reasoning(String),
    Message { text: String, logprobs: Vec<TokenLogprobs> },
    Call { call_id: String, name: String, arguments: String },
}

impl Item {
    /// The beginning of an item.
    pub fn new(content: ItemContent) -> Self {
        let prefix = match content {
            ItemContent::Reasoning(_) => "rs",
            ItemContent::Message { .. } => "msg",
            ItemContent::Call { .. } => "fc",
        };
        Self { id: format!("{prefix}_{}", Uuid::new_v4().simple()), status: Status::InProgress, content }
    }

    /// As it stands.
    pub fn whole(&self) -> WireItem<'_> {
        self.wire(self.part().into_iter().collect(), self.arguments())
    }

    /// As it stands before anything of it came.
    pub fn empty(&self) -> WireItem<'_> {
        self.wire(Vec::new(), "")
    }

    fn arguments(&self) -> &str {
        if let ItemContent::Call { arguments, .. } = &self.content { arguments } else { "" }
    }

    fn wire<'a>(&'a self, content: Vec<WirePart<'a>>, arguments: &'a str) -> WireItem<'a> {
        let Self { id, status, .. } = self;
        match &self.content {
            ItemContent::Reasoning(_) => WireItem::Reasoning { id, status: *status, summary: [], content },
            ItemContent::Message { .. } => {
                WireItem::Message { id, status: *status, role: "assistant", content }
            }
            ItemContent::Call { call_id, name, .. } => {
                WireItem::FunctionCall { id, status: *status, call_id, name, arguments }
            }
        }
    }

    /// Its text, if that is what it has.
    pub fn part(&self) -> Option<WirePart<'_>> {
        match &self.content {
            ItemContent::Reasoning(text) => Some(WirePart::ReasoningText { text }),
            ItemContent::Message { text, logprobs } => {
                Some(WirePart::OutputText { annotations: [], logprobs: logprobs::tokens(logprobs), text })
            }
            ItemContent::Call { .. } => None,
        }
    }

    /// The part that its text will be.
    pub fn empty_part(&self) -> Option<WirePart<'_>> {
        match self.content {
            ItemContent::Reasoning(_) => Some(WirePart::ReasoningText { text: "" }),
            ItemContent::Message { .. } => {
                Some(WirePart::OutputText { annotations: [], logprobs: Vec::new(), text: "" })
            }
            ItemContent::Call { .. } => None,
        }
    }
}

/// An item as JSON.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "OutputItem")]
pub(super) enum WireItem<'a> {
    Reasoning { id: &'a str, status: Status, summary: [(); 0], content: Vec<WirePart<'a>> },
    Message { id: &'a str, status: Status, role: &'static str, content: Vec<WirePart<'a>> },
    FunctionCall { id: &'a str, status: Status, call_id: &'a str, name: &'a str, arguments: &'a str },
}

/// Text of an item.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "OutputPart")]
pub(super) enum WirePart<'a> {
    ReasoningText { text: &'a str },
    OutputText { annotations: [(); 0], logprobs: Vec<ChatToken<'a>>, text: &'a str },
}

/// One event of a stream.
#[derive(Debug, Serialize)]
pub(super) struct WireEvent<'a> {
    pub r#type: &'static str,
    pub sequence_number: u64,
    #[serde(flatten)]
    pub body: EventBody<'a>,
}

/// What an event tells.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum EventBody<'a> {
    Response {
        response: Box<WireResponse<'a>>,
    },
    Item {
        output_index: usize,
        item: WireItem<'a>,
    },
    Part {
        item_id: &'a str,
        output_index: usize,
        content_index: u32,
        part: WirePart<'a>,
    },
    Text {
        item_id: &'a str,
        output_index: usize,
        content_index: u32,
        #[serde(flatten)]
        text: EventText<'a>,
    },
    ArgumentsDelta {
        item_id: &'a str,
        output_index: usize,
        delta: &'a str,
    },
    ArgumentsDone {
        item_id: &'a str,
        output_index: usize,
        name: &'a str,
        arguments: &'a str,
    },
}

/// More of a text, or all of it.
#[derive(Debug, Serialize)]
pub(super) struct EventText<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    /// Only messages have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<ChatToken<'a>>>,
}
