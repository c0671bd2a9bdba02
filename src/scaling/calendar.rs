//! The least number of instances at a time: the policy's, or what its schedule says.
//!
//! Input: policy and wall clock. Output: a number. Pure.
//! Caller: `decide` only, through the state.

use jiff::Timestamp;

use crate::policy::{InForce, ScalePolicy, Schedule};

/// What the schedule last said, so that it is not searched ten times a second.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    read: Option<(Schedule, InForce)>,
}

impl Calendar {
    /// Looks at the time.
    pub fn turn_to(&mut self, policy: &ScalePolicy, now: Timestamp) {
        let holds = |(schedule, entry): &(Schedule, InForce)| {
            *schedule == policy.schedule && entry.since <= now && now < entry.until
        };
        if !self.read.as_ref().is_some_and(holds) {
            self.read = policy.schedule.at(now).map(|entry| (policy.schedule.clone(), entry));
        }
    }

    /// The minimum that the schedule sets, if it sets one.
    #[must_use]
    pub fn scheduled(&self) -> Option<u32> {
        self.read.as_ref().map(|(_, entry)| entry.min_instances)
    }
}
