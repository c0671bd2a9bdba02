//! How far apart tokens come, by how many sequences share an instance.
//!
//! Input: gaps between the tokens of answers that ended, and how many sequences shared an instance meanwhile. Output: how
//! many may. Pure.
//! Caller: `decide` only.
//!
//! A decode call reads all weights once, and a KV cache for each sequence: its time is a line over the number of sequences.
//! The line is fitted by least squares (Gauss 1809). Where that number hardly varied, the line through the origin stands
//! for it, which says too few slots rather than too many.

use std::time::Duration;

/// Gaps over which the line forgets.
const MEMORY: f64 = 20_000.0;
/// Gaps before anything is concluded.
const ENOUGH: f64 = 100.0;
/// Least variance of the number of sequences, for a slope.
const SPREAD: f64 = 0.25;

/// Weighted sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    gaps: f64,
    batch: f64,
    itl: f64,
    batch_batch: f64,
    batch_itl: f64,
}

impl Pace {
    /// Adds `gaps` between tokens, `time` in all, while `batch` sequences shared an instance.
    pub fn push(&mut self, gaps: u32, time: Duration, batch: f64) {
        if gaps == 0 {
            return;
        }
        let (gaps, time) = (f64::from(gaps), time.as_secs_f64());
        let keep = (-gaps / MEMORY).exp();
        let add = |sum: f64, new: f64| sum * keep + new;
        *self = Self {
            gaps: add(self.gaps, gaps),
            batch: add(self.batch, gaps * batch),
            itl: add(self.itl, time),
            batch_batch: add(self.batch_batch, gaps * batch * batch),
            batch_itl: add(self.batch_itl, time * batch),
        };
    }

    /// The mean gap, and the mean number of sequences; `None` before enough was seen.
    #[must_use]
    pub fn mean(&self) -> Option<(Duration, f64)> {
        let seen = self.gaps >= ENOUGH;
        seen.then(|| (Duration::from_secs_f64(self.itl / self.gaps), self.batch / self.gaps))
    }

    /// Sequences that can share an instance so that their tokens are at most `target` apart; at least one, at most `slots`.
    #[must_use]
    pub fn slots(&self, target: Duration, slots: u32) -> f64 {
        let slots = f64::from(slots);
        let Some((itl, batch)) = self.mean() else { return slots };
        let (itl, target) = (itl.as_secs_f64(), target.as_secs_f64());
        let variance = self.batch_batch / self.gaps - batch * batch;
        let slope = if variance >= SPREAD {
            (self.batch_itl / self.gaps - batch * itl) / variance
        } else {
            itl / batch.max(1.0)
        };
        let alone = itl - slope * batch;
        let most = if slope > 0.0 { (target - alone) / slope } else { f64::INFINITY };
        // With a flat line, more instances would not help.
        most.floor().clamp(1.0, slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(samples: &[(f64, u64)], target_ms: u64, expected: f64) {
        let mut pace = Pace::default();
        for (batch, ms) in samples {
            pace.push(200, Duration::from_millis(*ms) * 200, *batch);
        }
        assert!((pace.slots(Duration::from_millis(target_ms), 8) - expected).abs() < 1e-9, "{samples:?}");
    }

    #[test]
    fn a_line_says_how_many_sequences_keep_the_target() {
        // 10 ms and 5 ms for each sequence.
        let line = [(1.0, 15), (4.0, 30), (8.0, 50)];
        check(&line, 30, 4.0);
        check(&line, 34, 4.0);
        check(&line, 35, 5.0);
        check(&line, 12, 1.0);
        check(&line, 500, 8.0);
        // Always four: a line through the origin.
        check(&[(4.0, 40)], 20, 2.0);
        // Sequences do not slow each other.
        check(&[(1.0, 30), (8.0, 30)], 20, 8.0);
    }

    #[test]
    fn nothing_is_concluded_from_little() {
        let mut pace = Pace::default();
        pace.push(99, Duration::from_secs(99), 1.0);
        assert_eq!(pace.mean(), None);
        assert!((pace.slots(Duration::from_millis(1), 8) - 8.0).abs() < 1e-9);
    }
}
