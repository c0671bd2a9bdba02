//! One client's end of an answer, whoever computes it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::CacheStatus;
use super::key::Key;
use super::model::{Found, ModelCache};
use super::recording::Recording;
use crate::admission::{self, Arrival, Countdown, Flight, Pace, Rejection, Served};
use crate::generation::{Event, Usage};
use crate::keys::Pass;
use crate::telemetry::Outcome;
use crate::units::ModelName;

/// Hears an answer from its beginning. Dropping it gives the answer up, unless others listen.
#[derive(Debug)]
pub enum Listener {
    /// To one that is computed for it alone.
    Alone(Flight),
    /// To one that others may hear as well.
    Shared(Box<Shared>),
}

impl Listener {
    /// The next event; after the last one this is not called again.
    pub async fn next(&mut self) -> Event {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Listener::next`], for streams.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        match self {
            Self::Alone(flight) => flight.poll_next(context),
            Self::Shared(shared) => shared.poll_next(context),
        }
    }

    /// Who began to serve it; there once `Started` came.
    #[must_use]
    pub fn served(&self) -> Option<&Served> {
        match self {
            Self::Alone(flight) => flight.served(),
            Self::Shared(shared) => shared.recording.served.get(),
        }
    }

    /// How it went, as far as its events were taken at least. What was kept took no time.
    #[must_use]
    pub fn pace(&self) -> Pace {
        match self {
            Self::Alone(flight) => flight.pace(),
            Self::Shared(shared) => shared.pace(),
        }
    }

    /// Where the answer is from; `None` where none is kept.
    #[must_use]
    pub fn status(&self) -> Option<CacheStatus> {
        match self {
            Self::Alone(_) => None,
            Self::Shared(shared) => Some(shared.status()),
        }
    }
}

/// A listener to an answer that others may hear as well.
pub struct Shared {
    cache: Arc<ModelCache>,
    key: Key,
    model: ModelName,
    recording: Arc<Recording>,
    /// Its number among the listeners.
    number: usize,
    status: CacheStatus,
    /// The index of the next event.
    next: usize,
    /// What the events so far count.
    usage: Usage,
    outcome: Outcome,
    countdown: Countdown,
    id: String,
    arrived: Instant,
    /// Counts as one of its key's requests; what is computed has it with the computation.
    pass: Option<Arc<Pass>>,
}

impl Shared {
    pub(super) fn new(
        cache: Arc<ModelCache>,
        key: Key,
        model: ModelName,
        found: Found,
        arrival: Arrival,
    ) -> Self {
        Self {
            cache,
            key,
            model,
            recording: found.recording,
            number: found.listener,
            status: found.status,
            next: 0,
            usage: Usage::default(),
            outcome: Outcome::Cancelled,
            countdown: Countdown::new(arrival.deadline),
            pass: arrival.pass.filter(|_| found.status != CacheStatus::Miss),
            id: arrival.id,
            arrived: arrival.at,
        }
    }

    /// Waits until there is something to hear.
    pub(super) async fn accepted(&mut self) -> Result<(), Rejection> {
        let accepted = poll_fn(|context| {
            if let Poll::Ready(event) = self.recording.poll(self.next, self.number, context) {
                return Poll::Ready(event.map(drop));
            }
            // The first event tells that it is too late.
            self.countdown.poll(context).map(|_| Ok(()))
        });
        let accepted = accepted.await;
        if accepted.is_err() {
            self.outcome = Outcome::Rejected;
        }
        accepted
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let event = match self.recording.poll(self.next, self.number, context) {
            Poll::Ready(Ok(event)) => event,
            // Nothing is refused after its first event.
            Poll::Ready(Err(_)) | Poll::Pending => Event::Failed(ready!(self.countdown.poll(context))),
        };
        self.next += 1;
        match &event {
            Event::Started { prompt_tokens } => self.usage.prompt_tokens = *prompt_tokens,
            Event::Token { .. } => self.usage.completion_tokens += 1,
            Event::Finished { usage, .. } => {
                (self.usage, self.outcome) = (*usage, Outcome::Completed);
                self.pass = None;
            }
            Event::Failed(_) => self.outcome = Outcome::Failed,
            Event::Cached { .. } | Event::Embedding(_) => {}
        }
        Poll::Ready(event)
    }

    fn status(&self) -> CacheStatus {
        match self.status {
            CacheStatus::Miss if self.recording.is_foreign.load(Ordering::Relaxed) => CacheStatus::Hit,
            status => status,
        }
    }

    fn pace(&self) -> Pace {
        let pace = match self.status() {
            CacheStatus::Hit => Pace::default(),
            CacheStatus::Shared | CacheStatus::Miss => self.recording.pace(),
        };
        pace.with_usage(self.usage)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("status", &self.status)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.cache.leave(self.key, &self.recording, self.number);
        // What was computed has a line of its own.
        if self.status() != CacheStatus::Miss {
            let served = self.recording.served.get();
            let (status, usage) = (self.status().name(), self.usage);
            admission::tell_replayed(
                &self.model,
                &self.id,
                self.arrived,
                self.outcome,
                served,
                usage,
                status,
            );
        }
    }
}
