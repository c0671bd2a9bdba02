//! Traffic that is made up: arrivals of a rate that changes with time, and sizes as people's chats have them.

use std::f64::consts::TAU;

use super::service::{seconds, whole};
use super::trace::{Request, Trace};
use crate::random::Random;

/// How the rate of arrivals changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Bursts of one minute every ten minutes.
    Burst,
    /// The same rate all the time.
    Poisson,
    /// Up and down every twenty minutes, as days and nights do.
    Diurnal,
    /// One burst that nobody can foresee.
    Spike,
    /// More and more.
    Ramp,
}

/// Mean and deviation of the logarithm of a prompt's tokens.
const PROMPT_LOG_TOKENS: (f64, f64) = (6.0, 1.0);
/// Mean tokens of an answer, besides the first.
const ANSWER_TOKENS: f64 = 200.0;

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 5] = [Self::Burst, Self::Poisson, Self::Diurnal, Self::Spike, Self::Ramp];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Poisson => "poisson",
            Self::Diurnal => "diurnal",
            Self::Spike => "spike",
            Self::Ramp => "ramp",
        }
    }

    /// Requests a second, `t` seconds after the start of a trace of `length` seconds.
    #[must_use]
    pub fn rate(self, t: f64, length: f64) -> f64 {
        match self {
            Self::Burst => {
                if t % 600.0 < 60.0 {
                    20.0
                } else {
                    1.0
                }
            }
            Self::Poisson => 5.0,
            Self::Diurnal => 5.0 * (1.0 - (TAU * t / 1200.0).cos()) + 0.2,
            Self::Spike => {
                if (length / 2.0..length / 2.0 + 30.0).contains(&t) {
                    40.0
                } else {
                    2.0
                }
            }
            Self::Ramp => 0.5 + 10.0 * t / length,
        }
    }

    /// The highest rate.
    const fn highest(self) -> f64 {
        match self {
            Self::Burst => 20.0,
            Self::Poisson => 5.0,
            Self::Diurnal => 10.2,
            Self::Spike => 40.0,
            Self::Ramp => 10.5,
        }
    }

    /// A trace of so many seconds, with `scale` times the rates: arrivals by thinning (Lewis, Shedler: "Simulation of
    /// nonhomogeneous Poisson processes by thinning", 1979), prompts of lognormal length, answers of exponential length.
    #[must_use]
    pub fn trace(self, length: f64, scale: f64, seed: u64) -> Trace {
        let mut random = Random::new(seed);
        let (mut at, mut requests) = (0.0, Vec::new());
        loop {
            at += random.exponential(1.0 / (self.highest() * scale));
            if at >= length {
                return Trace::new(self.name(), requests, seconds(length));
            }
            if random.unit() * self.highest() > self.rate(at, length) {
                continue;
            }
            let (mean, deviation) = PROMPT_LOG_TOKENS;
            let prompt = (mean + deviation * random.normal()).exp();
            let answer = 1.0 + random.exponential(ANSWER_TOKENS);
            requests.push(Request {
                at: seconds(at),
                model: 0,
                prompt_tokens: whole(prompt.round()).max(1),
                answer_tokens: whole(answer.round()).max(1),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_trace_and_its_rate_is_the_shapes() {
        for (shape, expected) in [
            (Shape::Poisson, 5.0),
            (Shape::Burst, 2.9),
            (Shape::Ramp, 5.5),
            (Shape::Diurnal, 5.2),
            (Shape::Spike, 2.317),
        ] {
            let trace = shape.trace(3600.0, 1.0, 7);
            assert_eq!(trace, shape.trace(3600.0, 1.0, 7));
            #[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
            let rate = trace.requests.len() as f64 / 3600.0;
            assert!((rate / expected - 1.0).abs() < 0.05, "{shape:?}: {rate} a second");
            assert!(trace.requests.windows(2).all(|pair| pair[0].at <= pair[1].at));
        }
    }
}
