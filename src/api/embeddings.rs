//! `/v1/embeddings`: a vector for each text, in OpenAI's shape.
//!
//! Each text is a request of its own, which waits for a slot like any other; as many are under way at once as an
//! instance has slots.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::auth::prompt_tokens;
use super::body;
use super::choices::Provenance;
use super::error::ApiError;
use super::request::{Makes, find_model, refuse_others, timeout, timeout_part};
use crate::admission::Arrival;
use crate::cache::Source;
use crate::catalog::{Catalog, CatalogModel};
use crate::generation::{Event, GenerationRequest, Prompt, Token, normalize};
use crate::policy::Pooling;
use crate::units::ModelName;

/// The most texts of a request: more would only wait behind each other, and 2,048 is what OpenAI takes.
pub(super) const MAX_INPUTS: usize = 2048;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string, an array of strings, token ids or arrays of token ids")]
#[schemars(rename = "EmbeddingInput")]
enum RawInput {
    Text(#[schemars(length(min = 1))] String),
    Tokens(#[schemars(length(min = 1))] Vec<Token>),
    Texts(#[schemars(length(min = 1, max = MAX_INPUTS), inner(length(min = 1)))] Vec<String>),
    ManyTokens(#[schemars(length(min = 1, max = MAX_INPUTS), inner(length(min = 1)))] Vec<Vec<Token>>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "EmbeddingRequest")]
struct RawRequest {
    model: String,
    #[schemars(with = "RawInput")]
    input: Option<RawInput>,
    #[schemars(extend("enum" = ["float", "base64", null]))]
    encoding_format: Option<String>,
    #[schemars(range(min = 1))]
    dimensions: Option<u32>,
}

/// A validated request.
#[derive(Debug)]
pub(super) struct Job<'catalog> {
    pub model: &'catalog CatalogModel,
    inputs: Vec<Prompt>,
    form: Form,
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

/// How a vector is sent.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Only so many of its first numbers, scaled to length 1.
    dimensions: Option<usize>,
    base64: bool,
}

impl Form {
    fn read(raw: &RawRequest, model: &CatalogModel) -> Result<Self, ApiError> {
        let base64 = match raw.encoding_format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                let message = format!(
                    "encoding_format: expected \"float\" or \"base64\", got {:?}",
                    other.chars().take(64).collect::<String>()
                );
                return Err(ApiError::invalid("encoding_format", message));
            }
        };
        let Some(dimensions) = raw.dimensions else { return Ok(Self { dimensions: None, base64 }) };
        if model.policy.engine.pooling == Some(Pooling::Rank) {
            let message = "dimensions: this model makes scores, which cannot be shortened; leave it out";
            return Err(ApiError::invalid("dimensions", message));
        }
        let most = model.facts.embedding_length;
        if !(1..=most).contains(&dimensions) {
            let message = format!("dimensions: expected a whole number from 1 to {most}, got {dimensions}");
            return Err(ApiError::invalid("dimensions", message));
        }
        Ok(Self { dimensions: Some(dimensions as usize), base64 })
    }

    fn vector(self, mut values: Vec<f32>) -> Vector {
        if let Some(dimensions) = self.dimensions {
            values.truncate(dimensions);
            normalize(&mut values);
        }
        if self.base64 {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            return Vector::Base64(STANDARD.encode(bytes));
        }
        Vector::Floats(values)
    }
}

/// A vector as it is sent.
#[derive(Debug, JsonSchema, PartialEq, Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    /// Of numbers of four bytes, little-endian.
    Base64(String),
}

/// The answer, in OpenAI's shape.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Embeddings")]
pub(super) struct Answer<'catalog> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'catalog str,
    usage: TextUsage,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

/// Tokens counted where nothing is generated.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub(super) struct TextUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl TextUsage {
    /// The sum of those of each text.
    pub(super) fn of(tokens: impl Iterator<Item = u32>) -> Self {
        let sum = tokens.map(u64::from).sum();
        Self { prompt_tokens: sum, total_tokens: sum }
    }
}

/// What a body looks like.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "allOf": [generator.subschema_for::<RawRequest>(), timeout_part()] })
}

/// What an answer looks like.
pub(super) fn answer_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Answer<'_>>()
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
    refuse_others(model, Makes::Vectors)?;
    let form = Form::read(&raw, model)?;
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
    Ok(Job { model, inputs, form, timeout: timeout(object.get("timeout"))? })
}

/// The answer, and who made the first of its vectors.
///
/// # Errors
///
/// The first refusal or failure of any text.
pub(super) async fn embed<'catalog>(
    source: &Source,
    job: Job<'catalog>,
    arrival: &Arrival,
) -> Result<(Answer<'catalog>, Provenance), ApiError> {
    let Job { model, inputs, form, .. } = job;
    let made = vectors(source, model, inputs, "input", arrival).await?;
    let provenance = provenance(&made);
    let usage = TextUsage::of(made.iter().map(|text| text.tokens));
    let data = made.into_iter().enumerate().map(|(index, text)| Embedding {
        object: "embedding",
        index,
        embedding: form.vector(text.values),
    });
    Ok((
        Answer { object: "list", data: data.collect(), model: model.policy.name.as_str(), usage },
        provenance,
    ))
}

/// What became of one text.
pub(super) struct Text {
    /// Its vector, or its scores.
    pub values: Vec<f32>,
    /// Its tokens.
    pub tokens: u32,
    /// Who made it.
    pub provenance: Provenance,
}

/// Who made the first of them, and where they are from, by the one that took the most.
pub(super) fn provenance(texts: &[Text]) -> Provenance {
    let cache = texts.iter().filter_map(|text| text.provenance.cache).max();
    Provenance { served: texts[0].provenance.served.clone(), cache }
}

/// What becomes of texts, in their order. `field` is what the client calls them.
///
/// # Errors
///
/// The first refusal or failure of any text.
pub(super) async fn vectors(
    source: &Source,
    model: &CatalogModel,
    texts: Vec<Prompt>,
    field: &str,
    arrival: &Arrival,
) -> Result<Vec<Text>, ApiError> {
    let texts = texts.into_iter().enumerate();
    let made = texts.map(|(index, prompt)| {
        let (field, arrival) = (format!("{field}[{index}]"), arrival.clone());
        one(source, field, prompt, arrival)
    });
    stream::iter(made).buffered(model.policy.slots as usize).try_collect().await
}

async fn one(source: &Source, field: String, prompt: Prompt, arrival: Arrival) -> Result<Text, ApiError> {
    let request = GenerationRequest { max_tokens: Some(1), ..GenerationRequest::new(prompt) };
    let mut flight = source.ask(request, 0, arrival).await?;
    let mut values = Vec::new();
    loop {
        match flight.next().await {
            Event::Embedding(made) => values = made,
            Event::Finished { usage, .. } => {
                let served = flight.served().expect("it has started").clone();
                let provenance = Provenance { served, cache: flight.status() };
                return Ok(Text { values, tokens: usage.prompt_tokens, provenance });
            }
            Event::Failed(error) => return Err(ApiError::Text { field, error }),
            Event::Started { .. } | Event::Cached { .. } | Event::Token { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_shortened_to_length_one_and_written_as_asked() {
        let check = |dimensions, base64, expected: &str| {
            let vector = Form { dimensions, base64 }.vector(vec![0.6, 0.0, 0.8]);
            assert_eq!(serde_json::to_string(&vector).unwrap(), expected);
        };
        check(None, false, "[0.6,0.0,0.8]");
        check(Some(2), false, "[1.0,0.0]");
        check(Some(1), true, "\"AACAPw==\"");
    }
}
