//! The choices of one request: as many flights, told apart by their index.
//!
//! They stand or fall together: if one is refused or fails, so is the request, and the others are given up.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::try_join_all;

use super::answer::{Answer, Reader};
use super::error::ApiError;
use crate::admission::{Admission, Arrival, Flight, Pace, Served};
use crate::generation::{Event, GenerationRequest, Usage};
use crate::units::ModelName;

/// Flights that have all started. Dropping them gives all of them up.
pub struct Choices {
    /// By index; `None` after the end.
    flights: Vec<Option<Flight>>,
    /// Who is asked first next time, so that none waits for the others.
    next: usize,
    served: Served,
    /// How each went, as far as its events were taken.
    paces: Vec<Pace>,
}

impl Choices {
    /// Waits until each request has a slot and its prompt was accepted, so that a request that cannot be served has the
    /// right status, streamed or not. Of each prompt `per_prompt` requests follow each other.
    ///
    /// # Errors
    ///
    /// The first refusal or failure of any.
    pub async fn begin(
        admission: &Arc<Admission>,
        model: &ModelName,
        requests: Vec<(GenerationRequest, Arrival)>,
        per_prompt: usize,
    ) -> Result<Self, ApiError> {
        let several = requests.len() > per_prompt;
        let field = |index: usize| several.then(|| format!("prompt[{}]", index / per_prompt));
        // All at once: one after the other, each would queue anew behind everybody else.
        let begun = requests.into_iter().enumerate().map(|(index, (request, arrival))| {
            let begun = begin(admission, model, request, arrival);
            async move { begun.await.map_err(|error| error.of_prompt(field(index))) }
        });
        let flights = try_join_all(begun).await?;
        let first = flights.first().expect("a request has at least one choice");
        let served = first.served().expect("it has started").clone();
        let paces = vec![Pace::default(); flights.len()];
        Ok(Self { flights: flights.into_iter().map(Some).collect(), next: 0, served, paces })
    }

    /// Who began to serve the first of them.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.flights.len()
    }

    /// How one of them went, as far as its events were taken.
    #[must_use]
    pub fn pace(&self, index: usize) -> Pace {
        self.paces[index]
    }

    /// The next event of any, with its index; `None` when all have ended.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Event)>> {
        let count = self.flights.len();
        let mut waiting = false;
        for index in (self.next..count).chain(0..self.next) {
            let Some(flight) = &mut self.flights[index] else { continue };
            let Poll::Ready(event) = flight.poll_next(context) else {
                waiting = true;
                continue;
            };
            self.paces[index] = flight.pace();
            if matches!(event, Event::Finished { .. } | Event::Failed(_)) {
                self.flights[index] = None;
            }
            self.next = (index + 1) % count;
            return Poll::Ready(Some((index, event)));
        }
        if waiting { Poll::Pending } else { Poll::Ready(None) }
    }

    /// Waits for the whole answers, in order, each read by a copy of `reader`, and tells how long they took.
    ///
    /// # Errors
    ///
    /// The first failure of any.
    pub async fn collect(mut self, reader: Reader) -> Result<(Vec<Answer>, Vec<Pace>), ApiError> {
        let mut answers = vec![Answer::new(reader); self.count()];
        while let Some((index, event)) = std::future::poll_fn(|context| self.poll_next(context)).await {
            answers[index].take(event)?;
        }
        Ok((answers, self.paces))
    }
}

async fn begin(
    admission: &Arc<Admission>,
    model: &ModelName,
    request: GenerationRequest,
    arrival: Arrival,
) -> Result<Flight, ApiError> {
    let mut flight = admission.submit(model, request, arrival).await?;
    match flight.next().await {
        Event::Failed(error) => Err(error.into()),
        _ => Ok(flight),
    }
}

/// The counts of a request, of which `per_prompt` choices follow each other: each prompt once, as the choice that had to
/// compute the most of it found it, and all that was generated.
#[must_use]
pub fn total(usages: &[Usage], per_prompt: usize) -> Usage {
    let add = |sum: Usage, next: Usage| Usage {
        prompt_tokens: sum.prompt_tokens.max(next.prompt_tokens),
        cached_tokens: sum.cached_tokens.min(next.cached_tokens),
        completion_tokens: sum.completion_tokens.saturating_add(next.completion_tokens),
    };
    let of_prompts = usages.chunks(per_prompt).filter_map(|choices| choices.iter().copied().reduce(add));
    let sum = |sum: Usage, next: Usage| Usage {
        prompt_tokens: sum.prompt_tokens.saturating_add(next.prompt_tokens),
        cached_tokens: sum.cached_tokens.saturating_add(next.cached_tokens),
        completion_tokens: sum.completion_tokens.saturating_add(next.completion_tokens),
    };
    of_prompts.reduce(sum).unwrap_or_default()
}
