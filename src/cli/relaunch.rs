//! Environment variables that libraries read before `main` begins.
//!
//! `OMP_WAIT_POLICY`: libgomp's threads spin at barriers for milliseconds by default, on cores that the server and
//! other instances need: two servers with two threads each on two cores fell from 2,500 to 500 tokens/s.
//! `CUDA_DEVICE_ORDER`: CUDA counts the fastest GPU first by default, NVML counts by PCI bus; memory would be read
//! from one GPU and used on another.
//! So the program starts itself once more with those that are not set.

use std::os::unix::process::CommandExt;
use std::process::Command;

const WANTED: [(&str, &str); 2] = [("OMP_WAIT_POLICY", "passive"), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID")];

/// Returns if all variables are set, by this function or by the user; the process id stays the same.
pub fn with_environment() {
    let missing = || WANTED.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    if missing().next().is_none() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // Returns only if it fails, and then the server is slower, not wrong.
    let error = Command::new(program).args(std::env::args_os().skip(1)).envs(missing()).exec();
    tracing::warn!(%error, "cannot restart with a better environment; set it yourself: {WANTED:?}");
}
