//! The bodies of Anthropic's `/v1/messages` and `/v1/messages/count_tokens`.
//!
//! Fields that say where and for whom to compute are ignored, as are marks of what to cache: the beginning of a prompt comes
//! from the KV cache whenever it is there. What the server would have to run or to fetch is refused.

mod content;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::chat::{self, Wish};
use super::messages::{self, MAX_MESSAGES};
use super::output::{MAX_STOP_BYTES, MAX_STOP_STRINGS};
use super::range::{missing, out_of_range, shorten, strings};
use super::tools::{Choice, MAX_TOOLS, ToolFields, Tools};
use super::turn::{self, Extent, Turn};
use super::{ApiError, grammar};
use crate::api::body;
use crate::catalog::{Catalog, CatalogModel};
use crate::chat::Tool;
use crate::generation::{Grammar, Prompt};
use content::RawMessage;

/// The fields as they are sent, besides those of `turn`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Messages")]
struct RawMessages {
    #[schemars(length(min = 1, max = MAX_MESSAGES))]
    messages: Vec<RawMessage>,
    max_tokens: Option<u32>,
    #[schemars(extend("type" = ["string", "array", "null"]))]
    system: Option<Value>,
    #[schemars(length(max = MAX_STOP_STRINGS), inner(length(min = 1, max = MAX_STOP_BYTES)))]
    stop_sequences: Option<Vec<String>>,
    #[schemars(with = "Option<Vec<Map<String, Value>>>", length(max = MAX_TOOLS))]
    tools: Option<Value>,
    tool_choice: Option<RawChoice>,
    thinking: Option<RawThinking>,
    output_config: Option<RawOutputConfig>,
    #[schemars(with = "Option<Map<String, Value>>")]
    output_format: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "MessagesToolChoice")]
struct RawChoice {
    #[schemars(extend("enum" = ["auto", "any", "tool", "none"]))]
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Thinking")]
struct RawThinking {
    #[schemars(extend("enum" = ["enabled", "disabled", "adaptive", "between_tools"]))]
    r#type: String,
    budget_tokens: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OutputConfig")]
struct RawOutputConfig {
    #[schemars(with = "Option<String>")]
    effort: Option<Value>,
    #[schemars(with = "Option<Map<String, Value>>")]
    format: Option<Value>,
}

/// What a body looks like.
pub fn schema(generator: &mut SchemaGenerator) -> Schema {
    let own = generator.subschema_for::<RawMessages>();
    let length = json_schema!({
        "type": "object", "properties": { "max_tokens": { "type": "integer", "minimum": 1 } }, "required": ["max_tokens"],
    });
    let parts: Vec<_> = turn::schemas(generator).into_iter().chain([own, length]).collect();
    json_schema!({ "allOf": parts })
}

/// What a body looks like whose tokens are counted.
pub fn count_schema(generator: &mut SchemaGenerator) -> Schema {
    let own = generator.subschema_for::<RawMessages>();
    let parts: Vec<_> = turn::counted_schemas(generator).into_iter().chain([own]).collect();
    json_schema!({ "allOf": parts })
}

/// Reads the body of `/v1/messages`. `now` is what templates take for the present.
///
/// # Errors
///
/// [`ApiError`] that names the field.
pub fn read<'catalog>(
    bytes: &[u8],
    catalog: &'catalog Catalog,
    now: SystemTime,
) -> Result<Turn<'catalog>, ApiError> {
    let object: Map<String, Value> = body::parse(bytes)?;
    let model = turn::model(&object, catalog)?;
    messages::bounded(&object, "messages")?;
    let mut raw: RawMessages = body::from_object(&object)?;
    let max_tokens = match raw.max_tokens {
        None => return Err(missing("max_tokens")),
        Some(0) => return Err(out_of_range("max_tokens", "a whole number of at least 1", 0)),
        given => given,
    };
    let stop = raw.stop_sequences.take().unwrap_or_default();
    let stop = strings("stop_sequences", stop, MAX_STOP_STRINGS, MAX_STOP_BYTES)?;
    let wish = wish(&object, raw)?;
    turn::read(&object, model, wish, Extent { max_tokens, stop, logprobs: None }, now)
}

/// Reads the body of `/v1/messages/count_tokens`: whose tokens are to be counted.
///
/// # Errors
///
/// [`ApiError`] that names the field.
pub fn read_count<'catalog>(
    bytes: &[u8],
    catalog: &'catalog Catalog,
    now: SystemTime,
) -> Result<(&'catalog CatalogModel, Prompt), ApiError> {
    let object: Map<String, Value> = body::parse(bytes)?;
    let model = turn::model(&object, catalog)?;
    messages::bounded(&object, "messages")?;
    let wish = wish(&object, body::from_object(&object)?)?;
    Ok((model, Prompt::Text(chat::prepare(wish, &model.chat, now)?.prompt)))
}

fn wish(object: &Map<String, Value>, raw: RawMessages) -> Result<Wish, ApiError> {
    refuse(object)?;
    let messages = content::messages(raw.system.as_ref(), raw.messages)?;
    let tools = tools(raw.tools.as_ref(), raw.tool_choice)?;
    let mut variables = chat::variables(object)?;
    let config = raw.output_config;
    let (effort, format) = config.map_or((None, None), |config| (config.effort, config.format));
    chat::effort("output_config.effort", effort.as_ref(), &mut variables)?;
    if let Some(thinking) = raw.thinking {
        thinking.tell(&mut variables)?;
    }
    let grammar = format_of(object, format.as_ref(), raw.output_format.as_ref())?;
    Ok(Wish { messages, tools, variables, splits_thoughts: true, grammar })
}

/// Refuses what only Anthropic's own servers can do.
fn refuse(object: &Map<String, Value>) -> Result<(), ApiError> {
    let asks = |field: &&str| match object.get(*field) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    match ["container", "mcp_servers"].into_iter().find(asks) {
        Some(field) => {
            let message = format!("{field}: this server runs no tools of its own; leave it out");
            Err(ApiError::invalid(field, message))
        }
        None => Ok(()),
    }
}

/// The answer's JSON schema, in `output_config.format` or where it was before that.
fn format_of(
    object: &Map<String, Value>,
    format: Option<&Value>,
    older: Option<&Value>,
) -> Result<Option<Grammar>, ApiError> {
    let [format, older] = [format, older].map(|given| given.filter(|format| !format.is_null()));
    match (format, older) {
        (Some(_), Some(_)) => {
            let message = "output_format: cannot be combined with output_config.format; give one of them";
            Err(ApiError::invalid("output_format", message))
        }
        (None, Some(_)) => grammar::read_with_format(object, "output_format", older),
        _ => grammar::read_with_format(object, "output_config.format", format),
    }
}

fn tools(list: Option<&Value>, choice: Option<RawChoice>) -> Result<Tools, ApiError> {
    let fields = ToolFields::MESSAGES;
    let list = fields.list(list, function)?;
    let (choice, several) = match choice {
        None => (Choice::Auto, None),
        Some(raw) => (raw.check(&list)?, raw.disable_parallel_tool_use.map(|disabled| !disabled)),
    };
    Ok(Tools { list, choice, several, fields })
}

/// What templates get of a tool that the client runs itself.
fn function(index: usize, tool: &Value) -> Result<Map<String, Value>, ApiError> {
    let at = |rest: &str| format!("tools[{index}]{rest}");
    let Value::Object(fields) = tool else {
        return Err(ApiError::invalid(at(""), format!("{}: expected an object", at(""))));
    };
    if let Some(kind) = fields.get("type").filter(|kind| !kind.is_null() && *kind != "custom") {
        let field = at(".type");
        let message = format!(
            "{field}: this server runs no tools of its own, expected \"custom\", got {}",
            shorten(&kind.to_string())
        );
        return Err(ApiError::invalid(field, message));
    }
    let known = ["name", "description", "input_schema", "strict"];
    let fields = known.into_iter().filter_map(|key| Some((key.to_owned(), fields.get(key)?.clone())));
    Ok(fields.collect())
}

impl RawChoice {
    fn check(&self, list: &[Tool]) -> Result<Choice, ApiError> {
        match (self.r#type.as_str(), &self.name) {
            ("auto", _) => Ok(Choice::Auto),
            ("none", _) => Ok(Choice::None),
            ("any", _) => Choice::Required.check(list),
            ("tool", Some(name)) => Choice::named(list, "tool_choice.name", name),
            ("tool", None) => Err(missing("tool_choice.name")),
            (other, _) => {
                let got = format!("{:?}", shorten(other));
                Err(out_of_range("tool_choice.type", "auto, any, tool or none", got))
            }
        }
    }
}

impl RawThinking {
    /// Tells the template whether the model shall think; where the model may decide, it hears nothing.
    fn tell(&self, variables: &mut Map<String, Value>) -> Result<(), ApiError> {
        let thinks = match (self.r#type.as_str(), self.budget_tokens) {
            ("adaptive" | "between_tools", _) => return Ok(()),
            ("disabled", _) => false,
            ("enabled", None) => return Err(missing("thinking.budget_tokens")),
            ("enabled", Some(0)) => {
                return Err(out_of_range("thinking.budget_tokens", "a whole number of at least 1", 0));
            }
            ("enabled", Some(budget)) => {
                variables.entry("thinking_budget").or_insert_with(|| budget.into());
                true
            }
            (other, _) => {
                let got = format!("{:?}", shorten(other));
                return Err(out_of_range("thinking.type", "enabled, disabled or adaptive", got));
            }
        };
        chat::thinking(thinks, variables);
        Ok(())
    }
}
