//! What llama.cpp did on a device, as figures and as text. PURE.

use serde::Serialize;

use super::answers::Answered;
use crate::cli::bench::statistics::{Percentiles, median};
use crate::cli::bench::table::{Table, cells, counted, maybe};

/// All figures of one run. What was not measured is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub prefill: Vec<Prefill>,
    pub decode: Vec<Decode>,
    pub mixed: Vec<Mixed>,
    pub sampling: Vec<Sampling>,
    /// That choose tokens between two decode calls.
    #[serde(skip)]
    pub sampling_threads: usize,
    pub answers: Vec<Answers>,
}

/// Prompts of one length, each computed alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Prefill {
    pub prompt_tokens: u32,
    pub tokens_per_second: Option<f64>,
    pub prompt_ms: Option<Percentiles>,
}

/// Steps in which so many sequences decode one token each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Decode {
    pub sequences: u32,
    /// Of all sequences together.
    pub tokens_per_second: Option<f64>,
    pub step_ms: Option<Percentiles>,
}

/// Such steps that compute a part of a prompt, too.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Mixed {
    pub sequences: u32,
    /// Tokens of the prompt in each step.
    pub chunk_tokens: u32,
    /// Of the steps without a prompt in between.
    pub decode_ms_p50: Option<f64>,
    pub step_ms: Option<Percentiles>,
    /// How much longer the prompt makes a step, at the median.
    pub added_ms: Option<f64>,
    /// The prompt's tokens by the time that they add.
    pub chunk_tokens_per_second: Option<f64>,
}

/// The choice of one token on one core.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sampling {
    pub settings: &'static str,
    pub token_us: Option<Percentiles>,
}

/// Whole answers, so many at a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Answers {
    pub sequences: u32,
    pub answers: u32,
    /// Of the answers; prompts take part of the time.
    pub tokens_per_second: Option<f64>,
    pub ttft_ms: Option<Percentiles>,
    pub itl_ms: Option<Percentiles>,
}

impl Prefill {
    /// From the seconds of each prompt.
    pub(super) fn new(prompt_tokens: u32, seconds: &[f64]) -> Self {
        let tokens_per_second = median(seconds).map(|time| f64::from(prompt_tokens) / time);
        Self { prompt_tokens, tokens_per_second, prompt_ms: scaled(seconds, 1e3) }
    }
}

impl Decode {
    /// From the seconds of each step.
    pub(super) fn new(sequences: u32, seconds: &[f64]) -> Self {
        let (steps, total) =
            seconds.iter().fold((0.0, 0.0), |(steps, total), time| (steps + 1.0, total + time));
        let tokens_per_second = (total > 0.0).then(|| f64::from(sequences) * steps / total);
        Self { sequences, tokens_per_second, step_ms: scaled(seconds, 1e3) }
    }
}

impl Mixed {
    /// From the seconds of steps `without` a prompt, and of those `with` one in between.
    pub(super) fn new(sequences: u32, chunk_tokens: u32, without: &[f64], with: &[f64]) -> Self {
        let added = median(with).zip(median(without)).map(|(with, without)| with - without);
        // On a noisy machine a small part may seem to take no time at all.
        let rate = added.filter(|time| *time > 0.0).map(|time| f64::from(chunk_tokens) / time);
        Self {
            sequences,
            chunk_tokens,
            decode_ms_p50: median(without).map(|time| time * 1e3),
            step_ms: scaled(with, 1e3),
            added_ms: added.map(|time| time * 1e3),
            chunk_tokens_per_second: rate,
        }
    }
}

impl Sampling {
    /// From the seconds of each choice.
    pub(super) fn new(settings: &'static str, seconds: &[f64]) -> Self {
        Self { settings, token_us: scaled(seconds, 1e6) }
    }
}

impl Answers {
    /// From what was answered.
    pub(super) fn new(sequences: u32, answered: &Answered) -> Self {
        let Answered { answers, tokens, seconds, ref first, ref gaps } = *answered;
        Self {
            sequences,
            answers,
            tokens_per_second: (tokens > 0).then(|| f64::from(tokens) / seconds),
            ttft_ms: scaled(first, 1e3),
            itl_ms: scaled(gaps, 1e3),
        }
    }
}

fn scaled(seconds: &[f64], factor: f64) -> Option<Percentiles> {
    Percentiles::of(seconds.iter().map(|time| time * factor).collect())
}

/// A table for each kind that was measured.
pub(super) fn text(figures: &Figures) -> String {
    let tables = [
        prefill_table(&figures.prefill),
        decode_table(&figures.decode),
        mixed_table(&figures.mixed),
        sampling_table(&figures.sampling),
        answers_table(&figures.answers),
    ];
    tables.iter().flatten().map(Table::text).collect::<Vec<_>>().join("\n")
}

/// A table with rows, or none.
fn table<T, const N: usize>(
    heading: [&str; N],
    measured: &[T],
    cells: impl Fn(&T) -> [String; N],
) -> Option<Table> {
    let mut table = Table::new(heading);
    for row in measured {
        table.row(cells(row));
    }
    (!measured.is_empty()).then_some(table)
}

fn prefill_table(measured: &[Prefill]) -> Option<Table> {
    table(["prefill", "tokens/s", "ms p50", "p90", "p99"], measured, |row| {
        let [p50, p90, p99] = cells(row.prompt_ms);
        [counted(row.prompt_tokens, "token"), maybe(row.tokens_per_second), p50, p90, p99]
    })
}

fn decode_table(measured: &[Decode]) -> Option<Table> {
    table(["decode", "tokens/s", "step ms p50", "p90", "p99"], measured, |row| {
        let [p50, p90, p99] = cells(row.step_ms);
        [counted(row.sequences, "sequence"), maybe(row.tokens_per_second), p50, p90, p99]
    })
}

fn mixed_table(measured: &[Mixed]) -> Option<Table> {
    let heading = [
        "decode and prompt",
        "prompt tokens",
        "ms without p50",
        "with p50",
        "with p99",
        "added ms",
        "prompt tokens/s",
    ];
    table(heading, measured, |row| {
        let [p50, _, p99] = cells(row.step_ms);
        [
            counted(row.sequences, "sequence"),
            row.chunk_tokens.to_string(),
            maybe(row.decode_ms_p50),
            p50,
            p99,
            maybe(row.added_ms),
            maybe(row.chunk_tokens_per_second),
        ]
    })
}

fn sampling_table(measured: &[Sampling]) -> Option<Table> {
    table(["sampling", "us a token p50", "p90", "p99"], measured, |row| {
        let [p50, p90, p99] = cells(row.token_us);
        [row.settings.to_owned(), p50, p90, p99]
    })
}

fn answers_table(measured: &[Answers]) -> Option<Table> {
    let heading = ["answers at a time", "tokens/s", "TTFT ms p50", "p99", "ITL ms p50", "p90", "p99"];
    table(heading, measured, |row| {
        let [first, _, slowest] = cells(row.ttft_ms);
        let [p50, p90, p99] = cells(row.itl_ms);
        [row.sequences.to_string(), maybe(row.tokens_per_second), first, slowest, p50, p90, p99]
    })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "powers of two are exact")]
mod tests {
    use super::*;

    #[test]
    fn rates_and_what_a_prompt_adds_follow_from_times() {
        assert_eq!(Prefill::new(128, &[0.5, 0.25, 4.0]).tokens_per_second, Some(256.0));
        let decode = Decode::new(4, &[0.5, 0.5, 1.0]);
        assert_eq!(decode.tokens_per_second, Some(6.0));
        assert_eq!(decode.step_ms.unwrap().p99, 1000.0);
        let mixed = Mixed::new(2, 64, &[0.25, 0.25], &[0.5, 0.5]);
        assert_eq!((mixed.added_ms, mixed.chunk_tokens_per_second), (Some(250.0), Some(256.0)));
        assert_eq!(Mixed::new(2, 64, &[0.5], &[0.25]).chunk_tokens_per_second, None);
        assert_eq!(Sampling::new("greedy", &[0.5]).token_us.unwrap().p50, 500_000.0);
        let answered =
            Answered { answers: 1, tokens: 3, seconds: 0.5, first: vec![0.25], gaps: vec![0.125; 2] };
        let answers = Answers::new(1, &answered);
        assert_eq!(answers.tokens_per_second, Some(6.0));
        assert_eq!((answers.ttft_ms.unwrap().p99, answers.itl_ms.unwrap().p50), (250.0, 125.0));
        assert_eq!(Answers::new(1, &Answered::default()).tokens_per_second, None);
    }

    #[test]
    fn only_what_was_measured_is_printed() {
        assert_eq!(text(&Figures::default()), "");
        let figures = Figures { decode: vec![Decode::new(1, &[])], ..Figures::default() };
        let text = text(&figures);
        assert!(text.contains("1 sequence") && !text.contains("NaN") && !text.contains("prefill"), "{text}");
    }
}
