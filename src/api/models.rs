//! What there is: the models, and how they are doing. Nothing here loads a model.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use warp::reply::{Reply, Response};

use super::Api;
use super::auth::Visit;
use super::error::ApiError;
use super::request::find_model;
use crate::catalog::CatalogModel;
use crate::policy::Pooling;
use crate::pool::PoolSnapshot;
use crate::view::InstanceState;

const STARTING: &str = InstanceState::Starting.name();

/// How the server is doing.
#[derive(Debug, JsonSchema, Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    /// By name.
    models: BTreeMap<String, ModelHealth>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct ModelHealth {
    status: &'static str,
    ready_instances: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Models {
    object: &'static str,
    data: Vec<Model>,
}

/// A model in OpenAI's shape, with what other servers tell besides: `max_model_len` is vLLM's, `status` and `meta` are
/// llama-server's.
#[derive(Debug, JsonSchema, Serialize)]
struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    max_model_len: u32,
    task: &'static str,
    variants: Vec<String>,
    status: ModelStatus,
    meta: ModelMeta,
}

#[derive(Debug, JsonSchema, Serialize)]
struct ModelStatus {
    value: &'static str,
    failed: bool,
    ready_instances: usize,
}

#[derive(Debug, JsonSchema, Serialize)]
struct ModelMeta {
    architecture: String,
    n_ctx_train: u32,
    n_embd: u32,
    n_vocab: u64,
    size: u64,
}

/// What `/health` answers.
pub(super) fn health_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Health>()
}

/// What `/v1/models` answers.
pub(super) fn models_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Models>()
}

/// What `/v1/models/NAME` answers.
pub(super) fn model_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Model>()
}

impl Api {
    /// Healthy while it takes requests, whether or not anything is loaded.
    pub(super) fn health(&self) -> Response {
        let snapshot = self.pool.load();
        let served = snapshot.catalog.models.iter().map(|model| {
            let name = &model.policy.name;
            let condition = self.cache.admission().condition(name);
            let crash_loop = condition.as_ref().is_some_and(|condition| condition.crash_loop);
            let health = ModelHealth {
                status: if crash_loop { "crash_loop" } else { "ok" },
                ready_instances: snapshot.instances(name).len(),
                last_failure: condition.and_then(|condition| condition.trouble),
            };
            (name.to_string(), health)
        });
        let broken = snapshot.catalog.broken.iter().map(|model| {
            let last_failure = Some(model.reason.clone());
            (model.name.to_string(), ModelHealth { status: "broken", ready_instances: 0, last_failure })
        });
        let models = served.chain(broken).collect();
        let draining = self.cache.admission().is_closed();
        let (status, word) =
            if draining { (StatusCode::SERVICE_UNAVAILABLE, "draining") } else { (StatusCode::OK, "ok") };
        let body = Health { status: word, version: env!("CARGO_PKG_VERSION"), models };
        warp::reply::with_status(warp::reply::json(&body), status).into_response()
    }

    /// Those that the key may ask for.
    pub(super) fn models(&self, visit: &Visit<'_>) -> Response {
        let snapshot = self.pool.load();
        let models = snapshot.catalog.models.iter().filter(|model| visit.may_use(&model.policy.name));
        let data: Vec<_> = models.map(|model| self.describe(model, &snapshot)).collect();
        warp::reply::json(&Models { object: "list", data }).into_response()
    }

    /// One model.
    ///
    /// # Errors
    ///
    /// [`ApiError`] if there is none of that name, or its files cannot be used.
    pub(super) fn model(&self, name: &str, visit: &Visit<'_>) -> Result<Response, ApiError> {
        let snapshot = self.pool.load();
        let model = find_model(name, &snapshot.catalog)?;
        visit.allows(&model.policy.name)?;
        Ok(warp::reply::json(&self.describe(model, &snapshot)).into_response())
    }

    fn describe(&self, model: &CatalogModel, snapshot: &PoolSnapshot) -> Model {
        let (policy, facts) = (&model.policy, &model.facts);
        let ready = snapshot.instances(&policy.name).len();
        let crash_loop =
            self.cache.admission().condition(&policy.name).is_some_and(|condition| condition.crash_loop);
        let instances = self.operation.board.instances();
        let starts = instances
            .iter()
            .any(|instance| instance.model == policy.name.as_str() && instance.state == STARTING);
        let value = match (ready, starts) {
            (1.., _) => "loaded",
            (0, true) => "loading",
            (0, false) => "unloaded",
        };
        Model {
            id: policy.name.to_string(),
            object: "model",
            created: facts.changed_at,
            owned_by: "modelpool",
            max_model_len: policy.context_tokens,
            task: task(policy.engine.pooling),
            variants: model.variants.iter().map(|variant| variant.name.to_string()).collect(),
            status: ModelStatus { value, failed: crash_loop, ready_instances: ready },
            meta: ModelMeta {
                architecture: facts.architecture.clone(),
                n_ctx_train: facts.trained_context_tokens,
                n_embd: facts.embedding_length,
                n_vocab: facts.vocabulary_tokens,
                size: model.variants[0].weights_bytes.0,
            },
        }
    }
}

/// What a model makes.
const fn task(pooling: Option<Pooling>) -> &'static str {
    match pooling {
        None => "generate",
        Some(Pooling::Rank) => "rerank",
        Some(_) => "embed",
    }
}
