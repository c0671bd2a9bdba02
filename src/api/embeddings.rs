//! `/v1/embeddings`: a vector for each text, in OpenAI's shape.
//!
//! Each text is a request of its own, which waits for a slot like any other; as many are under way at once as an
//! instance has slots.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::auth::prompt_tokens;
use super::body;
use super::error::ApiError;
use super::request::{find_model, refuse_pooling, timeout};
use crate::admission::{Admission, Arrival, Served};
use crate::catalog::{Catalog, CatalogModel};
use crate::generation::{Event, GenerationRequest, Prompt, Token};
use crate::units::ModelName;

/// The most texts of a request: more would only wait behind each other, and 2,048 is what OpenAI takes.
const MAX_INPUTS: usize = 2048;

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string, an array of strings, token ids or arrays of token ids")]
enum RawInput {
    Text(String),
    Tokens(Vec<Token>),
    Texts(Vec<String>),
    ManyTokens(Vec<Vec<Token>>),
}

#[derive(Debug, Deserialize)]
struct RawRequest {
    model: String,
    input: Option<RawInput>,
    encoding_format: Option<String>,
    dimensions: Option<u32>,
}

/// A validated request.
#[derive(Debug)]
pub(super) struct Job<'catalog> {
    model: &'catalog CatalogModel,
    inputs: Vec<Prompt>,
    /// How long the client gives it.
    pub(super) timeout: Option<Duration>,
}

impl Job<'_> {
    pub(super) fn model_name(&self) -> &ModelName {
        &self.model.policy.name
    }

    /// About how many tokens the texts have.
    pub(super) fn tokens(&self) -> u64 {
        self.inputs.iter().map(prompt_tokens).sum()
    }
}

/// The answer, in OpenAI's shape.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'catalog> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'catalog str,
    usage: TextUsage,
}

#[derive(Debug, Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Debug, Serialize)]
struct TextUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Reads the body of a request.
///
/// # Errors
///
/// [`ApiError`] that names the field.
pub(super) fn read<'catalog>(bytes: &[u8], catalog: &'catalog Catalog) -> Result<Job<'catalog>, ApiError> {
    let object: Map<String, Value> = body::parse(bytes)?;
    let raw: RawRequest = body::from_object(&object)?;
    let model = find_model(&raw.model, catalog)?;
    refuse_pooling(model, false)?;
    if raw.encoding_format.is_some_and(|format| format != "float") {
        return Err(ApiError::invalid("encoding_format", "encoding_format: only \"float\" is supported"));
    }
    if raw.dimensions.is_some() {
        let message = "dimensions: this server does not shorten vectors; leave it out";
        return Err(ApiError::invalid("dimensions", message));
    }
    let inputs: Vec<Prompt> = match raw.input {
        None => Vec::new(),
        Some(RawInput::Text(text)) => vec![Prompt::Text(text)],
        Some(RawInput::Tokens(tokens)) if tokens.is_empty() => Vec::new(),
        Some(RawInput::Tokens(tokens)) => vec![Prompt::Tokens(tokens)],
        Some(RawInput::Texts(texts)) => texts.into_iter().map(Prompt::Text).collect(),
        Some(RawInput::ManyTokens(many)) => many.into_iter().map(Prompt::Tokens).collect(),
    };
    if inputs.is_empty() || inputs.len() > MAX_INPUTS {
        let message = format!("input: expected 1 to {MAX_INPUTS} texts, got {}", inputs.len());
        return Err(ApiError::invalid("input", message));
    }
    Ok(Job { model, inputs, timeout: timeout(object.get("timeout"))? })
}

/// The answer, and who made the first of its vectors.
///
/// # Errors
///
/// The first refusal or failure of any text.
pub(super) async fn embed<'catalog>(
    admission: &Arc<Admission>,
    job: Job<'catalog>,
    arrival: &Arrival,
) -> Result<(Answer<'catalog>, Served), ApiError> {
    let (model, slots) = (job.model, job.model.policy.slots as usize);
    let texts = job.inputs.into_iter().enumerate();
    let made = texts.map(|(index, prompt)| one(admission, model, index, prompt, arrival.clone()));
    let made: Vec<(Vec<f32>, u32, Served)> = stream::iter(made).buffered(slots).try_collect().await?;
    let served = made[0].2.clone();
    let tokens = made.iter().map(|(_, tokens, _)| u64::from(*tokens)).sum();
    let vectors = made.into_iter().enumerate();
    let data = vectors.map(|(index, (embedding, ..))| Embedding { object: "embedding", index, embedding });
    let usage = TextUsage { prompt_tokens: tokens, total_tokens: tokens };
    Ok((Answer { object: "list", data: data.collect(), model: model.policy.name.as_str(), usage }, served))
}

/// One text's vector and its tokens.
async fn one(
    admission: &Arc<Admission>,
    model: &CatalogModel,
    index: usize,
    prompt: Prompt,
    arrival: Arrival,
) -> Result<(Vec<f32>, u32, Served), ApiError> {
    let request = GenerationRequest { max_tokens: Some(1), ..GenerationRequest::new(prompt) };
    let mut flight = admission.submit(&model.policy.name, request, arrival).await?;
    let mut values = Vec::new();
    loop {
        match flight.next().await {
            Event::Embedding(made) => values = made,
            Event::Finished { usage, .. } => {
                let served = flight.served().expect("it has started").clone();
                return Ok((values, usage.prompt_tokens, served));
            }
            Event::Failed(error) => {
                let field = format!("input[{index}]");
                return Err(ApiError::Text { field, error });
            }
            Event::Started { .. } | Event::Token { .. } => {}
        }
    }
}
