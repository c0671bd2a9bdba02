//! Accepts, queues or refuses a request, and hands it a slot.
//!
//! A request leases an idle slot at once if nobody waits before it; otherwise it waits in its model's queue. Who
//! frees a slot hands it to the first in the queue, in the same step, so that no wake-up is lost and nobody
//! overtakes: leasing and queueing happen under one lock per model. A request whose instance is lost comes back and
//! continues elsewhere; see `journey.rs`.

mod ask;
mod demand;
mod drain;
mod flight;
pub mod flow;
mod journey;
mod outlook;
mod pace;
mod quarantine;
pub mod queue;
mod record;
mod rejection;
mod resume;
pub mod share;
mod wait;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};

pub use ask::AskError;
use demand::Demand;
use drain::DrainMeter;
pub use flight::{Arrival, Countdown, Deadline, Flight, Place, Served};
use flow::FlowMeter;
pub use outlook::Outlook;
pub use pace::Pace;
use quarantine::{Fingerprint, Quarantine};
use queue::WaitQueue;
pub use record::tell_replayed;
use rejection::whole_seconds;
pub use rejection::{RESTART_TIME, Rejection};
use wait::{Grant, Turn};

use crate::clock::Clock;
use crate::dispatch::affinity::{Affinity, Trail};
use crate::dispatch::{self, Holder};
use crate::policy::ModelPolicy;
use crate::pool::{Pool, SlotLease};
use crate::telemetry::ModelMetrics;
use crate::units::{ModelName, Timestamp};
use crate::view::QueueSignals;

/// What the controller says about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Why it has as many instances as it has.
    pub explanation: String,
    /// What failed last, if it was not overcome since.
    pub trouble: Option<String>,
    /// Whether requests are refused because of it.
    pub crash_loop: bool,
    /// The instance that will be ready first, of those that start.
    pub loading: Option<Loading>,
}

/// An instance that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading {
    /// For how long it has.
    pub elapsed: Duration,
    /// How long that took the last time, or is guessed to.
    pub expected: Duration,
}

/// Who waits for a slot, and for which prompt.
struct Waiter {
    sender: oneshot::Sender<Result<SlotLease, Rejection>>,
    trail: Arc<Trail>,
}

struct QueueState {
    policy: Arc<ModelPolicy>,
    waiting: WaitQueue<Waiter>,
    /// Which instance has computed which beginnings of prompts.
    affinity: Affinity,
    /// Requests that wait or hold a slot.
    demand: u32,
    /// The highest demand since the last observation.
    peak_demand: u32,
    /// What happened since then.
    flow: FlowMeter,
    /// How fast the queue moves.
    drain: DrainMeter,
    /// What the controller last said about the model.
    condition: Condition,
    quarantine: Quarantine,
    /// The model is gone: nobody may wait here any more.
    removed: bool,
}

/// The queue of one model.
struct ModelQueue {
    name: ModelName,
    metrics: ModelMetrics,
    /// Held by the one request under suspicion that may run before it has shown that it can; see `resume.rs`.
    probation: Arc<Semaphore>,
    /// Notified when an instance may have become ready, for those who need no slot.
    ready: Notify,
    state: Mutex<QueueState>,
}

impl ModelQueue {
    fn new(policy: &Arc<ModelPolicy>) -> Self {
        let state = QueueState {
            policy: Arc::clone(policy),
            waiting: WaitQueue::new(policy.queue.max_requests as usize),
            affinity: Affinity::default(),
            demand: 0,
            peak_demand: 0,
            flow: FlowMeter::default(),
            drain: DrainMeter::default(),
            condition: Condition {
                explanation: "nothing is loaded yet".into(),
                trouble: None,
                crash_loop: false,
                loading: None,
            },
            quarantine: Quarantine::default(),
            removed: false,
        };
        Self {
            name: policy.name.clone(),
            metrics: ModelMetrics::new(&policy.name),
            probation: Arc::new(Semaphore::new(1)),
            ready: Notify::new(),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Every change below is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policy(&self) -> Arc<ModelPolicy> {
        Arc::clone(&self.lock().policy)
    }
}

impl QueueState {
    /// The queue has become longer or shorter.
    fn moved(&mut self, now: Timestamp) {
        self.drain.waits(!self.waiting.is_empty(), now);
    }
}

/// The way in for all requests.
pub struct Admission {
    pool: Arc<Pool>,
    clock: Clock,
    models: RwLock<HashMap<ModelName, Arc<ModelQueue>>>,
    closed: AtomicBool,
    /// An operator wants no new requests for a while.
    paused: AtomicBool,
    /// Nobody is served any more, whoever was accepted.
    ended: AtomicBool,
    /// Where requests that lost their instance find another one.
    runtime: Handle,
    /// Tells the controller that somebody waits for a model without instances.
    wake: Arc<Notify>,
}

impl Admission {
    /// Open, with empty queues. `wake` is notified when a request waits for a model without instances.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(pool: Arc<Pool>, clock: Clock, policies: &[Arc<ModelPolicy>], wake: Arc<Notify>) -> Self {
        let admission = Self {
            pool,
            clock,
            models: RwLock::default(),
            closed: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            runtime: Handle::current(),
            wake,
        };
        admission.apply(policies);
        admission
    }

    /// Follows these policies from now on. Who waits stays; models that are not named keep their queues until
    /// [`Admission::remove`].
    pub fn apply(&self, policies: &[Arc<ModelPolicy>]) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        for policy in policies {
            let queue =
                models.entry(policy.name.clone()).or_insert_with(|| Arc::new(ModelQueue::new(policy)));
            let mut state = queue.lock();
            state.waiting.set_max(policy.queue.max_requests as usize);
            state.policy = Arc::clone(policy);
        }
    }

    /// Closes the queue of a model that is gone; false if somebody waits or runs there.
    pub fn remove(&self, model: &ModelName) -> bool {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = models.get(model) {
            let mut state = queue.lock();
            if state.demand > 0 {
                return false;
            }
            state.removed = true;
        }
        models.remove(model);
        true
    }

    fn queue(&self, model: &ModelName) -> Option<Arc<ModelQueue>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    fn queues(&self) -> Vec<Arc<ModelQueue>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Takes no new requests from now on; those that wait or run go on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Takes no new requests while `paused`; those that wait or run go on. Does not undo [`Admission::close`].
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// Whether no new requests are taken, for whichever reason.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.refuse_when_closed().is_err()
    }

    /// Lets requests pass while new ones are taken.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if none are.
    pub fn refuse_when_closed(&self) -> Result<(), Rejection> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Rejection::ShuttingDown { retry_after: RESTART_TIME });
        }
        if self.paused.load(Ordering::Acquire) {
            return Err(Rejection::Paused { retry_after: RESTART_TIME });
        }
        Ok(())
    }

    /// Requests that wait or run, of all models.
    #[must_use]
    pub fn demand(&self) -> u32 {
        self.queues().iter().map(|queue| queue.lock().demand).sum()
    }

    /// What the controller needs to know about a model's queue. Starts a new peak.
    #[must_use]
    pub fn observe(&self, model: &ModelName) -> QueueSignals {
        let Some(queue) = self.queue(model) else { return QueueSignals::default() };
        let mut state = queue.lock();
        let depth = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
        let peak_demand = std::mem::replace(&mut state.peak_demand, 0).max(state.demand);
        let now = self.clock.now();
        QueueSignals {
            depth,
            oldest_wait: state.waiting.oldest_wait(now),
            in_flight: state.demand.saturating_sub(depth),
            peak_demand,
            flow: state.flow.take(now),
        }
    }

    /// Remembers what the controller says about a model, for those whose wait ends without a slot and for
    /// operators.
    pub fn explain(&self, model: &ModelName, condition: Condition) {
        if let Some(queue) = self.queue(model) {
            queue.lock().condition = condition;
        }
    }

    /// What the controller last said about a model.
    #[must_use]
    pub fn condition(&self, model: &ModelName) -> Option<Condition> {
        self.queue(model).map(|queue| queue.lock().condition.clone())
    }

    /// Refuses those who wait for a model and never had a slot, because it cannot be loaded. Who lost a slot was
    /// accepted, and waits as long as the policy lets anybody wait.
    pub fn refuse_waiting(&self, model: &ModelName, reason: &str, retry_after: Duration) {
        let retry_after = whole_seconds(retry_after);
        if let Some(queue) = self.queue(model) {
            let rejection = Rejection::CannotLoad { reason: reason.into(), retry_after };
            refuse(&queue, &rejection, self.clock.now(), WaitQueue::pop_arrival);
        }
    }

    /// Refuses all that wait for any model, and all that lose their instance from now on: the server stops and will
    /// not get to them.
    pub fn refuse_all(&self) {
        self.ended.store(true, Ordering::Release);
        for queue in self.queues() {
            let rejection = Rejection::ShuttingDown { retry_after: RESTART_TIME };
            refuse(&queue, &rejection, self.clock.now(), WaitQueue::pop);
        }
    }

    /// Hands free slots of a model to those who wait for it. Called when a slot became free or an instance ready.
    pub fn dispatch(&self, model: &ModelName) {
        let Some(queue) = self.queue(model) else { return };
        queue.ready.notify_waiters();
        let mut spare = None;
        {
            let mut state = queue.lock();
            let now = self.clock.now();
            while let Some(trail) = state.waiting.first(now).map(|waiter| Arc::clone(&waiter.trail)) {
                let lease = spare.take().or_else(|| self.try_lease(model, &mut state.affinity, &trail));
                let Some(lease) = lease else { break };
                let Some((ticket, waiter)) = state.waiting.serve(now) else { break };
                match waiter.sender.send(Ok(lease)) {
                    Ok(()) => state.drain.served(),
                    // This one gave up just now; the slot goes to the next. It must not be dropped under the
                    // lock: freeing a slot dispatches again.
                    Err(returned) => {
                        state.waiting.decline(ticket);
                        spare = returned.ok();
                    }
                }
            }
            state.moved(now);
        }
        drop(spare);
    }

    /// Leases the best idle slot of a model for a prompt.
    fn try_lease(&self, model: &ModelName, affinity: &mut Affinity, trail: &Trail) -> Option<SlotLease> {
        loop {
            let snapshot = self.pool.load();
            let instances = snapshot.instances(model);
            let index = |id| instances.iter().position(|instance| instance.identity().id == id);
            let holder = affinity.holder(trail, |id| index(id).is_some());
            let holder = holder.and_then(|(id, share)| Some(Holder { index: index(id)?, share }));
            let loads = instances.iter().map(|instance| instance.load());
            let lease = instances[dispatch::choose(loads, holder)?].try_lease();
            if let Some(lease) = &lease {
                affinity.serves(trail, lease.instance().identity().id);
            }
            if lease.is_some() {
                return lease;
            }
            // Another request was faster, or the instance began to drain: look again.
            std::hint::spin_loop();
        }
    }
}

/// Refuses all that `pop` takes out of a queue.
fn refuse(
    queue: &ModelQueue,
    rejection: &Rejection,
    now: Timestamp,
    pop: impl Fn(&mut WaitQueue<Waiter>, Timestamp) -> Option<Waiter>,
) {
    let waiters: Vec<Waiter> = {
        let mut state = queue.lock();
        let waiters = std::iter::from_fn(|| pop(&mut state.waiting, now)).collect();
        state.moved(now);
        waiters
    };
    for waiter in waiters {
        // Whoever gave up in the meantime needs no answer.
        drop(waiter.sender.send(Err(rejection.clone())));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
