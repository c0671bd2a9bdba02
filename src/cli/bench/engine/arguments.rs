//! What `modelpool bench engine` is told.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};

use crate::cli::bench::seconds;
use crate::policy::{FlashAttention, KvCacheType};
use crate::units::DeviceId;

/// Measures what llama.cpp computes on this machine: one context, without HTTP, queue and worker process.
///
/// Prefill: prompts alone, by length. Decode: steps in which sequences compute one token each, by their number.
/// Decode and prompt: how much longer such a step is with a part of a prompt in it. Sampling: the choice of a token
/// on one core. Answers: prompts and answers in the loop that servers run, by how many are answered at a time; what a
/// server loses against these is its own overhead. The threads of llama.cpp wait as those of workers do; see OMP_WAIT_POLICY in docs/operations.md.
#[derive(Args, Debug)]
pub(in crate::cli::bench) struct EngineArguments {
    /// The model, a GGUF file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "model_name"])]
    pub(super) model: Option<PathBuf>,
    /// A policy that says which model to load, and how [default: the built-in policy].
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// The policy's model to measure, with its best variant [default: the first model].
    #[arg(long, value_name = "NAME")]
    pub(super) model_name: Option<String>,
    /// Sequences that the context holds [default: the policy's slots, 8].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=256))]
    pub(super) slots: Option<u32>,
    /// Tokens that each of them holds [default: the policy's context_tokens].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(32..=4_194_304))]
    pub(super) context_tokens: Option<u32>,
    /// CPU threads of a decode call [default: all cores, or the policy's devices.cpu_threads].
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroU32>,
    /// The GPU to compute on, from 0 [default: the first one, or the CPU where there is none].
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    gpu: Option<u32>,
    /// Compute on the CPU, even if there is a GPU.
    #[arg(long)]
    cpu: bool,
    /// The most tokens of one pass over the weights [default: 512].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=65_536))]
    pub(super) batch_tokens: Option<u32>,
    /// How keys and values are stored: f16, q8_0 or q4_0 [default: f16].
    #[arg(long, value_name = "TYPE", value_parser = kv_cache_type())]
    pub(super) kv_cache_type: Option<KvCacheType>,
    /// Whether attention is fused: auto, on or off [default: auto].
    #[arg(long, value_name = "WHEN", value_parser = flash_attention())]
    pub(super) flash_attention: Option<FlashAttention>,
    /// Tokens that sequences have before they decode; at most half of --context-tokens.
    #[arg(long, value_name = "N", default_value = "128")]
    pub(super) depth: u32,
    /// Tokens of a prompt beside sequences that decode; a list makes a row for each.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "64,128,256,512")]
    pub(super) chunk_tokens: Vec<NonZeroU32>,
    /// Tokens of the prompts that are answered, about.
    #[arg(long, value_name = "N", default_value = "256")]
    pub(super) prompt_tokens: NonZeroU32,
    /// Tokens of each answer.
    #[arg(long, value_name = "N", default_value = "128")]
    pub(super) answer_tokens: NonZeroU32,
    /// What to measure [default: all].
    #[arg(long, value_enum, value_name = "KIND,…", value_delimiter = ',')]
    only: Vec<Kind>,
    /// Seconds of each measurement.
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    pub(super) seconds: Duration,
    /// Measure what modelpool simulate --machine has to know of this machine instead, and write it to this file: prompts,
    /// decode steps, starts, and what instances are predicted to take. With a policy, for each variant of the model. Starts
    /// are those of worker processes whose file is in the page cache, as the server starts them. CPU threads are those of
    /// an instance that has the machine to itself, unless --threads says otherwise.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "chunk_tokens", "prompt_tokens", "answer_tokens"])]
    pub(super) calibrate: Option<PathBuf>,
    /// With --calibrate: seconds that a request takes between client and engine besides, as bench server sees them
    /// with one client.
    #[arg(long, value_name = "S", requires = "calibrate", default_value = "0", value_parser = seconds)]
    pub(super) request_seconds: Duration,
    /// Print one JSON document instead of tables.
    #[arg(long)]
    pub(super) json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Prompts alone.
    Prefill,
    /// Sequences that decode.
    Decode,
    /// Both in one step.
    Mixed,
    /// The choice of tokens.
    Sampling,
    /// Whole answers.
    Answers,
}

impl EngineArguments {
    pub(super) fn wants(&self, kind: Kind) -> bool {
        self.only.is_empty() || self.only.contains(&kind)
    }

    /// The device that is named; `None` for the best one.
    pub(super) fn device(&self) -> Option<DeviceId> {
        if self.cpu { Some(DeviceId::Host) } else { self.gpu.map(DeviceId::Gpu) }
    }
}

fn kv_cache_type() -> impl TypedValueParser<Value = KvCacheType> {
    PossibleValuesParser::new(["f16", "q8_0", "q4_0"]).map(|name| match name.as_str() {
        "q8_0" => KvCacheType::Q8_0,
        "q4_0" => KvCacheType::Q4_0,
        _ => KvCacheType::F16,
    })
}

fn flash_attention() -> impl TypedValueParser<Value = FlashAttention> {
    PossibleValuesParser::new(["auto", "on", "off"]).map(|name| match name.as_str() {
        "on" => FlashAttention::On,
        "off" => FlashAttention::Off,
        _ => FlashAttention::Auto,
    })
}
