//! The start of a generation: its choices wait for their slots; a stream begins meanwhile if that takes long.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use uuid::Uuid;
use warp::reply::{Reply, Response};

use super::choices::Choices;
use super::error::ApiError;
use super::patience::{HEAD_START, PatientStream, Subject};
use super::request::{Job, Shape};
use super::response::Heading;
use super::served_by;
use super::stream::EventStream;
use crate::admission::{Admission, Arrival, Place, Served};
use crate::generation::GenerationRequest;
use crate::units::{ByteCount, ModelName};

/// All that a generation needs to begin; nothing in it is borrowed, so that it can wait beside its own answer.
pub struct Start {
    admission: Arc<Admission>,
    shape: Shape,
    model: ModelName,
    /// Each choice's request.
    requests: Vec<(GenerationRequest, Arrival)>,
    logprobs: bool,
}

impl Start {
    /// The start of `job`. Of a stream at most `send_buffer` of each choice is kept for a client that does not read it.
    #[must_use]
    pub fn new(
        admission: &Arc<Admission>,
        shape: Shape,
        job: &Job<'_>,
        arrival: &Arrival,
        send_buffer: ByteCount,
    ) -> Self {
        // An answer that is not streamed is taken as it comes, and sent as a whole.
        let send_buffer_bytes = if job.stream { send_buffer.0 } else { u64::MAX };
        let arrival = |_| Arrival { place: Place::default(), send_buffer_bytes, ..arrival.clone() };
        let arrivals = (0..job.choices).map(arrival);
        Self {
            admission: Arc::clone(admission),
            shape,
            model: job.model.policy.name.clone(),
            requests: job.requests().zip(arrivals).collect(),
            logprobs: job.request.logprobs.is_some(),
        }
    }

    /// Waits until all choices have a slot and their prompt was accepted.
    ///
    /// # Errors
    ///
    /// The first refusal or failure of any.
    pub async fn begin(self) -> Result<(Choices, Heading), ApiError> {
        let id = self.requests.first().map(|(_, arrival)| arrival.id.clone()).unwrap_or_default();
        let count = self.requests.len();
        let choices = Choices::begin(&self.admission, &self.model, self.requests).await?;
        let Served { instance, waited } = choices.served();
        tracing::debug!(request = id, model = %self.model, instance = %instance.id, variant = %instance.variant_name,
            waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), choices = count, "started");
        let prefix = if self.shape == Shape::Chat { "chatcmpl" } else { "cmpl" };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let heading = Heading {
            shape: self.shape,
            id: format!("{prefix}-{}", Uuid::new_v4().simple()),
            created: since_1970.as_secs(),
            model: self.model.to_string(),
            fingerprint: format!("fp_{}", instance.variant_name),
            logprobs: self.logprobs,
        };
        Ok((choices, heading))
    }

    /// The streamed answer. It begins when the request was accepted, or once it has waited for [`HEAD_START`].
    ///
    /// # Errors
    ///
    /// The first refusal or failure of any choice within that time; later ones are told in the stream.
    pub async fn stream(self, include_usage: bool) -> Result<Response, ApiError> {
        let prompt_field = self.shape.prompt_field();
        let places = self.requests.iter().map(|(_, arrival)| arrival.place.clone()).collect();
        let (admission, model) = (Arc::clone(&self.admission), self.model.clone());
        let subject = Subject { admission, model, places };
        let mut begun = Box::pin(self.begin());
        if let Ok(begun) = tokio::time::timeout(HEAD_START, &mut begun).await {
            let (choices, heading) = begun?;
            let served = choices.served().clone();
            let stream = EventStream::new(choices, heading, include_usage);
            return Ok(served_by(response(PatientStream::going(stream, subject, prompt_field)), &served));
        }
        let begun = Box::pin(async move {
            let (choices, heading) = begun.await?;
            Ok(EventStream::new(choices, heading, include_usage))
        });
        Ok(response(PatientStream::waiting(begun, subject, prompt_field)))
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
