//! The body of OpenAI's `/v1/responses`.
//!
//! The server keeps nothing of an answer: what refers to an earlier one is refused, and so is what would run on OpenAI's
//! servers. Fields that say where, for whom and at what price to compute are ignored.

mod input;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::chat::{self, Wish};
use super::messages::{self, MAX_MESSAGES};
use super::output::MAX_LOGPROBS;
use super::range::{missing, out_of_range, shorten};
use super::tools::{self, Choice, MAX_TOOLS, ToolFields, Tools};
use super::turn::{self, Extent, Turn};
use super::{ApiError, grammar};
use crate::api::body;
use crate::catalog::Catalog;
use crate::chat::Tool;

/// What `include` says to have the probabilities of tokens told.
const LOGPROBS: &str = "message.output_text.logprobs";
/// The most pairs of `metadata`; OpenAI's limit.
const MAX_METADATA: usize = 16;
/// The most bytes of one value; four for each of OpenAI's characters.
const MAX_METADATA_BYTES: usize = 2048;

/// The fields as they are sent, besides those of `turn`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Responses")]
struct RawResponses {
    /// A string, or an array of items.
    #[schemars(with = "Value", extend("type" = ["string", "array"], "minItems" = 1, "maxItems" = MAX_MESSAGES))]
    input: Option<Value>,
    instructions: Option<String>,
    #[schemars(range(min = 1))]
    max_output_tokens: Option<u32>,
    #[schemars(with = "Option<Vec<Map<String, Value>>>", length(max = MAX_TOOLS))]
    tools: Option<Value>,
    /// A word or an object.
    #[schemars(extend("type" = ["string", "object", "null"]))]
    tool_choice: Option<Value>,
    #[schemars(with = "Option<bool>")]
    parallel_tool_calls: Option<Value>,
    text: Option<RawText>,
    reasoning: Option<RawReasoning>,
    include: Option<Vec<String>>,
    #[schemars(range(max = MAX_LOGPROBS))]
    top_logprobs: Option<u32>,
    #[schemars(with = "Option<Map<String, Value>>", extend("maxProperties" = MAX_METADATA))]
    metadata: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseText")]
struct RawText {
    #[schemars(with = "Option<Map<String, Value>>")]
    format: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Reasoning")]
struct RawReasoning {
    #[schemars(with = "Option<String>")]
    effort: Option<Value>,
}

/// What an answer repeats of its request.
#[derive(Clone, Debug)]
pub struct Echo {
    /// `instructions`
    pub instructions: Option<String>,
    /// `max_output_tokens`
    pub max_output_tokens: Option<u32>,
    /// `tools`, as they came.
    pub tools: Value,
    /// `tool_choice`, as it came.
    pub tool_choice: Value,
    /// `parallel_tool_calls`
    pub parallel_tool_calls: bool,
    /// `text.format`, as it came.
    pub format: Value,
    /// `reasoning.effort`
    pub effort: Option<Value>,
    /// `metadata`
    pub metadata: Map<String, Value>,
    /// How many likely tokens are told at each place; `None` where no probabilities are.
    pub logprobs: Option<u32>,
}

/// What a body looks like.
pub fn schema(generator: &mut SchemaGenerator) -> Schema {
    let own = generator.subschema_for::<RawResponses>();
    let parts: Vec<_> = turn::schemas(generator).into_iter().chain([own]).collect();
    json_schema!({ "allOf": parts })
}

/// Reads a body. `now` is what templates take for the present.
///
/// # Errors
///
/// [`ApiError`] that names the field.
pub fn read<'catalog>(
    bytes: &[u8],
    catalog: &'catalog Catalog,
    now: SystemTime,
) -> Result<(Turn<'catalog>, Echo), ApiError> {
    let object: Map<String, Value> = body::parse(bytes)?;
    let model = turn::model(&object, catalog)?;
    messages::bounded(&object, "input")?;
    let raw: RawResponses = body::from_object(&object)?;
    refuse(&object)?;
    let echo = Echo::of(&raw)?;
    let extent = Extent { max_tokens: raw.max_output_tokens, stop: Vec::new(), logprobs: echo.logprobs };
    let turn = turn::read(&object, model, wish(&object, &raw)?, extent, now)?;
    Ok((turn, echo))
}

/// Refuses what needs answers that are kept, or other things that there are not.
fn refuse(object: &Map<String, Value>) -> Result<(), ApiError> {
    let kept = "this server keeps no answers; send all items so far as input, and leave it out";
    for (field, why) in [
        ("previous_response_id", kept),
        ("conversation", kept),
        ("background", "this server keeps no answers; leave it out, or ask for a stream"),
        ("prompt", "this server keeps no prompts; send instructions and input, and leave it out"),
    ] {
        if object.get(field).is_some_and(|value| !value.is_null() && *value != false) {
            return Err(ApiError::invalid(field, format!("{field}: {why}")));
        }
    }
    Ok(())
}

fn wish(object: &Map<String, Value>, raw: &RawResponses) -> Result<Wish, ApiError> {
    let input = raw.input.as_ref().filter(|input| !input.is_null()).ok_or_else(|| missing("input"))?;
    let messages = input::messages(raw.instructions.as_deref(), input)?;
    let mut variables = chat::variables(object)?;
    let effort = raw.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_ref());
    chat::effort("reasoning.effort", effort, &mut variables)?;
    if effort.is_some_and(|effort| effort == "none") {
        chat::thinking(false, &mut variables);
    }
    let format = raw.text.as_ref().and_then(|text| text.format.as_ref());
    let grammar = grammar::read_with_format(object, "text.format", format)?;
    Ok(Wish { messages, tools: read_tools(raw)?, variables, splits_thoughts: true, grammar })
}

fn read_tools(raw: &RawResponses) -> Result<Tools, ApiError> {
    let fields = ToolFields::RESPONSES;
    let list = fields.list(raw.tools.as_ref(), |index, tool| {
        let mut function = tools::function_tool(index, tool)?.clone();
        function.shift_remove("type");
        Ok(function)
    })?;
    let choice = choice(raw.tool_choice.as_ref(), &list)?;
    Ok(Tools { list, choice, several: tools::several(raw.parallel_tool_calls.as_ref())?, fields })
}

fn choice(field: Option<&Value>, list: &[Tool]) -> Result<Choice, ApiError> {
    let wrong = |got: &Value| {
        let expected = "none, auto, required or {\"type\":\"function\",\"name\":…}";
        out_of_range("tool_choice", expected, shorten(&got.to_string()))
    };
    match field {
        None | Some(Value::Null) => Ok(Choice::Auto),
        Some(given @ Value::String(word)) => Choice::of_word(word).ok_or_else(|| wrong(given))?.check(list),
        Some(given @ Value::Object(fields)) if fields.get("type").is_some_and(|kind| kind == "function") => {
            let name = fields.get("name").and_then(Value::as_str).ok_or_else(|| wrong(given))?;
            Choice::named(list, "tool_choice.name", name)
        }
        Some(other) => Err(wrong(other)),
    }
}

impl Echo {
    fn of(raw: &RawResponses) -> Result<Self, ApiError> {
        if raw.max_output_tokens == Some(0) {
            return Err(out_of_range("max_output_tokens", "a whole number of at least 1", 0));
        }
        let top = raw.top_logprobs.unwrap_or(0);
        if top > MAX_LOGPROBS {
            let expected = format!("a whole number from 0 to {MAX_LOGPROBS}");
            return Err(out_of_range("top_logprobs", &expected, top));
        }
        let tells = top > 0 || raw.include.iter().flatten().any(|wanted| wanted == LOGPROBS);
        let given = |value: &Option<Value>| value.clone().filter(|value| !value.is_null());
        let format = raw.text.as_ref().and_then(|text| given(&text.format));
        Ok(Self {
            instructions: raw.instructions.clone(),
            max_output_tokens: raw.max_output_tokens,
            tools: given(&raw.tools).unwrap_or_else(|| json!([])),
            tool_choice: given(&raw.tool_choice).unwrap_or_else(|| "auto".into()),
            parallel_tool_calls: tools::several(raw.parallel_tool_calls.as_ref())? != Some(false),
            format: format.unwrap_or_else(|| json!({ "type": "text" })),
            effort: raw.reasoning.as_ref().and_then(|reasoning| given(&reasoning.effort)),
            metadata: metadata(raw.metadata.clone().unwrap_or_default())?,
            logprobs: tells.then_some(top),
        })
    }
}

/// Each answer repeats it, each stream several times.
fn metadata(metadata: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    if metadata.len() > MAX_METADATA {
        let message = format!("metadata: at most {MAX_METADATA} pairs, got {}", metadata.len());
        return Err(ApiError::invalid("metadata", message));
    }
    for (key, value) in &metadata {
        let fits = |text: &str| text.len() <= MAX_METADATA_BYTES;
        if !fits(key) || !value.as_str().is_some_and(fits) {
            let field = format!("metadata.{}", shorten(key));
            let expected = format!("strings of at most {MAX_METADATA_BYTES} bytes");
            return Err(out_of_range(&field, &expected, shorten(&value.to_string())));
        }
    }
    Ok(metadata)
}
