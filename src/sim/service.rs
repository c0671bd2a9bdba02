//! What is known of the machine: how long things take there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::ByteCount;

/// How long an instance takes for its work, and what it holds.
///
/// With one figure for a token the sequences of an instance do not slow each other: each holds a slot for
/// `prompt / prefill_tokens_per_second + answer · decode_seconds`. With several, every decode call takes as long as that
/// number of sequences does, and prompts share the calls with answers, planned as in the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Prompt tokens that an instance computes in a second.
    pub prefill_tokens_per_second: f64,
    /// Seconds that a decode call takes, by the number of its sequences, ascending.
    pub decode_seconds: Vec<(u32, f64)>,
    /// Seconds from the decision until an instance is ready whose weights must be loaded.
    pub load_seconds: f64,
    /// The same where the weights are there.
    pub instance_seconds: f64,
    /// Bytes that a worker takes.
    pub worker_bytes: ByteCount,
    /// Bytes that each instance takes besides.
    pub instance_bytes: ByteCount,
}

impl Default for Service {
    /// An 8B model on one GPU, in round figures.
    fn default() -> Self {
        Self {
            prefill_tokens_per_second: 8000.0,
            decode_seconds: vec![(1, 0.02)],
            load_seconds: 8.0,
            instance_seconds: 8.0,
            worker_bytes: ByteCount(8_500_000_000),
            instance_bytes: ByteCount(2_000_000_000),
        }
    }
}

impl Service {
    /// What is wrong with the figures, if anything is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let positive = |seconds: f64| seconds.is_finite() && seconds > 0.0;
        let ascending = self.decode_seconds.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !positive(self.prefill_tokens_per_second) {
            Some("prefill_tokens_per_second must be above 0")
        } else if self.decode_seconds.is_empty() || !ascending {
            Some("decode_seconds must list numbers of sequences in ascending order")
        } else if !self.decode_seconds.iter().all(|(sequences, seconds)| *sequences > 0 && positive(*seconds))
        {
            Some("decode_seconds must be above 0")
        } else if !(self.load_seconds.is_finite() && self.load_seconds >= 0.0) {
            Some("load_seconds must be 0 or more")
        } else if !(self.instance_seconds.is_finite() && self.instance_seconds >= 0.0) {
            Some("instance_seconds must be 0 or more")
        } else {
            None
        }
    }

    /// Whether sequences slow each other.
    #[must_use]
    pub fn is_batched(&self) -> bool {
        self.decode_seconds.len() > 1
    }

    /// Seconds of a decode call of so many sequences, on the lines between the figures that are known.
    #[must_use]
    pub fn decode(&self, sequences: u32) -> f64 {
        let known = &self.decode_seconds;
        let at = known.partition_point(|(count, _)| *count < sequences);
        match (at.checked_sub(1).map(|before| known[before]), known.get(at)) {
            (Some((low, fast)), Some((high, slow))) => {
                fast + (slow - fast) * f64::from(sequences - low) / f64::from(high - low)
            }
            (None, Some((_, seconds))) => *seconds,
            // Beyond what was measured, each sequence costs what one of the largest batch does.
            (Some((count, seconds)), None) => {
                if known.len() > 1 {
                    seconds * f64::from(sequences) / f64::from(count)
                } else {
                    seconds
                }
            }
            (None, None) => 0.0,
        }
    }

    /// Time of a prompt by itself.
    #[must_use]
    pub fn prefill(&self, prompt_tokens: u32) -> Duration {
        seconds(f64::from(prompt_tokens) / self.prefill_tokens_per_second)
    }

    /// How long a request holds a slot of an instance in which `sequences` decode.
    #[must_use]
    pub fn hold(&self, prompt_tokens: u32, answer_tokens: u32, sequences: u32) -> Duration {
        self.prefill(prompt_tokens) + seconds(f64::from(answer_tokens) * self.decode(sequences))
    }

    /// Time from the decision until an instance is ready.
    #[must_use]
    pub fn start(&self, is_loaded: bool) -> Duration {
        seconds(if is_loaded { self.instance_seconds } else { self.load_seconds })
    }
}

/// A time of so many seconds; none below zero.
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_calls_lie_on_the_lines_between_what_is_known() {
        let service =
            Service { decode_seconds: vec![(1, 0.004), (4, 0.007), (8, 0.008)], ..Service::default() };
        for (sequences, expected) in [(1, 4.0), (2, 5.0), (4, 7.0), (6, 7.5), (8, 8.0), (16, 16.0)] {
            assert!((service.decode(sequences) * 1000.0 - expected).abs() < 1e-9, "{sequences}");
        }
        assert!((Service::default().decode(64) - 0.02).abs() < 1e-12);
        assert_eq!(service.fault(), None);
        assert!(Service { decode_seconds: vec![(2, 0.1), (1, 0.1)], ..service }.fault().is_some());
    }
}
