//! What load balancers and orchestrators ask: whether the process lives, and whether it should get requests.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use warp::reply::{Reply, Response};

use super::Api;
use super::error::ApiError;
use super::request::{Target, find_model};
use crate::catalog::CatalogModel;

#[derive(Debug, JsonSchema, Serialize)]
struct Live {
    status: &'static str,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Ready {
    status: &'static str,
    /// By name.
    models: BTreeMap<String, ModelReadiness>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct ModelReadiness {
    status: &'static str,
    expected_wait_ms: u64,
}

/// What `/live` answers.
pub(super) fn live_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Live>()
}

/// What `/ready` answers.
pub(super) fn ready_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Ready>()
}

/// How a model would take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// Within its target.
    Ready,
    /// Later.
    Busy,
    /// Not at all: it cannot be loaded.
    Broken,
}

impl Readiness {
    const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Broken => "crash_loop",
        }
    }
}

impl Api {
    /// Alive: it answers. Whatever loads, waits or fails behind it is no reason to kill it.
    pub(super) fn live() -> Response {
        warp::reply::json(&Live { status: "ok" }).into_response()
    }

    /// Ready while a request would get a slot within the target: of the model that is named, or of any.
    ///
    /// # Errors
    ///
    /// [`ApiError`] if there is no model of that name.
    pub(super) fn ready(&self, target: Target<'_>) -> Result<Response, ApiError> {
        let snapshot = self.pool.load();
        let models: Vec<&CatalogModel> = match target.parameter("model") {
            Some(name) => vec![find_model(&name, &snapshot.catalog)?],
            None => snapshot.catalog.models.iter().map(AsRef::as_ref).collect(),
        };
        let models = models.into_iter().map(|model| (&model.policy.name, self.readiness(model)));
        let models: Vec<_> = models.collect();
        let draining = self.cache.admission().is_closed();
        let ready = !draining && models.iter().any(|(_, (readiness, _))| *readiness == Readiness::Ready);
        let wait = models.iter().map(|(_, (_, wait))| *wait).min().unwrap_or_default();
        let states = models.into_iter().map(|(name, (readiness, wait))| {
            let expected_wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            (name.to_string(), ModelReadiness { status: readiness.name(), expected_wait_ms })
        });
        let states = states.collect();
        let word = match (draining, ready) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "busy",
        };
        let body = Ready { status: word, models: states };
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = warp::reply::with_status(warp::reply::json(&body), status).into_response();
        if !ready {
            let seconds = wait.as_secs_f64().ceil().clamp(1.0, 60.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 60")]
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
        }
        Ok(response)
    }

    fn readiness(&self, model: &CatalogModel) -> (Readiness, Duration) {
        let (admission, policy) = (self.cache.admission(), &model.policy);
        let wait = admission.expected_wait(&policy.name);
        let readiness = match admission.condition(&policy.name) {
            Some(condition) if condition.crash_loop => Readiness::Broken,
            _ if wait > policy.scale.target_queue_wait => Readiness::Busy,
            _ => Readiness::Ready,
        };
        (readiness, wait)
    }
}
