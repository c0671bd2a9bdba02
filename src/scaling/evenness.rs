//! Whether the load is even and unchanged, so that a new number of instances would only come from better estimates.
//!
//! Input: arrivals, offered load, `now`. Output: calm or not. Pure, bounded memory.
//! Caller: `decide` only.
//!
//! Estimates go on getting better for minutes; each crosses a threshold some time, and a pool under an even load would
//! change without any cause. So it may only if requests come irregularly, which is when exact sizing matters, or if the load
//! has changed.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^52, and casts of positive numbers saturate"
)]

use crate::units::Timestamp;

/// Blocks of arrivals are at least this long, in seconds, on average: a few observations.
const BLOCK_SECONDS: f64 = 1.0;
/// Blocks before irregularity is believed.
const BLOCKS_ENOUGH: f64 = 6.0;
/// Blocks over which it is averaged.
const BLOCKS_MEMORY: f64 = 32.0;
/// Irregularity from which exact sizing matters: 0 is a clock, 1 are Poisson arrivals.
const IRREGULAR: f64 = 0.35;
/// Seconds that the load must have been unchanged.
const CALM_AFTER: f64 = 20.0;
/// Change of the load that is one, as a share of it, and in its standard errors.
const CHANGE_SHARE: f64 = 0.15;
const CHANGE_ERRORS: f64 = 3.0;

/// What it remembers.
#[derive(Clone, Debug, Default)]
pub struct Evenness {
    /// Arrivals in a block; 0 before the first.
    block: u32,
    /// Of the present one.
    arrived: u32,
    began: Timestamp,
    last: Timestamp,
    /// Blocks seen, and the mean and the mean square of their lengths.
    blocks: f64,
    mean: f64,
    square: f64,
    /// Irregularity that was found before the size of blocks changed.
    before: Option<f64>,
    /// The load that did not change, its relative standard error, and since when.
    load: f64,
    error: f64,
    since: Timestamp,
}

impl Evenness {
    /// Adds what came since the last call. Arrivals between two calls count as evenly spaced.
    pub fn push(&mut self, now: Timestamp, arrivals: u32, per_second: f64) {
        let wanted = (per_second * BLOCK_SECONDS).ceil().max(1.0) as u32;
        if self.block == 0 || wanted > self.block * 2 || wanted * 3 < self.block {
            self.before = self.irregularity();
            (self.block, self.arrived, self.began, self.last) = (wanted, 0, now, now);
            (self.blocks, self.mean, self.square) = (0.0, 0.0, 0.0);
            return;
        }
        let step = now.since(self.last).as_secs_f64() / f64::from(arrivals.max(1));
        let start = self.last;
        self.last = now;
        for k in 1..=arrivals.min(10_000) {
            self.arrived += 1;
            if self.arrived >= self.block {
                let end = start + std::time::Duration::from_secs_f64(step * f64::from(k));
                self.end_block(end.since(self.began).as_secs_f64());
                self.arrived = 0;
                self.began = end;
            }
        }
    }

    fn end_block(&mut self, length: f64) {
        self.blocks = (self.blocks + 1.0).min(BLOCKS_MEMORY);
        self.mean += (length - self.mean) / self.blocks;
        self.square += (length * length - self.square) / self.blocks;
    }

    /// Squared coefficient of variation of the gaps between requests, seen over blocks; `None` before enough came.
    #[must_use]
    pub fn irregularity(&self) -> Option<f64> {
        if self.blocks < BLOCKS_ENOUGH {
            return self.before;
        }
        let variance = (self.square - self.mean * self.mean).max(0.0);
        Some(f64::from(self.block) * variance / (self.mean * self.mean))
    }

    /// Whether requests come evenly, as far as is known, and the load, with its relative standard error, has been the same.
    pub fn is_calm(&mut self, now: Timestamp, load: f64, error: f64) -> bool {
        let tolerance = CHANGE_SHARE.max(CHANGE_ERRORS * self.error);
        if (load - self.load).abs() > tolerance * self.load {
            (self.load, self.error, self.since) = (load, error, now);
        } else if error < self.error {
            // The same load, known better: what would have been no change to a guess is one to this.
            (self.load, self.error) = (load, error);
        }
        let unchanged = now.since(self.since).as_secs_f64() >= CALM_AFTER;
        unchanged && self.irregularity().is_none_or(|irregular| irregular < IRREGULAR)
    }
}
