//! `/props` and `/slots` in llama-server's shapes, as far as they are true here.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use warp::reply::{Reply, Response};

use super::Api;
use super::error::ApiError;
use super::native::{self, Settings};
use super::request::{Target, default_sampling, find_model};
use crate::catalog::CatalogModel;
use crate::pool::{Instance, PoolSnapshot};

/// llama-server's seed of a request that gives none: each draws its own.
const RANDOM_SEED: u32 = u32::MAX;

#[derive(Debug, JsonSchema, Serialize)]
struct Props {
    default_generation_settings: DefaultSettings,
    total_slots: usize,
    slots_per_instance: u32,
    max_instances: u32,
    model_alias: String,
    /// The file's name alone: where it lies is nobody's business.
    model_path: String,
    modalities: Modalities,
    chat_template: Option<String>,
    bos_token: String,
    eos_token: String,
    is_sleeping: bool,
    build_info: String,
}

#[derive(Debug, JsonSchema, Serialize)]
struct DefaultSettings {
    params: Settings,
    n_ctx: u32,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Modalities {
    vision: bool,
    audio: bool,
}

/// One slot of an instance.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Slot")]
struct SlotReport {
    id: usize,
    model: String,
    instance: String,
    variant: String,
    n_ctx: u32,
    is_processing: bool,
}

/// What `/props` answers.
pub(super) fn props_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Props>()
}

/// What `/slots` answers.
pub(super) fn slots_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Vec<SlotReport>>()
}

impl Api {
    /// `/props`: what a model is, and how it is asked by default.
    pub(super) fn props(&self, target: Target<'_>) -> Result<Response, ApiError> {
        let snapshot = self.pool.load();
        let model = target.find_in_query(&snapshot.catalog)?;
        let facts = &model.facts;
        let mut params = native::settings(&default_sampling(&model.policy.sampling), None, &[]);
        params.seed = RANDOM_SEED.into();
        let ready = snapshot.instances(&model.policy.name);
        let file = model.variants[0].path.file_name().unwrap_or_default();
        let body = Props {
            default_generation_settings: DefaultSettings { params, n_ctx: model.policy.context_tokens },
            total_slots: slots_of(model, &snapshot).len(),
            slots_per_instance: model.policy.slots,
            max_instances: model.policy.scale.max_instances,
            model_alias: model.policy.name.to_string(),
            model_path: file.to_string_lossy().into_owned(),
            modalities: Modalities { vision: false, audio: false },
            chat_template: facts.chat_template.clone(),
            bos_token: facts.bos_token.clone(),
            eos_token: facts.eos_token.clone(),
            is_sleeping: ready.is_empty(),
            build_info: format!("modelpool-{}", env!("CARGO_PKG_VERSION")),
        };
        Ok(warp::reply::json(&body).into_response())
    }

    /// `/slots`: those of all ready instances, or of one model's.
    pub(super) fn slots(&self, target: Target<'_>) -> Result<Response, ApiError> {
        let snapshot = self.pool.load();
        let slots: Vec<SlotReport> = match target.parameter("model") {
            Some(name) => slots_of(find_model(&name, &snapshot.catalog)?, &snapshot),
            None => snapshot.catalog.models.iter().flat_map(|model| slots_of(model, &snapshot)).collect(),
        };
        Ok(warp::reply::json(&slots).into_response())
    }
}

fn slots_of(model: &CatalogModel, snapshot: &PoolSnapshot) -> Vec<SlotReport> {
    let instances = snapshot.instances(&model.policy.name).iter();
    let slots = instances.flat_map(|instance| slots_of_instance(instance, model));
    slots.enumerate().map(with_id).collect()
}

/// How many of an instance's slots are leased is known, and not which: the first ones are shown as busy.
fn slots_of_instance(instance: &Instance, model: &CatalogModel) -> Vec<SlotReport> {
    let (load, identity) = (instance.load(), instance.identity());
    let slot = |number: u32| SlotReport {
        id: number as usize,
        model: identity.model.to_string(),
        instance: identity.id.to_string(),
        variant: identity.variant_name.to_string(),
        n_ctx: model.policy.context_tokens,
        is_processing: number < load.leased,
    };
    (0..load.slots).map(slot).collect()
}

/// Slots are numbered over all instances of a model.
fn with_id((id, slot): (usize, SlotReport)) -> SlotReport {
    SlotReport { id, ..slot }
}
