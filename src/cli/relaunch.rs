//! Environment variables that libraries read before `main` begins.
//!
//! Workers in processes get theirs when they are started; those in threads need them in the server itself. So the
//! program starts itself once more with those that are not set.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::worker::process::ENVIRONMENT;

/// Returns if all variables are set, by this function or by the user; the process id stays the same.
pub fn with_environment() {
    let missing = || ENVIRONMENT.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    if missing().next().is_none() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // Returns only if it fails, and then the server is slower, not wrong.
    let error = Command::new(program).args(std::env::args_os().skip(1)).envs(missing()).exec();
    tracing::warn!(%error, "cannot restart with a better environment; set it yourself: {ENVIRONMENT:?}");
}
