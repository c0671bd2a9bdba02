//! Waiting for a slot: under one lock per model, so that nobody overtakes and no wake-up is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::queue::Ticket;
use super::rejection::{rounded_up, whole_seconds};
use super::{Admission, Demand, ModelQueue, QueueState, RESTART_TIME, Rejection, Trail, Waiter};
use crate::generation::GenerationRequest;
use crate::pool::SlotLease;
use crate::units::Timestamp;

/// A slot, after a wait.
pub(super) struct Grant {
    pub(super) lease: SlotLease,
    pub(super) waited: Duration,
}

/// Leaves the queue when its request gives up or is dropped.
struct Waiting<'queue> {
    queue: &'queue ModelQueue,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The sender is dropped outside of the lock.
        let left = self.queue.lock().waiting.remove(self.ticket);
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
    ) -> Result<Grant, Rejection> {
        let begun = self.clock.now();
        let is_return = demand.as_mut().map(Demand::lose).is_some();
        let (ticket, receiver) = match self.enter(queue, demand, turn, trail, begun)? {
            Entry::Granted(lease) => {
                demand.as_mut().map(Demand::hold);
                return Ok(Grant { lease, waited: Duration::ZERO });
            }
            Entry::Waits { ticket, receiver } => (ticket, receiver),
        };
        if self.pool.load().instances(&queue.name).is_empty() {
            // Nothing is loaded: every millisecond counts. Otherwise the controller's next look is soon enough,
            // and waking it for every request of a burst would only take the CPU from them.
            self.wake.notify_one();
        }
        let _waiting = Waiting { queue, ticket };
        let outcome = tokio::time::timeout(queue.policy().queue.timeout, receiver).await;
        let waited = self.clock.now().since(begun);
        if !is_return {
            let mut state = queue.lock();
            let target = state.policy.scale.target_queue_wait;
            state.flow.waited(waited, target);
        }
        match outcome {
            Ok(Ok(Ok(lease))) => {
                demand.as_mut().map(Demand::hold);
                Ok(Grant { lease, waited })
            }
            Ok(Ok(Err(rejection))) => Err(rejection),
            Ok(Err(_)) | Err(_) => Err(Rejection::TimedOut {
                waited,
                explanation: queue.lock().condition.explanation.clone(),
                retry_after: whole_seconds(waited),
            }),
        }
    }

    /// Takes a slot if nobody waits before, or a place in the queue: under one lock, so that nobody overtakes.
    fn enter(
        &self,
        queue: &Arc<ModelQueue>,
        demand: &mut Option<Demand>,
        turn: Turn<'_>,
        trail: &Arc<Trail>,
        now: Timestamp,
    ) -> Result<Entry, Rejection> {
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
        let entry = if let Some(lease) = lease {
            Entry::Granted(lease)
        } else {
            let (sender, receiver) = oneshot::channel();
            let waiter = Waiter { sender, trail: Arc::clone(trail) };
            let ticket = match turn {
                Turn::Return => state.waiting.push_returned(waiter, now),
                Turn::Arrival(_) => state.waiting.push(waiter, now).map_err(|_| Rejection::QueueFull {
                    waiting: state.waiting.len(),
                    retry_after: whole_seconds(state.waiting.oldest_wait(now)),
                })?,
            };
            Entry::Waits { ticket, receiver }
        };
        if demand.is_none() {
            state.demand += 1;
            state.peak_demand = state.peak_demand.max(state.demand);
            state.flow.arrived();
            if matches!(entry, Entry::Granted(_)) {
                let target = state.policy.scale.target_queue_wait;
                state.flow.waited(Duration::ZERO, target);
            }
            *demand = Some(Demand { queue: Arc::clone(queue), clock: self.clock, holds: false });
        }
        Ok(entry)
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
