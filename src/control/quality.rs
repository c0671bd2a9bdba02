//! Replaces a worse variant by a better one once memory has been free for long enough.
//!
//! Input: a model's instances, whether a better variant fits, what was remembered, `now`. Output: what to do. PURE.
//!
//! One instance at a time: the better one starts beside the worse one, which serves until then and is drained when the
//! other is ready. If the better one fails, the worse one stays.

use crate::units::{InstanceId, Timestamp};
use crate::view::{InstanceState, InstanceView};

/// What is remembered of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// Nothing better fits, or nothing is worse than the best.
    #[default]
    None,
    /// A better variant has fit since then.
    Fits(Timestamp),
    /// The better one was told to start.
    Runs {
        /// The worse one.
        old: InstanceId,
        /// The newest instance there was then.
        newest: InstanceId,
        /// The better variant.
        variant: usize,
        /// Since when a better one has fitted.
        since: Timestamp,
    },
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing.
    Stay,
    /// Start an instance of a better variant than this one's.
    Start {
        /// The instance that it will replace.
        old: InstanceView,
    },
    /// The better one starts; it is not capacity yet.
    Await {
        /// It.
        new: InstanceId,
    },
    /// The better one is there: let the worse one go.
    Finish {
        /// The worse one.
        old: InstanceId,
    },
}

impl Upgrade {
    /// The next move. `fits`: whether a variant better than this one fits now. `hold`: how long it must have. `calm`: nobody
    /// waits, and nothing else changes.
    pub fn next(
        &mut self,
        instances: &[InstanceView],
        fits: impl FnOnce(usize) -> bool,
        calm: bool,
        hold: std::time::Duration,
        now: Timestamp,
    ) -> Move {
        if let Self::Runs { old, newest, variant, since } = *self {
            let new = instances.iter().find(|i| i.id > newest && i.variant == variant && !i.stale);
            let old_serves = instances.iter().any(|i| i.id == old && i.state == InstanceState::Ready);
            match new.map(|new| (new.id, new.state)) {
                Some((new, InstanceState::Starting)) if old_serves => return Move::Await { new },
                Some((_, InstanceState::Ready)) if old_serves => {
                    // The next one need not wait as long again.
                    *self = Self::Fits(since);
                    return Move::Finish { old };
                }
                // It failed, or the old one went for another reason.
                _ => *self = Self::None,
            }
        }
        let serves = |i: &&InstanceView| i.state == InstanceState::Ready && !i.stale && i.variant > 0;
        let worst =
            instances.iter().filter(serves).max_by_key(|i| (i.variant, std::cmp::Reverse(i.leased), i.id));
        let Some(old) = worst.filter(|old| fits(old.variant)) else {
            *self = Self::None;
            return Move::Stay;
        };
        let Self::Fits(since) = *self else {
            *self = Self::Fits(now);
            return Move::Stay;
        };
        if calm && now.since(since) >= hold { Move::Start { old: *old } } else { Move::Stay }
    }

    /// An instance of `variant` was told to start in the place of `old`.
    pub fn started(&mut self, old: InstanceId, variant: usize, instances: &[InstanceView]) {
        let newest = instances.iter().map(|instance| instance.id).max().unwrap_or(old);
        if let Self::Fits(since) = *self {
            *self = Self::Runs { old, newest, variant, since };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::fixtures::instance;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    const HOLD: Duration = Duration::from_secs(10);
    const READY: InstanceState = InstanceState::Ready;

    #[test]
    fn a_better_variant_must_fit_without_a_break_and_nobody_wait() {
        let mut upgrade = Upgrade::default();
        let worse = [instance(1, 1, READY), instance(2, 2, READY)];
        let mut next = |seconds, fits, calm| upgrade.next(&worse, |_| fits, calm, HOLD, at(seconds));
        for (seconds, fits, calm, expected) in [
            (0, true, true, Move::Stay),
            (9, true, true, Move::Stay),
            (9, false, true, Move::Stay),
            (10, true, true, Move::Stay),
            (19, true, true, Move::Stay),
            (21, true, false, Move::Stay),
            (22, true, true, Move::Start { old: worse[1] }),
        ] {
            assert_eq!(next(seconds, fits, calm), expected, "after {seconds} s");
        }
        assert_eq!(
            Upgrade::Fits(at(0)).next(&[instance(1, 0, READY)], |_| true, true, HOLD, at(99)),
            Move::Stay
        );
    }

    #[test]
    fn the_worse_one_goes_when_the_better_one_is_there_and_stays_if_it_fails() {
        let old = instance(1, 1, READY);
        let begun = || {
            let mut upgrade = Upgrade::Fits(at(0));
            upgrade.started(old.id, 0, &[old]);
            upgrade
        };
        let next = |upgrade: &mut Upgrade, instances: &[InstanceView]| {
            upgrade.next(instances, |_| true, true, HOLD, at(20))
        };
        let mut upgrade = begun();
        let starting = instance(2, 0, InstanceState::Starting);
        assert_eq!(next(&mut upgrade, &[old, starting]), Move::Await { new: InstanceId(2) });
        assert_eq!(next(&mut upgrade, &[old, instance(2, 0, READY)]), Move::Finish { old: old.id });
        assert_eq!(upgrade, Upgrade::Fits(at(0)), "the next one follows");
        let mut failed = begun();
        assert_eq!(next(&mut failed, &[old]), Move::Stay);
        assert_eq!(failed, Upgrade::Fits(at(20)), "it has to fit for as long again");
        let mut overtaken = begun();
        assert_eq!(next(&mut overtaken, &[starting]), Move::Stay);
    }
}
