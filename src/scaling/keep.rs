//! How long something unused is kept: what the gaps of the past say.
//!
//! Input: gaps between two uses. Output: the time after which to let go. Pure, bounded memory.
//! Caller: `decide` only.
//!
//! Ski rental: keeping costs its time, letting go costs `price` at the next use. Keeping for `price` costs at most twice
//! what the best plan does, whatever comes (Karlin, Manasse, Rudolph, Sleator, *Algorithmica* 1988). Where the gaps are
//! known, the time τ with the least E[min(gap, τ)] + price · P(gap > τ) costs less (Karlin, Manasse, McGeoch, Owicki,
//! *Algorithmica* 1994; with a histogram of idle times: Shahrad et al., *Serverless in the Wild*, ATC 2020).

#![expect(
    clippy::cast_precision_loss,
    reason = "counts are far below 2^52, and casts of positive numbers saturate"
)]

use std::time::Duration;

/// Buckets: two for each doubling of 0.25 s, up to 36 hours.
const BUCKETS: usize = 38;
/// Seconds at which the first bucket ends.
const FIRST_SECONDS: f64 = 0.25;
/// Gaps before the histogram is believed.
const ENOUGH: f64 = 8.0;
/// Gaps over which it forgets: when so many are in it, all are halved.
const MEMORY: f64 = 128.0;

/// What each bucket holds before anything was seen, together one gap: a length that never came may come yet. Only for
/// lengths below the price; longer ones would speak for letting go at once, without anything having been seen.
const UNSEEN: f64 = 1.0 / BUCKETS as f64;

/// Histogram of gaps.
#[derive(Clone, Debug)]
pub struct Gaps {
    counts: [f32; BUCKETS],
    total: f64,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { counts: [0.0; BUCKETS], total: 0.0 }
    }
}

/// Seconds at which a bucket ends.
fn edge(bucket: usize) -> f64 {
    FIRST_SECONDS * (bucket as f64 / 2.0).exp2()
}

impl Gaps {
    /// Adds a gap that ended.
    pub fn push(&mut self, gap: Duration) {
        let gap = gap.as_secs_f64();
        let bucket = (0..BUCKETS - 1).find(|b| gap < edge(*b)).unwrap_or(BUCKETS - 1);
        self.counts[bucket] += 1.0;
        self.total += 1.0;
        if self.total >= MEMORY {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
        }
    }

    /// How long to keep if letting go costs `price`: from `least` to `price`; `price` before enough gaps were seen.
    #[must_use]
    pub fn keep_for(&self, least: Duration, price: Duration) -> Duration {
        let (least, most) = (least.as_secs_f64(), price.as_secs_f64());
        if self.total < ENOUGH || least >= most {
            return Duration::from_secs_f64(least.max(most));
        }
        let cost = |keep: f64| -> f64 {
            let one = |bucket: usize| {
                let gap = if bucket == 0 { edge(0) / 2.0 } else { (edge(bucket) * edge(bucket - 1)).sqrt() };
                (f64::from(self.counts[bucket]) + if gap <= most { UNSEEN } else { 0.0 })
                    * if gap <= keep { gap } else { keep + most }
            };
            (0..BUCKETS).map(one).sum()
        };
        let candidates = (0..BUCKETS).map(edge).filter(|t| *t > least && *t < most).chain([least, most]);
        let best = candidates
            .map(|t| (cost(t), t))
            .fold((f64::INFINITY, most), |a, b| if b.0 < a.0 { b } else { a });
        Duration::from_secs_f64(best.1)
    }
}
