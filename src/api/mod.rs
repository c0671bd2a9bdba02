//! HTTP: routes, handlers, and the shapes that clients send and get. The only user of warp.
//!
//! A handler parses, submits to admission, and passes on what the engine tells. It holds no state between
//! requests.

mod admin;
mod body;
mod choices;
mod embeddings;
mod error;
pub mod listen;
mod logprobs;
mod models;
mod native;
mod openapi;
mod props;
mod request;
mod rerank;
mod response;
mod routes;
mod stream;
mod timings;
mod tokens;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use uuid::Uuid;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::reply::{Reply, Response};

use crate::admission::{Admission, Arrival, Served};
use crate::pool::Pool;
use crate::telemetry;
use crate::units::ByteCount;
use admin::admin_allowed;
pub use admin::{AdminAccess, Operation};
use choices::Choices;
use error::ApiError;
use request::{Job, Shape, Target};
use response::Heading;
use routes::{Endpoint, Found};
use stream::EventStream;
use timings::Timings;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const INSTANCE: HeaderName = HeaderName::from_static("x-modelpool-instance");
const VARIANT: HeaderName = HeaderName::from_static("x-modelpool-variant");
/// The longest request id of a client that is sent back.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What handlers work with.
pub struct Api {
    /// The way to a slot.
    pub admission: Arc<Admission>,
    /// The models, and what is ready.
    pub pool: Arc<Pool>,
    /// The metrics' recorder.
    pub metrics: PrometheusHandle,
    /// The largest body.
    pub max_body_bytes: ByteCount,
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
        let id = request_id(headers);
        let arrival = Arrival { at: Instant::now(), id: id.to_str().unwrap_or_default().to_owned() };
        let route = routes::find(method, path);
        let prompt_field = match &route {
            Ok(Found { endpoint: Endpoint::Generate(shape), .. }) => shape.prompt_field(),
            Ok(Found { endpoint: Endpoint::Native(path), .. }) => path.prompt_field(),
            _ => "",
        };
        let answer = match route {
            Ok(found) => self.answer(&found, method, Target::of(query), &arrival, body).await,
            Err(error) => Err(error),
        };
        let mut response = answer.unwrap_or_else(|error| {
            tracing::debug!(request = ?id, path, %error, "refused");
            error.response(prompt_field)
        });
        // Only known paths become labels: clients can choose others freely.
        let label = routes::pattern(path).unwrap_or("other");
        let status = response.status().as_u16().to_string();
        counter!(telemetry::HTTP_RESPONSES, "path" => label, "status" => status).increment(1);
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn answer<S, B>(
        &self,
        found: &Found<'_>,
        method: &Method,
        target: Target<'_>,
        arrival: &Arrival,
        body: S,
    ) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        match found.endpoint {
            Endpoint::Health => Ok(self.health()),
            Endpoint::Models => Ok(self.models()),
            Endpoint::Model => self.model(&found.parameter),
            Endpoint::Metrics => Ok(self.render_metrics()),
            Endpoint::OpenApi => Ok(warp::reply::json(&openapi::document()).into_response()),
            Endpoint::Embed => self.embed(&self.read(body).await?, arrival).await,
            Endpoint::Rerank => self.rerank(&self.read(body).await?, arrival).await,
            Endpoint::Tokenize => self.tokenize(&self.read(body).await?, target).await,
            Endpoint::Detokenize => self.detokenize(&self.read(body).await?, target).await,
            Endpoint::ApplyTemplate => self.apply_template(&self.read(body).await?, target),
            Endpoint::Props => self.props(target),
            Endpoint::Slots => self.slots(target),
            Endpoint::Admin(admin) => {
                admin_allowed(self.operation.access, method)?;
                self.administer(admin, &self.read(body).await?, target).await
            }
            Endpoint::Native(path) => self.native(path, &self.read(body).await?, target, arrival).await,
            Endpoint::Generate(shape) => self.generate(shape, &self.read(body).await?, arrival).await,
        }
    }

    async fn read<S, B>(&self, body: S) -> Result<BytesMut, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        body::read(body, self.max_body_bytes.0).await
    }

    fn render_metrics(&self) -> Response {
        let text = self.metrics.render();
        warp::reply::with_header(text, CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
            .into_response()
    }

    async fn embed(&self, bytes: &[u8], arrival: &Arrival) -> Result<Response, ApiError> {
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = embeddings::read(bytes, &catalog)?;
        let (answer, served) = embeddings::embed(&self.admission, job, arrival).await?;
        Ok(with_heading(warp::reply::json(&answer).into_response(), &served))
    }

    async fn rerank(&self, bytes: &[u8], arrival: &Arrival) -> Result<Response, ApiError> {
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = rerank::read(bytes, &catalog)?;
        let (answer, served) = rerank::rerank(&self.admission, job, arrival).await?;
        Ok(with_heading(warp::reply::json(&answer).into_response(), &served))
    }

    async fn generate(&self, shape: Shape, bytes: &[u8], arrival: &Arrival) -> Result<Response, ApiError> {
        // Not held while the request waits: a reload may put another catalog in its place.
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = request::read(bytes, shape, &catalog)?;
        let (model, per_prompt) = (&job.model.policy.name, job.choices as usize);
        let choices = Choices::begin(&self.admission, model, job.requests(), per_prompt, arrival).await?;
        let served = choices.served().clone();
        let Served { instance, waited } = &served;
        tracing::debug!(request = arrival.id, %model, instance = %instance.id, variant = %instance.variant_name,
            waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), choices = job.choices, "started");
        let heading = heading(shape, &job, &instance.variant_name);
        let echoes = if job.echo { self.echoes(&job).await? } else { Vec::new() };
        let response = if job.stream {
            stream_response(EventStream::new(choices, heading, &job, &echoes))
        } else {
            let (mut answers, paces) = choices.collect().await?;
            for (echo, answers) in echoes.iter().zip(answers.chunks_mut(heading.per_prompt)) {
                answers.iter_mut().for_each(|answer| answer.text.insert_str(0, echo));
            }
            json_response(heading.whole(&answers, Timings::of_one(&paces)))
        };
        Ok(with_heading(response, &served))
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

/// Says who served.
fn with_heading(mut response: Response, served: &Served) -> Response {
    let headers = response.headers_mut();
    insert(headers, INSTANCE, &served.instance.id.to_string());
    insert(headers, VARIANT, &served.instance.variant_name);
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

fn heading(shape: Shape, job: &Job<'_>, variant: &str) -> Heading {
    let prefix = if shape == Shape::Chat { "chatcmpl" } else { "cmpl" };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Heading {
        shape,
        id: format!("{prefix}-{}", Uuid::new_v4().simple()),
        created: since_1970.as_secs(),
        model: job.model.policy.name.to_string(),
        fingerprint: format!("fp_{variant}"),
        logprobs: job.request.logprobs.is_some(),
        per_prompt: job.choices as usize,
    }
}

fn json_response(body: Vec<u8>) -> Response {
    warp::reply::with_header(body, CONTENT_TYPE, "application/json").into_response()
}

fn stream_response<S>(stream: S) -> Response
where
    S: Stream<Item = Result<Bytes, Infallible>> + Send + Sync + 'static,
{
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks Nginx not to collect the stream before it sends it on.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Variant names come from file names: what a header cannot hold is left out.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
