//! HTTP: routes, handlers, and the shapes that clients send and get. The only user of warp.
//!
//! A handler parses, submits to admission, and passes on what the engine tells. It holds no state between
//! requests.

mod admin;
mod answer;
mod anthropic;
mod auth;
mod body;
mod choices;
mod connections;
mod converse;
mod cors;
mod dialect;
mod embeddings;
mod error;
mod headers;
pub mod listen;
mod logprobs;
mod models;
mod native;
mod openapi;
mod patience;
mod probes;
mod props;
mod request;
mod rerank;
mod response;
mod responses;
mod routes;
mod start;
mod stream;
mod timings;
mod tokens;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BytesMut};
use futures_util::Stream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use uuid::Uuid;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::reply::{Reply, Response};

use crate::admission::Arrival;
use crate::cache::{CacheStatus, ResponseCache};
use crate::keys::Keyring;
use crate::policy::ServerPolicy;
use crate::pool::Pool;
use crate::telemetry;
use admin::admin_allowed;
pub use admin::{AdminAccess, Operation};
use answer::Reader;
use auth::Visit;
use choices::Provenance;
use error::ApiError;
use request::{Job, Shape, Target};
use response::Heading;
use routes::{Endpoint, Found};
use start::Start;
use stream::{ChunkWriter, EventStream};
use timings::Timings;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What Anthropic's clients look for.
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const INSTANCE: HeaderName = HeaderName::from_static("x-modelpool-instance");
const VARIANT: HeaderName = HeaderName::from_static("x-modelpool-variant");
const CACHE: HeaderName = HeaderName::from_static("x-modelpool-cache");
/// The longest request id of a client that is sent back.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What handlers work with.
pub struct Api {
    /// The way to a slot, and to answers that are kept.
    pub cache: ResponseCache,
    /// The models, and what is ready.
    pub pool: Arc<Pool>,
    /// The metrics' recorder.
    pub metrics: PrometheusHandle,
    /// Who may ask.
    pub keys: Arc<Keyring>,
    /// How to serve: sizes, and who may read the metrics.
    pub policy: ServerPolicy,
    /// What operators see and do.
    pub operation: Operation,
}

/// The warp filter that answers every request.
pub fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method: Method, path: FullPath, query: String, headers: HeaderMap, body| {
            let api = Arc::clone(&api);
            async move { api.respond(&method, path.as_str(), &query, &headers, body).await }
        })
        .boxed()
}

impl Api {
    async fn respond<S, B>(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: S,
    ) -> Response
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let arrived = Instant::now();
        let id = request_id(headers);
        let mut visit = Visit { arrived, id: &id, headers, key: None };
        let dialect = routes::dialect(path);
        let answer = match routes::find(method, path) {
            Ok(found) => match self.caller(found.endpoint.access(&self.policy), headers) {
                Ok(key) => {
                    visit.key = key;
                    self.answer(&found, method, Target::of(query), &visit, body).await
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let mut response = answer.unwrap_or_else(|error| {
            tracing::debug!(request = ?id, path, %error, "refused");
            error.response(dialect, id.to_str().unwrap_or_default())
        });
        // Only known paths become labels: clients can choose others freely.
        let label = routes::pattern(path).unwrap_or("other");
        let status = response.status().as_u16().to_string();
        counter!(telemetry::HTTP_RESPONSES, "path" => label, "status" => status).increment(1);
        if let Some(key) = &visit.key {
            headers::tell_limits(response.headers_mut(), key.standing());
        }
        headers::tell_time(response.headers_mut(), arrived.elapsed());
        if dialect.is_anthropic() {
            response.headers_mut().insert(ANTHROPIC_REQUEST_ID, id.clone());
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn answer<S, B>(
        &self,
        found: &Found<'_>,
        method: &Method,
        target: Target<'_>,
        visit: &Visit<'_>,
        body: S,
    ) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let has_body = !matches!(*method, Method::GET | Method::HEAD);
        if has_body && let Err(error) = body::foresee(visit.headers, self.policy.max_body_bytes.0) {
            body::discard(body, visit.headers).await;
            return Err(error);
        }
        match found.endpoint {
            Endpoint::Health => Ok(self.health()),
            Endpoint::Live => Ok(Self::live()),
            Endpoint::Ready => self.ready(target),
            Endpoint::Models => Ok(self.models(visit)),
            Endpoint::Model => self.model(&found.parameter, visit),
            Endpoint::Metrics => Ok(self.render_metrics()),
            Endpoint::OpenApi => Ok(warp::reply::json(&openapi::document()).into_response()),
            Endpoint::Responses => self.responses(&self.read(body).await?, visit).await,
            Endpoint::Messages => self.messages(&self.read(body).await?, visit).await,
            Endpoint::CountTokens => self.count_tokens(&self.read(body).await?, visit).await,
            Endpoint::Embed => self.embed(&self.read(body).await?, visit).await,
            Endpoint::Rerank => self.rerank(&self.read(body).await?, visit).await,
            Endpoint::Tokenize => self.tokenize(&self.read(body).await?, target, visit).await,
            Endpoint::Detokenize => self.detokenize(&self.read(body).await?, target, visit).await,
            Endpoint::ApplyTemplate => self.apply_template(&self.read(body).await?, target, visit),
            Endpoint::Props => self.props(target),
            Endpoint::Slots => self.slots(target),
            Endpoint::Admin(admin) => {
                // Who has a key has an operator's.
                if visit.key.is_none() {
                    admin_allowed(self.operation.access, method)?;
                }
                self.administer(admin, &self.read(body).await?, target).await
            }
            Endpoint::Native(path) => self.native(path, &self.read(body).await?, target, visit).await,
            Endpoint::Generate(shape) => self.generate(shape, &self.read(body).await?, visit).await,
        }
    }

    async fn read<S, B>(&self, body: S) -> Result<BytesMut, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        body::read(body, self.policy.max_body_bytes.0).await
    }

    fn render_metrics(&self) -> Response {
        let text = self.metrics.render();
        warp::reply::with_header(text, CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
            .into_response()
    }

    async fn embed(&self, bytes: &[u8], visit: &Visit<'_>) -> Result<Response, ApiError> {
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = embeddings::read(bytes, &catalog)?;
        let timeout = headers::timeout(job.timeout, false, visit.headers)?;
        let arrival = visit.arrive(job.model_name(), job.tokens(), timeout)?;
        // Nothing in it is left to chance.
        let source = self.cache.source(job.model, headers::cache_use(visit.headers), true);
        let (answer, provenance) = embeddings::embed(&source, job, &arrival).await?;
        Ok(served_by(warp::reply::json(&answer).into_response(), &provenance))
    }

    async fn rerank(&self, bytes: &[u8], visit: &Visit<'_>) -> Result<Response, ApiError> {
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = rerank::read(bytes, &catalog)?;
        let timeout = headers::timeout(job.timeout, false, visit.headers)?;
        let arrival = visit.arrive(job.model_name(), job.tokens(), timeout)?;
        // Nothing in it is left to chance.
        let source = self.cache.source(job.model, headers::cache_use(visit.headers), true);
        let (answer, provenance) = rerank::rerank(&source, job, &arrival).await?;
        Ok(served_by(warp::reply::json(&answer).into_response(), &provenance))
    }

    async fn generate(&self, shape: Shape, bytes: &[u8], visit: &Visit<'_>) -> Result<Response, ApiError> {
        // Not held while the request waits: a reload may put another catalog in its place.
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = request::read(bytes, shape, &catalog, SystemTime::now())?;
        let (model, per_prompt) = (&job.model.policy.name, job.choices as usize);
        let timeout = headers::timeout(job.timeout, job.stream, visit.headers)?;
        let arrival = self.terms(visit.arrive(model, auth::tokens(job.requests()), timeout)?, job.stream);
        let echoes = if job.echo { self.echoes(&job).await? } else { Vec::new() };
        let source = self.cache.source(job.model, headers::cache_use(visit.headers), job.seeded);
        let start = Start::new(source, job.requests(), per_prompt, shape.dialect(), &arrival);
        let (mut heading, reader) = (heading(shape, &job), Reader::new(job.parser));
        if job.stream {
            let (include_usage, timings) = (job.include_usage, job.timings_per_token);
            let writer = ChunkWriter::new(reader, heading, include_usage, timings, echoes);
            return start.stream(move |choices| Box::pin(EventStream::new(choices, writer)) as _).await;
        }
        let choices = start.begin().await?;
        let provenance = choices.provenance().clone();
        let (mut answers, paces) = choices.collect(reader).await?;
        for (echo, answers) in echoes.iter().zip(answers.chunks_mut(per_prompt)) {
            answers.iter_mut().for_each(|answer| answer.text.insert_str(0, echo));
        }
        heading.serve(&provenance.served.variant);
        let whole = heading.whole(&answers, Timings::of_one(&paces));
        Ok(served_by(json_response(whole), &provenance))
    }

    /// Of a stream only so much is kept for a client that does not read it. An answer that is not streamed is taken as it
    /// comes, and sent as a whole.
    fn terms(&self, arrival: Arrival, streams: bool) -> Arrival {
        let send_buffer_bytes = if streams { self.policy.send_buffer_bytes.0 } else { u64::MAX };
        Arrival { send_buffer_bytes, ..arrival }
    }

    /// The texts of the prompts.
    async fn echoes(&self, job: &Job<'_>) -> Result<Vec<String>, ApiError> {
        let mut echoes = Vec::new();
        for prompt in job.prompts() {
            echoes.push(self.written(&job.model.policy.name, prompt).await?);
        }
        Ok(echoes)
    }
}

/// Says who answered.
fn served_by(mut response: Response, provenance: &Provenance) -> Response {
    let Provenance { served, cache } = provenance;
    let headers = response.headers_mut();
    if let Some(instance) = served.instance {
        insert(headers, INSTANCE, &instance.to_string());
    }
    insert(headers, VARIANT, &served.variant);
    if let Some(cache) = cache {
        headers.insert(CACHE, HeaderValue::from_static(CacheStatus::name(*cache)));
    }
    response
}

/// The client's own id, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    headers
        .get(REQUEST_ID)
        .filter(|id| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()))
        .cloned()
        .unwrap_or_else(|| HeaderValue::try_from(Uuid::new_v4().to_string()).expect("a UUID is ASCII"))
}

/// What the bodies share; who serves is not known yet.
fn heading(shape: Shape, job: &Job<'_>) -> Heading {
    let prefix = if shape == Shape::Chat { "chatcmpl" } else { "cmpl" };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Heading {
        shape,
        id: format!("{prefix}-{}", Uuid::new_v4().simple()),
        created: since_1970.as_secs(),
        model: job.model.policy.name.to_string(),
        fingerprint: String::new(),
        logprobs: job.request.logprobs.is_some(),
        per_prompt: job.choices as usize,
    }
}

fn json_response(body: Vec<u8>) -> Response {
    warp::reply::with_header(body, CONTENT_TYPE, "application/json").into_response()
}

/// Variant names come from file names: what a header cannot hold is left out.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
