//! The start of a generation: its choices wait for their slots; a stream begins meanwhile if that takes long.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use warp::reply::{Reply, Response};

use super::choices::{Choices, Provenance};
use super::dialect::Dialect;
use super::error::ApiError;
use super::patience::{Frames, HEAD_START, PatientStream, Subject};
use super::served_by;
use crate::admission::{Arrival, Place};
use crate::cache::Source;
use crate::generation::GenerationRequest;

/// All that a generation needs to begin; nothing in it is borrowed, so that it can wait beside its own answer.
pub struct Start {
    source: Source,
    /// Each choice's request.
    requests: Vec<(GenerationRequest, Arrival)>,
    /// Choices of each prompt.
    per_prompt: usize,
    /// How errors are told.
    dialect: Dialect,
}

impl Start {
    /// The start of these requests, of which `per_prompt` have the same prompt, on the terms of `arrival`.
    #[must_use]
    pub fn new(
        source: Source,
        requests: impl Iterator<Item = GenerationRequest>,
        per_prompt: usize,
        dialect: Dialect,
        arrival: &Arrival,
    ) -> Self {
        // Each stands in the queue for itself.
        let arrival = || Arrival { place: Place::default(), ..arrival.clone() };
        Self { source, requests: requests.map(|request| (request, arrival())).collect(), per_prompt, dialect }
    }

    /// Waits until all choices have a slot and their prompt was accepted.
    ///
    /// # Errors
    ///
    /// The first refusal or failure of any.
    pub async fn begin(self) -> Result<Choices, ApiError> {
        let id = self.requests.first().map(|(_, arrival)| arrival.id.clone()).unwrap_or_default();
        let count = self.requests.len();
        let choices = Choices::begin(&self.source, self.requests, self.per_prompt).await?;
        let Provenance { served, cache } = choices.provenance();
        tracing::debug!(request = id, model = %self.source.model(), instance = ?served.instance,
            variant = %served.variant, ?cache,
            waited_ms = u64::try_from(served.waited.as_millis()).unwrap_or(u64::MAX), choices = count, "started");
        Ok(choices)
    }

    /// The streamed answer, as `make` writes it. It begins when the request was accepted, or once it has waited for
    /// [`HEAD_START`].
    ///
    /// # Errors
    ///
    /// The first refusal or failure of any choice within that time; later ones are told in the stream.
    pub async fn stream(
        self,
        make: impl FnOnce(Choices) -> Frames + Send + Sync + 'static,
    ) -> Result<Response, ApiError> {
        let dialect = self.dialect;
        let places = self.requests.iter().map(|(_, arrival)| arrival.place.clone()).collect();
        let subject = Subject { source: self.source.clone(), places };
        let mut begun = Box::pin(self.begin());
        if let Ok(begun) = tokio::time::timeout(HEAD_START, &mut begun).await {
            let choices = begun?;
            let provenance = choices.provenance().clone();
            let stream = PatientStream::going(make(choices), subject, dialect);
            return Ok(served_by(response(stream), &provenance));
        }
        let begun = Box::pin(async move { Ok(make(begun.await?)) });
        Ok(response(PatientStream::waiting(begun, subject, dialect)))
    }
}

fn response(stream: PatientStream) -> Response {
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks Nginx not to collect the stream before it sends it on.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
