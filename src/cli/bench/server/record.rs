//! Writes what was asked of a server, as traffic that can be replayed.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::answer::{Answer, Failure};

/// A file of JSON lines.
pub(super) struct Record {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Record {
    /// # Errors
    ///
    /// If the file cannot be created.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Adds the requests of one load that were answered, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(super) fn add(&mut self, model: &str, outcomes: &[Result<Answer, Failure>]) -> anyhow::Result<()> {
        let mut answers: Vec<&Answer> = outcomes.iter().flatten().collect();
        answers.sort_by_key(|answer| answer.asked);
        let lines: String = answers.into_iter().map(|answer| line(model, answer)).collect();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.flush());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// One request, as `modelpool simulate --trace` reads it.
fn line(model: &str, answer: &Answer) -> String {
    let Answer { asked, ttft, e2e, prompt_tokens, output_tokens, .. } = answer;
    let line = json!({
        "timestamp": asked.as_secs_f64(), "model": model,
        // Where the server does not count, nobody knows.
        "prompt_tokens": prompt_tokens.unwrap_or(0), "completion_tokens": output_tokens,
        "ttft_ms": ttft.map(|ttft| ttft.as_secs_f64() * 1e3), "e2e_ms": e2e.as_secs_f64() * 1e3,
    });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::bench::server::answer::FailureKind;
    use crate::sim::Trace;

    #[test]
    fn what_was_recorded_can_be_replayed() {
        let answer = |asked| Answer {
            asked: Duration::from_millis(asked),
            ttft: Some(Duration::from_millis(7)),
            prompt_tokens: Some(30),
            output_tokens: 5,
            ..Answer::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.jsonl");
        let mut record = Record::create(&path).unwrap();
        let failed = Err(FailureKind::CutOff.with("x"));
        record.add("m", &[Ok(answer(2500)), failed, Ok(answer(1000))]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let trace = Trace::read(text.as_bytes(), "t", &["m"]).unwrap();
        let seen: Vec<_> =
            trace.requests.iter().map(|r| (r.at.as_millis(), r.prompt_tokens, r.answer_tokens)).collect();
        assert_eq!(seen, [(0, 30, 5), (1500, 30, 5)]);
        let error = Record::create(&folder.path().join("none/x")).err().unwrap().to_string();
        assert!(error.starts_with("cannot create "), "{error}");
    }
}
