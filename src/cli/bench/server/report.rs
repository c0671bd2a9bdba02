//! What a server did under one load, as figures and as text. PURE.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::answer::{Answer, Failure, FailureKind};
use crate::cli::bench::statistics::Percentiles;
use crate::cli::bench::table::{Table, cells, counted, figure, maybe};

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Load {
    /// Clients that each wait for their answer before they ask again.
    Closed { clients: u32 },
    /// So many requests a second, whatever becomes of them.
    Open {
        #[serde(rename = "requests_per_second")]
        rate: f64,
    },
}

impl Load {
    /// A short load of the same kind: a request of each client, or those of about a second.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    pub(super) fn warm_up(self) -> Limit {
        match self {
            Self::Closed { clients } => Limit::Requests(clients.into()),
            Self::Open { rate } => Limit::Requests(rate.ceil() as u64),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { clients } => f.write_str(&counted(*clients, "client")),
            Self::Open { rate } => write!(f, "{rate} requests/s"),
        }
    }
}

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// After so many requests.
    Requests(u64),
    /// When nobody has asked for so long; who has, gets the answer.
    Time(Duration),
}

impl Limit {
    /// Whether request number `number` (from 0) may be made `at` so long after the start. Each load has one.
    pub(super) fn allows(self, number: u64, at: Duration) -> bool {
        match self {
            Self::Requests(requests) => number < requests,
            Self::Time(limit) => number == 0 || at < limit,
        }
    }

    /// Steps of progress in all.
    pub(super) fn steps(self) -> u64 {
        match self {
            Self::Requests(requests) => requests,
            Self::Time(limit) => millis(limit),
        }
    }

    /// Steps of progress after `answered` requests and `passed` time.
    pub(super) fn done(self, answered: usize, passed: Duration) -> u64 {
        match self {
            Self::Requests(_) => answered as u64,
            Self::Time(limit) => millis(passed.min(limit)),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One kind of failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failures {
    pub kind: FailureKind,
    pub count: usize,
    /// What was said about the first one.
    pub example: String,
}

impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Figures of one load. Times in milliseconds; `None` where nothing was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub load: Load,
    pub completed: usize,
    pub failed: usize,
    pub failures: Vec<Failures>,
    pub seconds: f64,
    pub output_tokens: u64,
    pub output_tokens_per_second: Option<f64>,
    /// Of the complete answers; `None` if the server does not count.
    pub prompt_tokens: Option<u64>,
    pub prompt_tokens_per_second: Option<f64>,
    pub ttft_ms: Option<Percentiles>,
    pub itl_ms: Option<Percentiles>,
    pub tpot_ms: Option<Percentiles>,
    pub e2e_ms: Option<Percentiles>,
}

impl Row {
    /// `took`: from the first request to the last outcome.
    pub(super) fn new(load: Load, outcomes: &[Result<Answer, Failure>], took: Duration) -> Self {
        let answers: Vec<&Answer> = outcomes.iter().flatten().collect();
        let seconds = took.as_secs_f64();
        let rate = |tokens: u64| (seconds > 0.0).then(|| per(tokens, seconds));
        let output_tokens = answers.iter().map(|answer| answer.output_tokens).sum();
        let prompt_tokens: u64 = answers.iter().filter_map(|answer| answer.prompt_tokens).sum();
        let prompt_tokens = (prompt_tokens > 0).then_some(prompt_tokens);
        Self {
            load,
            completed: answers.len(),
            failed: outcomes.len() - answers.len(),
            failures: failures(outcomes.iter().filter_map(|outcome| outcome.as_ref().err())),
            seconds,
            output_tokens,
            output_tokens_per_second: rate(output_tokens),
            prompt_tokens,
            prompt_tokens_per_second: prompt_tokens.and_then(rate),
            ttft_ms: percentiles(answers.iter().filter_map(|answer| answer.ttft)),
            itl_ms: percentiles(answers.iter().flat_map(|answer| answer.gaps.iter().copied())),
            tpot_ms: percentiles(answers.iter().filter_map(|answer| answer.tpot())),
            e2e_ms: percentiles(answers.iter().map(|answer| answer.e2e)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate of a count of tokens")]
pub(super) fn per(tokens: u64, seconds: f64) -> f64 {
    tokens as f64 / seconds
}

fn percentiles(times: impl Iterator<Item = Duration>) -> Option<Percentiles> {
    Percentiles::of(times.map(|time| time.as_secs_f64() * 1e3).collect())
}

fn failures<'a>(found: impl Iterator<Item = &'a Failure>) -> Vec<Failures> {
    let mut kinds: BTreeMap<FailureKind, Failures> = BTreeMap::new();
    for Failure { kind, detail } in found {
        let new = || Failures { kind: *kind, count: 0, example: detail.clone() };
        kinds.entry(*kind).or_insert_with(new).count += 1;
    }
    kinds.into_values().collect()
}

/// Two tables, rates and times, and what failed.
pub(super) fn text(rows: &[Row]) -> String {
    let mut rates =
        Table::new(["load", "completed", "failed", "seconds", "output tokens/s", "prompt tokens/s"]);
    let mut times = Table::new([
        "ms", "TTFT p50", "p90", "p99", "ITL p50", "p90", "p99", "TPOT p50", "p90", "p99", "E2E p50", "p90",
        "p99",
    ]);
    for row in rows {
        rates.row([
            row.load.to_string(),
            row.completed.to_string(),
            row.failed.to_string(),
            figure(row.seconds),
            maybe(row.output_tokens_per_second),
            maybe(row.prompt_tokens_per_second),
        ]);
        let figures = [row.ttft_ms, row.itl_ms, row.tpot_ms, row.e2e_ms].map(cells);
        times.row(std::iter::once(row.load.to_string()).chain(figures.into_iter().flatten()));
    }
    let failures: String = rows.iter().map(|row| failed(&row.load.to_string(), row)).collect();
    format!("{}\n{}{failures}", rates.text(), times.text())
}

/// A line for each kind of failure of one load.
pub(super) fn failed(place: &str, row: &Row) -> String {
    let line = |failures: &Failures| {
        let Failures { kind, count, example } = failures;
        format!("\n{place}: {count} failed: {kind}: {example}")
    };
    row.failures.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ttft: u64, gap: u64, tokens: u64) -> Answer {
        let ms = Duration::from_millis;
        let gaps = vec![ms(gap); usize::try_from(tokens).unwrap() - 1];
        let e2e = ms(ttft + gap * (tokens - 1));
        Answer {
            asked: Duration::ZERO,
            ttft: Some(ms(ttft)),
            e2e,
            gaps,
            prompt_tokens: Some(10),
            output_tokens: tokens,
        }
    }

    #[test]
    fn complete_answers_count_and_failures_are_named() {
        let refused = || Err(FailureKind::Status(503).with("full"));
        let outcomes = [
            Ok(answer(10, 2, 5)),
            refused(),
            Ok(answer(30, 4, 5)),
            Err(FailureKind::NoDone.with("x")),
            refused(),
        ];
        let row = Row::new(Load::Closed { clients: 4 }, &outcomes, Duration::from_secs(2));
        assert_eq!((row.completed, row.failed, row.output_tokens, row.prompt_tokens), (2, 3, 10, Some(20)));
        assert_eq!((row.output_tokens_per_second, row.prompt_tokens_per_second), (Some(5.0), Some(10.0)));
        assert_eq!(row.ttft_ms, Some(Percentiles { p50: 10.0, p90: 30.0, p99: 30.0 }));
        assert_eq!(row.itl_ms, Some(Percentiles { p50: 2.0, p90: 4.0, p99: 4.0 }));
        assert_eq!(row.tpot_ms, row.itl_ms);
        let text = text(&[row]);
        for words in ["4 clients", "2 failed: status 503: full", "1 failed: ended without [DONE]: x"] {
            assert!(text.contains(words), "{words} is missing in: {text}");
        }
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        let row = Row::new(Load::Open { rate: 0.5 }, &[], Duration::ZERO);
        assert_eq!((row.completed, row.output_tokens_per_second, row.e2e_ms), (0, None, None));
        let text = text(std::slice::from_ref(&row));
        assert!(text.contains("0.5 requests/s") && !text.contains("NaN"), "{text}");
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["requests_per_second"], 0.5);
        assert!(json["ttft_ms"].is_null());
    }

    #[test]
    fn a_load_ends_at_its_limit_but_never_without_a_request() {
        let seconds = Duration::from_secs;
        for (limit, number, at, allowed) in [
            (Limit::Requests(2), 1, seconds(99), true),
            (Limit::Requests(2), 2, seconds(0), false),
            (Limit::Time(seconds(3)), 99, seconds(2), true),
            (Limit::Time(seconds(3)), 99, seconds(3), false),
            (Limit::Time(seconds(3)), 0, seconds(9), true),
        ] {
            assert_eq!(limit.allows(number, at), allowed, "{limit:?} {number} {at:?}");
        }
    }
}
