//! Turns a `RawPolicy` into a [`Policy`]: every key's range and default, and the rules across keys.
//!
//! Pure. The only place that states ranges and defaults; docs/policy.md and policies/default.yaml repeat
//! them for people, and tests compare. Every fault is noted before the policy is given up: each function
//! reads all its keys first and uses `?` only to build its result.

mod scale;
mod schedule;
mod server;
mod variants;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use crate::units::{ByteCount, ModelName};

use super::error::Faults;
use super::path::YamlPath;
use super::raw::{Given, RawDevices, RawEngine, RawModel, RawPolicy, RawPrefixCache, RawSampling};
use super::section::{Section, above_to, amount, from_to};
use super::types::{
    ContextOverflow, DevicesPolicy, EnginePolicy, FlashAttention, Isolation, KvCacheType, MemoryLimit,
    ModelPolicy, Policy, PolicySource, Pooling, PrefixCachePolicy, SamplingPolicy, Split,
};
use scale::{cache, model_devices, queue, scale, watchdog};

/// Most tokens in one instance, all slots together: llama.cpp numbers them with signed 32-bit integers.
const MAX_INSTANCE_TOKENS: u64 = i32::MAX as u64;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The policy that `raw`, which was read from `source`, states, or `None` if a fault was noted.
pub(super) fn policy(raw: RawPolicy, source: PolicySource, faults: &mut Faults) -> Option<Policy> {
    let root = YamlPath::default();
    let server = server::server(&raw.server.unwrap_or_default(), &root.key("server"), &source.folder, faults);
    let devices = devices(&raw.devices.unwrap_or_default(), root.key("devices"), faults);
    let models = models(raw.models.unwrap_or_default(), &root.key("models"), &source.folder, faults);
    Some(Policy { server: server?, devices: devices?, models: models?, source })
}

fn devices(raw: &RawDevices, at: YamlPath, faults: &mut Faults) -> Option<DevicesPolicy> {
    let mut section = Section::new(at, faults);
    let headroom_fraction =
        section.number("headroom_fraction", raw.headroom_fraction.as_ref(), 0.05, from_to(0.0, 0.9));
    let headroom_bytes = section.bytes(
        "headroom_bytes",
        raw.headroom_bytes.as_ref(),
        ByteCount::ZERO,
        ByteCount::ZERO..=ByteCount::from_mib(1 << 20),
    );
    let host_memory_limit = match &raw.host_memory_limit {
        None => Some(MemoryLimit::Fraction(0.75)),
        Some(given) => memory_limit(given).or_else(|| {
            let expected = "a share from 1% to 100%, or an amount from 1MiB up such as 8GiB";
            section.refuse("host_memory_limit", expected, given)
        }),
    };
    // The default, all cores, has no number; 0 can stand for it because the range excludes 0.
    let cpu_threads = section.count("cpu_threads", raw.cpu_threads.as_ref(), 0, 1..=1024);
    Some(DevicesPolicy {
        headroom_fraction: headroom_fraction?,
        headroom_bytes: headroom_bytes?,
        host_memory_limit: host_memory_limit?,
        cpu_threads: NonZeroU32::new(cpu_threads?),
    })
}

fn memory_limit(given: &Given) -> Option<MemoryLimit> {
    if let Some(percent) = given.text().and_then(|text| text.trim().strip_suffix('%')) {
        let percent: f64 = percent.trim_end().parse().ok()?;
        return (1.0..=100.0).contains(&percent).then_some(MemoryLimit::Fraction(percent / 100.0));
    }
    amount(given).filter(|bytes| *bytes >= ByteCount::from_mib(1)).map(MemoryLimit::Bytes)
}

fn models(
    raw: Vec<Option<RawModel>>,
    at: &YamlPath,
    base_dir: &Path,
    faults: &mut Faults,
) -> Option<Vec<Arc<ModelPolicy>>> {
    if raw.is_empty() {
        faults.add_missing(at.clone(), "list at least one model with `name` and `variants`");
        return None;
    }
    let mut first_uses = HashMap::new();
    let mut models = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let at = at.index(index);
        let Some(raw) = raw else {
            faults.add_missing(at, "give `name` and `variants`, or remove this element");
            continue;
        };
        if let Some(name) = raw.name.as_ref().and_then(Given::text) {
            let first = *first_uses.entry(name.to_owned()).or_insert(index);
            if first != index {
                let remedy = "give each model its own name";
                faults.add(at.key("name"), format!("{name:?} is the name of models[{first}] too; {remedy}"));
            }
        }
        models.push(model(raw, &at, base_dir, faults).map(Arc::new));
    }
    models.into_iter().collect()
}

fn model(raw: RawModel, at: &YamlPath, base_dir: &Path, faults: &mut Faults) -> Option<ModelPolicy> {
    let mut section = Section::new(at.clone(), faults);
    let name = name(raw.name.as_ref(), &mut section);
    let context_tokens = section.count("context_tokens", raw.context_tokens.as_ref(), 4096, 16..=16_777_216);
    let slots = section.count("slots", raw.slots.as_ref(), 8, 1..=256);
    let isolations = [("process", Isolation::Process), ("thread", Isolation::Thread)];
    let isolation = section.choice("isolation", raw.isolation.as_ref(), Isolation::Process, &isolations);
    let priority = section.count("priority", raw.priority.as_ref(), 50, 0..=100);
    if let (Some(context_tokens), Some(slots)) = (context_tokens, slots) {
        let total = u64::from(context_tokens) * u64::from(slots);
        if total > MAX_INSTANCE_TOKENS {
            section.note::<()>(
                "context_tokens",
                format!(
                    "{context_tokens} tokens in each of {slots} slots are {total}, more than an instance's \
                     {MAX_INSTANCE_TOKENS}; lower context_tokens or slots"
                ),
            );
        }
    }
    let variants = variants::variants(raw.variants, &at.key("variants"), base_dir, faults);
    let devices = model_devices(raw.devices.as_deref(), &at.key("devices"), faults);
    let engine = engine(&raw.engine.unwrap_or_default(), &at.key("engine"), faults);
    let sampling = sampling(&raw.sampling.unwrap_or_default(), at.key("sampling"), faults);
    let scale = scale(&raw.scale.unwrap_or_default(), &at.key("scale"), faults);
    let queue = queue(&raw.queue.unwrap_or_default(), at.key("queue"), faults);
    let cache = cache(&raw.cache.unwrap_or_default(), at.key("cache"), faults);
    let watchdog = watchdog(&raw.watchdog.unwrap_or_default(), at.key("watchdog"), faults);
    Some(ModelPolicy {
        name: name?,
        variants: variants?,
        context_tokens: context_tokens?,
        slots: slots?,
        isolation: isolation?,
        priority: priority?,
        devices: devices?,
        engine: engine?,
        sampling: sampling?,
        scale: scale?,
        queue: queue?,
        cache: cache?,
        watchdog: watchdog?,
    })
}

fn name(given: Option<&Given>, section: &mut Section<'_>) -> Option<ModelName> {
    let what = "a name of 1 to 128 letters, digits and . _ : / -";
    let name = section.text("name", given, what)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
    if (1..=128).contains(&name.len()) && name.chars().all(legal) {
        return Some(ModelName::new(name));
    }
    section.refuse("name", what, given?)
}

fn engine(raw: &RawEngine, at: &YamlPath, faults: &mut Faults) -> Option<EnginePolicy> {
    let prefix_cache = prefix_cache(
        raw.prefix_cache.as_ref().unwrap_or(&RawPrefixCache::default()),
        at.key("prefix_cache"),
        faults,
    );
    let mut section = Section::new(at.clone(), faults);
    // Two keys whose default has no number. All layers stand outside of the range, as 0 does for the others.
    let gpu_layers = section.count("gpu_layers", raw.gpu_layers.as_ref(), u32::MAX, 0..=9999);
    let splits =
        [("layer", Split::Layer), ("tensor", Split::Tensor), ("row", Split::Row), ("off", Split::Off)];
    // As with flash_attention: `off` may have become `false`.
    let off = raw.split.as_ref().and_then(Given::flag) == Some(false);
    let split = if off {
        Some(Split::Off)
    } else {
        section.choice("split", raw.split.as_ref(), Split::Layer, &splits)
    };
    let threads = section.count("threads", raw.threads.as_ref(), 0, 1..=1024);
    let batch_tokens = section.count("batch_tokens", raw.batch_tokens.as_ref(), 512, 32..=8192);
    let types = [("f16", KvCacheType::F16), ("q8_0", KvCacheType::Q8_0), ("q4_0", KvCacheType::Q4_0)];
    let kv_cache_type = section.choice("kv_cache_type", raw.kv_cache_type.as_ref(), KvCacheType::F16, &types);
    let flash_attention = flash_attention(raw.flash_attention.as_ref(), &mut section);
    let overflows = [
        ("refuse", ContextOverflow::Refuse),
        ("truncate", ContextOverflow::Truncate),
        ("shift", ContextOverflow::Shift),
    ];
    let context_overflow = section.choice(
        "context_overflow",
        raw.context_overflow.as_ref(),
        ContextOverflow::Refuse,
        &overflows,
    );
    // Text, the default, has no word of its own.
    let poolings = [
        ("mean", Some(Pooling::Mean)),
        ("cls", Some(Pooling::Cls)),
        ("last", Some(Pooling::Last)),
        ("rank", Some(Pooling::Rank)),
    ];
    let pooling = section.choice("pooling", raw.pooling.as_ref(), None, &poolings);
    if let (Some(FlashAttention::Off), Some(KvCacheType::Q8_0 | KvCacheType::Q4_0)) =
        (flash_attention, kv_cache_type)
    {
        let message = "off, but llama.cpp reads a quantized KV cache with flash attention only; set it to auto or \
                       on, or kv_cache_type to f16";
        section.note::<()>("flash_attention", message.to_owned());
    }
    Some(EnginePolicy {
        gpu_layers: Some(gpu_layers?).filter(|layers| *layers != u32::MAX),
        split: split?,
        threads: NonZeroU32::new(threads?),
        batch_tokens: batch_tokens?,
        kv_cache_type: kv_cache_type?,
        flash_attention: flash_attention?,
        context_overflow: context_overflow?,
        prefix_cache: prefix_cache?,
        pooling: pooling?,
    })
}

/// Some YAML tools write `on` and `off` as `true` and `false`: both are understood.
fn flash_attention(given: Option<&Given>, section: &mut Section<'_>) -> Option<FlashAttention> {
    match given.and_then(Given::flag) {
        Some(true) => Some(FlashAttention::On),
        Some(false) => Some(FlashAttention::Off),
        None => {
            let choices =
                [("auto", FlashAttention::Auto), ("on", FlashAttention::On), ("off", FlashAttention::Off)];
            section.choice("flash_attention", given, FlashAttention::Auto, &choices)
        }
    }
}

fn prefix_cache(raw: &RawPrefixCache, at: YamlPath, faults: &mut Faults) -> Option<PrefixCachePolicy> {
    let mut section = Section::new(at, faults);
    let enabled = section.flag("enabled", raw.enabled.as_ref(), true);
    let host_bytes = section.bytes(
        "host_memory",
        raw.host_memory.as_ref(),
        ByteCount::from_mib(256),
        ByteCount::ZERO..=ByteCount::from_mib(1 << 20),
    );
    Some(PrefixCachePolicy { enabled: enabled?, host_bytes: host_bytes? })
}

#[expect(clippy::cast_possible_truncation, reason = "small numbers; llama.cpp samples with f32")]
fn sampling(raw: &RawSampling, at: YamlPath, faults: &mut Faults) -> Option<SamplingPolicy> {
    let mut section = Section::new(at, faults);
    let temperature = section.number("temperature", raw.temperature.as_ref(), 0.8, from_to(0.0, 2.0));
    let top_k = section.count("top_k", raw.top_k.as_ref(), 40, 0..=1_000_000);
    let top_p = section.number("top_p", raw.top_p.as_ref(), 0.95, above_to(0.0, 1.0));
    let min_p = section.number("min_p", raw.min_p.as_ref(), 0.0, from_to(0.0, 1.0));
    let repeat_penalty =
        section.number("repeat_penalty", raw.repeat_penalty.as_ref(), 1.0, above_to(0.0, 10.0));
    Some(SamplingPolicy {
        temperature: temperature? as f32,
        top_k: top_k?,
        top_p: (top_p? as f32).max(f32::MIN_POSITIVE),
        min_p: min_p? as f32,
        repeat_penalty: (repeat_penalty? as f32).max(f32::MIN_POSITIVE),
    })
}
