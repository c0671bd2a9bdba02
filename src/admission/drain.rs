//! How fast a queue moves, and so when it makes sense to come back.
//!
//! PURE: told what happens and when.

use std::time::Duration;

use crate::units::Timestamp;

/// How long what was measured counts: after that much more time in which somebody waits it weighs 1/e.
const MEMORY: Duration = Duration::from_secs(30);
/// So many must have left before their rate is believed where a mistake would refuse a request.
const CERTAIN: f64 = 20.0;

/// Measures the requests that leave a queue with a slot, over the time in which somebody waits: without that it would
/// measure how many come.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainMeter {
    /// Who left, and the seconds in which somebody waited; both forget.
    served: f64,
    busy: f64,
    waits: bool,
    since: Timestamp,
}

impl DrainMeter {
    /// Whether somebody waits from now on.
    pub fn waits(&mut self, waits: bool, now: Timestamp) {
        if self.waits {
            let seconds = now.since(self.since).as_secs_f64();
            let keep = (-seconds / MEMORY.as_secs_f64()).exp();
            self.served *= keep;
            self.busy = self.busy * keep + seconds;
        }
        self.waits = waits;
        self.since = self.since.max(now);
    }

    /// Somebody who waited has got a slot.
    pub fn served(&mut self) {
        self.served += 1.0;
    }

    /// Requests a second; `None` before any was served.
    #[must_use]
    pub fn rate(&self, now: Timestamp) -> Option<f64> {
        let mut until_now = *self;
        until_now.waits(self.waits, now);
        (until_now.served >= 0.5 && until_now.busy > 0.0).then(|| until_now.served / until_now.busy)
    }

    /// As [`DrainMeter::rate`]; `None`, too, if it is the rate of a few only.
    #[must_use]
    pub fn certain_rate(&self, now: Timestamp) -> Option<f64> {
        self.rate(now).filter(|_| self.served >= CERTAIN)
    }
}

/// What is known of a model besides its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prospect {
    /// Slots that there are.
    pub slots: u32,
    /// How long they are held in the mean, if that is known.
    pub hold: Option<Duration>,
    /// When the next instance is expected, if none is ready and one starts.
    pub ready_in: Option<Duration>,
}

impl Prospect {
    /// When those who wait now will have been served: the time until an instance is ready, and theirs at the measured
    /// rate; before anything was measured, at that of all slots. `None` if nothing is known.
    #[must_use]
    pub fn time_for(&self, waiting: usize, meter: &DrainMeter, now: Timestamp) -> Option<Duration> {
        let of_slots = self.hold.filter(|hold| !hold.is_zero() && self.slots > 0);
        let of_slots = of_slots.map(|hold| f64::from(self.slots) / hold.as_secs_f64());
        let rate = meter.rate(now).or(of_slots);
        if rate.is_none() && self.ready_in.is_none() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a queue is short")]
        let seconds = rate.map_or(0.0, |rate| (waiting as f64 / rate).min(86_400.0));
        Some(self.ready_in.unwrap_or_default() + Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// A meter of a queue that moved `rate` requests a second for `seconds`, and their end.
    fn moved(rate: u64, seconds: u64) -> (DrainMeter, Timestamp) {
        let mut meter = DrainMeter::default();
        for second in 0..seconds {
            meter.waits(true, at(second));
            (0..rate).for_each(|_| meter.served());
        }
        meter.waits(false, at(seconds));
        (meter, at(seconds))
    }

    #[test]
    fn the_rate_is_that_of_the_time_in_which_somebody_waits() {
        let (meter, end) = moved(5, 60);
        let rate = meter.rate(end).unwrap();
        assert!((rate - 5.0).abs() < 0.2, "{rate}");
        // Nobody waits for an hour: nothing is learned of it.
        assert_eq!(meter.rate(at(4000)), Some(rate));
        assert_eq!(DrainMeter::default().rate(at(9)), None);
    }

    #[test]
    fn a_queue_that_stands_still_becomes_slow_and_uncertain() {
        let (mut meter, end) = moved(5, 60);
        assert!(meter.certain_rate(end).is_some());
        meter.waits(true, end);
        let later = end + Duration::from_secs(60);
        assert!(meter.rate(later).unwrap() < 1.0);
        meter.waits(true, later);
        assert_eq!(meter.certain_rate(later), None);
    }

    #[test]
    fn who_asks_is_told_when_those_before_have_been_served() {
        let (meter, now) = moved(10, 60);
        let unknown = DrainMeter::default();
        let seconds = Duration::from_secs;
        let check = |prospect: Prospect, meter: &DrainMeter, expected: Option<u64>| {
            let time = prospect.time_for(100, meter, now).map(|time| time.as_secs_f64().round());
            assert_eq!(
                time,
                expected.map(|seconds| Duration::from_secs(seconds).as_secs_f64()),
                "{prospect:?}"
            );
        };
        let nothing = Prospect::default();
        check(nothing, &meter, Some(10));
        check(Prospect { ready_in: Some(seconds(7)), ..nothing }, &meter, Some(17));
        check(Prospect { slots: 4, hold: Some(seconds(2)), ready_in: None }, &unknown, Some(50));
        check(Prospect { ready_in: Some(seconds(7)), ..nothing }, &unknown, Some(7));
        check(nothing, &unknown, None);
    }
}
