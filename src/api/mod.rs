//! HTTP: routes, handlers, and the shapes that clients send and get. The only user of warp.
//!
//! A handler parses, submits to admission, and passes on what the engine tells. It holds no state between
//! requests.

mod answer;
mod body;
mod choices;
mod embeddings;
mod error;
pub mod listen;
mod logprobs;
mod request;
mod response;
mod stream;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Buf;
use futures_util::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use uuid::Uuid;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::reply::{Reply, Response};

use crate::admission::{Admission, Arrival, Served};
use crate::pool::Pool;
use crate::telemetry;
use crate::units::ByteCount;
use answer::Reader;
use choices::Choices;
use error::ApiError;
use request::{Job, Shape};
use response::Heading;
use stream::EventStream;

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
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Health,
    Models,
    Metrics,
    Embed,
    Generate(Shape),
}

/// All paths with their methods; nothing else is served.
const ROUTES: [(&str, &str, Endpoint); 6] = [
    ("/health", "GET", Endpoint::Health),
    ("/metrics", "GET", Endpoint::Metrics),
    ("/v1/models", "GET", Endpoint::Models),
    ("/v1/chat/completions", "POST", Endpoint::Generate(Shape::Chat)),
    ("/v1/completions", "POST", Endpoint::Generate(Shape::Completion)),
    ("/v1/embeddings", "POST", Endpoint::Embed),
];

/// The warp filter that answers every request.
pub fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method: Method, path: FullPath, headers: HeaderMap, body| {
            let api = Arc::clone(&api);
            async move { api.respond(&method, path.as_str(), &headers, body).await }
        })
        .boxed()
}

impl Api {
    async fn respond<S, B>(&self, method: &Method, path: &str, headers: &HeaderMap, body: S) -> Response
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let arrived = Instant::now();
        let id = request_id(headers);
        let route = ROUTES.iter().find(|(known, _, _)| *known == path);
        let answer = match find_endpoint(route, method, path) {
            Ok(Endpoint::Health) => Ok(self.health()),
            Ok(Endpoint::Models) => Ok(self.models()),
            Ok(Endpoint::Metrics) => Ok(self.render_metrics()),
            Ok(Endpoint::Embed) => self.embed(body, arrived, &id).await,
            Ok(Endpoint::Generate(shape)) => self.generate(shape, body, arrived, &id).await,
            Err(error) => Err(error),
        };
        let prompt_field =
            if let Some((_, _, Endpoint::Generate(shape))) = route { shape.prompt_field() } else { "" };
        let mut response = answer.unwrap_or_else(|error| {
            tracing::debug!(request = ?id, path, %error, "refused");
            error.response(prompt_field)
        });
        // Only known paths become labels: clients can choose others freely.
        let label = route.map_or("other", |(known, _, _)| known);
        let status = response.status().as_u16().to_string();
        counter!(telemetry::HTTP_RESPONSES, "path" => label, "status" => status).increment(1);
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    /// Healthy while it takes requests, whether or not anything is loaded.
    fn health(&self) -> Response {
        let snapshot = self.pool.load();
        let served = snapshot.catalog.models.iter().map(|model| {
            let name = &model.policy.name;
            let condition = self.admission.condition(name);
            let crash_loop = condition.as_ref().is_some_and(|condition| condition.crash_loop);
            let mut state = json!({
                "status": if crash_loop { "crash_loop" } else { "ok" },
                "ready_instances": snapshot.instances(name).len(),
            });
            if let Some(trouble) = condition.and_then(|condition| condition.trouble) {
                state["last_failure"] = trouble.into();
            }
            (name.to_string(), state)
        });
        let broken = snapshot.catalog.broken.iter().map(|model| {
            let state = json!({ "status": "broken", "ready_instances": 0, "last_failure": model.reason });
            (model.name.to_string(), state)
        });
        let models: serde_json::Map<_, _> = served.chain(broken).collect();
        let draining = self.admission.is_closed();
        let (status, word) =
            if draining { (StatusCode::SERVICE_UNAVAILABLE, "draining") } else { (StatusCode::OK, "ok") };
        let body = json!({ "status": word, "version": env!("CARGO_PKG_VERSION"), "models": models });
        warp::reply::with_status(warp::reply::json(&body), status).into_response()
    }

    fn models(&self) -> Response {
        let model =
            |name: &str| json!({ "id": name, "object": "model", "created": 0, "owned_by": "modelpool" });
        let snapshot = self.pool.load();
        let data: Vec<_> = snapshot.catalog.models.iter().map(|m| model(m.policy.name.as_str())).collect();
        warp::reply::json(&json!({ "object": "list", "data": data })).into_response()
    }

    fn render_metrics(&self) -> Response {
        let text = self.metrics.render();
        warp::reply::with_header(text, CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
            .into_response()
    }

    async fn embed<S, B>(&self, body: S, arrived: Instant, id: &HeaderValue) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let bytes = body::read(body, self.max_body_bytes.0).await?;
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = embeddings::read(&bytes, &catalog)?;
        let arrival = Arrival { at: arrived, id: id.to_str().unwrap_or_default().to_owned() };
        let (answer, Served { instance, .. }) = embeddings::embed(&self.admission, job, &arrival).await?;
        let mut response = warp::reply::json(&answer).into_response();
        let headers = response.headers_mut();
        insert(headers, INSTANCE, &instance.id.to_string());
        insert(headers, VARIANT, &instance.variant_name);
        Ok(response)
    }

    async fn generate<S, B>(
        &self,
        shape: Shape,
        body: S,
        arrived: Instant,
        id: &HeaderValue,
    ) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let bytes = body::read(body, self.max_body_bytes.0).await?;
        // Not held while the request waits: a reload may put another catalog in its place.
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = request::read(&bytes, shape, &catalog, SystemTime::now())?;
        let model = &job.model.policy.name;
        let arrival = Arrival { at: arrived, id: id.to_str().unwrap_or_default().to_owned() };
        let choices = Choices::begin(&self.admission, model, job.requests(), &arrival).await?;
        let Served { instance, waited } = choices.served().clone();
        tracing::debug!(request = ?id, %model, instance = %instance.id, variant = %instance.variant_name,
            waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), choices = job.choices, "started");
        let heading = heading(shape, &job, &instance.variant_name);
        let reader = Reader::new(job.parser);
        let mut response = if job.stream {
            stream_response(EventStream::new(choices, reader, heading, job.include_usage))
        } else {
            json_response(heading.whole(&choices.collect(reader).await?))
        };
        let headers = response.headers_mut();
        insert(headers, INSTANCE, &instance.id.to_string());
        insert(headers, VARIANT, &instance.variant_name);
        Ok(response)
    }
}

fn find_endpoint(
    route: Option<&(&'static str, &'static str, Endpoint)>,
    method: &Method,
    path: &str,
) -> Result<Endpoint, ApiError> {
    let (_, allowed, endpoint) = route.ok_or_else(|| ApiError::NotFound { path: path.to_owned() })?;
    if method == allowed || (method == Method::HEAD && *allowed == "GET") {
        return Ok(*endpoint);
    }
    Err(ApiError::MethodNotAllowed { path: path.to_owned(), method: method.to_string(), allowed })
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
    }
}

fn json_response(body: Vec<u8>) -> Response {
    warp::reply::with_header(body, CONTENT_TYPE, "application/json").into_response()
}

fn stream_response(stream: EventStream) -> Response {
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
