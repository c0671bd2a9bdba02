//! The choices of one request: as many flights, told apart by their index.
//!
//! They stand or fall together: if one is refused or fails, so is the request, and the others are given up.

use std::task::{Context, Poll};

use futures_util::future::try_join_all;

use super::answer::{Answer, Reader};
use super::error::ApiError;
use crate::admission::{Arrival, Pace, Served};
use crate::cache::{CacheStatus, Listener, Source};
use crate::generation::{Event, GenerationRequest, Usage};

/// Who answered: what the headers of an answer tell.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The instance that began the first choice.
    pub served: Served,
    /// Where the answer is from, by the choice that took the most; `None` where none is kept.
    pub cache: Option<CacheStatus>,
}

/// Flights that have all started. Dropping them gives all of them up.
pub struct Choices {
    /// By index; `None` after the end.
    flights: Vec<Option<Listener>>,
    /// Who is asked first next time, so that none waits for the others.
    next: usize,
    provenance: Provenance,
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
        source: &Source,
        requests: Vec<(GenerationRequest, Arrival)>,
        per_prompt: usize,
    ) -> Result<Self, ApiError> {
        let several = requests.len() > per_prompt;
        let field = |index: usize| several.then(|| format!("prompt[{}]", index / per_prompt));
        // All at once: one after the other, each would queue anew behind everybody else.
        let begun = requests.into_iter().enumerate().map(|(index, (request, arrival))| {
            let begun = begin(source, request, index % per_prompt, arrival);
            async move { begun.await.map_err(|error| error.of_prompt(field(index))) }
        });
        let flights = try_join_all(begun).await?;
        let first = flights.first().expect("a request has at least one choice");
        let served = first.served().expect("it has started").clone();
        let cache = flights.iter().filter_map(Listener::status).max();
        let paces = vec![Pace::default(); flights.len()];
        Ok(Self {
            flights: flights.into_iter().map(Some).collect(),
            next: 0,
            provenance: Provenance { served, cache },
            paces,
        })
    }

    /// Who answers.
    #[must_use]
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
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
    source: &Source,
    request: GenerationRequest,
    choice: usize,
    arrival: Arrival,
) -> Result<Listener, ApiError> {
    let mut flight = source.ask(request, choice, arrival).await?;
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
