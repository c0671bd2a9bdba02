//! Waiting for a slot: under one lock per model, so that nobody overtakes and no wake-up is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::flight::{Arrival, Deadline, Place};
use super::queue::{Claim, Ticket};
use super::rejection::{rounded_up, whole_seconds};
use super::{Admission, Demand, ModelQueue, QueueState, RESTART_TIME, Rejection, Trail, Waiter};
use crate::clock::Clock;
use crate::generation::GenerationRequest;
use crate::pool::SlotLease;
use crate::units::Timestamp;

/// A slot, after a wait.
pub(super) struct Grant {
    pub(super) lease: SlotLease,
    pub(super) waited: Duration,
    /// Whether the model had no instance when the wait began.
    pub(super) is_cold: bool,
}

/// Leaves the queue when its request gives up or is dropped.
struct Waiting<'queue> {
    queue: &'queue ModelQueue,
    ticket: Ticket,
    place: &'queue Place,
    clock: Clock,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.place.left();
        let mut state = self.queue.lock();
        let left = state.waiting.remove(self.ticket);
        state.moved(self.clock.now());
        // The sender is dropped outside of the lock.
        drop(state);
        drop(left);
    }
}

impl Admission {
    /// Waits for a slot. The request counts as demand through `demand` from its first wait on.
    pub(super) async fn acquire(
        &self,
        queue: &Arc<ModelQueue>,
        demand: &mut Option<Demand>,
        turn: Turn<'_>,
        trail: &Arc<Trail>,
        arrived: &Arrival,
    ) -> Result<Grant, Rejection> {
        let begun = self.clock.now();
        let is_return = demand.as_mut().map(Demand::lose).is_some();
        let (ticket, receiver) = match self.enter(queue, demand, turn, trail, arrived)? {
            Entry::Granted(lease) => {
                demand.as_mut().map(Demand::hold);
                return Ok(Grant { lease, waited: Duration::ZERO, is_cold: false });
            }
            Entry::Waits { ticket, receiver } => (ticket, receiver),
        };
        arrived.place.waits(ticket);
        let _waiting = Waiting { queue, ticket, place: &arrived.place, clock: self.clock };
        let is_cold = self.pool.load().instances(&queue.name).is_empty();
        if is_cold {
            // Nothing is loaded: every millisecond counts. Otherwise the controller's next look is soon enough,
            // and waking it for every request of a burst would only take the CPU from them.
            self.wake.notify_one();
        }
        let patience = tokio::time::Instant::now() + queue.policy().queue.timeout;
        // An answer that goes on elsewhere is given up by its client's end.
        let deadline = arrived.deadline.filter(|deadline| !is_return && deadline.at < patience);
        let outcome =
            tokio::time::timeout_at(deadline.map_or(patience, |deadline| deadline.at), receiver).await;
        let waited = self.clock.now().since(begun);
        if !is_return {
            let mut state = queue.lock();
            let policy = Arc::clone(&state.policy);
            state.flow.waited(waited, matches!(outcome, Ok(Ok(Ok(_)))), &policy.scale);
        }
        match outcome {
            Ok(Ok(Ok(lease))) => {
                demand.as_mut().map(Demand::hold);
                Ok(Grant { lease, waited, is_cold })
            }
            Ok(Ok(Err(rejection))) => Err(rejection),
            Ok(Err(_)) | Err(_) => Err(self.too_late(queue, deadline, waited)),
        }
    }

    /// Nobody gave it a slot in time.
    fn too_late(&self, queue: &ModelQueue, deadline: Option<Deadline>, waited: Duration) -> Rejection {
        let state = queue.lock();
        let retry_after = whole_seconds(self.time_to_drain(queue, &state).unwrap_or(waited));
        let explanation = state.condition.explanation.clone();
        match deadline {
            Some(Deadline { timeout, .. }) => {
                let explanation = format!("no slot became free in time ({explanation})");
                Rejection::Deadline { timeout, explanation, retry_after }
            }
            None => Rejection::TimedOut { waited, explanation, retry_after },
        }
    }

    /// Takes a slot if nobody waits before, or a place in the queue: under one lock, so that nobody overtakes.
    fn enter(
        &self,
        queue: &Arc<ModelQueue>,
        demand: &mut Option<Demand>,
        turn: Turn<'_>,
        trail: &Arc<Trail>,
        arrived: &Arrival,
    ) -> Result<Entry, Rejection> {
        let now = self.clock.now();
        let claim = &arrived.claim;
        let mut state = queue.lock();
        let first = match turn {
            Turn::Arrival(request) => {
                self.refuse_arrival(queue, &state, request, now)?;
                state.waiting.is_empty()
            }
            // Looked at under the lock: who comes after the last refusal is refused here.
            Turn::Return if self.ended.load(Ordering::Acquire) => {
                return Err(Rejection::ShuttingDown { retry_after: RESTART_TIME });
            }
            Turn::Return => true,
        };
        let lease = first.then(|| self.try_lease(&queue.name, &mut state.affinity, trail)).flatten();
        let (ticket, entry) = if let Some(lease) = lease {
            (state.waiting.pass(claim, now), Entry::Granted(lease))
        } else {
            let (sender, receiver) = oneshot::channel();
            let waiter = Waiter { sender, trail: Arc::clone(trail) };
            let ticket = match turn {
                Turn::Return => state.waiting.push_returned(waiter, claim, now),
                Turn::Arrival(_) => {
                    self.refuse_hopeless(queue, &state, arrived, now)?;
                    self.join(queue, &mut state, waiter, claim, now)?
                }
            };
            state.moved(now);
            (ticket, Entry::Waits { ticket, receiver })
        };
        if demand.is_none() {
            state.demand += 1;
            state.peak_demand = state.peak_demand.max(state.demand);
            state.flow.arrived();
            if matches!(entry, Entry::Granted(_)) {
                let policy = Arc::clone(&state.policy);
                state.flow.waited(Duration::ZERO, true, &policy.scale);
            }
            *demand = Some(Demand { queue: Arc::clone(queue), clock: self.clock, ticket, holds: false });
        } else if let Some(demand) = demand {
            demand.ticket = ticket;
        }
        Ok(entry)
    }

    /// Takes a place in the queue, of another one if it must be.
    fn join(
        &self,
        queue: &ModelQueue,
        state: &mut QueueState,
        waiter: Waiter,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Ticket, Rejection> {
        let full = |state: &QueueState| Rejection::QueueFull {
            waiting: state.waiting.len(),
            retry_after: self.when_to_come_back(queue, state, now),
        };
        let Ok((ticket, pushed_out)) = state.waiting.push(waiter, claim, now) else {
            return Err(full(state));
        };
        if let Some(waiter) = pushed_out {
            // It holds no slot, so that this frees none under the lock.
            drop(waiter.sender.send(Err(full(state))));
        }
        Ok(ticket)
    }

    /// Whether a new request may come in at all.
    fn refuse_arrival(
        &self,
        queue: &ModelQueue,
        state: &QueueState,
        request: &GenerationRequest,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        self.refuse_when_closed()?;
        if state.removed {
            return Err(Rejection::Removed { model: queue.name.clone() });
        }
        match state.quarantine.remaining(request, now) {
            Some(remaining) => Err(Rejection::Quarantined { retry_after: rounded_up(remaining) }),
            None => Ok(()),
        }
    }
}

/// Why somebody asks for a slot.
#[derive(Clone, Copy)]
pub(super) enum Turn<'a> {
    /// A new request.
    Arrival(&'a GenerationRequest),
    /// One that was accepted and lost its slot: it comes first, and is not refused.
    Return,
}

/// What became of a request that came in.
enum Entry {
    Granted(SlotLease),
    Waits { ticket: Ticket, receiver: oneshot::Receiver<Result<SlotLease, Rejection>> },
}
