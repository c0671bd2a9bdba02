//! Asks a process of its own which devices there are, so that a broken driver breaks only that.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;

use crate::units::DeviceId;
use crate::worker::process::ENVIRONMENT;

/// A driver that was not used for a while takes seconds to answer; one that hangs never does.
const PATIENCE: Duration = Duration::from_secs(60);

/// The devices that instances can run on, best first. If that cannot be found out, the host.
pub(super) async fn devices(program: &Path) -> Vec<DeviceId> {
    match ask(program).await {
        Ok(devices) => devices,
        Err(error) => {
            tracing::error!("cannot find out which GPUs there are, using the CPU alone: {error:#}");
            vec![DeviceId::Host]
        }
    }
}

async fn ask(program: &Path) -> anyhow::Result<Vec<DeviceId>> {
    let mut command = Command::new(program);
    command.args(["worker", "--devices"]).envs(ENVIRONMENT).stdin(Stdio::null()).kill_on_drop(true);
    let answer = tokio::time::timeout(PATIENCE, command.output()).await;
    let answer = answer.context("no answer in time")?.context("cannot start a worker")?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr);
        anyhow::bail!("a worker ended with {}: {}", answer.status, said.trim());
    }
    serde_json::from_slice(&answer.stdout).context("a worker's answer is not understood")
}
