//! `modelpool quantize`: makes variants of a full model.
//!
//! llama.cpp aborts on what it does not expect, so it runs in a process of its own for each variant (`child.rs`), which
//! writes a file of another name (`partial.rs`). That gets its own name when it is complete and on the disk.

mod child;
mod partial;
mod plan;
mod process;

use std::fmt::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

pub(super) use child::{QuantizeOneArguments, run_one};
use partial::Partial;
use plan::{Job, Plan};

use super::print;
use super::progress::Progress;
use super::signals::{Ending, Signals};
use crate::gguf;
use crate::quantization::{QUANTIZATIONS, Quantization};
use crate::units::ByteCount;

#[derive(Args, Debug)]
pub(super) struct QuantizeArguments {
    /// The full model: one GGUF file of type f16, bf16 or f32.
    #[arg(value_name = "FULL.gguf")]
    full: PathBuf,
    /// What to make.
    #[arg(
        long, value_name = "TYPE,…", value_delimiter = ',', default_value = "q8_0,q4_k_m", ignore_case = true,
        value_parser = kinds()
    )]
    types: Vec<&'static Quantization>,
    /// The folder to write to [default: that of the full model].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// CPU threads to compute with [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
}

fn kinds() -> impl TypedValueParser<Value = &'static Quantization> {
    let names = QUANTIZATIONS.iter().map(|kind| kind.name);
    PossibleValuesParser::new(names)
        .map(|name| Quantization::named(&name).expect("one of the possible values"))
}

/// A variant that was made.
struct Made {
    name: String,
    bytes: u64,
    took: Duration,
}

/// Makes all variants that are asked for, one after the other.
///
/// # Errors
///
/// A file that cannot be quantized, a place that cannot be written to, or the first variant that cannot be made.
pub(super) fn run(arguments: &QuantizeArguments) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(arguments)?;
    // One thread, which lives as long as the program: the kernel ends children with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut made = Vec::new();
    let outcome = runtime.context("cannot start the runtime")?.block_on(make_all(&plan, &mut made));
    print(&report(&made, plan.full_bytes));
    Ok(match outcome? {
        None => ExitCode::SUCCESS,
        Some(ending) => {
            eprintln!("{} ended it; what is not listed was not made", ending.name());
            ExitCode::from(u8::try_from(ending.exit_code()).unwrap_or(u8::MAX))
        }
    })
}

/// Gives the signal that ended it early, if one did.
async fn make_all(plan: &Plan, made: &mut Vec<Made>) -> anyhow::Result<Option<Ending>> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let progress = Progress::new(1);
    for job in &plan.jobs {
        progress.begin(job.name.clone(), job.most_bytes.0);
        let outcome = make(plan, job, &mut signals, &progress).await;
        if !matches!(outcome, Ok(Outcome::Made(_))) {
            progress.end();
        }
        match outcome.with_context(|| format!("{} was not made", job.target.display()))? {
            Outcome::Made(variant) => made.push(variant),
            Outcome::Ended(ending) => return Ok(Some(ending)),
        }
        progress.note(|| format!("made {}", job.target.display()));
    }
    progress.end();
    Ok(None)
}

enum Outcome {
    Made(Made),
    Ended(Ending),
}

async fn make(plan: &Plan, job: &Job, signals: &mut Signals, progress: &Progress) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let partial = Partial::create(&job.target)?;
    let order = process::Order { full: &plan.full, kind: job.kind, threads: plan.threads };
    if let Some(ending) = process::run(&order, &partial, signals, progress).await? {
        return Ok(Outcome::Ended(ending));
    }
    let header = gguf::read_file(partial.path()).context("llama.cpp wrote no whole model")?;
    anyhow::ensure!(
        header.file_type == Some(job.kind.file_type),
        "llama.cpp made a file of another type ({:?} instead of {})",
        header.file_type,
        job.kind.file_type
    );
    partial.become_the_target(&job.target, plan.force)?;
    Ok(Outcome::Made(Made { name: job.name.clone(), bytes: header.file_bytes.0, took: begun.elapsed() }))
}

/// One line for each variant.
fn report(made: &[Made], full: ByteCount) -> String {
    made.iter().fold(String::new(), |mut text, Made { name, bytes, took }| {
        #[expect(clippy::cast_precision_loss, reason = "printed with two decimals")]
        let ratio = *bytes as f64 / full.0 as f64;
        let amount = ByteCount(*bytes);
        let took = took.as_secs_f64();
        writeln!(text, "{name}: {bytes} bytes ({amount}), {ratio:.2} of the full file, {took:.1} s")
            .expect("text can be written to");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_is_one_line() {
        let variant =
            |name: &str, bytes| Made { name: name.into(), bytes, took: Duration::from_millis(1250) };
        let made = [variant("a-q8_0", 5 << 20), variant("a-q4_0", 3 << 20)];
        let expected = "a-q8_0: 5242880 bytes (5 MiB), 0.50 of the full file, 1.2 s\n\
                        a-q4_0: 3145728 bytes (3 MiB), 0.30 of the full file, 1.2 s\n";
        assert_eq!(report(&made, ByteCount(10 << 20)), expected);
    }
}
