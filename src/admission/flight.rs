//! The client's end of a request under way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};

use super::journey::Journey;
use super::pace::{Pace, SharedPace};
use super::queue::{Claim, Ticket};
use super::{Admission, Rejection};
use crate::generation::{Event, GenerationError, GenerationRequest};
use crate::keys::Pass;
use crate::pool::InstanceIdentity;
use crate::units::{InstanceId, ModelName};

/// Who began to serve a request, and after how long a wait.
#[derive(Clone, Debug)]
pub struct Served {
    /// The instance; `None` if it is not this server's.
    pub instance: Option<InstanceId>,
    /// Its variant.
    pub variant: Arc<str>,
    /// The files of its model; see [`crate::catalog::CatalogModel::files`].
    pub files: u64,
    /// How long the request waited for its slot.
    pub waited: Duration,
}

impl Served {
    pub(super) fn by(instance: &InstanceIdentity, waited: Duration) -> Self {
        let InstanceIdentity { id, variant_name, files, .. } = instance;
        Self { instance: Some(*id), variant: Arc::clone(variant_name), files: *files, waited }
    }
}

/// Events besides those for tokens: `Started`, `Finished`, with some to spare.
const EVENTS_BESIDES_TOKENS: usize = 8;

/// A request that has a slot. Dropping it gives the request up: the slot is free within one iteration.
#[derive(Debug)]
pub struct Flight {
    /// What the engine tells; ends after `Finished` or `Failed`.
    events: mpsc::Receiver<Event>,
    served: Arc<OnceLock<Served>>,
    /// Bytes of events that were not taken yet.
    unread: Arc<AtomicU64>,
    countdown: Countdown,
    pace: SharedPace,
}

/// The time until a request's deadline, if it has one.
#[derive(Debug)]
pub struct Countdown(Option<(Deadline, Pin<Box<Sleep>>)>);

impl Countdown {
    /// Ends at a deadline.
    #[must_use]
    pub fn new(deadline: Option<Deadline>) -> Self {
        Self(deadline.map(|deadline| (deadline, Box::pin(sleep_until(deadline.at)))))
    }

    /// What the client is told, once the time is over.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<GenerationError> {
        let Some((deadline, sleep)) = &mut self.0 else { return Poll::Pending };
        ready!(sleep.as_mut().poll(context));
        let timeout_ms = u64::try_from(deadline.timeout.as_millis()).unwrap_or(u64::MAX);
        Poll::Ready(GenerationError::Deadline { timeout_ms })
    }
}

impl Flight {
    /// How it went so far, whether or not the events that tell it were taken.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace.read()
    }

    /// The next event; after the last one this is not called again.
    pub async fn next(&mut self) -> Event {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Flight::next`], for streams.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(event) = self.events.poll_recv(context) {
            if let Some(event) = &event {
                self.unread.fetch_sub(event.kept_bytes(), Ordering::Relaxed);
            }
            // The journey ends without a last event only if the runtime ends before it.
            return Poll::Ready(event.unwrap_or(Event::Failed(GenerationError::Stopped)));
        }
        self.countdown.poll(context).map(Event::Failed)
    }

    /// Who began to serve it; there once `Started` came.
    #[must_use]
    pub fn served(&self) -> Option<&Served> {
        self.served.get()
    }
}

/// A client's request as it came in: when, for whom, and how long it may take.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// How logs call it.
    pub id: String,
    /// On what terms it waits.
    pub claim: Claim,
    /// What its key's limits let in; it counts until the request is over.
    pub pass: Option<Arc<Pass>>,
    /// Until when the answer must be complete.
    pub deadline: Option<Deadline>,
    /// The most of the answer, in bytes, that is kept for a client that does not read it.
    pub send_buffer_bytes: u64,
    /// Where it stands while it waits.
    pub place: Place,
}

impl Arrival {
    /// An arrival without a key, that may take any time.
    #[must_use]
    pub fn new(at: Instant, id: impl Into<String>) -> Self {
        Self {
            at,
            id: id.into(),
            claim: Claim::default(),
            pass: None,
            deadline: None,
            send_buffer_bytes: u64::MAX,
            place: Place::default(),
        }
    }
}

impl From<Instant> for Arrival {
    /// An arrival without a name.
    fn from(at: Instant) -> Self {
        Self::new(at, String::new())
    }
}

/// The time that a client gives.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// Until when.
    pub at: tokio::time::Instant,
    /// How long that was when the request came.
    pub timeout: Duration,
}

/// Where a request stands, for others to look at: its ticket while it waits.
#[derive(Clone, Debug)]
pub struct Place(Arc<Standing>);

#[derive(Debug)]
struct Standing {
    ticket: AtomicU64,
    /// In the place of another request, whose answer it shares.
    with: OnceLock<Place>,
}

/// No ticket has this number.
const NOWHERE: u64 = u64::MAX;

impl Default for Place {
    fn default() -> Self {
        Self(Arc::new(Standing { ticket: AtomicU64::new(NOWHERE), with: OnceLock::new() }))
    }
}

impl Place {
    /// It stands where another one stands from now on.
    pub fn follow(&self, other: &Self) {
        drop(self.0.with.set(other.clone()));
    }

    pub(super) fn waits(&self, ticket: Ticket) {
        self.0.ticket.store(ticket.number(), Ordering::Relaxed);
    }

    pub(super) fn left(&self) {
        self.0.ticket.store(NOWHERE, Ordering::Relaxed);
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        let standing = self.0.with.get().map_or(&self.0, |other| &other.0);
        Some(standing.ticket.load(Ordering::Relaxed)).filter(|number| *number != NOWHERE).map(Ticket::of)
    }
}

impl Admission {
    /// Waits for a slot and starts the request in it.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if there is no slot for it.
    pub async fn submit(
        self: &Arc<Self>,
        model: &ModelName,
        mut request: GenerationRequest,
        arrived: impl Into<Arrival>,
    ) -> Result<Flight, Rejection> {
        let queue = self.queue(model).ok_or_else(|| Rejection::Removed { model: model.clone() })?;
        // Fixed now, so that no instance, whatever a new policy gives it, generates more than the channel holds:
        // each token has one event, and the engine never finds the channel full.
        let context_tokens = queue.policy().context_tokens;
        request.max_tokens = Some(request.max_tokens.map_or(context_tokens, |most| most.min(context_tokens)));
        let (sender, events) = mpsc::channel(context_tokens as usize + EVENTS_BESIDES_TOKENS);
        let arrived = arrived.into();
        let deadline = arrived.deadline;
        let journey = Journey::new(Arc::clone(self), queue, request.into(), sender, arrived);
        let (served, unread, pace) = (journey.served(), journey.unread(), journey.pace());
        journey.begin().await?;
        Ok(Flight { events, served, unread, countdown: Countdown::new(deadline), pace })
    }
}
