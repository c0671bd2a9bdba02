//! `/admin/models/load`, `unload` and `pin`: orders for one model.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use warp::reply::{Reply, Response};

use crate::api::error::ApiError;
use crate::api::request::find_model;
use crate::api::{Api, body};
use crate::catalog::CatalogModel;
use crate::operator::{Errand, ErrandError, ErrandOrder};
use crate::units::ModelName;

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ModelOrder")]
struct RawOrder {
    model: String,
    instances: Option<u32>,
    variant: Option<String>,
    pinned: Option<bool>,
}

/// What is done about an order.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(rename = "FollowedOrder")]
pub(super) enum Told {
    Loading { loading: u32, model: String },
    Unloading { unloading: bool, model: String },
    Pinned { pinned: bool, instances: u32, variant: Option<String>, model: String },
    Unpinned { pinned: bool, model: String },
}

/// What the bodies of these paths look like.
pub(in crate::api) fn order_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<RawOrder>()
}

impl Api {
    /// Holds instances for as long as an idle model is kept.
    pub(super) async fn load_model(&self, bytes: &[u8]) -> Result<Response, ApiError> {
        let (raw, name) = self.order(bytes)?;
        let instances = self.instances(&name, raw.instances)?;
        self.send(name, ErrandOrder::Load { instances }, |model| Told::Loading { loading: instances, model })
            .await
    }

    /// Lets all instances go.
    pub(super) async fn unload_model(&self, bytes: &[u8]) -> Result<Response, ApiError> {
        let (_, name) = self.order(bytes)?;
        self.send(name, ErrandOrder::Unload, |model| Told::Unloading { unloading: true, model }).await
    }

    /// Holds instances until that is taken back.
    pub(super) async fn pin_model(&self, bytes: &[u8]) -> Result<Response, ApiError> {
        let (raw, name) = self.order(bytes)?;
        if raw.pinned == Some(false) {
            return self
                .send(name, ErrandOrder::Unpin, |model| Told::Unpinned { pinned: false, model })
                .await;
        }
        let instances = self.instances(&name, raw.instances)?;
        let variant = raw.variant.clone();
        let told = |model| Told::Pinned { pinned: true, instances, variant, model };
        self.send(name, ErrandOrder::Pin { instances, variant: raw.variant }, told).await
    }

    fn order(&self, bytes: &[u8]) -> Result<(RawOrder, ModelName), ApiError> {
        let object: Map<String, Value> = body::parse(bytes)?;
        let raw: RawOrder = body::from_object(&object)?;
        let snapshot = self.pool.load();
        let name = find_model(&raw.model, &snapshot.catalog)?.policy.name.clone();
        Ok((raw, name))
    }

    /// One instance, or as many as are asked for and the policy allows.
    fn instances(&self, name: &ModelName, wanted: Option<u32>) -> Result<u32, ApiError> {
        let snapshot = self.pool.load();
        let model: &CatalogModel = find_model(name.as_str(), &snapshot.catalog)?;
        let (wanted, most) = (wanted.unwrap_or(1), model.policy.scale.max_instances);
        if (1..=most).contains(&wanted) {
            return Ok(wanted);
        }
        let message = format!(
            "instances: expected a whole number from 1 to {most}, the model's scale.max_instances, got {wanted}"
        );
        Err(ApiError::invalid("instances", message))
    }

    async fn send(
        &self,
        model: ModelName,
        order: ErrandOrder,
        told: impl FnOnce(String) -> Told,
    ) -> Result<Response, ApiError> {
        let (done, answer) = oneshot::channel();
        let told = told(model.to_string());
        let errand = Errand { model, order, done };
        self.operation.errands.send(errand).await.map_err(|_| ApiError::NoController)?;
        match answer.await.map_err(|_| ApiError::NoController)? {
            Ok(()) => Ok(warp::reply::json(&told).into_response()),
            Err(error @ ErrandError::NoVariant { .. }) => {
                Err(ApiError::invalid("variant", error.to_string()))
            }
            Err(ErrandError::NoModel(name)) => {
                Err(ApiError::UnknownModel { name: name.to_string(), available: String::new() })
            }
        }
    }
}
