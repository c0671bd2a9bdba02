//! Percentiles and medians of measurements. PURE.

use serde::Serialize;

/// Percentiles of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

impl Percentiles {
    /// Those of `values`, in any order; `None` if there are none.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let at = |percent| percentile(&values, percent);
        Some(Self { p50: at(50)?, p90: at(90)?, p99: at(99)? })
    }
}

/// The smallest of the `sorted` values that at least `percent` percent of them do not exceed (nearest rank).
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The middle one, or the mean of the two in the middle; `None` if there are no values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().saturating_sub(1) / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// The quotient, if there is one.
pub(super) fn ratio(above: Option<f64>, below: Option<f64>) -> Option<f64> {
    let quotient = above? / below?;
    quotient.is_finite().then_some(quotient)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (values, expected) in [
            (hundred, Some((50.0, 90.0, 99.0))),
            (vec![7.0], Some((7.0, 7.0, 7.0))),
            (vec![2.0, 1.0], Some((1.0, 2.0, 2.0))),
            (vec![], None),
        ] {
            let expected = expected.map(|(p50, p90, p99)| Percentiles { p50, p90, p99 });
            assert_eq!(Percentiles::of(values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        for (values, expected) in
            [(&[][..], None), (&[3.0], Some(3.0)), (&[5.0, 1.0], Some(3.0)), (&[9.0, 1.0, 2.0], Some(2.0))]
        {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        assert_eq!(ratio(Some(3.0), Some(2.0)), Some(1.5));
        for (above, below) in
            [(None, Some(1.0)), (Some(1.0), None), (Some(1.0), Some(0.0)), (Some(0.0), Some(0.0))]
        {
            assert_eq!(ratio(above, below), None);
        }
    }

    proptest! {
        #[test]
        fn percentiles_are_measured_values_in_order(values in proptest::collection::vec(0.0..1e6, 1..300)) {
            let found = Percentiles::of(values.clone()).unwrap();
            prop_assert!(found.p50 <= found.p90 && found.p90 <= found.p99);
            prop_assert!([found.p50, found.p90, found.p99].iter().all(|value| values.contains(value)));
            let middle = median(&values).unwrap();
            prop_assert!(found.p50 <= middle && middle <= found.p99);
        }
    }
}
