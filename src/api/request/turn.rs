//! What the APIs have in common that give one answer to a conversation: Anthropic's Messages and OpenAI's Responses.

use std::time::{Duration, SystemTime};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::chat::{self, Chat, Wish};
use super::sampling::{self, RawSampling};
use super::{ApiError, Makes, find_model, grammar, refuse_others, timeout, timeout_part};
use crate::api::body;
use crate::catalog::{Catalog, CatalogModel};
use crate::chat::AnswerParser;
use crate::generation::{GenerationRequest, Prompt};

/// A validated request for one answer.
#[derive(Debug)]
pub struct Turn<'catalog> {
    /// The model asked for.
    pub model: &'catalog CatalogModel,
    /// What to generate.
    pub request: GenerationRequest,
    /// Reads the answer.
    pub parser: AnswerParser,
    /// Whether the client gave the seed of the random draws.
    pub seeded: bool,
    /// Whether it is sent as it comes.
    pub stream: bool,
    /// How long the client gives it.
    pub timeout: Option<Duration>,
}

/// The fields that such APIs have, and those of this server's own.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Turn")]
struct RawTurn {
    model: String,
    stream: Option<bool>,
    ignore_eos: Option<bool>,
    cache_prompt: Option<bool>,
}

/// How much comes out, up to where, and with which figures.
#[derive(Debug, Default)]
pub(super) struct Extent {
    pub max_tokens: Option<u32>,
    pub stop: Vec<String>,
    pub logprobs: Option<u32>,
}

/// What all fields look like besides an API's own.
pub(super) fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
    let mut parts = counted_schemas(generator);
    parts.extend([generator.subschema_for::<RawSampling>(), grammar::own_fields_schema(), timeout_part()]);
    parts
}

/// What the fields among them look like that make the prompt.
pub(super) fn counted_schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
    vec![generator.subschema_for::<RawTurn>(), chat::variables_schema()]
}

/// The model that is to answer.
pub(super) fn model<'catalog>(
    object: &Map<String, Value>,
    catalog: &'catalog Catalog,
) -> Result<&'catalog CatalogModel, ApiError> {
    let raw: RawTurn = body::from_object(object)?;
    let model = find_model(&raw.model, catalog)?;
    refuse_others(model, Makes::Text)?;
    Ok(model)
}

/// The answer that a body asks for, of what its API's own fields say.
pub(super) fn read<'catalog>(
    object: &Map<String, Value>,
    model: &'catalog CatalogModel,
    wish: Wish,
    extent: Extent,
    now: SystemTime,
) -> Result<Turn<'catalog>, ApiError> {
    let raw: RawTurn = body::from_object(object)?;
    let raw_sampling: RawSampling = body::from_object(object)?;
    let seeded = raw_sampling.has_seed();
    let sampling = sampling::settings(raw_sampling, object.get("logit_bias"), &model.policy.sampling)?;
    let timeout = timeout(object.get("timeout"))?;
    let Chat { prompt, parser, grammar, shown } = chat::prepare(wish, &model.chat, now)?;
    let Extent { max_tokens, stop, logprobs } = extent;
    let request = GenerationRequest {
        prompt: Prompt::Text(prompt),
        sampling,
        max_tokens,
        stop,
        ignore_eos: raw.ignore_eos == Some(true),
        grammar,
        shown,
        logprobs,
        reuse_prefix: raw.cache_prompt != Some(false),
    };
    Ok(Turn { model, request, parser, seeded, stream: raw.stream == Some(true), timeout })
}
