//! Finds instances that have work and do not get on with it.
//!
//! Input: instances at one moment, what was seen before, the time since. Output: which are frozen, and how long they
//! have been. PURE; `control::step` calls it.
//!
//! It watches the steps that an instance completes, not whether anything answers a question about its health: a
//! server under load answers late and is well, a frozen one can answer at once. An instance that is slow completes
//! steps; each part of a long prompt is one.

use std::collections::HashMap;
use std::time::Duration;

use crate::policy::WatchdogPolicy;
use crate::units::InstanceId;
use crate::view::{InstanceState, InstanceView};

/// The most that one look adds to a stall. A server that was itself stopped for a while has not read what its workers
/// told in the meantime; the time that it missed proves nothing about them.
const MAX_LOOK: Duration = Duration::from_millis(500);

/// Why an instance counts as frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// It has work and completed no step.
    NoProgress {
        /// For how long.
        stalled: Duration,
    },
    /// It is still not ready.
    LoadTimeout {
        /// The time that it had.
        after: Duration,
    },
}

/// What was seen of the instances before.
#[derive(Clone, Debug, Default)]
pub struct Watchdog {
    seen: HashMap<InstanceId, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    state: InstanceState,
    progress: u64,
    stalled: Duration,
}

impl Watchdog {
    /// Looks at the instances of all models, `passed` after the last look. Whoever is found frozen is found again
    /// only after as much time again.
    pub fn look<'a>(
        &mut self,
        instances: impl IntoIterator<Item = (&'a WatchdogPolicy, &'a InstanceView)>,
        passed: Duration,
    ) -> Vec<(InstanceId, Frozen)> {
        let passed = passed.min(MAX_LOOK);
        let mut frozen = Vec::new();
        let mut now_seen = HashMap::with_capacity(self.seen.len());
        for (policy, instance) in instances {
            let before = self.seen.get(&instance.id);
            let mut seen =
                Seen { state: instance.state, progress: instance.progress, stalled: Duration::ZERO };
            if let Some(before) = before
                && before.state == seen.state
                && before.progress == seen.progress
                && has_work(instance)
            {
                seen.stalled = before.stalled + passed;
            }
            if let Some(found) = verdict(policy, &seen) {
                frozen.push((instance.id, found));
                seen.stalled = Duration::ZERO;
            }
            now_seen.insert(instance.id, seen);
        }
        self.seen = now_seen;
        frozen
    }
}

fn has_work(instance: &InstanceView) -> bool {
    match instance.state {
        InstanceState::Starting | InstanceState::Stopping => true,
        InstanceState::Ready | InstanceState::Draining => instance.leased > 0,
    }
}

fn verdict(policy: &WatchdogPolicy, seen: &Seen) -> Option<Frozen> {
    match seen.state {
        InstanceState::Starting => (seen.stalled >= policy.load_timeout)
            .then_some(Frozen::LoadTimeout { after: policy.load_timeout }),
        _ => {
            (seen.stalled >= policy.no_progress_after).then_some(Frozen::NoProgress { stalled: seen.stalled })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixtures;

    const POLICY: WatchdogPolicy =
        WatchdogPolicy { no_progress_after: Duration::from_secs(1), load_timeout: Duration::from_secs(3) };

    fn instance(state: InstanceState, leased: u32, progress: u64) -> InstanceView {
        InstanceView { leased, progress, ..fixtures::instance(1, 0, state) }
    }

    /// Looks at each of `looks`, `step_ms` apart; gives the numbers of those at which the instance was frozen.
    fn check(step_ms: u64, looks: &[InstanceView], expected: &[usize]) {
        let mut watchdog = Watchdog::default();
        let passed = Duration::from_millis(step_ms);
        let found: Vec<usize> = looks
            .iter()
            .enumerate()
            .filter(|(_, view)| !watchdog.look([(&POLICY, *view)], passed).is_empty())
            .map(|(number, _)| number)
            .collect();
        assert_eq!(found, expected, "{looks:?}");
    }

    #[test]
    fn an_instance_with_work_and_without_a_step_is_frozen_again_and_again() {
        check(250, &[instance(InstanceState::Ready, 1, 7); 10], &[4, 8]);
        check(250, &[instance(InstanceState::Draining, 1, 7); 6], &[4]);
        check(250, &[instance(InstanceState::Stopping, 0, 7); 6], &[4]);
    }

    #[test]
    fn idle_instances_and_slow_ones_are_not() {
        check(250, &[instance(InstanceState::Ready, 0, 7); 50], &[]);
        let slow: Vec<_> = (0..50).map(|look| instance(InstanceState::Ready, 1, look / 4)).collect();
        check(250, &slow, &[]);
    }

    #[test]
    fn a_stall_begins_with_the_work() {
        let mut looks = vec![instance(InstanceState::Ready, 0, 7); 20];
        looks.extend([instance(InstanceState::Ready, 1, 7); 4]);
        check(250, &looks, &[23]);
    }

    #[test]
    fn loads_have_their_own_limit() {
        check(250, &[instance(InstanceState::Starting, 0, 0); 14], &[12]);
    }

    #[test]
    fn time_that_the_server_missed_proves_nothing() {
        check(3_600_000, &[instance(InstanceState::Ready, 1, 7); 2], &[]);
    }
}
