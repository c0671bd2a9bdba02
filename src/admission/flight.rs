//! A request under way: its sink in the engine, its events for the API, and its figures.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Admission, Demand, Grant, Rejection};
use crate::generation::{Event, EventSink, GenerationError, GenerationRequest};
use crate::pool::{InstanceCommand, InstanceIdentity, SlotLease};
use crate::telemetry::{ModelMetrics, Outcome};
use crate::units::ModelName;

/// Events besides those for tokens: `Started`, the text held back, `Finished`, with some to spare.
const EVENTS_BESIDES_TOKENS: usize = 8;

/// A request that has a slot. Dropping it gives the request up: the slot is free within one iteration.
#[derive(Debug)]
pub struct Flight {
    /// What the engine tells; ends after `Finished` or `Failed`.
    events: mpsc::Receiver<Event>,
    /// The instance that serves it.
    pub instance: InstanceIdentity,
    /// How long it waited for its slot.
    pub waited: Duration,
}

impl Flight {
    /// The next event. A sequence that is lost without a word counts as failed; after the last event this is
    /// not called again.
    pub async fn next(&mut self) -> Event {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Flight::next`], for streams.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let lost = || Event::Failed(GenerationError::Engine("the instance ended without an answer".into()));
        self.events.poll_recv(context).map(|event| event.unwrap_or_else(lost))
    }
}

impl Admission {
    /// Waits for a slot and starts the request in it. `arrived` is when the client's request came in.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if there is no slot for it.
    ///
    /// # Panics
    ///
    /// If the policy has no model of that name.
    pub async fn submit(
        &self,
        model: &ModelName,
        request: GenerationRequest,
        arrived: Instant,
    ) -> Result<Flight, Rejection> {
        let queue = self.models.get(model).expect("the API checked the model's name");
        let mut request = request;
        loop {
            let grant = self.acquire(queue).await.inspect_err(|rejection| {
                queue.metrics.rejected(rejection.name());
            })?;
            // Each token has at most one event, so the engine never finds this full.
            let capacity = queue.policy.context_tokens as usize + EVENTS_BESIDES_TOKENS;
            let (sender, events) = mpsc::channel(capacity);
            let instance = Arc::clone(grant.lease.instance());
            let waited = grant.waited;
            let sink = RequestSink::new(sender, queue.metrics.clone(), arrived, grant);
            match instance.send(InstanceCommand::Run(request, Box::new(sink))) {
                Ok(()) => return Ok(Flight { events, instance: instance.identity().clone(), waited }),
                Err(InstanceCommand::Run(returned, _sink)) => {
                    // Its thread has ended and the controller does not know yet. Nobody shall lease it again;
                    // this request, which lost nothing, goes to another.
                    instance.drain();
                    request = returned;
                }
                Err(_) => unreachable!("a command comes back as it was sent"),
            }
        }
    }
}

/// The engine's end of a request. Holds the slot, and frees it when the engine drops it.
struct RequestSink {
    events: mpsc::Sender<Event>,
    metrics: ModelMetrics,
    arrived: Instant,
    last_token: Option<Instant>,
    /// Whether there was text.
    spoke: bool,
    /// `None` until the end is known; a sink dropped before was cancelled or lost.
    outcome: Option<Outcome>,
    started: bool,
    waited: Duration,
    // Dropped in this order: first the slot is free, then the demand falls.
    _lease: SlotLease,
    _demand: Demand,
}

impl RequestSink {
    fn new(events: mpsc::Sender<Event>, metrics: ModelMetrics, arrived: Instant, grant: Grant) -> Self {
        Self {
            events,
            metrics,
            arrived,
            last_token: None,
            spoke: false,
            outcome: None,
            started: false,
            waited: grant.waited,
            _lease: grant.lease,
            _demand: grant.demand,
        }
    }
}

impl EventSink for RequestSink {
    fn emit(&mut self, event: Event) {
        match &event {
            Event::Started { prompt_tokens } => {
                self.started = true;
                self.metrics.queue_wait.record(self.waited);
                self.metrics.prompt_tokens.increment(u64::from(*prompt_tokens));
            }
            Event::Text(_) => {
                if !std::mem::replace(&mut self.spoke, true) {
                    self.metrics.ttft.record(self.arrived.elapsed());
                }
            }
            Event::Finished { .. } => {
                self.outcome = Some(Outcome::Completed);
                self.metrics.end_to_end.record(self.arrived.elapsed());
            }
            Event::Failed(GenerationError::Engine(_) | GenerationError::Stopped) => {
                self.outcome = Some(Outcome::Failed);
            }
            Event::Failed(_) => self.outcome = Some(Outcome::Refused),
        }
        // Closed: the client is gone, and `wanted` tells. Full: cannot be, by the channel's capacity.
        drop(self.events.try_send(event));
    }

    fn token(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_token.replace(now) {
            self.metrics.itl.record(now.duration_since(last));
        }
        self.metrics.generated_tokens.increment(1);
    }

    fn wanted(&self) -> bool {
        !self.events.is_closed()
    }
}

impl Drop for RequestSink {
    fn drop(&mut self) {
        let gone = self.events.is_closed();
        match self.outcome {
            Some(outcome) => self.metrics.ended(outcome),
            None if gone => self.metrics.ended(Outcome::Cancelled),
            None if self.started => self.metrics.ended(Outcome::Failed),
            // It never reached the engine and is sent again.
            None => {}
        }
    }
}
