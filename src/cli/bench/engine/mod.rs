//! `modelpool bench engine`: measures what llama.cpp computes with a model on this machine, and what choosing tokens
//! costs. No server, no worker, no requests.

mod measure;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::server::seconds;
use super::statistics::Percentiles;
use super::table::{Table, figure};
use crate::cli::print;
use crate::engine::llama::{LlamaLoader, compute_devices};
use crate::engine::{ContextSpec, Loader, Weights, WeightsSpec};
use crate::policy::{FlashAttention, KvCacheType};
use crate::units::DeviceId;
use measure::Bench;

/// Prompts of which the rate is measured, in tokens.
const PROMPTS: [u32; 4] = [64, 256, 512, 2048];
/// Parts of a prompt beside answers, in tokens.
const CHUNKS: [u32; 4] = [32, 64, 128, 256];
/// Answers beside which parts of a prompt are computed.
const MIXED_ANSWERS: u32 = 16;

/// Measures what this machine computes with a model, without a server: prompts, answers by the number of those that
/// share a step, answers beside a prompt, and the choice of tokens.
#[derive(Args, Debug)]
pub(super) struct EngineArguments {
    /// The model, a GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The most answers that share a step.
    #[arg(long, value_name = "N", default_value = "16")]
    slots: NonZeroU32,
    /// Tokens of context for each of them.
    #[arg(long, value_name = "N", default_value = "1024")]
    context_tokens: NonZeroU32,
    /// CPU threads of a step [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
    /// Compute on this GPU [default: the first one, or the CPU if there is none]
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    gpu: Option<u32>,
    /// Compute on the CPU.
    #[arg(long)]
    cpu: bool,
    /// The most tokens of a step.
    #[arg(long, value_name = "N", default_value = "512")]
    batch_tokens: NonZeroU32,
    /// How keys and values are stored.
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    kv_cache_type: CacheType,
    /// Whether attention is computed by the fused algorithm.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    flash_attention: Attention,
    /// Seconds for each measurement.
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Print one JSON document instead of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CacheType {
    F16,
    #[value(name = "q8_0")]
    Q8,
    #[value(name = "q4_0")]
    Q4,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Attention {
    Auto,
    On,
    Off,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// What was computed in each step.
    pub what: String,
    /// Tokens of one step, or choices of one round.
    pub tokens: u32,
    /// Steps measured.
    pub steps: usize,
    /// Milliseconds of a step.
    pub ms: Percentiles,
    /// Tokens in a second.
    pub tokens_per_second: f64,
}

/// Measures and prints.
///
/// # Errors
///
/// A model that cannot be loaded, or a context that cannot be made.
pub(super) fn run(arguments: &EngineArguments) -> anyhow::Result<ExitCode> {
    crate::cli::relaunch::with_environment();
    let device = device(arguments)?;
    let path = arguments.model.clone();
    if !path.is_file() {
        bail!("--model: there is no file {}", path.display());
    }
    let weights = LlamaLoader.load(&WeightsSpec { path, device, gpu_layers: None })?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.map_or(u32::try_from(cores).unwrap_or(1), NonZeroU32::get);
    let spec = ContextSpec {
        batch_tokens: arguments.batch_tokens.get(),
        kv_cache_type: match arguments.kv_cache_type {
            CacheType::F16 => KvCacheType::F16,
            CacheType::Q8 => KvCacheType::Q8_0,
            CacheType::Q4 => KvCacheType::Q4_0,
        },
        flash_attention: match arguments.flash_attention {
            Attention::Auto => FlashAttention::Auto,
            Attention::On => FlashAttention::On,
            Attention::Off => FlashAttention::Off,
        },
        ..ContextSpec::sized(arguments.slots.get(), arguments.context_tokens.get(), threads)
    };
    let mut bench = Bench::new(weights.context(spec)?, weights.vocabulary().tokens(), arguments.seconds);
    let mut rows = Vec::new();
    for tokens in PROMPTS.into_iter().filter(|tokens| *tokens < spec.context_tokens) {
        rows.push(bench.prompt(tokens).context("a prompt could not be computed")?);
    }
    for answers in powers_of_two(spec.slots) {
        rows.push(bench.answers(answers).context("answers could not be computed")?);
    }
    let beside = MIXED_ANSWERS.min(spec.slots - 1);
    if beside > 0 {
        for chunk in CHUNKS.into_iter().filter(|chunk| chunk + beside <= spec.batch_tokens) {
            rows.push(bench.beside(beside, chunk).context("a prompt beside answers could not be computed")?);
        }
    }
    rows.extend(bench.choices()?);
    report(arguments, device, threads, &rows);
    Ok(ExitCode::SUCCESS)
}

fn device(arguments: &EngineArguments) -> anyhow::Result<DeviceId> {
    if arguments.cpu {
        return Ok(DeviceId::Host);
    }
    let devices = compute_devices();
    match arguments.gpu.map(DeviceId::Gpu) {
        None => Ok(devices[0]),
        Some(gpu) if devices.contains(&gpu) => Ok(gpu),
        Some(gpu) => {
            let known: Vec<String> = devices.iter().map(ToString::to_string).collect();
            bail!("--gpu: llama.cpp does not see {gpu}; it computes on: {}", known.join(", "))
        }
    }
}

/// 1, 2, 4 … and `most` itself.
fn powers_of_two(most: u32) -> Vec<u32> {
    let below = std::iter::successors(Some(1_u32), |number| number.checked_mul(2));
    below.take_while(|number| *number < most).chain([most]).collect()
}

fn report(arguments: &EngineArguments, device: DeviceId, threads: u32, rows: &[Row]) {
    let model = arguments.model.display().to_string();
    if arguments.json {
        let document = json!({
            "model": model,
            "device": device.to_string(),
            "threads": threads,
            "rows": rows,
        });
        return print(&format!("{document:#}\n"));
    }
    let mut table = Table::new(["step", "tokens", "steps", "ms p50", "p90", "p99", "tokens/s"]);
    for row in rows {
        table.row([
            row.what.clone(),
            row.tokens.to_string(),
            row.steps.to_string(),
            figure(row.ms.p50),
            figure(row.ms.p90),
            figure(row.ms.p99),
            figure(row.tokens_per_second),
        ]);
    }
    print(&format!("{model} on {device}, {threads} CPU threads\n\n{}", table.text()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_number_of_answers_is_measured_whatever_it_is() {
        assert_eq!(powers_of_two(1), [1]);
        assert_eq!(powers_of_two(16), [1, 2, 4, 8, 16]);
        assert_eq!(powers_of_two(12), [1, 2, 4, 8, 12]);
    }
}
