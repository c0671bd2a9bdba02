//! A request's way through the pool, from instance to instance if need be.
//!
//! The journey outlives the instance that serves it: it keeps the request, every token so far and the client's
//! channel. The instance's engine holds it inside a sink, together with the lease. When the instance is lost, the
//! sink hands the journey back, and it goes on in another instance from the prompt and the tokens that were sent:
//! the client sees a pause. What was sent is never generated again, what was not is never skipped, because a token
//! and its text come in one event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::pace::SharedPace;
use super::record::Record;
use super::resume::{History, Verdict};
use super::{Admission, Arrival, Demand, Fingerprint, Grant, ModelQueue, Rejection, Served, Trail, Turn};
use crate::generation::{Event, EventSink, GenerationError, Loss, SequenceSpec, Suspicion, Token, Usage};
use crate::pool::{InstanceCommand, SlotLease};
use crate::telemetry::Outcome;

/// A request under way.
pub(super) struct Journey {
    admission: Arc<Admission>,
    queue: Arc<ModelQueue>,
    spec: SequenceSpec,
    /// To the client. Holds an event for each token that can come.
    events: mpsc::Sender<Event>,
    /// Bytes of events that the client has not taken yet.
    unread: Arc<AtomicU64>,
    served: Arc<OnceLock<Served>>,
    pace: SharedPace,
    /// The files of the model that began the answer.
    files: Option<u64>,
    arrived: Arrival,
    trail: Arc<Trail>,
    record: Record,
    /// When the last instance was lost, until the next token.
    lost: Option<Instant>,
    history: History,
    started: bool,
    /// Whether there was text.
    spoke: bool,
    /// `None` until the end is known.
    outcome: Option<Outcome>,
    demand: Option<Demand>,
}

impl Journey {
    pub(super) fn new(
        admission: Arc<Admission>,
        queue: Arc<ModelQueue>,
        spec: SequenceSpec,
        events: mpsc::Sender<Event>,
        arrived: Arrival,
    ) -> Self {
        let request = &spec.request;
        let trail = if request.reuse_prefix { Trail::of(&request.prompt) } else { Trail::default() };
        Self {
            admission,
            queue,
            trail: Arc::new(trail),
            spec,
            events,
            unread: Arc::default(),
            served: Arc::default(),
            pace: SharedPace::default(),
            files: None,
            record: Record::new(arrived.at),
            arrived,
            lost: None,
            history: History::default(),
            started: false,
            spoke: false,
            outcome: None,
            demand: None,
        }
    }

    pub(super) fn served(&self) -> Arc<OnceLock<Served>> {
        Arc::clone(&self.served)
    }

    pub(super) fn unread(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.unread)
    }

    pub(super) fn pace(&self) -> SharedPace {
        self.pace.clone()
    }

    /// Waits for the first slot and departs.
    pub(super) async fn begin(mut self) -> Result<(), Rejection> {
        let turn = Turn::Arrival(&self.spec.request);
        match self.admission.acquire(&self.queue, &mut self.demand, turn, &self.trail, &self.arrived).await {
            Ok(Grant { lease, waited, is_cold }) => {
                self.record.waited = waited;
                self.record.is_cold = is_cold;
                self.pace.got_slot();
                self.depart(lease, None);
                Ok(())
            }
            Err(rejection) => {
                self.outcome = Some(Outcome::Rejected);
                self.record.waited = self.arrived.at.elapsed();
                self.record.reason = Some(format!("{}: {rejection}", rejection.name()));
                self.queue.metrics.rejected(rejection.name());
                Err(rejection)
            }
        }
    }

    /// Goes to the instance of a lease.
    fn depart(self, lease: SlotLease, probation: Option<OwnedSemaphorePermit>) {
        let instance = Arc::clone(lease.instance());
        let files = instance.identity().files;
        if !self.spec.generated.is_empty() && self.files.is_some_and(|begun| begun != files) {
            drop(lease);
            return self.give_up("the model was replaced by another while it answered".into());
        }
        let spec = self.spec.clone();
        let sink = Box::new(RequestSink { journey: Some(self), lease: Some(lease), probation });
        if let Err(command) = instance.send(InstanceCommand::Run(spec, sink)) {
            // It has ended and the controller does not know yet. Nobody shall lease it again.
            instance.drain();
            let InstanceCommand::Run(_, sink) = command else {
                unreachable!("a command comes back as it was sent")
            };
            sink.lost(Loss::Undelivered);
        }
    }

    /// The instance is gone, the request is not.
    fn lost(mut self, loss: Loss) {
        if self.events.is_closed() {
            return;
        }
        let on_probation = match loss {
            Loss::Undelivered => self.history.strikes > 0,
            Loss::Interrupted { reason, suspicion } => {
                self.lost.get_or_insert_with(Instant::now);
                let tokens = self.spec.generated.len();
                tracing::debug!(model = %self.queue.name, request = self.arrived.id, tokens, ?suspicion, reason,
                    "a request lost its instance");
                match self.history.interrupted(suspicion) {
                    Verdict::Resume { on_probation } => {
                        self.queue.metrics.resumes.increment(1);
                        on_probation
                    }
                    Verdict::GiveUp => return self.give_up(reason),
                    Verdict::Poison => return self.condemn(reason),
                }
            }
        };
        let runtime = self.admission.runtime.clone();
        runtime.spawn(async move {
            let events = self.events.clone();
            tokio::select! {
                biased;
                () = events.closed() => {}
                () = self.go_on(on_probation) => {}
            }
        });
    }

    /// Waits for another slot and departs.
    async fn go_on(mut self, on_probation: bool) {
        let probation = if on_probation {
            let permit = Arc::clone(&self.queue.probation).acquire_owned().await;
            Some(permit.expect("the semaphore is never closed"))
        } else {
            None
        };
        let turn = Turn::Return;
        match self.admission.acquire(&self.queue, &mut self.demand, turn, &self.trail, &self.arrived).await {
            Ok(grant) => self.depart(grant.lease, probation),
            Err(Rejection::ShuttingDown { .. }) => self.end(GenerationError::Stopped),
            Err(rejection) => self.give_up(rejection.to_string()),
        }
    }

    fn give_up(self, reason: String) {
        let interruptions = self.history.interruptions;
        self.end(GenerationError::Lost { interruptions, reason });
    }

    fn condemn(self, reason: String) {
        let fingerprint = Fingerprint::of(&self.spec.request);
        let now = self.admission.clock.now();
        self.queue.lock().quarantine.add(fingerprint, now);
        self.queue.metrics.quarantined.increment(1);
        tracing::error!(model = %self.queue.name, request = self.arrived.id, workers = self.history.strikes, reason,
            "a request ends the workers that serve it; it is refused from now on");
        let workers = self.history.strikes;
        self.end(GenerationError::Poison { workers, reason });
    }

    fn end(mut self, error: GenerationError) {
        self.emit(Event::Failed(error));
    }

    /// Takes what the instance tells and passes on what the client needs.
    fn emit(&mut self, event: Event) {
        if self.outcome.is_some() {
            // The worker had not heard of the end yet.
            return;
        }
        match &event {
            Event::Started { prompt_tokens } => {
                if !self.started(*prompt_tokens) {
                    return;
                }
            }
            // Of an instance that goes on with what another one began, it would count the answer, too.
            Event::Cached { tokens } => {
                if self.spec.generated.is_empty() {
                    self.pace.cached(*tokens);
                }
                return;
            }
            Event::Token { token, text, .. } => self.token(*token, text),
            // The end comes with it.
            Event::Embedding(_) => {}
            Event::Finished { text, usage, .. } => self.finished(text, *usage),
            Event::Failed(error) => {
                self.record.reason = Some(error.to_string());
                self.outcome = Some(match error {
                    GenerationError::Lost { .. }
                    | GenerationError::Poison { .. }
                    | GenerationError::Stopped => Outcome::Failed,
                    GenerationError::Unread { .. } => Outcome::Cancelled,
                    _ => Outcome::Refused,
                });
            }
        }
        let unread = self.unread.fetch_add(event.kept_bytes(), Ordering::Relaxed) + event.kept_bytes();
        // Closed: the client is gone, and `wanted` tells. Full: cannot be, by the channel's capacity.
        drop(self.events.try_send(event));
        let limit_bytes = self.arrived.send_buffer_bytes;
        if unread > limit_bytes && self.outcome.is_none() {
            self.emit(Event::Failed(GenerationError::Unread { limit_bytes }));
        }
    }

    /// Whether this is the first instance to start it.
    fn started(&mut self, prompt_tokens: u32) -> bool {
        let first = !std::mem::replace(&mut self.started, true);
        if first {
            self.pace.started(prompt_tokens);
            self.queue.metrics.queue_wait.record(self.record.waited);
            self.record.usage.prompt_tokens = prompt_tokens;
            self.queue.metrics.prompt_tokens.increment(u64::from(prompt_tokens));
            if let Some(pass) = &self.arrived.pass {
                pass.prompt(prompt_tokens);
            }
        }
        first
    }

    fn token(&mut self, token: Token, text: &str) {
        let most = self.spec.request.max_tokens.unwrap_or(u32::MAX) as usize;
        if self.spec.generated.len() < most {
            // A worker that says more than it was asked for shall not fill the memory.
            self.spec.generated.push(token);
        }
        self.generated(1);
        self.text(text);
    }

    /// What was generated and belongs to no text has no event of its own: the token that ended the turn, or that
    /// completed a stop string.
    fn finished(&mut self, text: &str, usage: Usage) {
        let counted = u32::try_from(self.spec.generated.len()).unwrap_or(u32::MAX);
        self.generated(usage.completion_tokens.saturating_sub(counted));
        self.pace.finished(usage);
        self.queue.metrics.cached_prompt_tokens.increment(u64::from(usage.cached_tokens));
        self.text(text);
        self.record.usage = usage;
        self.outcome = Some(Outcome::Completed);
        // A pause between two instances is not how fast they decode.
        if let Some((gaps, time)) = self.record.decoding().filter(|_| self.history.interruptions == 0) {
            self.queue.lock().flow.decoded(gaps, time);
        }
        self.queue.metrics.end_to_end.record(self.arrived.at.elapsed());
        // Before the client reads the end: what was only guessed of its tokens is given back.
        self.arrived.pass = None;
    }

    /// The instance has shown that it goes on, with this many more tokens; none if it only told the end.
    fn generated(&mut self, tokens: u32) {
        let now = Instant::now();
        self.history.progress();
        if let Some(lost) = self.lost.take() {
            self.queue.metrics.resume_pause.record(now.duration_since(lost));
        }
        if tokens > 0 {
            self.pace.generated(tokens, now);
            self.queue.metrics.generated_tokens.increment(tokens.into());
            if let Some(pass) = &self.arrived.pass {
                pass.generated(tokens);
            }
            self.record.usage.completion_tokens += tokens;
            match self.record.last_token.replace(now) {
                Some(last) => self.queue.metrics.itl.record(now.duration_since(last)),
                None => self.record.first_token = Some(now),
            }
        }
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() && !std::mem::replace(&mut self.spoke, true) {
            let ttft = self.arrived.at.elapsed();
            self.queue.metrics.ttft.record(ttft);
            let mut state = self.queue.lock();
            let policy = Arc::clone(&state.policy);
            state.flow.first_token(ttft, ttft.saturating_sub(self.record.waited), &policy.scale);
        }
    }
}

impl Drop for Journey {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(Outcome::Cancelled);
        // Counted as a rejection, not as an end.
        if !matches!(outcome, Outcome::Rejected) {
            self.queue.metrics.ended(outcome);
        }
        self.record.interruptions = self.history.interruptions;
        self.record.write(&self.queue.name, &self.arrived.id, outcome, self.served.get());
    }
}

/// The instance's end of a request. Holds the slot, and frees it when the engine drops it.
struct RequestSink {
    journey: Option<Journey>,
    lease: Option<SlotLease>,
    /// Held until a request under suspicion has shown that it can go on.
    probation: Option<OwnedSemaphorePermit>,
}

impl RequestSink {
    fn hand_back(&mut self, loss: Loss) {
        // First the slot is free and the next suspect may go, then this request asks again.
        drop(self.probation.take());
        drop(self.lease.take());
        if let Some(journey) = self.journey.take()
            && journey.outcome.is_none()
        {
            journey.lost(loss);
        }
    }
}

impl EventSink for RequestSink {
    fn emit(&mut self, event: Event) {
        let Some(journey) = &mut self.journey else { return };
        if let (Event::Started { .. }, Some(lease)) = (&event, &self.lease) {
            // Before the event: who reads it finds this.
            let served = Served::by(lease.instance().identity(), journey.record.waited);
            journey.files.get_or_insert(served.files);
            drop(journey.served.set(served));
        }
        let goes_on = matches!(event, Event::Token { .. } | Event::Finished { .. });
        journey.emit(event);
        if goes_on {
            self.probation = None;
        }
    }

    fn wanted(&self) -> bool {
        self.journey.as_ref().is_some_and(|journey| journey.outcome.is_none() && !journey.events.is_closed())
    }

    /// Who had shown it, and was not suspected when it lost its instance, need not show it again.
    fn on_trial(&self) -> bool {
        self.journey
            .as_ref()
            .is_none_or(|journey| journey.history.strikes > 0 || journey.spec.generated.is_empty())
    }

    fn lost(mut self: Box<Self>, loss: Loss) {
        self.hand_back(loss);
    }
}

impl Drop for RequestSink {
    fn drop(&mut self) {
        let reason = "the instance ended without an answer".to_owned();
        self.hand_back(Loss::Interrupted { reason, suspicion: Suspicion::Shared });
    }
}

#[cfg(test)]
#[path = "journey_tests.rs"]
mod tests;
