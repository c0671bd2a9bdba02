//! llama-server's own `/completion` and `/infill`: what it answers, as far as that is known here.

mod settings;
mod stream;

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use warp::reply::{Reply, Response};

use super::answer::{Answer, Reader};
use super::auth::Visit;
use super::error::ApiError;
use super::request::{Native, NativeJob, Target, read_native};
use super::start::Start;
use super::stream::EventStream;
use super::timings::Timings;
use super::{Api, auth, headers, served_by};
use crate::admission::Pace;
use crate::cache::CacheUse;
use crate::generation::{FinishReason, GenerationRequest, Prompt, Token, TokenLogprob, TokenLogprobs};
pub(super) use settings::{Settings, settings};
use stream::NativeWriter;

/// What all parts of the answers to one request share.
struct Heading {
    model: String,
    /// By index.
    requests: Vec<GenerationRequest>,
    predicts: bool,
    return_tokens: bool,
    timings_per_token: bool,
}

/// A part of a stream.
#[derive(Serialize)]
struct Part<'a> {
    index: usize,
    content: &'a str,
    tokens: &'a [Token],
    stop: bool,
    tokens_predicted: u32,
    tokens_evaluated: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_probabilities: Option<Vec<Probability<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

/// A whole answer, or the end of a stream.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "NativeAnswer")]
struct Whole<'a> {
    index: usize,
    content: &'a str,
    tokens: &'a [Token],
    stop: bool,
    model: &'a str,
    tokens_predicted: u32,
    tokens_evaluated: u32,
    tokens_cached: u32,
    generation_settings: Settings,
    prompt: Option<&'a str>,
    has_new_line: bool,
    stop_type: &'static str,
    stopping_word: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_probabilities: Option<Vec<Probability<'a>>>,
    timings: Timings,
}

/// A token, and the likeliest ones at its place.
#[derive(JsonSchema, Serialize)]
struct Probability<'a> {
    #[serde(flatten)]
    chosen: Likely<'a>,
    top_logprobs: Vec<Likely<'a>>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "LikelyToken")]
struct Likely<'a> {
    id: Token,
    token: String,
    bytes: &'a [u8],
    logprob: f32,
}

impl<'a> From<&'a TokenLogprob> for Likely<'a> {
    fn from(found: &'a TokenLogprob) -> Self {
        let TokenLogprob { token, bytes, logprob } = found;
        // The logarithm of nothing is no number in JSON.
        let logprob = logprob.max(f32::MIN);
        Self { id: *token, token: String::from_utf8_lossy(bytes).into_owned(), bytes, logprob }
    }
}

impl<'a> From<&'a TokenLogprobs> for Probability<'a> {
    fn from(found: &'a TokenLogprobs) -> Self {
        Self { chosen: (&found.chosen).into(), top_logprobs: found.top.iter().map(Into::into).collect() }
    }
}

/// What these paths answer: one prompt's answer, or those of several in an array.
pub(super) fn answer_schema(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<Whole<'_>>();
    json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
}

impl Heading {
    fn new(job: NativeJob<'_>) -> Self {
        Self {
            model: job.model.policy.name.to_string(),
            requests: job.requests,
            predicts: job.predicts,
            return_tokens: job.return_tokens,
            timings_per_token: job.timings_per_token,
        }
    }

    /// The whole answer to one prompt. What was only computed has no text.
    fn whole<'a>(&'a self, index: usize, answer: &'a Answer, pace: Pace) -> Whole<'a> {
        let request = &self.requests[index];
        let (stop_type, stopping_word) = match answer.reason {
            Some(FinishReason::Stop) => ("eos", ""),
            Some(FinishReason::StopString(which)) => {
                ("word", request.stop.get(which as usize).map_or("", String::as_str))
            }
            Some(FinishReason::Length) => ("limit", ""),
            None => ("none", ""),
        };
        let usage = answer.usage;
        let (content, tokens_predicted) =
            if self.predicts { (answer.text.as_str(), usage.completion_tokens) } else { ("", 0) };
        let tokens: &[Token] = if self.return_tokens && self.predicts { &answer.tokens } else { &[] };
        Whole {
            index,
            content,
            tokens,
            stop: true,
            model: &self.model,
            tokens_predicted,
            tokens_evaluated: usage.prompt_tokens,
            tokens_cached: usage.cached_tokens,
            generation_settings: settings(&request.sampling, request.max_tokens, &request.stop),
            prompt: if let Prompt::Text(text) = &request.prompt { Some(text) } else { None },
            has_new_line: content.contains('\n'),
            stop_type,
            stopping_word,
            completion_probabilities: request
                .logprobs
                .map(|_| answer.logprobs.iter().map(Probability::from).collect()),
            timings: pace.into(),
        }
    }
}

impl Api {
    /// `/completion` and `/infill`
    pub(super) async fn native(
        &self,
        path: Native,
        bytes: &[u8],
        target: Target<'_>,
        visit: &Visit<'_>,
    ) -> Result<Response, ApiError> {
        // Not held while the request waits: a reload may put another catalog in its place.
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = read_native(bytes, path, target, &catalog)?;
        let (model, stream) = (&job.model.policy.name, job.stream);
        let timeout = headers::timeout(job.timeout, stream, visit.headers)?;
        let tokens = auth::tokens(job.requests.iter().cloned());
        let arrival = self.terms(visit.arrive(model, tokens, timeout)?, stream);
        let (requests, dialect) = (job.requests.clone().into_iter(), path.dialect());
        // What only computes a prompt is asked for the sake of the computation.
        let cache_use = if job.predicts { headers::cache_use(visit.headers) } else { CacheUse::Bypass };
        let source = self.cache.source(job.model, cache_use, job.seeded);
        let start = Start::new(source, requests, 1, dialect, &arrival);
        let heading = Heading::new(job);
        if stream {
            let writer = NativeWriter::new(heading, dialect);
            return start.stream(move |choices| Box::pin(EventStream::new(choices, writer)) as _).await;
        }
        let choices = start.begin().await?;
        let provenance = choices.provenance().clone();
        let (answers, paces) = choices.collect(Reader::new(None)).await?;
        let answers = answers.iter().zip(paces).enumerate();
        let wholes: Vec<Whole<'_>> =
            answers.map(|(index, (answer, pace))| heading.whole(index, answer, pace)).collect();
        // One prompt has one answer, several have an array.
        let reply = match wholes.as_slice() {
            [whole] => warp::reply::json(whole),
            several => warp::reply::json(&several),
        };
        Ok(served_by(reply.into_response(), &provenance))
    }
}
