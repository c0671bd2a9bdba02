//! Starts the process that quantizes, watches it, and says why it failed.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStderr, Command};

use super::partial::Partial;
use crate::cli::own_program;
use crate::cli::progress::Progress;
use crate::cli::signals::{Ending, Signals};
use crate::quantization::Quantization;
use crate::worker::describe;
use crate::worker::process::environment;

/// How often the length of the file is shown.
const TICK: Duration = Duration::from_millis(200);
/// Lines of its log that are kept to say why it failed, and how much of each.
const KEPT_LINES: usize = 40;
const MAX_LINE_BYTES: u64 = 4096;
/// What stands before llama.cpp's reason.
const REFUSAL: &str = "failed to quantize: ";
/// What C++ says when it cannot write.
const CANNOT_WRITE: &str = "iostream error";

/// What the process is to do.
pub(super) struct Order<'a> {
    pub(super) full: &'a Path,
    pub(super) kind: &'a Quantization,
    pub(super) threads: NonZeroU32,
}

impl Order<'_> {
    fn command(&self, partial: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(own_program().context("cannot find this program's file")?);
        command.arg0("modelpool-quantize").arg("quantize-one");
        command.arg("--parent").arg(std::process::id().to_string());
        command.arg("--type").arg(self.kind.name).arg("--threads").arg(self.threads.to_string());
        // A name may begin with a hyphen.
        command.arg("--").arg(self.full).arg(partial);
        command.env_clear().envs(environment());
        #[cfg(feature = "fault-injection")]
        command.envs(std::env::vars_os().filter(|(name, _)| name == crate::engine::faulty::VARIABLE));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C is for this process, which ends the other and tidies up.
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }
}

/// Writes the variant to `partial`, onto the disk. Gives the signal that ended it early, if one did.
///
/// # Errors
///
/// Why the variant could not be written.
pub(super) async fn run(
    order: &Order<'_>,
    partial: &Partial,
    signals: &mut Signals,
    progress: &Progress,
) -> anyhow::Result<Option<Ending>> {
    let mut child = order.command(partial.path())?.spawn().context("cannot start a process")?;
    let stderr = child.stderr.take().context("a process has no standard error")?;
    let lines = tokio::spawn(last_lines(stderr));
    let mut ticks = tokio::time::interval(TICK);
    let status = loop {
        tokio::select! {
            biased;
            ending = signals.next() => {
                // Waited for, so that it writes nothing after the file was removed.
                child.kill().await.context("cannot end the process that quantizes")?;
                return Ok(Some(ending));
            }
            status = child.wait() => break status.context("cannot wait for a process")?,
            _ = ticks.tick() => progress.at(partial.bytes()),
        }
    };
    let lines = lines.await?;
    anyhow::ensure!(status.success(), "{}", explain(status, &lines));
    Ok(None)
}

/// Passes on what it logs, and gives its last lines when it has ended.
async fn last_lines(stderr: ChildStderr) -> Vec<String> {
    let mut reader = BufReader::new(stderr);
    let mut lines = VecDeque::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).await;
        if !read.is_ok_and(|count| count > 0) {
            return lines.into();
        }
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        tracing::debug!(target: "quantize", "{line}");
        if lines.len() >= KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Why it failed: what llama.cpp said, or what the process itself did, or how it ended.
fn explain(status: ExitStatus, lines: &[String]) -> String {
    let after = |mark: &str| lines.iter().rev().find_map(|line| Some(line.split_once(mark)?.1.trim()));
    if let Some(reason) = after(REFUSAL) {
        let remedy = if reason.contains(CANNOT_WRITE) {
            "; it cannot write: the disk is full, or files may not be as large (ulimit -f)"
        } else {
            ""
        };
        return format!("llama.cpp gave up: {reason}{remedy}");
    }
    if let Some(reason) = after("error: ").filter(|_| status.code().is_some()) {
        return reason.to_owned();
    }
    format!("the process that quantizes failed: {}", describe(status, lines))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_reason_is_the_one_that_tells_most() {
        let (code, abort, too_large) =
            (ExitStatus::from_raw(1 << 8), ExitStatus::from_raw(6), ExitStatus::from_raw(25));
        for (status, lines, expected) in [
            (
                code,
                &["ERROR llama: llama_model_quantize: failed to quantize: no tensors", "error: see the log"]
                    [..],
                "llama.cpp gave up: no tensors",
            ),
            (
                code,
                &["failed to quantize: basic_ios::clear: iostream error"],
                "llama.cpp gave up: basic_ios::clear: iostream error; it cannot write: the disk is full, or files may not \
                 be as large (ulimit -f)",
            ),
            (code, &["error: no such thing"], "no such thing"),
            (
                abort,
                &["error: of something else", "/src/ggml.c:12: GGML_ASSERT(n > 0) failed"],
                "the process that quantizes failed: it was ended by SIGABRT: GGML_ASSERT(n > 0) failed (ggml.c:12)",
            ),
            (
                too_large,
                &[],
                "the process that quantizes failed: it may not write files of this size; raise that limit (ulimit -f)",
            ),
        ] {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(explain(status, &lines), expected);
        }
    }
}
