//! How fast requests come: the longest look back that the recent past does not contradict.
//!
//! Input: arrivals and `now`. Output: requests a second. No clock, bounded memory.
//! Caller: `decide` only.
//!
//! A long window is exact but slow, a short one fast but noisy. Windows of 1, 2, 4, … seconds are compared, and the
//! longest is taken whose rate agrees with each shorter one (Lepski, *Theory Probab. Appl.* 1991; Bifet, Gavaldà,
//! *ADWIN*, SDM 2007). Under flat load that is a long one; after a step it is as short as the step is old.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "counts are far below 2^52, and casts of positive numbers saturate"
)]

use std::time::Duration;

use crate::units::Timestamp;

/// Width of a fine bin.
const FINE: Duration = Duration::from_millis(500);
/// Fine bins: 128 s.
const FINE_BINS: usize = 256;
/// Fine bins in a coarse one: 8 s.
const COARSENESS: usize = 16;
/// Coarse bins: 1024 s.
const COARSE_BINS: usize = 128;
/// Windows of 2^0 to 2^10 seconds.
const WINDOWS: usize = 11;
/// Arrivals that are enough: the rate's standard error is then 2 %, less than a slot of an instance.
const ENOUGH: f64 = 2500.0;
/// Standard deviations by which a shorter window may differ. With these, chance contradicts about once in an hour of
/// looks at all windows; a smaller value reacts sooner and errs more often.
const TOLERANCE: f64 = 3.5;
/// Arrivals that a window may differ by in addition, because few arrivals are not normally distributed.
const TOLERANCE_COUNT: f64 = 3.0;

/// The same for a line; less, because a step looks like a slope for a while.
const TREND_TOLERANCE: f64 = 1.75;
/// And in arrivals.
const TREND_COUNT: f64 = 1.0;
/// Variances that a slope must exceed before any of it counts.
const TREND_DOUBT: f64 = 4.0;

/// Arrivals of the recent past.
#[derive(Clone, Debug)]
pub struct Arrivals {
    fine: Box<[u16; FINE_BINS]>,
    coarse: Box<[u16; COARSE_BINS]>,
    /// Number of the fine bin that is being filled.
    bin: u64,
    began: Option<Timestamp>,
    /// When arrivals were last added.
    pushed: Timestamp,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            fine: Box::new([0; FINE_BINS]),
            coarse: Box::new([0; COARSE_BINS]),
            bin: 0,
            began: None,
            pushed: Timestamp::default(),
        }
    }
}

/// A rate, and how long it has been so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Requests a second.
    pub per_second: f64,
    /// Seconds looked back on.
    pub window: f64,
    /// Requests a second over the whole memory.
    pub usual: f64,
}

/// How a rate changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Requests a second and second.
    pub slope: f64,
    /// Seconds looked back on.
    pub measured_over: f64,
}

impl Default for Trend {
    fn default() -> Self {
        Self { slope: 0.0, measured_over: 1.0 }
    }
}

impl Arrivals {
    /// Adds what came since the last call.
    pub fn push(&mut self, now: Timestamp, count: u32) {
        if self.began.is_none() {
            self.began = Some(now);
            self.pushed = now;
        }
        // They came between the two calls.
        let middle = self.pushed + now.since(self.pushed) / 2;
        self.pushed = now;
        let bin = (middle.since_start().as_millis() / FINE.as_millis()) as u64;
        let passed = bin.saturating_sub(self.bin);
        for k in 1..=passed.min(FINE_BINS as u64) {
            self.fine[((self.bin + k) % FINE_BINS as u64) as usize] = 0;
        }
        let (old, new) = (self.bin / COARSENESS as u64, bin / COARSENESS as u64);
        for k in 1..=(new.saturating_sub(old)).min(COARSE_BINS as u64) {
            self.coarse[((old + k) % COARSE_BINS as u64) as usize] = 0;
        }
        self.bin = self.bin.max(bin);
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let fine = &mut self.fine[(self.bin % FINE_BINS as u64) as usize];
        *fine = fine.saturating_add(count);
        let coarse = &mut self.coarse[(self.bin / COARSENESS as u64 % COARSE_BINS as u64) as usize];
        *coarse = coarse.saturating_add(count);
    }

    /// The rate now.
    #[must_use]
    pub fn rate(&self, now: Timestamp) -> Rate {
        let Some(began) = self.began else { return Rate::default() };
        let age = now.since(began).as_secs_f64();
        let windows = self.windows(now);
        let (all, length) = windows[WINDOWS - 1];
        let usual = all / length.min(age).max(1.0);
        let mut best = Rate { usual, ..Rate::default() };
        for at in 0..WINDOWS {
            let (count, length) = windows[at];
            let length = length.min(age).max(1.0);
            // The first of all requests says that there are some, not how many a second.
            let gaps = if count >= all { (count - 1.0).max(0.0) } else { count };
            let per_second = gaps / length;
            let agrees = windows[..at].iter().all(|&(seen, of)| {
                let expected = per_second * of.min(age);
                (seen - expected).abs() <= TOLERANCE * expected.sqrt() + TOLERANCE_COUNT
            });
            if !agrees {
                break;
            }
            best = Rate { per_second, window: length, ..best };
            if count >= ENOUGH || length >= age {
                break;
            }
        }
        best
    }

    /// How the rate changes, in requests a second and second: the line through the two halves of the longest window,
    /// at least `shortest` seconds, of which it predicts all shorter ones. Of its value only what is above its own
    /// standard error counts (the positive-part estimate of James, Stein 1961); 0 where nothing is certain.
    #[must_use]
    pub fn trend(&self, now: Timestamp, shortest: f64) -> Trend {
        let Some(began) = self.began else { return Trend::default() };
        let age = now.since(began).as_secs_f64();
        let windows = self.windows(now);
        let mut best = Trend::default();
        for at in 1..WINDOWS {
            let ((late, half), (all, length)) = (windows[at - 1], windows[at]);
            if length > age {
                break;
            }
            if length < shortest {
                continue;
            }
            let (recent, older) = (late / half, (all - late) / (length - half));
            let slope = (recent - older) / (length / 2.0);
            let at_now = recent + slope * half / 2.0;
            let agrees = windows[..at].iter().all(|&(seen, of)| {
                let expected = ((at_now - slope * of / 2.0) * of).max(0.0);
                (seen - expected).abs() <= TREND_TOLERANCE * expected.sqrt() + TREND_COUNT
            });
            if !agrees {
                break;
            }
            let error = late / (half * half) + (all - late) / ((length - half) * (length - half));
            let variance = error / (length / 2.0).powi(2);
            let sure =
                if slope == 0.0 { 0.0 } else { (1.0 - TREND_DOUBT * variance / (slope * slope)).max(0.0) };
            best = Trend { slope: slope * sure, measured_over: length };
        }
        best
    }

    /// Of each window, arrivals and length in seconds; the bin that is being filled counts as far as it is.
    fn windows(&self, now: Timestamp) -> [(f64, f64); WINDOWS] {
        let mut windows = [(0.0, 0.0); WINDOWS];
        let fine = FINE.as_secs_f64();
        let part = now.since_start().as_secs_f64() - self.bin as f64 * fine;
        let (mut sum, mut next) = (0u32, 0);
        for k in 0..FINE_BINS as u64 {
            sum += u32::from(self.fine[((self.bin + FINE_BINS as u64 - k) % FINE_BINS as u64) as usize]);
            if k + 1 == 2 << next {
                windows[next] = (f64::from(sum), k as f64 * fine + part);
                next += 1;
            }
        }
        let bin = self.bin / COARSENESS as u64;
        let coarse = fine * COARSENESS as f64;
        let part = now.since_start().as_secs_f64() - bin as f64 * coarse;
        sum = 0;
        for k in 0..COARSE_BINS as u64 {
            sum += u32::from(self.coarse[((bin + COARSE_BINS as u64 - k) % COARSE_BINS as u64) as usize]);
            if next < WINDOWS && k + 1 == (1 << next) / 8 {
                windows[next] = (f64::from(sum), k as f64 * coarse + part);
                next += 1;
            }
        }
        windows
    }
}
