//! One answer to a conversation, for the APIs whose answers are single: as a stream, or written to its end and sent whole.

use std::iter::once;

use warp::reply::Response;

use super::auth::{self, Visit};
use super::dialect::Dialect;
use super::error::ApiError;
use super::request::Turn;
use super::start::Start;
use super::stream::{EventStream, Writer, written};
use super::{Api, headers, json_response, served_by};

/// A writer that knows the whole answer at the end.
pub trait Reply: Writer {
    /// The answer as JSON.
    fn whole(&self) -> Vec<u8>;
}

impl Api {
    /// The answer to a turn, as `reply` writes it.
    pub(super) async fn converse(
        &self,
        turn: Turn<'_>,
        dialect: Dialect,
        reply: impl Reply,
        visit: &Visit<'_>,
    ) -> Result<Response, ApiError> {
        let Turn { model, request, seeded, stream, timeout, .. } = turn;
        let timeout = headers::timeout(timeout, stream, visit.headers)?;
        let tokens = auth::tokens(once(request.clone()));
        let arrival = self.terms(visit.arrive(&model.policy.name, tokens, timeout)?, stream);
        let source = self.cache.source(model, headers::cache_use(visit.headers), seeded);
        let start = Start::new(source, once(request), 1, dialect, &arrival);
        if stream {
            return start.stream(move |choices| Box::pin(EventStream::new(choices, reply)) as _).await;
        }
        let choices = start.begin().await?;
        let provenance = choices.provenance().clone();
        let reply = written(choices, reply).await?;
        Ok(served_by(json_response(reply.whole()), &provenance))
    }
}
