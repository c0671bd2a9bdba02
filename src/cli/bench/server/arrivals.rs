//! When requests arrive that do not wait for each other. PURE.

use std::time::Duration;

use crate::random::Random;

/// The times of a Poisson process, from its start: independent clients that come at `rate` a second on average.
/// Never ends.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    random: Random,
    rate: f64,
    seconds: f64,
}

impl Arrivals {
    /// `rate`: requests per second, above 0.
    pub(super) fn new(rate: f64, seed: u64) -> Self {
        Self { random: Random::new(seed), rate, seconds: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Gaps of a Poisson process are distributed exponentially: the inverse of that distribution's function.
        self.seconds -= self.random.unit().ln() / self.rate;
        // The first ones of any real rate are representable; what comes after 500 billion years is not.
        Duration::try_from_secs_f64(self.seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arrivals_come_in_order_at_the_rate(rate in 0.01f64..1000.0, seed: u64) {
            let times: Vec<Duration> = Arrivals::new(rate, seed).take(4000).collect();
            prop_assert!(times.is_sorted());
            // Six standard deviations of the mean of 4,000 gaps are 9.5 %.
            let mean = times[3999].as_secs_f64() / 4000.0 * rate;
            prop_assert!((0.9..1.1).contains(&mean), "{mean}");
            prop_assert_eq!(times, Arrivals::new(rate, seed).take(4000).collect::<Vec<_>>());
        }
    }
}
