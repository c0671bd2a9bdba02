//! The section `engine`, and the sampling defaults that belong to it.

use std::num::NonZeroU32;

use super::{MODEL, check_model, faults, parse};
use crate::policy::{
    ContextOverflow, EnginePolicy, FlashAttention, KvCacheType, Pooling, PrefixCachePolicy, SamplingPolicy,
    Split,
};
use crate::units::ByteCount;

/// The engine policy of [`MODEL`] with one more `line`.
fn engine(line: &str) -> EnginePolicy {
    let yaml = format!("{MODEL}  {line}\n");
    parse(&yaml).unwrap_or_else(|error| panic!("{error}")).models[0].engine.clone()
}

#[test]
fn an_absent_or_empty_section_has_the_defaults() {
    let default = EnginePolicy {
        gpu_layers: None,
        split: Split::Layer,
        threads: None,
        batch_tokens: 512,
        kv_cache_type: KvCacheType::F16,
        flash_attention: FlashAttention::Auto,
        context_overflow: ContextOverflow::Refuse,
        prefix_cache: PrefixCachePolicy { enabled: true, host_bytes: ByteCount::from_mib(256) },
        pooling: None,
    };
    for line in ["", "engine:", "engine: {}", "engine: {gpu_layers: null, threads: null, prefix_cache: {}}"] {
        assert_eq!(engine(line), default, "{line}");
    }
}

#[test]
fn every_key_arrives_as_it_is_written() {
    let line = "engine: {gpu_layers: 0, split: row, threads: 3, batch_tokens: 8192, kv_cache_type: q4_0, flash_attention: on, \
                context_overflow: shift, prefix_cache: {enabled: false, host_memory: 0}, pooling: last}";
    let expected = EnginePolicy {
        gpu_layers: Some(0),
        split: Split::Row,
        threads: NonZeroU32::new(3),
        batch_tokens: 8192,
        kv_cache_type: KvCacheType::Q4_0,
        flash_attention: FlashAttention::On,
        context_overflow: ContextOverflow::Shift,
        prefix_cache: PrefixCachePolicy { enabled: false, host_bytes: ByteCount::ZERO },
        pooling: Some(Pooling::Last),
    };
    assert_eq!(engine(line), expected);
    let yaml = format!("{MODEL}  sampling: {{min_p: 0.05, repeat_penalty: 1.1}}\n");
    let default =
        SamplingPolicy { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.1 };
    assert_eq!(parse(&yaml).expect("a legal policy").models[0].sampling, default);
}

#[test]
fn flash_attention_may_be_written_as_a_word_or_a_boolean() {
    for (written, expected) in [
        ("auto", FlashAttention::Auto),
        ("on", FlashAttention::On),
        ("true", FlashAttention::On),
        ("'on'", FlashAttention::On),
        ("off", FlashAttention::Off),
        ("false", FlashAttention::Off),
    ] {
        assert_eq!(engine(&format!("engine: {{flash_attention: {written}}}")).flash_attention, expected);
    }
}

#[test]
fn values_outside_their_range_name_the_range() {
    for (entry, expected) in [
        ("gpu_layers: 10000", "gpu_layers: expected a whole number from 0 to 9999, got 10000"),
        ("gpu_layers: all", "gpu_layers: expected a whole number from 0 to 9999, got \"all\""),
        ("threads: 0", "threads: expected a whole number from 1 to 1024, got 0"),
        ("batch_tokens: 31", "batch_tokens: expected a whole number from 32 to 8192, got 31"),
        ("kv_cache_type: q5_1", "kv_cache_type: expected f16, q8_0 or q4_0, got \"q5_1\""),
        ("flash_attention: 1", "flash_attention: expected auto, on or off, got 1"),
        ("context_overflow: drop", "context_overflow: expected refuse, truncate or shift, got \"drop\""),
        ("pooling: max", "pooling: expected mean, cls, last or rank, got \"max\""),
        ("layers: 1", "layers: unknown key; did you mean `gpu_layers`?"),
    ] {
        check_model(&format!("engine: {{{entry}}}"), &format!("4:12: models[0].engine.{expected}"));
    }
    for (entry, expected) in [
        ("enabled: 1", "enabled: expected true or false, got 1"),
        ("host_memory: 2TiB", "host_memory: expected an amount of memory from 0 B to 1 TiB, got \"2TiB\""),
    ] {
        let expected = format!("4:27: models[0].engine.prefix_cache.{expected}");
        check_model(&format!("engine: {{prefix_cache: {{{entry}}}}}"), &expected);
    }
    for (entry, expected) in [
        ("min_p: 1.5", "min_p: expected a number from 0 to 1, got 1.5"),
        ("repeat_penalty: 0", "repeat_penalty: expected a number above 0 and up to 10, got 0"),
    ] {
        check_model(&format!("sampling: {{{entry}}}"), &format!("4:14: models[0].sampling.{expected}"));
    }
}

#[test]
fn a_quantized_kv_cache_needs_flash_attention() {
    for kind in ["q8_0", "q4_0"] {
        check_model(
            &format!("engine: {{flash_attention: off, kv_cache_type: {kind}}}"),
            "4:12: models[0].engine.flash_attention: off, but llama.cpp reads a quantized KV cache with flash \
             attention only; set it to auto or on, or kv_cache_type to f16",
        );
    }
    for legal in ["flash_attention: off", "flash_attention: auto, kv_cache_type: q8_0"] {
        assert_eq!(faults(&format!("{MODEL}  engine: {{{legal}}}\n")), <[String; 0]>::default());
    }
}
