//! Axes: which value is where, and what is written beside it. PURE.

use super::text::{round_time, short, taken};

/// A vertical axis, over a height of 100 from the top down.
#[derive(Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    /// Values with a line and a label, ascending.
    pub ticks: Vec<(f64, String)>,
}

/// The most labels of a logarithmic axis; where there would be more, every second one is left out.
const LABELS_MAX: usize = 5;

impl Axis {
    /// From zero to a round number above `most`. With `is_whole` between whole numbers alone.
    pub fn linear(most: f64, is_whole: bool, label: impl Fn(f64) -> String) -> Self {
        let least = if is_whole { 1.0 } else { 0.0 };
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let step = round_step(most / 3.0).max(least);
        let mut ticks = vec![(0.0, "0".to_owned())];
        let mut at = 0.0;
        while at < most - step * 1e-9 {
            at += step;
            ticks.push((at, label(at)));
        }
        Self { low: 0.0, high: at, is_log: false, ticks }
    }

    /// Times from the power of ten at or below `least` to the one at or above `most`.
    pub fn log_seconds(least: f64, most: f64) -> Self {
        let exponent = |value: f64| value.clamp(1e-3, 1e6).log10();
        let (low, high) = ((exponent(least) + 1e-9).floor(), (exponent(most) - 1e-9).ceil());
        let high = high.max(low + 1.0);
        let mut ticks = Vec::new();
        let mut at = low;
        while at <= high {
            ticks.push((10f64.powf(at), taken(10f64.powf(at))));
            at += 1.0;
        }
        if ticks.len() > LABELS_MAX {
            let last = ticks.len() - 1;
            let mut number = 0;
            ticks.retain(|_| {
                number += 1;
                (last + 1 - number).is_multiple_of(2)
            });
        }
        Self { low, high, is_log: true, ticks }
    }

    /// Where a value is: 0 at the top, 100 at the bottom.
    pub fn y(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(1e-9).log10() } else { value };
        100.0 * (1.0 - ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0))
    }
}

/// The next of 1, 2, 5, 10, … that is not less.
fn round_step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|step| *step >= at_least * 0.999_999)
        .unwrap_or(power * 10.0)
}

/// Bytes as a number of the unit that suits the most of them.
pub(super) fn byte_unit(most: f64) -> (f64, &'static str) {
    let units = [(1_099_511_627_776.0, "TiB"), (1_073_741_824.0, "GiB"), (1_048_576.0, "MiB")];
    units.into_iter().find(|(size, _)| most >= *size).unwrap_or((1024.0, "KiB"))
}

/// The axis of bytes, in round numbers of their unit.
pub(super) fn bytes(most: f64) -> (Axis, f64, &'static str) {
    let (size, unit) = byte_unit(most);
    (Axis::linear(most / size, false, |value| format!("{} {unit}", short(value))), size, unit)
}

/// The time axis that all charts share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    /// Its end, in seconds.
    pub seconds: f64,
    /// The length of a stretch.
    pub stretch: f64,
}

/// The most labels of the time axis.
const TIMES_MAX: f64 = 12.0;
/// Steps between them: seconds, minutes, hours, days, weeks.
const TIME_STEPS: [f64; 19] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0,
    21_600.0, 43_200.0, 86_400.0, 172_800.0,
];

impl Time {
    /// Where a time is, 0 to 1.
    pub fn at(self, seconds: f64) -> f64 {
        (seconds / self.seconds).clamp(0.0, 1.0)
    }

    /// Where the stretch of this number begins, 0 to 1.
    pub fn begin(self, number: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "stretches are few")]
        self.at(number as f64 * self.stretch)
    }

    /// Round times with what is written below them.
    pub fn ticks(self) -> Vec<(f64, String)> {
        let least = self.seconds / TIMES_MAX;
        let step = TIME_STEPS.into_iter().find(|step| *step >= least);
        let step = step.unwrap_or_else(|| 604_800.0 * round_step(least / 604_800.0).max(1.0));
        let (mut ticks, mut at) = (Vec::new(), 0.0);
        while at <= self.seconds * (1.0 + 1e-9) {
            ticks.push((at, round_time(at)));
            at += step;
        }
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn labels_are_round_and_what_is_drawn_fits() {
        for (most, is_whole, expected) in [
            (0.0, true, &["0", "1"][..]),
            (1.0, true, &["0", "1"]),
            (4.0, true, &["0", "2", "4"]),
            (7.3, false, &["0", "5", "10"]),
            (153.0, true, &["0", "100", "200"]),
            (0.9, false, &["0", "0.5", "1"]),
            (f64::NAN, false, &["0", "0.5", "1"]),
        ] {
            let axis = Axis::linear(most, is_whole, short);
            assert_eq!(labels(&axis), expected, "{most}");
            assert!(most.is_nan() || axis.ticks.last().unwrap().0 >= most);
        }
        let (axis, _, unit) = bytes(20.5 * f64::from(1 << 30));
        assert_eq!((labels(&axis), unit), (vec!["0", "10 GiB", "20 GiB", "30 GiB"], "GiB"));
    }

    #[test]
    fn a_logarithmic_axis_has_decades() {
        let axis = Axis::log_seconds(0.05, 12.0);
        assert_eq!(labels(&axis), ["10 ms", "100 ms", "1 s", "10 s", "100 s"]);
        assert!((axis.y(1.0) - 50.0).abs() < 1e-6 && axis.y(1e9).abs() < 1e-6);
        assert_eq!(labels(&Axis::log_seconds(1.0, 1.0)), ["1 s", "10 s"]);
        assert_eq!(labels(&Axis::log_seconds(0.001, 900.0)).len(), 4);
    }

    #[test]
    fn the_time_axis_has_at_most_a_dozen_steps() {
        for seconds in [0.5, 1.0, 59.0, 3525.0, 3600.0, 86_400.0, 1e7, 1e9] {
            let ticks = Time { seconds, stretch: 1.0 }.ticks();
            assert!((1..=13).contains(&ticks.len()), "{seconds}: {ticks:?}");
        }
        let hour = Time { seconds: 3600.0, stretch: 10.0 }.ticks();
        assert_eq!((hour[1].1.as_str(), hour.len()), ("5 min", 13));
    }
}
