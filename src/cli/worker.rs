//! `modelpool worker`: what a server starts for each variant and device that it loads.

use clap::Args;

use super::print;
use crate::engine::llama::{LlamaLoader, compute_devices};
use crate::ipc::LoadOrder;
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

#[cfg(not(feature = "fault-injection"))]
fn loader(_order: &LoadOrder) -> LlamaLoader {
    LlamaLoader
}

#[cfg(feature = "fault-injection")]
fn loader(order: &LoadOrder) -> crate::engine::faulty::FaultyLoader<LlamaLoader> {
    crate::engine::faulty::FaultyLoader::from_environment(LlamaLoader, order.worker)
}

/// Serves the server at the other end of standard input; does not return then.
///
/// # Errors
///
/// If standard input is no server.
pub(super) fn run(arguments: &WorkerArguments) -> anyhow::Result<()> {
    if let Some(parent) = arguments.parent {
        return Ok(child::run(parent, loader)?);
    }
    print(&serde_json::to_string(&compute_devices())?);
    // Drivers of GPUs may have started threads that llama.cpp's destructors do not expect.
    signal_hook::low_level::exit(0);
}
