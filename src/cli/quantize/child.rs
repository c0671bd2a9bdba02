//! `modelpool quantize-one`: the process in which llama.cpp makes one variant.

use std::fs::File;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::kinds;
use crate::engine::llama::quantize;
use crate::quantization::Quantization;
use crate::worker::child::library_folders;
use crate::worker::sandbox::{Confinement, confine, die_with_parent};

#[derive(Args, Debug)]
pub(in crate::cli) struct QuantizeOneArguments {
    /// The process id of the command that waits for it.
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// What to make.
    #[arg(long = "type", value_name = "TYPE", value_parser = kinds())]
    kind: &'static Quantization,
    /// CPU threads to compute with.
    #[arg(long, value_name = "N")]
    threads: NonZeroU32,
    /// The full model.
    full: PathBuf,
    /// The file to overwrite.
    output: PathBuf,
}

/// Makes the variant and has it on the disk; does not return then.
///
/// # Errors
///
/// If nobody waits for it, or llama.cpp cannot.
pub(in crate::cli) fn run_one(order: &QuantizeOneArguments) -> anyhow::Result<()> {
    let QuantizeOneArguments { parent, kind, threads, full, output } = order;
    anyhow::ensure!(die_with_parent(*parent), "the command that started this one, process {parent}, is gone");
    // The full file may come from strangers, as a worker's model may.
    let confined = confine(&Confinement {
        model_files: vec![full.clone()],
        written_files: vec![output.clone()],
        gpu: false,
        libraries: library_folders(),
        memory_limit_bytes: None,
    });
    tracing::debug!(landlock = %confined.landlock, missing = ?confined.missing, "confined");
    quantize(full, output, kind, *threads)?;
    #[cfg(feature = "fault-injection")]
    fail_as_told(output)?;
    let written = File::options().write(true).open(output).and_then(|file| file.sync_all());
    written.with_context(|| format!("{} cannot be brought onto the disk", output.display()))?;
    // As workers end: drivers of GPUs may have started threads that llama.cpp's destructors do not expect.
    signal_hook::low_level::exit(0);
}

/// Fails with half of the file written, if the environment says so.
#[cfg(feature = "fault-injection")]
fn fail_as_told(output: &std::path::Path) -> std::io::Result<()> {
    let fault = std::env::var(crate::engine::faulty::VARIABLE).unwrap_or_default();
    if fault.is_empty() {
        return Ok(());
    }
    let file = File::options().write(true).open(output)?;
    file.set_len(file.metadata()?.len() / 2)?;
    match fault.as_str() {
        "abort-at-quantize" => {
            eprintln!("/build/ggml/src/ggml.c:12: GGML_ASSERT(injected) failed");
            std::process::abort();
        }
        "hang-at-quantize" => loop {
            std::thread::park();
        },
        // A file that is cut off, without a word.
        "cut-at-quantize" => Ok(()),
        other => panic!("no fault is called {other}"),
    }
}
