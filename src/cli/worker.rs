//! `modelpool worker`: what a server starts for each variant and device that it loads.

use clap::Args;

use super::print;
use crate::engine::llama::{LlamaLoader, compute_devices};
use crate::worker::child;

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct WorkerArguments {
    /// The process id of the server.
    #[arg(long, value_name = "PID")]
    parent: Option<u32>,
    /// Print the devices that llama.cpp can compute on, as JSON, and end.
    #[arg(long)]
    devices: bool,
}

/// Serves the server at the other end of standard input; does not return then.
///
/// # Errors
///
/// If standard input is no server.
pub(super) fn run(arguments: &WorkerArguments) -> anyhow::Result<()> {
    if let Some(parent) = arguments.parent {
        return Ok(child::run(parent, |_| LlamaLoader)?);
    }
    print(&serde_json::to_string(&compute_devices())?);
    // Drivers of GPUs may have started threads that llama.cpp's destructors do not expect.
    signal_hook::low_level::exit(0);
}
