//! What operators see and do: instances, decisions, orders, the policy, draining.

mod access;
mod models;
mod policy;

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::request::Target;
use super::{Api, body};
use crate::operator::{Board, DecisionReport, Errand, InstanceReport, MAX_DECISIONS, PolicyKeeper, Replaced};

pub use access::AdminAccess;
pub(super) use access::admin_allowed;
pub(super) use models::order_schema;

/// What can be asked by operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admin {
    Instances,
    Decisions,
    Load,
    Unload,
    Pin,
    Drain,
    Policy,
    ReplacePolicy,
    ValidatePolicy,
}

/// What handlers work with for operators.
pub struct Operation {
    /// Who may do what they do.
    pub access: AdminAccess,
    /// What the controller tells.
    pub board: Arc<Board>,
    /// The way to the controller.
    pub errands: mpsc::Sender<Errand>,
    /// The policy that runs.
    pub keeper: Arc<dyn PolicyKeeper>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "DrainRequest")]
struct RawDrain {
    drain: Option<bool>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Instances<'a> {
    instances: &'a [InstanceReport],
}

#[derive(Debug, JsonSchema, Serialize)]
struct Decisions {
    decisions: Vec<DecisionReport>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Drained {
    draining: bool,
    /// Those that are not answered yet.
    requests: u32,
}

/// What a path of operators answers as JSON; `None` where it answers with something else.
pub(super) fn answer_schema(admin: Admin, generator: &mut SchemaGenerator) -> Option<Schema> {
    Some(match admin {
        Admin::Instances => generator.subschema_for::<Instances<'_>>(),
        Admin::Decisions => generator.subschema_for::<Decisions>(),
        Admin::Load | Admin::Unload | Admin::Pin => generator.subschema_for::<models::Told>(),
        Admin::Drain => generator.subschema_for::<Drained>(),
        Admin::Policy => return None,
        Admin::ReplacePolicy => generator.subschema_for::<Replaced>(),
        Admin::ValidatePolicy => generator.subschema_for::<policy::Verdict>(),
    })
}

/// What a body of `/admin/drain` looks like.
pub(super) fn drain_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<RawDrain>()
}

impl Api {
    /// Answers an operator who may ask this.
    pub(super) async fn administer(
        &self,
        admin: Admin,
        bytes: &[u8],
        target: Target<'_>,
    ) -> Result<Response, ApiError> {
        match admin {
            Admin::Instances => {
                let instances = self.operation.board.instances();
                Ok(warp::reply::json(&Instances { instances: &instances }).into_response())
            }
            Admin::Decisions => self.decisions(target),
            Admin::Load => self.load_model(bytes).await,
            Admin::Unload => self.unload_model(bytes).await,
            Admin::Pin => self.pin_model(bytes).await,
            Admin::Drain => self.drain(bytes),
            Admin::Policy => Ok(self.show_policy()),
            Admin::ReplacePolicy => self.replace_policy(bytes).await,
            Admin::ValidatePolicy => self.validate_policy(bytes).await,
        }
    }

    fn decisions(&self, target: Target<'_>) -> Result<Response, ApiError> {
        let limit = match target.parameter("limit") {
            None => MAX_DECISIONS,
            Some(text) => text.parse().map_err(|_| {
                ApiError::invalid(
                    "limit",
                    format!("limit: expected a whole number, got {:?}", shorten(&text)),
                )
            })?,
        };
        let decisions = self.operation.board.decisions(target.parameter("model").as_deref(), limit);
        Ok(warp::reply::json(&Decisions { decisions }).into_response())
    }

    fn drain(&self, bytes: &[u8]) -> Result<Response, ApiError> {
        // Without a body it drains.
        let object: Map<String, Value> = if bytes.is_empty() { Map::new() } else { body::parse(bytes)? };
        let drain = body::from_object::<RawDrain>(&object)?.drain != Some(false);
        self.cache.admission().pause(drain);
        tracing::info!(drain, "an operator's order");
        let (draining, requests) = (self.cache.admission().is_closed(), self.cache.admission().demand());
        Ok(warp::reply::json(&Drained { draining, requests }).into_response())
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}
