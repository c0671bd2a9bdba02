//! What clients saw of a replay, and what it cost.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::units::Timestamp;

/// What a request must be given to count as served well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slo {
    /// The most time until its first token.
    pub ttft: Duration,
    /// What comes or costs before this does not count: time to learn in.
    pub from: Duration,
}

/// A decision that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Seconds since the beginning, in thousandths.
    pub millis: u64,
    /// The model.
    pub model: String,
    /// Instances there should be.
    pub target_instances: u32,
    /// Instances that start because of it.
    pub starts: u32,
    /// Instances that go because of it.
    pub drains: u32,
    /// The reason's name in metrics.
    pub reason: &'static str,
    /// The reason with its figures.
    pub why: String,
}

/// A stretch of time of a replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Moment {
    /// Requests that came.
    pub arrivals: u32,
    /// The most that waited.
    pub waiting: u32,
    /// Instances that took requests, at the end, by variant.
    pub ready: Vec<u32>,
    /// Instances that started, at the end.
    pub starting: u32,
    /// Bytes held, at the end.
    pub bytes: u64,
    /// Seconds until the first token: the median of those who got one, and the largest.
    pub ttft_p50: Option<f64>,
    /// The largest.
    pub ttft_max: Option<f64>,
}

/// Decisions that are kept; later ones are counted alone.
const NOTES_MAX: usize = 20_000;

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Requests that came.
    pub requests: u64,
    /// Those whose first token came in time.
    pub in_time: u64,
    /// Those that were refused, because the queue was full or they waited too long in it.
    pub refused: u64,
    /// Instances that were started.
    pub starts: u64,
    /// Instances that were told to go.
    pub drains: u64,
    /// The most instances at once.
    pub peak_instances: u32,
    /// Time that instances existed, from the decision on, summed.
    pub instance_seconds: f64,
    /// Bytes held, times seconds.
    pub byte_seconds: f64,
    /// Decisions, the first of them in words.
    pub notes: Vec<Note>,
    /// The replay in stretches of the same length.
    pub moments: Vec<Moment>,
    /// The length of each.
    pub stretch: Duration,
    ttft: Histogram<u64>,
    wait: Histogram<u64>,
}

impl Outcome {
    pub(super) fn new(stretch: Duration) -> Self {
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        Self {
            requests: 0,
            in_time: 0,
            refused: 0,
            starts: 0,
            drains: 0,
            peak_instances: 0,
            instance_seconds: 0.0,
            byte_seconds: 0.0,
            notes: Vec::new(),
            moments: Vec::new(),
            stretch,
            ttft: histogram(),
            wait: histogram(),
        }
    }

    pub(super) fn note(&mut self, note: impl FnOnce() -> Note) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note());
        }
    }

    pub(super) fn waited(&mut self, wait: Duration) {
        record(&mut self.wait, wait);
    }

    pub(super) fn first_token(&mut self, ttft: Duration, slo: Slo) {
        record(&mut self.ttft, ttft);
        self.in_time += u64::from(ttft <= slo.ttft);
    }

    /// The share of requests that were served in time, 0 to 1; 1 if there were none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
    pub fn attainment(&self) -> f64 {
        if self.requests == 0 { 1.0 } else { self.in_time as f64 / self.requests as f64 }
    }

    /// Seconds until the first token that so many per cent of the answered requests did not exceed.
    #[must_use]
    pub fn ttft(&self, percent: f64) -> f64 {
        as_seconds(self.ttft.value_at_percentile(percent))
    }

    /// The same of the time in the queue.
    #[must_use]
    pub fn wait(&self, percent: f64) -> f64 {
        as_seconds(self.wait.value_at_percentile(percent))
    }
}

/// Histograms grow with what they are given.
fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LONGEST_MICROS);
    histogram.record(micros).expect("it grows as far as this");
}

/// A year: longer waits are not told apart.
const LONGEST_MICROS: u64 = 365 * 86_400 * 1_000_000;

#[expect(clippy::cast_precision_loss, reason = "microseconds of days are exact in an f64")]
fn as_seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The stretch that is being filled.
#[derive(Clone, Debug, Default)]
pub(super) struct Filling {
    pub moment: Moment,
    ttfts: Vec<f64>,
}

/// Times of first tokens of which the median of a stretch is taken.
const SAMPLES_MAX: usize = 2_000;

impl Filling {
    pub fn first_token(&mut self, ttft: Duration) {
        let seconds = ttft.as_secs_f64();
        self.moment.ttft_max = Some(self.moment.ttft_max.map_or(seconds, |most| most.max(seconds)));
        if self.ttfts.len() < SAMPLES_MAX {
            self.ttfts.push(seconds);
        }
    }

    /// The stretch as it is, and a fresh one.
    pub fn close(&mut self) -> Moment {
        self.ttfts.sort_unstable_by(f64::total_cmp);
        self.moment.ttft_p50 = self.ttfts.get(self.ttfts.len() / 2).copied();
        self.ttfts.clear();
        std::mem::take(&mut self.moment)
    }
}

/// Milliseconds since the beginning.
pub(super) fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.since_start().as_millis()).unwrap_or(u64::MAX)
}
