//! What those who wait can expect: when to come back, where they stand, and what they wait for.

use std::time::Duration;

use super::drain::Prospect;
use super::flight::{Arrival, Place};
use super::rejection::whole_seconds;
use super::{Admission, Loading, ModelQueue, QueueState, Rejection};
use crate::units::{ModelName, Timestamp};

/// What a request waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// For those before it: it is the first, or a later one.
    Queued {
        /// From 1.
        position: usize,
    },
    /// For an instance that starts.
    Loading {
        /// How much of the time is over that this took before, 0 to 99; `None` if it takes longer.
        percent: Option<u8>,
    },
    /// For an instance that does not start yet.
    NoInstance {
        /// Why not.
        explanation: String,
    },
    /// For its next token.
    Served,
}

impl Loading {
    fn percent(self) -> Option<u8> {
        let share = self.elapsed.as_secs_f64() / self.expected.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 99")]
        (share < 1.0).then_some((share * 100.0) as u8)
    }
}

impl Admission {
    /// What the last of these waits for.
    #[must_use]
    pub fn outlook(&self, model: &ModelName, places: &[Place]) -> Outlook {
        let Some(queue) = self.queue(model) else { return Outlook::Served };
        let now = self.clock.now();
        let state = queue.lock();
        let ahead = places.iter().filter_map(|place| state.waiting.ahead(place.ticket()?, now)).max();
        let Some(ahead) = ahead else { return Outlook::Served };
        if self.slots(model) > 0 {
            return Outlook::Queued { position: ahead + 1 };
        }
        match state.condition.loading {
            Some(loading) => Outlook::Loading { percent: loading.percent() },
            None => Outlook::NoInstance { explanation: state.condition.explanation.clone() },
        }
    }

    /// When a request that finds the queue full should come back: when those who wait now will have been served.
    pub(super) fn when_to_come_back(
        &self,
        queue: &ModelQueue,
        state: &QueueState,
        now: Timestamp,
    ) -> Duration {
        whole_seconds(self.time_to_drain(queue, state).unwrap_or_else(|| state.waiting.oldest_wait(now)))
    }

    /// The time that the queue as it is needs; `None` if nothing is known of that.
    pub(super) fn time_to_drain(&self, queue: &ModelQueue, state: &QueueState) -> Option<Duration> {
        let slots = self.slots(&queue.name);
        let remaining = |loading: Loading| loading.expected.saturating_sub(loading.elapsed);
        let ready_in = state.condition.loading.filter(|_| slots == 0).map(remaining);
        let prospect = Prospect { slots, hold: state.waiting.mean_hold(), ready_in };
        prospect.time_for(state.waiting.len(), &state.drain, self.clock.now())
    }

    /// Refuses a request that would have to wait longer than its client does. Only what is certain counts: those of the
    /// same key that wait before it, at twice the rate at which those of all keys leave.
    ///
    /// # Errors
    ///
    /// [`Rejection::Deadline`]
    pub(super) fn refuse_hopeless(
        &self,
        queue: &ModelQueue,
        state: &QueueState,
        arrived: &Arrival,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let Some(deadline) = arrived.deadline else { return Ok(()) };
        let left = deadline.at.saturating_duration_since(tokio::time::Instant::now());
        let Some(rate) = state.drain.certain_rate(now) else { return Ok(()) };
        let before = state.waiting.len_of(&arrived.claim.flow);
        #[expect(clippy::cast_precision_loss, reason = "a queue is short")]
        let seconds = before as f64 / rate;
        if seconds / 2.0 <= left.as_secs_f64() {
            return Ok(());
        }
        let explanation =
            format!("{before} requests wait before this one, and about {rate:.1} a second get a slot");
        let retry_after = self.when_to_come_back(queue, state, now);
        Err(Rejection::Deadline { timeout: deadline.timeout, explanation, retry_after })
    }

    /// How long a request that came now would wait for a slot, as far as anything is known. Nothing is loaded and nobody
    /// waits: nothing, because it would be loaded for it.
    #[must_use]
    pub fn expected_wait(&self, model: &ModelName) -> Duration {
        let Some(queue) = self.queue(model) else { return Duration::ZERO };
        let state = queue.lock();
        let snapshot = self.pool.load();
        let loads = || snapshot.instances(model).iter().map(|instance| instance.load());
        let idle = loads().any(|load| load.ready && load.leased < load.slots);
        let sleeps = loads().next().is_none() && state.condition.loading.is_none();
        if state.waiting.is_empty() && (idle || sleeps) {
            return Duration::ZERO;
        }
        let slots = self.slots(model);
        let known = self.time_to_drain(&queue, &state);
        // Where there is no slot, it takes at least as long as it has taken, whatever was expected.
        let so_far = known.is_none() || slots == 0;
        let so_far = state.waiting.oldest_wait(self.clock.now()) * u32::from(so_far);
        // All slots are busy: one more than those who wait has to become free.
        let next = state.waiting.mean_hold().filter(|_| slots > 0).map(|hold| hold / slots.max(1));
        known.unwrap_or_default().max(so_far) + next.unwrap_or_default()
    }

    fn slots(&self, model: &ModelName) -> u32 {
        self.pool.load().instances(model).iter().map(|instance| instance.load().slots).sum()
    }
}
