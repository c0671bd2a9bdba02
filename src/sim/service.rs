//! What is known of the machine: how long things take there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::ByteCount;

/// How long an instance takes for its work, and what it holds.
///
/// With one figure for a token the sequences of an instance do not slow each other: each holds a slot for
/// `prompt / prefill_tokens_per_second + answer · decode_seconds`. With several, prompts share the calls with answers,
/// planned as in the server, and divided into passes over the weights as llama.cpp does: the same number of tokens of each
/// sequence. A pass takes
///
/// ```text
/// one token each:  decode(sequences) + context_token_seconds × tokens that they hold
/// several:         decode(1) + Σ by which the part makes the prompt longer
///                            + Σ context_token_seconds × tokens × tokens held, for parts below narrow_tokens
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Prompt tokens that an instance computes in a second.
    pub prefill_tokens_per_second: f64,
    /// Seconds of a prompt alone, by its tokens, ascending; where it has none, the rate says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefill_seconds: Vec<(u32, f64)>,
    /// Seconds that a decode call takes, by the number of its sequences, ascending.
    pub decode_seconds: Vec<(u32, f64)>,
    /// Seconds by which each token that a sequence holds makes a decode call longer.
    #[serde(default)]
    pub context_token_seconds: f64,
    /// Where a pass computes fewer tokens of a sequence, each of them costs that, too. llama.cpp's fused attention on the
    /// CPU reads the context once for many tokens only from 64 on.
    #[serde(default)]
    pub narrow_tokens: u32,
    /// Seconds that a request takes besides, on its way from the client to a slot and back.
    #[serde(default)]
    pub request_seconds: f64,
    /// Instances that compute at full speed at the same time; if more have work, they share it. Without it, none slows
    /// another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_instances: Option<f64>,
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
            prefill_seconds: Vec::new(),
            decode_seconds: vec![(1, 0.02)],
            context_token_seconds: 0.0,
            narrow_tokens: 0,
            request_seconds: 0.0,
            parallel_instances: None,
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
        let none_below = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
        let ascending = |known: &[(u32, f64)]| known.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let above =
            |known: &[(u32, f64)]| known.iter().all(|(count, seconds)| *count > 0 && positive(*seconds));
        if !positive(self.prefill_tokens_per_second) {
            Some("prefill_tokens_per_second must be above 0")
        } else if self.decode_seconds.is_empty() || !ascending(&self.decode_seconds) {
            Some("decode_seconds must list numbers of sequences in ascending order")
        } else if !above(&self.decode_seconds) {
            Some("decode_seconds must be above 0")
        } else if !ascending(&self.prefill_seconds) || !above(&self.prefill_seconds) {
            Some("prefill_seconds must list numbers of tokens in ascending order, and seconds above 0")
        } else if !none_below(self.context_token_seconds) {
            Some("context_token_seconds must be 0 or more")
        } else if !none_below(self.request_seconds) {
            Some("request_seconds must be 0 or more")
        } else if self.parallel_instances.is_some_and(|count| !positive(count)) {
            Some("parallel_instances must be above 0")
        } else if !none_below(self.load_seconds) {
            Some("load_seconds must be 0 or more")
        } else if !none_below(self.instance_seconds) {
            Some("instance_seconds must be 0 or more")
        } else {
            None
        }
    }

    /// How many times longer everything takes while so many instances have work.
    #[must_use]
    pub fn slowdown(&self, busy: u32) -> f64 {
        self.parallel_instances.map_or(1.0, |parallel| (f64::from(busy) / parallel).max(1.0))
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
        seconds(self.prefill_alone(prompt_tokens))
    }

    fn prefill_alone(&self, prompt_tokens: u32) -> f64 {
        let known = &self.prefill_seconds;
        let at = known.partition_point(|(count, _)| *count < prompt_tokens);
        // The first line begins where there is no prompt, the last one goes on.
        let before = |at: usize| at.checked_sub(1).map_or((0, 0.0), |before| known[before]);
        let line = match known.get(at) {
            Some(high) => Some((before(at), *high)),
            None => known.last().map(|last| (before(known.len() - 1), *last)),
        };
        match line {
            Some(((low, fast), (high, slow))) => {
                let slope = (slow - fast) / (f64::from(high) - f64::from(low));
                fast + slope * (f64::from(prompt_tokens) - f64::from(low))
            }
            None => f64::from(prompt_tokens) / self.prefill_tokens_per_second,
        }
    }

    /// Seconds by which a prompt's part makes a pass longer, that begins after `from` tokens of it and ends after `to`;
    /// without what the pass costs by itself ([`Service::pass`]), which other parts share. Prompts were measured in passes
    /// of up to `pass_tokens`.
    #[must_use]
    pub fn part(&self, from: u32, to: u32, pass_tokens: u32) -> f64 {
        let own = |tokens: u32| {
            let passes = f64::from(tokens.div_ceil(pass_tokens.max(1)));
            (self.prefill_alone(tokens) - passes * self.pass()).max(0.0)
        };
        let tokens = to.saturating_sub(from);
        let narrow = if tokens < self.narrow_tokens { f64::from(tokens) * f64::from(from) } else { 0.0 };
        (own(to) - own(from)).max(0.0) + self.context_token_seconds * narrow
    }

    /// Prompt tokens that take as long as a pass.
    #[must_use]
    pub fn pass_in_tokens(&self) -> f64 {
        self.pass() * self.prefill_tokens_per_second
    }

    /// Seconds that a pass over the weights takes whatever it computes, if that is known.
    #[must_use]
    pub fn pass(&self) -> f64 {
        if self.prefill_seconds.is_empty() { 0.0 } else { self.decode(1) }
    }

    /// How long a request holds a slot of an instance in which `sequences` like it decode.
    #[must_use]
    pub fn hold(&self, prompt_tokens: u32, answer_tokens: u32, sequences: u32) -> Duration {
        let held = f64::from(sequences) * (f64::from(prompt_tokens) + f64::from(answer_tokens) / 2.0);
        let step = self.decode(sequences) + self.context_token_seconds * held;
        self.prefill(prompt_tokens) + seconds(f64::from(answer_tokens) * step)
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

/// The least whole number that is not below this one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a saturating cast of a positive number"
)]
pub(super) fn whole(number: f64) -> u32 {
    number.ceil().max(0.0) as u32
}

/// How many, as far as they can be counted.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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
        assert!(Service { context_token_seconds: f64::NAN, ..service.clone() }.fault().is_some());
        assert!(Service { decode_seconds: vec![(2, 0.1), (1, 0.1)], ..service }.fault().is_some());
    }
    #[test]
    fn prompts_lie_on_lines_and_parts_share_passes() {
        let service = Service {
            decode_seconds: vec![(1, 0.002), (8, 0.004)],
            prefill_seconds: vec![(100, 0.012), (200, 0.022)],
            ..Service::default()
        };
        for (tokens, expected) in [(0, 0.0), (50, 6.0), (100, 12.0), (150, 17.0), (300, 32.0)] {
            assert!((service.prefill_alone(tokens) * 1000.0 - expected).abs() < 1e-9, "{tokens}");
        }
        for (from, to, expected) in [(0, 100, 10.0), (100, 200, 10.0), (0, 200, 20.0), (0, 10, 0.0)] {
            assert!((service.part(from, to, 512) * 1000.0 - expected).abs() < 1e-9, "{from} {to}");
        }
        let narrow = Service { context_token_seconds: 0.000_01, narrow_tokens: 64, ..service.clone() };
        assert!((narrow.part(100, 110, 512) * 1000.0 - (1.0 + 10.0)).abs() < 1e-9);
        assert!((narrow.part(100, 200, 512) * 1000.0 - 10.0).abs() < 1e-9);
        assert!((Service::default().part(800, 1600, 512) - 0.1).abs() < 1e-9);
        assert!(Service { prefill_seconds: vec![(1, 0.0)], ..service }.fault().is_some());
    }
}
