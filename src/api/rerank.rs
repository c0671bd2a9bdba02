//! `/v1/rerank`: how well documents match a query, in the shape of Jina, Cohere and llama-server.
//!
//! Each pair of query and document is a request of its own, as each text of `/v1/embeddings` is.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::auth::prompt_tokens;
use super::body;
use super::choices::Provenance;
use super::embeddings::{MAX_INPUTS, TextUsage, provenance, vectors};
use super::error::ApiError;
use super::request::{Makes, find_model, refuse_others, timeout, timeout_part};
use crate::admission::Arrival;
use crate::cache::Source;
use crate::catalog::{Catalog, CatalogModel};
use crate::generation::Prompt;
use crate::units::ModelName;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string, or an object with a text")]
#[schemars(rename = "Document")]
enum RawDocument {
    Text(String),
    Object { text: String },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RerankRequest")]
struct RawRequest {
    model: String,
    query: String,
    #[schemars(length(min = 1, max = MAX_INPUTS))]
    documents: Vec<RawDocument>,
    #[schemars(range(min = 1))]
    top_n: Option<usize>,
    return_documents: Option<bool>,
}

/// A validated request.
#[derive(Debug)]
pub(super) struct Job<'catalog> {
    pub model: &'catalog CatalogModel,
    query: String,
    documents: Vec<String>,
    top_n: usize,
    return_documents: bool,
    /// How long the client gives it.
    pub(super) timeout: Option<Duration>,
}

impl Job<'_> {
    pub(super) fn model_name(&self) -> &ModelName {
        &self.model.policy.name
    }

    /// About how many tokens the pairs have.
    pub(super) fn tokens(&self) -> u64 {
        let pair = |document: &String| Prompt::Pair { query: self.query.clone(), document: document.clone() };
        self.documents.iter().map(|document| prompt_tokens(&pair(document))).sum()
    }
}

/// The answer.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Ranking")]
pub(super) struct Answer<'catalog> {
    object: &'static str,
    model: &'catalog str,
    results: Vec<Ranked>,
    usage: TextUsage,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Ranked {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
}

#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "RankedDocument")]
struct Document {
    text: String,
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
    refuse_others(model, Makes::Scores)?;
    let count = raw.documents.len();
    if count == 0 || count > MAX_INPUTS {
        let message = format!("documents: expected 1 to {MAX_INPUTS} documents, got {count}");
        return Err(ApiError::invalid("documents", message));
    }
    if raw.top_n == Some(0) {
        return Err(ApiError::invalid("top_n", "top_n: expected a whole number of at least 1, got 0"));
    }
    let documents = raw.documents.into_iter().map(|document| match document {
        RawDocument::Text(text) | RawDocument::Object { text } => text,
    });
    Ok(Job {
        model,
        query: raw.query,
        documents: documents.collect(),
        top_n: raw.top_n.unwrap_or(count),
        return_documents: raw.return_documents == Some(true),
        timeout: timeout(object.get("timeout"))?,
    })
}

/// The documents, the best first, and who scored the first that was given.
///
/// # Errors
///
/// The first refusal or failure of any.
pub(super) async fn rerank<'catalog>(
    source: &Source,
    job: Job<'catalog>,
    arrival: &Arrival,
) -> Result<(Answer<'catalog>, Provenance), ApiError> {
    let Job { model, query, documents, top_n, return_documents, .. } = job;
    let template = model.facts.rerank_template.as_deref();
    let pairs = documents.iter().map(|document| pair(template, &query, document)).collect();
    let scored = vectors(source, model, pairs, "documents", arrival).await?;
    let provenance = provenance(&scored);
    let usage = TextUsage::of(scored.iter().map(|text| text.tokens));
    let scores = scored.iter().map(|text| text.values.first().copied().unwrap_or(f32::NEG_INFINITY));
    let texts = documents.into_iter().map(|text| return_documents.then_some(Document { text }));
    let ranked = scores.zip(texts).enumerate().map(|(index, (score, document))| {
        // What no number is, JSON cannot say; it is worse than all that are.
        let relevance_score = if score.is_finite() { score } else { f32::MIN };
        Ranked { index, relevance_score, document }
    });
    let mut results: Vec<Ranked> = ranked.collect();
    results.sort_by(|a, b| b.relevance_score.total_cmp(&a.relevance_score));
    results.truncate(top_n);
    Ok((Answer { object: "list", model: model.policy.name.as_str(), results, usage }, provenance))
}

/// A pair as the model was trained to see it: as its file says, or with its special tokens around both.
fn pair(template: Option<&str>, query: &str, document: &str) -> Prompt {
    let Some(template) = template else {
        return Prompt::Pair { query: query.to_owned(), document: document.to_owned() };
    };
    // In one pass, so that a query that contains a placeholder is not filled in itself.
    let mut text = String::with_capacity(template.len() + query.len() + document.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let (placeholder, filling) = if rest.starts_with("{query}") {
            ("{query}", query)
        } else if rest.starts_with("{document}") {
            ("{document}", document)
        } else {
            ("{", "{")
        };
        text.push_str(filling);
        rest = &rest[placeholder.len()..];
    }
    text.push_str(rest);
    Prompt::Text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_written_as_the_file_says() {
        let check = |template, expected: &str| {
            assert_eq!(pair(Some(template), "{document}", "d{query}"), Prompt::Text(expected.into()));
        };
        check("<q>{query}</q>{ <d>{document}", "<q>{document}</q>{ <d>d{query}");
        check("no placeholder", "no placeholder");
        let plain = Prompt::Pair { query: "q".into(), document: "d".into() };
        assert_eq!(pair(None, "q", "d"), plain);
    }
}
