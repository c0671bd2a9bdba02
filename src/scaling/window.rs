//! The highest value of a sliding window of time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::Timestamp;

/// Keeps, of all values of the window, those that may still become its highest: each is higher than all later
/// ones, so there are at most as many as distinct values. (The monotonic queue of sliding-window maxima.)
#[derive(Clone, Debug, Default)]
pub struct PeakWindow {
    /// Oldest and highest first.
    peaks: VecDeque<(Timestamp, u32)>,
    /// When the first value came.
    began: Option<Timestamp>,
}

impl PeakWindow {
    /// Adds the value at `now` and forgets what is older than `length`.
    pub fn push(&mut self, now: Timestamp, value: u32, length: Duration) {
        self.began.get_or_insert(now);
        while self.peaks.back().is_some_and(|(_, peak)| *peak <= value) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now, value));
        while self.peaks.front().is_some_and(|(time, _)| now.since(*time) > length) {
            self.peaks.pop_front();
        }
    }

    /// The highest value of the last `length`; `None` while the window is not as long yet.
    #[must_use]
    pub fn peak_over(&self, length: Duration, now: Timestamp) -> Option<u32> {
        if now.since(self.began?) < length {
            return None;
        }
        self.peaks.front().map(|(_, peak)| *peak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_maximum(values in proptest::collection::vec(0u32..20, 1..200), length in 1u64..30) {
            let length = Duration::from_millis(length);
            let mut window = PeakWindow::default();
            for (i, value) in values.iter().enumerate() {
                let now = Timestamp::from_millis(i as u64);
                window.push(now, *value, length);
                let begin = i.saturating_sub(usize::try_from(length.as_millis()).unwrap());
                let expected = (now.since_start() >= length).then(|| *values[begin..=i].iter().max().unwrap());
                prop_assert_eq!(window.peak_over(length, now), expected);
                prop_assert!(window.peaks.len() <= 20);
            }
        }
    }
}
