//! The bodies that clients send, and what they mean.
//!
//! PURE: JSON in, a validated [`Job`] or an error that names the field out. Fields of OpenAI's that modelpool
//! does not implement are refused when they would change the answer, and ignored when they would not. What
//! llama.cpp only survives in moderation, such as grammars, is bounded here, before a worker sees it.
//!
//! In reading order: `prompts`; `chat` with `messages` and `tools`; `sampling` and `bias`, `output`, `grammar` and
//! `schema` with `schema_values`, `unsupported`, and `range` for single values. Other APIs: `native`; `turn` with
//! `transcript` and `blocks` for those that give one answer to a conversation, which are `anthropic` and `responses`.

mod anthropic;
mod bias;
mod blocks;
mod chat;
mod grammar;
mod messages;
mod native;
mod output;
mod prompts;
mod range;
mod responses;
mod sampling;
mod schema;
mod schema_values;
mod target;
mod tools;
mod transcript;
mod turn;
mod unsupported;

#[cfg(test)]
mod chat_tests;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::body;
use super::dialect::Dialect;
use super::error::ApiError;
use super::headers::seconds;
use crate::catalog::{Catalog, CatalogModel};
use crate::chat::AnswerParser;
use crate::generation::{GenerationRequest, Prompt, SamplingSettings};
use crate::policy::{Pooling, SamplingPolicy};
pub use anthropic::{count_schema, read as read_messages, read_count, schema as messages_schema};
use messages::RawMessage;
pub use native::{Native, NativeJob, read as read_native, schema as native_schema};
use output::{Output, RawOutput};
use prompts::RawCompletion;
use range::shorten;
pub use responses::{Echo, read as read_responses, schema as responses_schema};
use sampling::RawSampling;
pub use target::Target;
pub use turn::Turn;

/// Which endpoint was asked, and so which shapes go in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

impl Shape {
    /// How this endpoint tells errors.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat => Dialect::CHAT,
            Self::Completion => Dialect::COMPLETION,
        }
    }
}

/// A validated request.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the request")]
pub struct Job<'catalog> {
    /// The model asked for.
    pub model: &'catalog CatalogModel,
    /// What to generate: the first choice of the first prompt.
    pub request: GenerationRequest,
    /// The prompts after the first one.
    pub more_prompts: Vec<Prompt>,
    /// Reads the text of a choice; `None` where text is all that it is.
    pub parser: Option<AnswerParser>,
    /// Whether the client gave the seed of the random draws.
    pub seeded: bool,
    /// How many choices of each prompt are wanted; at least one.
    pub choices: u32,
    /// Whether an answer begins with its prompt.
    pub echo: bool,
    /// Whether each part of a stream says how long it took so far.
    pub timings_per_token: bool,
    /// Whether tokens are sent as they come.
    pub stream: bool,
    /// Whether a stream ends with a chunk of token counts.
    pub include_usage: bool,
    /// How long the client gives it.
    pub timeout: Option<Duration>,
}

impl Job<'_> {
    /// The request of each choice of each prompt, prompt by prompt. Those of one prompt differ in their seeds, each one
    /// more than the one before, so that a choice can be asked for again alone.
    pub fn requests(&self) -> impl Iterator<Item = GenerationRequest> {
        self.prompts().flat_map(move |prompt| {
            (0..self.choices).map(move |choice| {
                let seed = self.request.sampling.seed.wrapping_add(choice.into());
                let sampling = SamplingSettings { seed, ..self.request.sampling.clone() };
                GenerationRequest { sampling, prompt: prompt.clone(), ..self.request.clone() }
            })
        })
    }

    /// All prompts, in order.
    pub fn prompts(&self) -> impl Iterator<Item = &Prompt> {
        std::iter::once(&self.request.prompt).chain(&self.more_prompts)
    }
}

/// The fields that both endpoints have besides those of `sampling` and `output`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Request")]
struct RawRequest {
    model: String,
    /// Only chats have them.
    #[schemars(skip)]
    messages: Option<Vec<RawMessage>>,
}

/// What a body of an endpoint looks like.
pub fn schema(shape: Shape, generator: &mut SchemaGenerator) -> Schema {
    let own = match shape {
        Shape::Chat => chat::fields_schema(generator),
        Shape::Completion => generator.subschema_for::<RawCompletion>(),
    };
    let parts = [
        generator.subschema_for::<RawRequest>(),
        generator.subschema_for::<RawOutput>(),
        generator.subschema_for::<RawSampling>(),
        output::logprobs_schema(shape),
        grammar::fields_schema(),
        timeout_part(),
        own,
    ];
    json_schema!({ "allOf": parts })
}

/// What a body looks like whose messages become a prompt.
pub fn template_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "allOf": [chat::fields_schema(generator), model_part()] })
}

/// A model that need not be named.
pub fn model_part() -> Schema {
    json_schema!({ "type": "object", "properties": { "model": { "type": ["string", "null"] } } })
}

/// The field `timeout`.
pub fn timeout_part() -> Schema {
    let timeout = json_schema!({ "type": ["number", "null"], "exclusiveMinimum": 0 });
    json_schema!({ "type": "object", "properties": { "timeout": timeout } })
}

/// Reads the body of a request to `shape`'s endpoint. `now` is what templates take for the present.
///
/// # Errors
///
/// [`ApiError`] that names the field.
pub fn read<'catalog>(
    bytes: &[u8],
    shape: Shape,
    catalog: &'catalog Catalog,
    now: SystemTime,
) -> Result<Job<'catalog>, ApiError> {
    let object: Map<String, Value> = body::parse(bytes)?;
    unsupported::refuse(&object, shape)?;
    messages::bounded(&object, "messages")?;
    let raw: RawRequest = body::from_object(&object)?;
    let model = find_model(&raw.model, catalog)?;
    refuse_others(model, Makes::Text)?;
    let raw_sampling: RawSampling = body::from_object(&object)?;
    let seeded = raw_sampling.has_seed();
    let sampling = sampling::settings(raw_sampling, object.get("logit_bias"), &model.policy.sampling)?;
    let output = body::from_object::<RawOutput>(&object)?.check(shape)?;
    let mut grammar = grammar::read(&object)?;
    let timeout = timeout(object.get("timeout"))?;
    let (mut parser, mut shown) = (None, Vec::new());
    let (mut prompts, echo) = match shape {
        Shape::Chat => {
            let wish = chat::read(&object, raw.messages, grammar)?;
            let chat = chat::prepare(wish, &model.chat, now)?;
            (parser, shown, grammar) = (Some(chat.parser), chat.shown, chat.grammar);
            (vec![Prompt::Text(chat.prompt)], false)
        }
        Shape::Completion => body::from_object::<RawCompletion>(&object)?.check(output.logprobs.is_some())?,
    };
    prompts::bounded(prompts.len(), output.choices)?;
    let prompt = prompts.remove(0);
    let Output { max_tokens, stop, logprobs, ignore_eos, reuse_prefix, .. } = output;
    let request = GenerationRequest {
        prompt,
        sampling,
        max_tokens,
        stop,
        ignore_eos,
        grammar,
        shown,
        logprobs,
        reuse_prefix,
    };
    Ok(Job {
        model,
        request,
        parser,
        more_prompts: prompts,
        seeded,
        choices: output.choices,
        echo,
        timings_per_token: output.timings_per_token,
        stream: output.stream,
        include_usage: output.include_usage,
        timeout,
    })
}

/// The field `timeout`: seconds.
///
/// # Errors
///
/// [`ApiError`] if it is no such time.
pub fn timeout(field: Option<&Value>) -> Result<Option<Duration>, ApiError> {
    let Some(value) = field.filter(|value| !value.is_null()) else { return Ok(None) };
    let timeout = value.as_f64().and_then(seconds);
    timeout.map(Some).ok_or_else(|| {
        let message =
            format!("timeout: expected a number of seconds above 0, got {}", shorten(&value.to_string()));
        ApiError::invalid("timeout", message)
    })
}

/// The prompt that the messages of a chat become, at a time.
///
/// # Errors
///
/// [`ApiError`] that names the field.
pub fn chat_prompt(
    object: &Map<String, Value>,
    model: &CatalogModel,
    now: SystemTime,
) -> Result<String, ApiError> {
    #[derive(Deserialize)]
    struct RawChat {
        messages: Option<Vec<RawMessage>>,
    }
    messages::bounded(object, "messages")?;
    let messages = body::from_object::<RawChat>(object)?.messages;
    Ok(chat::prepare(chat::read(object, messages, None)?, &model.chat, now)?.prompt)
}

/// How tokens are chosen where a request does not say.
///
/// # Panics
///
/// Never: a policy's values are in the range of a request's.
#[must_use]
pub fn default_sampling(policy: &SamplingPolicy) -> SamplingSettings {
    sampling::settings(RawSampling::default(), None, policy).expect("a policy's values are valid")
}

/// The model that a client asks for.
///
/// # Errors
///
/// [`ApiError`] if there is none of that name, or it cannot be served.
pub fn find_model<'catalog>(
    name: &str,
    catalog: &'catalog Catalog,
) -> Result<&'catalog CatalogModel, ApiError> {
    Ok(catalog.model(name).ok_or_else(|| no_model(name, catalog))?)
}

/// What a path gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// Text.
    Text,
    /// Vectors, which may be scores.
    Vectors,
    /// Scores alone.
    Scores,
}

/// A model makes text, vectors or scores, as its policy says.
///
/// # Errors
///
/// [`ApiError`] if it makes something else than the path gives.
pub fn refuse_others(model: &CatalogModel, wanted: Makes) -> Result<(), ApiError> {
    let name = &model.policy.name;
    let message = match (wanted, model.policy.engine.pooling) {
        (Makes::Text, None) | (Makes::Vectors, Some(_)) | (Makes::Scores, Some(Pooling::Rank)) => {
            return Ok(());
        }
        (Makes::Text, Some(Pooling::Rank)) => format!("model: {name} makes scores, not text; ask /v1/rerank"),
        (Makes::Text, Some(_)) => format!("model: {name} makes embeddings, not text; ask /v1/embeddings"),
        (Makes::Vectors, None) => {
            format!("model: {name} makes text, not embeddings; its policy would have to set engine.pooling")
        }
        (Makes::Scores, _) => {
            format!("model: {name} makes no scores; its policy would have to set engine.pooling to rank")
        }
    };
    Err(ApiError::invalid("model", message))
}

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
