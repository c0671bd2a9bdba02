//! Accepts, queues or refuses a request, and hands it a slot.
//!
//! A request leases an idle slot at once if nobody waits before it; otherwise it waits in its model's queue. Who
//! frees a slot hands it to the first in the queue, in the same step, so that no wake-up is lost and nobody
//! overtakes: leasing and queueing happen under one lock per model.

mod flight;
pub mod queue;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

pub use flight::Flight;
use queue::{Ticket, WaitQueue};

use crate::clock::Clock;
use crate::dispatch;
use crate::policy::ModelPolicy;
use crate::pool::{Pool, SlotLease};
use crate::telemetry::{ModelMetrics, Outcome};
use crate::units::{ModelName, Timestamp};
use crate::view::QueueSignals;

/// Why a request got no slot. Each says when to come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// As many wait as may.
    #[error("this model's queue is full ({waiting} waiting); try again in {} s", .retry_after.as_secs())]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// When to come back.
        retry_after: Duration,
    },
    /// No slot became free in time.
    #[error("no slot became free within {} ms ({explanation}); try again in {} s", .waited.as_millis(), .retry_after.as_secs())]
    TimedOut {
        /// How long it waited.
        waited: Duration,
        /// What the controller says about the model.
        explanation: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The model cannot be loaded.
    #[error("the model cannot be loaded: {reason}; try again in {} s", .retry_after.as_secs())]
    CannotLoad {
        /// Why not.
        reason: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The server takes nothing new.
    #[error("the server is shutting down; try again in {} s, or ask another one", .retry_after.as_secs())]
    ShuttingDown {
        /// When to come back.
        retry_after: Duration,
    },
}

impl Rejection {
    /// The reason's name in metrics: a closed set.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_full",
            Self::TimedOut { .. } => "queue_timeout",
            Self::CannotLoad { .. } => "model_load_failed",
            Self::ShuttingDown { .. } => "shutting_down",
        }
    }

    /// When to come back.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        match self {
            Self::QueueFull { retry_after, .. }
            | Self::TimedOut { retry_after, .. }
            | Self::CannotLoad { retry_after, .. }
            | Self::ShuttingDown { retry_after } => *retry_after,
        }
    }
}

/// What a restarted server is given before clients come back.
pub const RESTART_TIME: Duration = Duration::from_secs(5);

type Waiter = oneshot::Sender<Result<SlotLease, Rejection>>;

struct QueueState {
    waiting: WaitQueue<Waiter>,
    /// Requests that wait or hold a slot.
    demand: u32,
    /// The highest demand since the last observation.
    peak_demand: u32,
    /// What the controller last said about the model.
    explanation: String,
}

/// The queue of one model.
struct ModelQueue {
    policy: Arc<ModelPolicy>,
    metrics: ModelMetrics,
    state: Mutex<QueueState>,
}

impl ModelQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Every change below is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot, and the proof that its request counts as demand.
struct Grant {
    lease: SlotLease,
    demand: Demand,
    waited: Duration,
}

/// Counts one request as demand until it is dropped.
struct Demand(Arc<ModelQueue>);

impl Drop for Demand {
    fn drop(&mut self) {
        self.0.lock().demand -= 1;
    }
}

/// Leaves the queue when its request gives up or is dropped.
struct Waiting<'queue> {
    queue: &'queue ModelQueue,
    ticket: Ticket,
    /// Whether the wait came to an end; if not, the client left.
    ended: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The sender is dropped outside of the lock.
        let left = self.queue.lock().waiting.remove(self.ticket);
        drop(left);
        if !self.ended {
            self.queue.metrics.ended(Outcome::Cancelled);
        }
    }
}

/// The way in for all requests.
pub struct Admission {
    pool: Arc<Pool>,
    clock: Clock,
    models: HashMap<ModelName, Arc<ModelQueue>>,
    closed: AtomicBool,
    /// Tells the controller that somebody waits for a model without instances.
    wake: Arc<Notify>,
}

impl Admission {
    /// Open, with empty queues. `wake` is notified when a request waits for a model without instances.
    #[must_use]
    pub fn new(pool: Arc<Pool>, clock: Clock, policies: &[Arc<ModelPolicy>], wake: Arc<Notify>) -> Self {
        let queue = |policy: &Arc<ModelPolicy>| {
            let state = QueueState {
                waiting: WaitQueue::new(policy.queue.max_requests as usize),
                demand: 0,
                peak_demand: 0,
                explanation: "nothing is loaded yet".into(),
            };
            let metrics = ModelMetrics::new(&policy.name);
            Arc::new(ModelQueue { policy: Arc::clone(policy), metrics, state: Mutex::new(state) })
        };
        let models = policies.iter().map(|policy| (policy.name.clone(), queue(policy))).collect();
        Self { pool, clock, models, closed: AtomicBool::new(false), wake }
    }

    /// Takes no new requests from now on; those that wait or run go on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether [`Admission::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Requests that wait or run, of all models.
    #[must_use]
    pub fn demand(&self) -> u32 {
        self.models.values().map(|queue| queue.lock().demand).sum()
    }

    /// What the controller needs to know about a model's queue. Starts a new peak.
    #[must_use]
    pub fn observe(&self, model: &ModelName) -> QueueSignals {
        let Some(queue) = self.models.get(model) else { return QueueSignals::default() };
        let mut state = queue.lock();
        let depth = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
        let peak_demand = std::mem::replace(&mut state.peak_demand, 0).max(state.demand);
        QueueSignals {
            depth,
            oldest_wait: state.waiting.oldest_wait(self.clock.now()),
            in_flight: state.demand.saturating_sub(depth),
            peak_demand,
        }
    }

    /// Remembers what the controller says about a model, for those whose wait ends without a slot.
    pub fn explain(&self, model: &ModelName, explanation: String) {
        if let Some(queue) = self.models.get(model) {
            queue.lock().explanation = explanation;
        }
    }

    /// Refuses all that wait for a model, because it cannot be loaded.
    pub fn refuse_waiting(&self, model: &ModelName, reason: &str, retry_after: Duration) {
        let retry_after = whole_seconds(retry_after);
        if let Some(queue) = self.models.get(model) {
            refuse(queue, &Rejection::CannotLoad { reason: reason.into(), retry_after });
        }
    }

    /// Refuses all that wait for any model, because the server stops and will not get to them.
    pub fn refuse_all(&self) {
        for queue in self.models.values() {
            refuse(queue, &Rejection::ShuttingDown { retry_after: RESTART_TIME });
        }
    }

    /// Hands free slots of a model to those who wait for it. Called when a slot became free or an instance ready.
    pub fn dispatch(&self, model: &ModelName) {
        let Some(queue) = self.models.get(model) else { return };
        let mut spare = None;
        {
            let mut state = queue.lock();
            while !state.waiting.is_empty() {
                let Some(lease) = spare.take().or_else(|| self.try_lease(model)) else { break };
                let Some(waiter) = state.waiting.pop() else { break };
                if let Err(Ok(returned)) = waiter.send(Ok(lease)) {
                    // This one gave up just now; the slot goes to the next. It must not be dropped under the
                    // lock: freeing a slot dispatches again.
                    spare = Some(returned);
                }
            }
        }
        drop(spare);
    }

    /// Leases the best idle slot of a model.
    fn try_lease(&self, model: &ModelName) -> Option<SlotLease> {
        loop {
            let snapshot = self.pool.load();
            let instances = snapshot.instances(model);
            let views = instances.iter().map(|instance| instance.view(0));
            let lease = instances[dispatch::choose(views)?].try_lease();
            if lease.is_some() {
                return lease;
            }
            // Another request was faster, or the instance began to drain: look again.
            std::hint::spin_loop();
        }
    }

    /// Waits for a slot.
    async fn acquire(&self, queue: &Arc<ModelQueue>) -> Result<Grant, Rejection> {
        let begun = self.clock.now();
        let (demand, ticket, receiver) = match self.enter(queue, begun)? {
            Entry::Granted(grant) => return Ok(grant),
            Entry::Waits { demand, ticket, receiver } => (demand, ticket, receiver),
        };
        if self.pool.load().instances(&queue.policy.name).is_empty() {
            // Nothing is loaded: every millisecond counts. Otherwise the controller's next look is soon enough,
            // and waking it for every request of a burst would only take the CPU from them.
            self.wake.notify_one();
        }
        let mut waiting = Waiting { queue, ticket, ended: false };
        let outcome = tokio::time::timeout(queue.policy.queue.timeout, receiver).await;
        waiting.ended = true;
        let waited = self.clock.now().since(begun);
        match outcome {
            Ok(Ok(Ok(lease))) => Ok(Grant { lease, demand, waited }),
            Ok(Ok(Err(rejection))) => Err(rejection),
            Ok(Err(_)) | Err(_) => Err(Rejection::TimedOut {
                waited,
                explanation: queue.lock().explanation.clone(),
                retry_after: whole_seconds(waited),
            }),
        }
    }

    /// Takes a slot if nobody waits before, or a place in the queue: under one lock, so that nobody overtakes.
    fn enter(&self, queue: &Arc<ModelQueue>, now: Timestamp) -> Result<Entry, Rejection> {
        let mut state = queue.lock();
        if self.is_closed() {
            return Err(Rejection::ShuttingDown { retry_after: RESTART_TIME });
        }
        let lease = if state.waiting.is_empty() { self.try_lease(&queue.policy.name) } else { None };
        let demand = |state: &mut QueueState| {
            state.demand += 1;
            state.peak_demand = state.peak_demand.max(state.demand);
            Demand(Arc::clone(queue))
        };
        if let Some(lease) = lease {
            return Ok(Entry::Granted(Grant { lease, demand: demand(&mut state), waited: Duration::ZERO }));
        }
        let (sender, receiver) = oneshot::channel();
        match state.waiting.push(sender, now) {
            Ok(ticket) => Ok(Entry::Waits { demand: demand(&mut state), ticket, receiver }),
            Err(_) => Err(Rejection::QueueFull {
                waiting: state.waiting.len(),
                retry_after: whole_seconds(state.waiting.oldest_wait(now)),
            }),
        }
    }
}

/// What became of a request that came in.
enum Entry {
    Granted(Grant),
    Waits { demand: Demand, ticket: Ticket, receiver: oneshot::Receiver<Result<SlotLease, Rejection>> },
}

/// Refuses all that wait in a queue.
fn refuse(queue: &ModelQueue, rejection: &Rejection) {
    let waiters: Vec<Waiter> = {
        let mut state = queue.lock();
        std::iter::from_fn(|| state.waiting.pop()).collect()
    };
    for waiter in waiters {
        // Whoever gave up in the meantime needs no answer.
        drop(waiter.send(Err(rejection.clone())));
    }
}

/// A time to come back in: whole seconds, at least one, at most a minute.
fn whole_seconds(wait: Duration) -> Duration {
    let rounded_up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(rounded_up.clamp(1, 60))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
