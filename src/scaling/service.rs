//! How long a request holds a slot.
//!
//! Slot-seconds by completions: the maximum-likelihood mean of exponential times of which some have not ended yet
//! (Epstein, Sobel 1953), so that a model that has only just begun is not judged by its shortest requests.

use std::time::Duration;

/// Completions over which the mean forgets.
const MEMORY: f64 = 2000.0;
/// A request's time before any has ended: a few hundred tokens at tens of tokens a second.
const PRIOR: Duration = Duration::from_secs(2);

/// Mean time that a request holds a slot.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    slot_seconds: f64,
    completions: f64,
}

impl Default for Service {
    fn default() -> Self {
        Self::guessed(PRIOR)
    }
}

impl Service {
    /// A guess that counts as one completion.
    #[must_use]
    pub fn guessed(time: Duration) -> Self {
        Self { slot_seconds: time.as_secs_f64(), completions: 1.0 }
    }

    /// Adds what was served since the last call.
    pub fn push(&mut self, slot_time: Duration, completions: u32) {
        let keep = (-f64::from(completions) / MEMORY).exp();
        self.slot_seconds = self.slot_seconds * keep + slot_time.as_secs_f64();
        self.completions = self.completions * keep + f64::from(completions);
    }

    /// Completions that the mean rests on.
    #[must_use]
    pub const fn seen(&self) -> f64 {
        self.completions
    }

    /// The mean in seconds; at least a millisecond.
    #[must_use]
    pub fn mean(&self) -> f64 {
        (self.slot_seconds / self.completions).max(1e-3)
    }
}
