//! A worker's log, passed on through the server's, and its last lines for the case that it dies.
//!
//! A worker writes lines that begin with a level. What does not comes from C: the last words before an abort.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStderr;

use crate::units::WorkerId;

/// Lines kept for the case that it dies.
const KEPT_LINES: usize = 40;
/// Longer lines are cut: a worker must not fill the server's memory.
const MAX_LINE_BYTES: u64 = 4096;

/// The last lines of one worker.
#[derive(Clone)]
pub(super) struct Log {
    worker: WorkerId,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Log {
    pub(super) fn new(worker: WorkerId) -> Self {
        Self { worker, lines: Arc::default() }
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last lines, oldest first.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.lines().iter().cloned().collect()
    }

    /// Passes on all lines until the worker has ended.
    pub(super) async fn forward(self, stderr: ChildStderr) {
        let mut reader = BufReader::new(stderr);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).await;
            if !read.is_ok_and(|count| count > 0) {
                return;
            }
            let text = String::from_utf8_lossy(&bytes);
            let line = text.trim_end();
            if !line.is_empty() {
                self.take(line);
            }
        }
    }

    fn take(&self, line: &str) {
        let mut lines = self.lines();
        if lines.len() >= KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
        drop(lines);
        let worker = self.worker;
        let (level, text) = split_level(line);
        match level {
            Some("ERROR") => tracing::error!(target: "worker", %worker, "{text}"),
            Some("INFO") => tracing::info!(target: "worker", %worker, "{text}"),
            Some("DEBUG") => tracing::debug!(target: "worker", %worker, "{text}"),
            Some("TRACE") => tracing::trace!(target: "worker", %worker, "{text}"),
            _ => tracing::warn!(target: "worker", %worker, "{text}"),
        }
    }
}

/// A line's level, if it begins with one, and the rest.
fn split_level(line: &str) -> (Option<&str>, &str) {
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    match line.trim_start().split_once(' ') {
        Some((first, rest)) if levels.contains(&first) => (Some(first), rest),
        _ => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_level_are_passed_on_whole() {
        assert_eq!(split_level(" INFO engine: hello"), (Some("INFO"), "engine: hello"));
        assert_eq!(split_level("ERROR a"), (Some("ERROR"), "a"));
        let raw = "ggml.c:12: GGML_ASSERT(n > 0) failed";
        assert_eq!(split_level(raw), (None, raw));
    }
}
