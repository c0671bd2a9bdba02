//! Which model is measured, where, and in what context.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::arguments::EngineArguments;
use crate::cli::server::{faults, read_catalog, usable_cpu_threads};
use crate::cli::{ServeArguments, read_policy};
use crate::engine::llama::compute_devices;
use crate::engine::{ContextSpec, WeightsSpec};
use crate::generation::{Penalties, SamplingSettings};
use crate::gguf;
use crate::policy::{ModelPolicy, Policy, SamplingPolicy};

/// A policy that says nothing, so that everything has its default.
const DEFAULTS: &str = "models: [{ name: model, variants: [{ path: model.gguf }] }]";

/// What is measured.
pub(super) struct Subject {
    pub weights: WeightsSpec,
    pub spec: ContextSpec,
    /// Sampling as the policy has it.
    pub sampling: SamplingSettings,
}

impl Subject {
    /// What the arguments name.
    ///
    /// # Errors
    ///
    /// A policy or a file that cannot be used.
    pub(super) fn find(arguments: &EngineArguments) -> anyhow::Result<Self> {
        let (path, policy, model) = match &arguments.model {
            Some(path) => from_file(path, arguments)?,
            None => from_policy(arguments)?,
        };
        let threads = arguments.threads.map_or_else(|| usable_cpu_threads(&policy), NonZeroU32::get);
        let told = ContextSpec::new(&model, threads);
        let spec = ContextSpec {
            slots: arguments.slots.unwrap_or(told.slots),
            context_tokens: arguments.context_tokens.unwrap_or(told.context_tokens),
            batch_tokens: arguments.batch_tokens.unwrap_or(told.batch_tokens),
            kv_cache_type: arguments.kv_cache_type.unwrap_or(told.kv_cache_type),
            flash_attention: arguments.flash_attention.unwrap_or(told.flash_attention),
            ..told
        };
        let device = arguments.device().unwrap_or_else(|| compute_devices()[0]);
        let devices = device.into();
        let (gpu_layers, split) = (model.engine.gpu_layers, model.engine.split);
        let weights = WeightsSpec { path, devices, gpu_layers, split };
        Ok(Self { weights, spec, sampling: settings(&model.sampling) })
    }

    pub(super) fn json(&self) -> Value {
        let Self { weights, spec, .. } = self;
        json!({
            "file": weights.path, "device": weights.devices.to_string(), "slots": spec.slots,
            "context_tokens": spec.context_tokens, "threads": spec.threads, "batch_tokens": spec.batch_tokens,
            "kv_cache_type": spec.kv_cache_type, "flash_attention": spec.flash_attention,
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WeightsSpec { path, devices, .. } = &self.weights;
        let ContextSpec { slots, context_tokens, threads, batch_tokens, .. } = self.spec;
        write!(
            f,
            "{} on {devices}, {threads} threads: {slots} slots of {context_tokens} tokens, passes of up to \
             {batch_tokens}",
            path.display()
        )
    }
}

/// A file with the defaults of all keys, as far as the model goes.
fn from_file(
    path: &Path,
    arguments: &EngineArguments,
) -> anyhow::Result<(PathBuf, Policy, Arc<ModelPolicy>)> {
    let header = gguf::read_file(path)?;
    let policy = Policy::parse(DEFAULTS, "the defaults", Path::new("."))?;
    let mut model = ModelPolicy::clone(&policy.models[0]);
    let trained = header.context_length_train;
    model.context_tokens = model.context_tokens.min(trained);
    if let Some(wanted) = arguments.context_tokens.filter(|wanted| *wanted > trained) {
        anyhow::bail!(
            "--context-tokens {wanted} is more than {} was trained for ({trained}); lower it",
            path.display()
        );
    }
    Ok((path.to_owned(), policy, model.into()))
}

/// The best variant of the policy's model.
fn from_policy(arguments: &EngineArguments) -> anyhow::Result<(PathBuf, Policy, Arc<ModelPolicy>)> {
    let policy = read_policy(&ServeArguments { policy: arguments.policy.clone(), listen: None })?;
    let catalog = read_catalog(&policy)?;
    let model = match &arguments.model_name {
        None => policy.models[0].name.as_str(),
        Some(name) => name,
    };
    if let Some(broken) = catalog.fault(model) {
        anyhow::bail!("{}", faults(std::slice::from_ref(broken)));
    }
    let found = catalog.model(model).with_context(|| {
        let names: Vec<_> = policy.models.iter().map(|model| model.name.as_str()).collect();
        format!("--model-name {model}: the policy has no such model; it has: {}", names.join(", "))
    })?;
    let (path, model) = (found.variants[0].path.clone(), Arc::clone(&found.policy));
    Ok((path, policy, model))
}

/// Sampling of a request that says nothing.
fn settings(policy: &SamplingPolicy) -> SamplingSettings {
    let penalties = Penalties { repeat: policy.repeat_penalty, ..Penalties::default() };
    SamplingSettings {
        temperature: policy.temperature,
        top_k: policy.top_k,
        top_p: policy.top_p,
        min_p: policy.min_p,
        penalties,
        ..SamplingSettings::default()
    }
}
