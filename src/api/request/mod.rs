//! The bodies that clients send, and what they mean.
//!
//! PURE: JSON in, a validated [`Job`] or an error that names the field out. Fields of OpenAI's that modelpool
//! does not implement are refused when they would change the answer, and ignored when they would not. What
//! llama.cpp only survives in moderation, such as grammars, is bounded here, before a worker sees it.
//!
//! In reading order: `prompt`; `chat` with `messages` and `tools`; `sampling` and `bias`, `output`, `grammar` with its
//! bounds in `gbnf` and `schema`, `unsupported`, and `range` for single values.

mod bias;
mod chat;
mod gbnf;
mod grammar;
mod messages;
mod output;
mod prompt;
mod range;
mod sampling;
mod schema;
mod tools;
mod unsupported;

#[cfg(test)]
mod chat_tests;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::body;
use super::error::ApiError;
use crate::catalog::{Catalog, CatalogModel};
use crate::chat::AnswerParser;
use crate::generation::{GenerationRequest, SamplingSettings};
use messages::RawMessage;
use output::{Output, RawOutput};
use prompt::RawPrompt;
use range::shorten;
use sampling::RawSampling;

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
    /// What to generate: the first choice.
    pub request: GenerationRequest,
    /// Reads the text of a choice; `None` where text is all that it is.
    pub parser: Option<AnswerParser>,
    /// How many choices are wanted; at least one.
    pub choices: u32,
    /// Whether tokens are sent as they come.
    pub stream: bool,
    /// Whether a stream ends with a chunk of token counts.
    pub include_usage: bool,
}

impl Job<'_> {
    /// The request of each choice. They differ in their seeds, each one more than the one before, so that a choice
    /// can be asked for again alone.
    pub fn requests(&self) -> impl Iterator<Item = GenerationRequest> {
        (0..self.choices).map(|choice| {
            let seed = self.request.sampling.seed.wrapping_add(choice.into());
            let sampling = SamplingSettings { seed, ..self.request.sampling.clone() };
            GenerationRequest { sampling, ..self.request.clone() }
        })
    }
}

/// The fields that both endpoints have besides those of `sampling` and `output`.
#[derive(Debug, Deserialize)]
struct RawRequest {
    model: String,
    messages: Option<Vec<RawMessage>>,
    prompt: Option<RawPrompt>,
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
    let raw: RawRequest = body::from_object(&object)?;
    let model = find_model(&raw.model, catalog)?;
    refuse_pooling(model, true)?;
    let raw_sampling: RawSampling = body::from_object(&object)?;
    let sampling = sampling::settings(raw_sampling, object.get("logit_bias"), &model.policy.sampling)?;
    let output = body::from_object::<RawOutput>(&object)?.check(shape)?;
    let mut grammar = grammar::read(&object)?;
    let (mut parser, mut shown) = (None, Vec::new());
    let prompt = match shape {
        Shape::Chat => {
            let chat = chat::read(&object, raw.messages, &model.chat, grammar, now)?;
            (parser, shown, grammar) = (Some(chat.parser), chat.shown, chat.grammar);
            chat.prompt
        }
        Shape::Completion => prompt::prompt(raw.prompt)?,
    };
    let Output { stream, include_usage, max_tokens, stop, choices, logprobs, ignore_eos, reuse_prefix } =
        output;
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
    Ok(Job { model, request, parser, choices, stream, include_usage })
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

/// A model makes text or vectors, as its policy says.
///
/// # Errors
///
/// [`ApiError`] if it makes the other.
pub fn refuse_pooling(model: &CatalogModel, wants_text: bool) -> Result<(), ApiError> {
    let (name, makes_text) = (&model.policy.name, model.policy.engine.pooling.is_none());
    let message = match (wants_text, makes_text) {
        (true, true) | (false, false) => return Ok(()),
        (true, false) => format!("model: {name} makes embeddings, not text; ask /v1/embeddings"),
        (false, true) => {
            format!("model: {name} makes text, not embeddings; its policy would have to set engine.pooling")
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
