//! Remembers arrivals of hours or days, and says what a pattern that repeats promises.
//!
//! Input: arrivals and `now`. Output: a rate that the pattern promises, or none. No clock, bounded memory.
//! Caller: `decide` only. How patterns are found and tested: `pattern`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts are far below 2^52, and casts of positive numbers saturate"
)]

use std::time::Duration;

use super::pattern::{LOOK_BACK, MARGIN_MAX, Pattern, SMOOTH, SUDDEN, learn};
use crate::units::Timestamp;

/// Time between two looks for a pattern, in bins: a look costs about half a millisecond where the ring is full.
const LOOK_EVERY: u64 = 12;
/// A promise is broken if less than this share of it came.
const BROKEN_SHARE: f64 = 0.25;

/// What a pattern promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// Requests a second.
    pub per_second: f64,
    /// From repeat to repeat.
    pub period: Duration,
}

/// Arrivals of a longer past, and the pattern in it.
#[derive(Clone, Debug)]
pub struct Season {
    width: Duration,
    /// Ring of counts; `bin % len` is being filled.
    bins: Box<[u32]>,
    bin: u64,
    /// Bin in which the first call was.
    first: Option<u64>,
    pattern: Option<Pattern>,
    /// No pattern is believed before this bin, because one has just broken its promise.
    muted_until: u64,
}

impl Season {
    /// Remembers `bins` bins of `width`.
    #[must_use]
    pub fn new(width: Duration, bins: usize) -> Self {
        let bins = vec![0; bins].into_boxed_slice();
        Self { width, bins, bin: 0, first: None, pattern: None, muted_until: 0 }
    }

    /// Adds what came since the last call; `lead` is how long before a promise is of use.
    pub fn push(&mut self, now: Timestamp, count: u32, lead: Duration) {
        let bin = u64::try_from(now.since_start().as_millis() / self.width.as_millis()).unwrap_or(u64::MAX);
        if self.first.is_none() {
            self.first = Some(bin);
            self.bin = bin;
        }
        let len = self.bins.len() as u64;
        let old = self.bin;
        for k in 1..=bin.saturating_sub(old).min(len) {
            self.bins[((old + k) % len) as usize] = 0;
        }
        self.bin = old.max(bin);
        let slot = &mut self.bins[(self.bin % len) as usize];
        *slot = slot.saturating_add(count);
        if self.bin / LOOK_EVERY != old / LOOK_EVERY && self.bin >= self.muted_until {
            // Oldest first, without the bin that is being filled.
            let past: Vec<f64> = (1..=self.filled()).rev().map(|back| self.back(back)).collect();
            self.pattern = learn(&past, self.bins_in(lead) + 1);
        }
        if self.bin != old && self.is_broken() {
            let period = self.pattern.take().map_or(0, |pattern| pattern.period);
            self.muted_until = self.bin + period as u64;
        }
    }

    /// The highest rate that the pattern promises from now until `ahead` later, if that is clearly more than the
    /// `present` rate in requests a second: slower changes are seen in time without a forecast.
    #[must_use]
    pub fn promise(&self, ahead: Duration, present: f64) -> Option<Promise> {
        let Pattern { period, margin } = self.pattern?;
        let ahead = self.bins_in(ahead) + 1;
        // From `margin` bins before the phase of now to `margin` after that of the end.
        let most = self.over_repeats(period, |phase| {
            let to = phase.saturating_sub(ahead + margin).max(1 + SMOOTH);
            (to..=phase + margin).map(|back| self.smooth(back)).fold(0.0, f64::max)
        })?;
        let seconds = self.width.as_secs_f64();
        let span = seconds * (1 + 2 * SMOOTH) as f64;
        let per_second = most / seconds;
        // The highest of several noisy values is one standard deviation too high, about.
        let per_second = per_second - (per_second / span).sqrt();
        let clear = per_second > present + SUDDEN * (present.max(1.0 / span) / span).sqrt();
        let period = self.width.saturating_mul(u32::try_from(period).unwrap_or(u32::MAX));
        clear.then_some(Promise { per_second, period })
    }

    /// Whether hardly anything came of what should have come by now even if it were late.
    fn is_broken(&self) -> bool {
        let Some(Pattern { period, .. }) = self.pattern else { return false };
        let sure = self.over_repeats(period, |phase| {
            let last = phase + 1 + SMOOTH;
            (last.saturating_sub(MARGIN_MAX).max(1 + SMOOTH)..=last + MARGIN_MAX)
                .map(|back| self.smooth(back))
                .fold(f64::INFINITY, f64::min)
        });
        let came = self.smooth(1 + SMOOTH);
        sure.is_some_and(|sure| came < BROKEN_SHARE * sure && sure - came > SUDDEN * sure.sqrt())
    }

    /// The highest of `value` at this phase of the last repeats; `None` if none is remembered.
    fn over_repeats(&self, period: usize, value: impl Fn(usize) -> f64) -> Option<f64> {
        let reach = |phase: &usize| phase + 2 * SMOOTH + MARGIN_MAX < self.filled();
        (1..=LOOK_BACK).map(|repeat| repeat * period).take_while(reach).map(value).reduce(f64::max)
    }

    fn bins_in(&self, time: Duration) -> usize {
        (time.as_secs_f64() / self.width.as_secs_f64()).ceil() as usize
    }

    /// Bins that are full.
    fn filled(&self) -> usize {
        let seen = self.bin - self.first.unwrap_or(self.bin);
        (seen as usize).min(self.bins.len() - 1)
    }

    fn back(&self, back: usize) -> f64 {
        let len = self.bins.len() as u64;
        f64::from(self.bins[((self.bin + len - back as u64 % len) % len) as usize])
    }

    fn smooth(&self, back: usize) -> f64 {
        let sum: f64 = (back - SMOOTH..=back + SMOOTH).map(|k| self.back(k)).sum();
        sum / (1 + 2 * SMOOTH) as f64
    }
}
