//! The bodies that clients send, and what they mean.
//!
//! PURE: JSON in, a validated [`Job`] or an error that names the field out. Fields of OpenAI's that modelpool
//! does not implement are refused when they would change the answer, and ignored when they would not.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::body;
use super::error::ApiError;
use crate::catalog::{Catalog, CatalogModel};
use crate::chat::Message;
use crate::generation::{GenerationRequest, Prompt, SamplingSettings, Token};
use crate::policy::SamplingPolicy;

/// The most stop strings of a request.
const MAX_STOP_STRINGS: usize = 16;
/// The most bytes of a stop string.
const MAX_STOP_BYTES: usize = 1024;

/// Which endpoint was asked, and so which shapes go in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

impl Shape {
    /// What this endpoint calls its prompt.
    #[must_use]
    pub const fn prompt_field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completion => "prompt",
        }
    }
}

/// A validated request.
#[derive(Debug)]
pub struct Job<'catalog> {
    /// The model asked for.
    pub model: &'catalog CatalogModel,
    /// What to generate.
    pub request: GenerationRequest,
    /// Whether tokens are sent as they come.
    pub stream: bool,
    /// Whether a stream ends with a chunk of token counts.
    pub include_usage: bool,
}

/// One string or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
enum Strings {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of token ids")]
enum RawPrompt {
    Text(String),
    Tokens(Vec<Token>),
    Texts(Vec<String>),
}

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
struct RawMessage {
    role: String,
    content: Option<RawContent>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Both endpoints' fields.
#[derive(Debug, Deserialize)]
struct RawRequest {
    model: String,
    messages: Option<Vec<RawMessage>>,
    prompt: Option<RawPrompt>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    seed: Option<i64>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    stop: Option<Strings>,
}

/// Reads the body of a request to `shape`'s endpoint.
///
/// # Errors
///
/// [`ApiError`] that names the field.
pub fn read<'catalog>(
    bytes: &[u8],
    shape: Shape,
    catalog: &'catalog Catalog,
) -> Result<Job<'catalog>, ApiError> {
    let object: Map<String, Value> = body::parse(bytes)?;
    refuse_unsupported(&object)?;
    let raw: RawRequest = body::from_value(Value::Object(object))?;
    let model = catalog.model(&raw.model).ok_or_else(|| no_model(&raw.model, catalog))?;
    let sampling = sampling(&raw, &model.policy.sampling)?;
    let max_tokens = max_tokens(&raw)?;
    let prompt = match shape {
        Shape::Chat => Prompt::Text(model.chat.render(&messages(raw.messages)?)?),
        Shape::Completion => prompt(raw.prompt)?,
    };
    let include_usage = raw.stream_options.is_some_and(|options| options.include_usage == Some(true));
    Ok(Job {
        model,
        request: GenerationRequest {
            sampling,
            max_tokens,
            stop: stop(raw.stop)?,
            ..GenerationRequest::new(prompt)
        },
        stream: raw.stream == Some(true),
        include_usage,
    })
}

/// Fields that would change the answer, each with the number that means "as if it were not there".
const UNSUPPORTED: [(&str, f64); 25] = [
    ("n", 1.0),
    ("best_of", 1.0),
    ("echo", 0.0),
    ("suffix", 0.0),
    ("logprobs", 0.0),
    ("top_logprobs", 0.0),
    ("logit_bias", 0.0),
    ("presence_penalty", 0.0),
    ("frequency_penalty", 0.0),
    ("tools", 0.0),
    ("tool_choice", 0.0),
    ("functions", 0.0),
    ("function_call", 0.0),
    ("response_format", 0.0),
    ("audio", 0.0),
    ("grammar", 0.0),
    ("json_schema", 0.0),
    ("min_p", 0.0),
    ("typical_p", 1.0),
    ("repeat_penalty", 1.0),
    ("repetition_penalty", 1.0),
    ("mirostat", 0.0),
    ("dry_multiplier", 0.0),
    ("xtc_probability", 0.0),
    ("ignore_eos", 0.0),
];

fn no_model(name: &str, catalog: &Catalog) -> ApiError {
    match catalog.fault(name) {
        Some(broken) => {
            ApiError::BrokenModel { name: broken.name.to_string(), reason: broken.reason.clone() }
        }
        None => ApiError::UnknownModel {
            name: shorten(name),
            available: catalog.models.iter().map(|m| m.policy.name.as_str()).collect::<Vec<_>>().join(", "),
        },
    }
}

fn refuse_unsupported(object: &Map<String, Value>) -> Result<(), ApiError> {
    for (field, neutral) in UNSUPPORTED {
        if object.get(field).is_some_and(|value| !is_neutral(field, value, neutral)) {
            let message = format!("{field}: this server does not support it; leave it out");
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(())
}

/// Whether a field's value means the same as leaving the field out.
fn is_neutral(field: &str, value: &Value, neutral: f64) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64().is_some_and(|number| number.total_cmp(&neutral).is_eq()),
        Value::String(text) if matches!(field, "tool_choice" | "function_call") => {
            text == "none" || text == "auto"
        }
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) if field == "response_format" => fields.get("type") == Some(&"text".into()),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn sampling(raw: &RawRequest, default: &SamplingPolicy) -> Result<SamplingSettings, ApiError> {
    let temperature = raw.temperature.unwrap_or(default.temperature);
    if !(0.0..=2.0).contains(&temperature) {
        return Err(out_of_range("temperature", "a number from 0 to 2", temperature));
    }
    let top_p = raw.top_p.unwrap_or(default.top_p);
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(out_of_range("top_p", "a number above 0 and up to 1", top_p));
    }
    // Any bits will do; negative seeds are seeds, too.
    let seed = raw.seed.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().1, i64::cast_unsigned);
    let top_k = raw.top_k.unwrap_or(default.top_k);
    Ok(SamplingSettings { temperature, top_k, top_p, seed, ..SamplingSettings::default() })
}

fn max_tokens(raw: &RawRequest) -> Result<Option<u32>, ApiError> {
    let (field, given) = match raw.max_completion_tokens {
        Some(given) => ("max_completion_tokens", Some(given)),
        None => ("max_tokens", raw.max_tokens),
    };
    if given == Some(0) {
        return Err(out_of_range(field, "a whole number of at least 1", 0));
    }
    Ok(given)
}

fn stop(stop: Option<Strings>) -> Result<Vec<String>, ApiError> {
    let stop = match stop {
        None => Vec::new(),
        Some(Strings::One(one)) => vec![one],
        Some(Strings::Many(many)) => many,
    };
    if stop.len() > MAX_STOP_STRINGS {
        let message = format!("stop: at most {MAX_STOP_STRINGS} strings, got {}", stop.len());
        return Err(ApiError::invalid("stop", message));
    }
    for (index, text) in stop.iter().enumerate() {
        if text.is_empty() || text.len() > MAX_STOP_BYTES {
            let field = format!("stop[{index}]");
            let message = format!("{field}: expected 1 to {MAX_STOP_BYTES} bytes, got {}", text.len());
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(stop)
}

fn prompt(prompt: Option<RawPrompt>) -> Result<Prompt, ApiError> {
    match prompt {
        None => Err(ApiError::invalid("prompt", "prompt: missing; give a string or an array of token ids")),
        Some(RawPrompt::Text(text)) => Ok(Prompt::Text(text)),
        Some(RawPrompt::Tokens(tokens)) => Ok(Prompt::Tokens(tokens)),
        Some(RawPrompt::Texts(texts)) => match <[String; 1]>::try_from(texts) {
            Ok([text]) => Ok(Prompt::Text(text)),
            Err(texts) => {
                let message =
                    format!("prompt: one prompt a request, got {}; send one request for each", texts.len());
                Err(ApiError::invalid("prompt", message))
            }
        },
    }
}

fn messages(messages: Option<Vec<RawMessage>>) -> Result<Vec<Message>, ApiError> {
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

fn out_of_range(field: &str, expected: &str, got: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(field, format!("{field}: expected {expected}, got {got}"))
}

/// What a client wrote, short enough to be repeated to it.
fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
