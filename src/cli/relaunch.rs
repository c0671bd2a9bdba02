//! Lets llama.cpp's waiting threads sleep.
//!
//! libgomp's threads spin at barriers for milliseconds by default, on cores that the server and other instances
//! need: two servers with two threads each on two cores fell from 2,500 to 500 tokens/s. The variable that makes
//! them sleep is read before `main` begins, so the program starts itself once more with it.

use std::os::unix::process::CommandExt;
use std::process::Command;

const WAIT_POLICY: &str = "OMP_WAIT_POLICY";

/// Returns if the variable is set, by this function or by the user; the process id stays the same.
pub fn with_sleeping_threads() {
    if std::env::var_os(WAIT_POLICY).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // Returns only if it fails, and then the server is slower, not wrong.
    let error = Command::new(program).args(std::env::args_os().skip(1)).env(WAIT_POLICY, "passive").exec();
    tracing::warn!(%error, "cannot restart with {WAIT_POLICY}=passive; set it yourself for more speed");
}
