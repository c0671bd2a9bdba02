//! Which model is measured, where, and in what context.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::arguments::EngineArguments;
use crate::catalog::CatalogVariant;
use crate::cli::read_policy;
use crate::cli::server::{faults, read_catalog, usable_cpu_threads};
use crate::control::threads;
use crate::engine::llama::compute_devices;
use crate::engine::{ContextSpec, WeightsSpec};
use crate::generation::{Penalties, SamplingSettings};
use crate::gguf;
use crate::policy::{ModelFile, ModelPolicy, Policy, SamplingPolicy, VariantPolicy, Variants};
use crate::units::DeviceId;
use crate::view::Takes;

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
        let spec = spec(&model, threads, arguments);
        Ok(Self::new(path, spec, &model, device(arguments)))
    }

    /// Every variant of the model that the arguments name, best first, with the threads of an instance that has the machine
    /// to itself. Of a file, itself.
    ///
    /// # Errors
    ///
    /// As [`Subject::find`].
    pub(super) fn variants(arguments: &EngineArguments) -> anyhow::Result<Vec<Candidate>> {
        let (path, policy, model) = match &arguments.model {
            Some(path) => from_file(path, arguments)?,
            None => from_policy(arguments)?,
        };
        anyhow::ensure!(
            model.engine.pooling.is_none(),
            "{} makes no answers to be calibrated for",
            model.name
        );
        let cpu_threads = usable_cpu_threads(&policy);
        let mut sized = ModelPolicy::clone(&model);
        let spec = spec(&model, cpu_threads, arguments);
        (sized.slots, sized.context_tokens) = (spec.slots, spec.context_tokens);
        sized.engine.batch_tokens = spec.batch_tokens;
        (sized.engine.kv_cache_type, sized.engine.flash_attention) =
            (spec.kv_cache_type, spec.flash_attention);
        if arguments.model.is_some() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            sized.variants = Variants::Listed(vec![VariantPolicy { name, file: ModelFile::Path(path) }]);
        }
        let catalog = read_catalog(&Policy { models: vec![sized.into()], ..policy })?;
        if let Some(broken) = catalog.broken.first() {
            anyhow::bail!("{}", faults(std::slice::from_ref(broken)));
        }
        let device = device(arguments);
        let candidate = |variant: &CatalogVariant| {
            let most = threads::most_useful(model.engine.threads, variant.weights_bytes).min(cpu_threads);
            let threads = arguments.threads.map_or(most, NonZeroU32::get);
            let spec = ContextSpec { threads, ..spec };
            Candidate {
                name: variant.name.to_string(),
                subject: Self::new(variant.path.clone(), spec, &model, device),
                takes: variant.footprint(device).takes(device),
                cpu_threads,
            }
        };
        Ok(catalog.models[0].variants.iter().map(candidate).collect())
    }

    fn new(path: PathBuf, spec: ContextSpec, model: &ModelPolicy, device: DeviceId) -> Self {
        let (gpu_layers, split) = (model.engine.gpu_layers, model.engine.split);
        let weights = WeightsSpec { path, devices: device.into(), gpu_layers, split };
        Self { weights, spec, sampling: settings(&model.sampling) }
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

/// A variant to be calibrated.
pub(super) struct Candidate {
    pub name: String,
    pub subject: Subject,
    /// What a worker and an instance are predicted to take of the device.
    pub takes: Takes,
    /// CPU threads with which a worker's instances may compute.
    pub cpu_threads: u32,
}

/// A context as the policy has it, but for what the arguments say.
fn spec(model: &ModelPolicy, threads: u32, arguments: &EngineArguments) -> ContextSpec {
    let told = ContextSpec::new(model, threads);
    ContextSpec {
        slots: arguments.slots.unwrap_or(told.slots),
        context_tokens: arguments.context_tokens.unwrap_or(told.context_tokens),
        batch_tokens: arguments.batch_tokens.unwrap_or(told.batch_tokens),
        kv_cache_type: arguments.kv_cache_type.unwrap_or(told.kv_cache_type),
        flash_attention: arguments.flash_attention.unwrap_or(told.flash_attention),
        ..told
    }
}

fn device(arguments: &EngineArguments) -> DeviceId {
    arguments.device().unwrap_or_else(|| compute_devices()[0])
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
    let policy = read_policy(arguments.policy.as_deref())?;
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
