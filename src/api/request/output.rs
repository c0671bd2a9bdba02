//! What comes out: how much, how many times, up to where, and with which figures.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;
use serde_json::Value;

use super::range::{out_of_range, strings};
use super::{ApiError, Shape};

/// The most stop strings of a request.
pub(super) const MAX_STOP_STRINGS: usize = 16;
/// The most bytes of a stop string.
pub(super) const MAX_STOP_BYTES: usize = 1024;
/// The most choices of a request. Each takes a slot of its own, as one more request would, so that a few clients with
/// many choices would have all slots; and all must have one before the answer begins.
const MAX_CHOICES: u32 = 16;
/// The most likeliest tokens that are told at each place; OpenAI's limit for chats.
pub(super) const MAX_LOGPROBS: u32 = 20;

/// One string or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(super) enum Strings {
    One(#[schemars(length(min = 1, max = MAX_STOP_BYTES))] String),
    Many(
        #[schemars(length(max = MAX_STOP_STRINGS), inner(length(min = 1, max = MAX_STOP_BYTES)))] Vec<String>,
    ),
}

impl Strings {
    /// The stop strings of `field`.
    pub(super) fn check(field: &str, given: Option<Self>) -> Result<Vec<String>, ApiError> {
        let given = match given {
            None => Vec::new(),
            Some(Self::One(one)) => vec![one],
            Some(Self::Many(many)) => many,
        };
        strings(field, given, MAX_STOP_STRINGS, MAX_STOP_BYTES)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// The fields as they are sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Output")]
pub(super) struct RawOutput {
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[schemars(range(min = 1))]
    max_tokens: Option<u32>,
    #[schemars(range(min = 1))]
    max_completion_tokens: Option<u32>,
    stop: Option<Strings>,
    #[schemars(range(min = 1, max = MAX_CHOICES))]
    n: Option<u32>,
    best_of: Option<u32>,
    #[schemars(skip)]
    logprobs: Option<Value>,
    #[schemars(range(max = MAX_LOGPROBS))]
    top_logprobs: Option<u32>,
    ignore_eos: Option<bool>,
    cache_prompt: Option<bool>,
    timings_per_token: Option<bool>,
}

/// What `logprobs` looks like.
pub(super) fn logprobs_schema(shape: Shape) -> Schema {
    let logprobs = match shape {
        Shape::Chat => json_schema!({ "type": ["boolean", "null"] }),
        Shape::Completion => json_schema!({ "anyOf": [
            { "type": ["integer", "null"], "minimum": 0, "maximum": MAX_LOGPROBS }, { "const": false },
        ] }),
    };
    json_schema!({ "type": "object", "properties": { "logprobs": logprobs } })
}

/// The fields, checked.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the request")]
pub(super) struct Output {
    pub stream: bool,
    pub include_usage: bool,
    pub max_tokens: Option<u32>,
    pub stop: Vec<String>,
    pub choices: u32,
    pub logprobs: Option<u32>,
    pub ignore_eos: bool,
    pub reuse_prefix: bool,
    pub timings_per_token: bool,
}

impl RawOutput {
    pub fn check(self, shape: Shape) -> Result<Output, ApiError> {
        let logprobs = match shape {
            Shape::Chat => chat_logprobs(self.logprobs.as_ref(), self.top_logprobs)?,
            Shape::Completion => completion_logprobs(self.logprobs.as_ref(), self.top_logprobs)?,
        };
        Ok(Output {
            stream: self.stream == Some(true),
            include_usage: self.stream_options.is_some_and(|options| options.include_usage == Some(true)),
            max_tokens: max_tokens(self.max_tokens, self.max_completion_tokens)?,
            stop: Strings::check("stop", self.stop)?,
            choices: choices(self.n, self.best_of)?,
            logprobs,
            ignore_eos: self.ignore_eos == Some(true),
            reuse_prefix: self.cache_prompt != Some(false),
            timings_per_token: self.timings_per_token == Some(true),
        })
    }
}

fn max_tokens(max_tokens: Option<u32>, max_completion_tokens: Option<u32>) -> Result<Option<u32>, ApiError> {
    for (field, given) in [("max_completion_tokens", max_completion_tokens), ("max_tokens", max_tokens)] {
        if given == Some(0) {
            return Err(out_of_range(field, "a whole number of at least 1", 0));
        }
    }
    Ok(max_completion_tokens.or(max_tokens))
}

fn choices(n: Option<u32>, best_of: Option<u32>) -> Result<u32, ApiError> {
    let choices = n.unwrap_or(1);
    if !(1..=MAX_CHOICES).contains(&choices) {
        return Err(out_of_range("n", &format!("a whole number from 1 to {MAX_CHOICES}"), choices));
    }
    match best_of {
        Some(best_of) if best_of != choices => {
            let message = format!(
                "best_of: this server does not choose among answers; leave it out, or give n ({choices}), got {best_of}"
            );
            Err(ApiError::invalid("best_of", message))
        }
        _ => Ok(choices),
    }
}

/// A chat says with `logprobs` whether, and with `top_logprobs` how many.
fn chat_logprobs(logprobs: Option<&Value>, top_logprobs: Option<u32>) -> Result<Option<u32>, ApiError> {
    let wanted = match logprobs {
        None | Some(Value::Null) => false,
        Some(Value::Bool(wanted)) => *wanted,
        Some(other) => return Err(out_of_range("logprobs", "true or false", other)),
    };
    let most = top_logprobs.unwrap_or(0);
    if most > MAX_LOGPROBS {
        return Err(out_of_range("top_logprobs", &whole_logprobs(), most));
    }
    if most > 0 && !wanted {
        let message = "top_logprobs: needs logprobs to be true; set that, or leave this out";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    Ok(wanted.then_some(most))
}

/// A completion says with `logprobs` how many; 0 tells that of the chosen token alone.
fn completion_logprobs(logprobs: Option<&Value>, top_logprobs: Option<u32>) -> Result<Option<u32>, ApiError> {
    if top_logprobs.is_some_and(|most| most > 0) {
        let message = "top_logprobs: only chats have it; give the number as logprobs";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    let most = match logprobs {
        None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64().and_then(|most| u32::try_from(most).ok()),
        Some(_) => None,
    };
    match most {
        Some(most) if most <= MAX_LOGPROBS => Ok(Some(most)),
        _ => {
            let got = super::range::shorten(&logprobs.map(ToString::to_string).unwrap_or_default());
            Err(out_of_range("logprobs", &whole_logprobs(), got))
        }
    }
}

fn whole_logprobs() -> String {
    format!("a whole number from 0 to {MAX_LOGPROBS}")
}
