//! HTTP: routes, handlers, and the shapes that clients send and get. The only user of warp.
//!
//! A handler parses, submits to admission, and passes on what the engine tells. It holds no state between
//! requests.

mod auth;
mod body;
mod choices;
mod connections;
mod cors;
mod embeddings;
mod error;
mod headers;
pub mod listen;
mod logprobs;
mod patience;
mod request;
mod response;
mod start;
mod stream;

use std::sync::Arc;
use std::time::Instant;

use bytes::Buf;
use futures_util::Stream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use uuid::Uuid;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::reply::{Reply, Response};

use crate::admission::{Admission, Served};
use crate::keys::Keyring;
use crate::policy::ServerPolicy;
use crate::pool::Pool;
use crate::telemetry;
use auth::{Access, Visit};
use error::ApiError;
use request::Shape;
use start::Start;

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
    /// Who may ask.
    pub keys: Arc<Keyring>,
    /// How to serve: sizes, and who may read the metrics.
    pub policy: ServerPolicy,
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

impl Endpoint {
    /// Who may use it.
    const fn access(self, policy: &ServerPolicy) -> Access {
        match self {
            Self::Health => Access::Open,
            Self::Metrics if !policy.metrics_require_key => Access::Open,
            Self::Metrics | Self::Models | Self::Embed | Self::Generate(_) => Access::User,
        }
    }
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
        let mut visit = Visit { arrived, id: &id, headers, key: None };
        let answer = match find_endpoint(route, method, path) {
            Ok(endpoint) => match self.caller(endpoint.access(&self.policy), headers) {
                Ok(key) => {
                    visit.key = key;
                    self.serve(endpoint, &visit, body).await
                }
                Err(error) => Err(error),
            },
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
        if let Some(key) = &visit.key {
            headers::tell_limits(response.headers_mut(), key.standing());
        }
        headers::tell_time(response.headers_mut(), arrived.elapsed());
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn serve<S, B>(&self, endpoint: Endpoint, visit: &Visit<'_>, body: S) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        match endpoint {
            Endpoint::Health => Ok(self.health()),
            Endpoint::Models => Ok(self.models(visit)),
            Endpoint::Metrics => Ok(self.render_metrics()),
            Endpoint::Embed => self.embed(body, visit).await,
            Endpoint::Generate(shape) => self.generate(shape, body, visit).await,
        }
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

    /// Those that the key may ask for.
    fn models(&self, visit: &Visit<'_>) -> Response {
        let model =
            |name: &str| json!({ "id": name, "object": "model", "created": 0, "owned_by": "modelpool" });
        let snapshot = self.pool.load();
        let names = snapshot.catalog.models.iter().map(|model| &model.policy.name);
        let data: Vec<_> =
            names.filter(|name| visit.may_use(name)).map(|name| model(name.as_str())).collect();
        warp::reply::json(&json!({ "object": "list", "data": data })).into_response()
    }

    fn render_metrics(&self) -> Response {
        let text = self.metrics.render();
        warp::reply::with_header(text, CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
            .into_response()
    }

    async fn embed<S, B>(&self, body: S, visit: &Visit<'_>) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let bytes = body::read(body, self.policy.max_body_bytes.0).await?;
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = embeddings::read(&bytes, &catalog)?;
        let timeout = headers::timeout(job.timeout, false, visit.headers)?;
        let arrival = visit.arrive(job.model_name(), job.tokens(), timeout)?;
        let (answer, served) = embeddings::embed(&self.admission, job, &arrival).await?;
        Ok(served_by(warp::reply::json(&answer).into_response(), &served))
    }

    async fn generate<S, B>(&self, shape: Shape, body: S, visit: &Visit<'_>) -> Result<Response, ApiError>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let bytes = body::read(body, self.policy.max_body_bytes.0).await?;
        // Not held while the request waits: a reload may put another catalog in its place.
        let catalog = Arc::clone(&self.pool.load().catalog);
        let job = request::read(&bytes, shape, &catalog)?;
        let model = &job.model.policy.name;
        let timeout = headers::timeout(job.timeout, job.stream, visit.headers)?;
        let arrival = visit.arrive(model, auth::request_tokens(&job.request, job.choices), timeout)?;
        let start = Start::new(&self.admission, shape, &job, &arrival, self.policy.send_buffer_bytes);
        if job.stream {
            return start.stream(job.include_usage).await;
        }
        let (choices, heading) = start.begin().await?;
        let served = choices.served().clone();
        Ok(served_by(json_response(heading.whole(&choices.collect().await?)), &served))
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

fn json_response(body: Vec<u8>) -> Response {
    warp::reply::with_header(body, CONTENT_TYPE, "application/json").into_response()
}

fn served_by(mut response: Response, served: &Served) -> Response {
    let headers = response.headers_mut();
    insert(headers, INSTANCE, &served.instance.id.to_string());
    insert(headers, VARIANT, &served.instance.variant_name);
    response
}

/// Variant names come from file names: what a header cannot hold is left out.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
