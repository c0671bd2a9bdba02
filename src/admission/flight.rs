//! The client's end of a request under way.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::mpsc;

use super::journey::{Journey, Served};
use super::pace::{Pace, SharedPace};
use super::{Admission, Rejection};
use crate::generation::{Event, GenerationError, GenerationRequest};
use crate::units::ModelName;

/// Events besides those for tokens: `Started`, `Finished`, with some to spare.
const EVENTS_BESIDES_TOKENS: usize = 8;

/// A request that has a slot. Dropping it gives the request up: the slot is free within one iteration.
#[derive(Debug)]
pub struct Flight {
    /// What the engine tells; ends after `Finished` or `Failed`.
    events: mpsc::Receiver<Event>,
    served: Arc<OnceLock<Served>>,
    pace: SharedPace,
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
        // The journey ends without a last event only if the runtime ends before it.
        self.events.poll_recv(context).map(|event| event.unwrap_or(Event::Failed(GenerationError::Stopped)))
    }

    /// Who began to serve it; there once `Started` came.
    #[must_use]
    pub fn served(&self) -> Option<&Served> {
        self.served.get()
    }
}

/// When a client's request came in, and how logs call it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// The request's id.
    pub id: String,
}

impl From<Instant> for Arrival {
    /// An arrival without a name.
    fn from(at: Instant) -> Self {
        Self { at, id: String::new() }
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
        let journey = Journey::new(Arc::clone(self), queue, request.into(), sender, arrived.into());
        let (served, pace) = (journey.served(), journey.pace());
        journey.begin().await?;
        Ok(Flight { events, served, pace })
    }
}
