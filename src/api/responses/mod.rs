//! OpenAI's Responses: what `/v1/responses` answers, whole or as it comes. Nothing of it is kept.

mod response;
mod stream;

use std::sync::Arc;
use std::time::SystemTime;

use warp::reply::Response;

use super::Api;
use super::answer::Reader;
use super::auth::Visit;
use super::dialect::Dialect;
use super::error::ApiError;
use super::request;
use response::Heading;
pub(super) use response::schema as response_schema;
use stream::ResponseWriter;

impl Api {
    /// `/v1/responses`
    pub(super) async fn responses(&self, bytes: &[u8], visit: &Visit<'_>) -> Result<Response, ApiError> {
        // Not held while the request waits: a reload may put another catalog in its place.
        let catalog = Arc::clone(&self.pool.load().catalog);
        let (turn, echo) = request::read_responses(bytes, &catalog, SystemTime::now())?;
        let heading = Heading::new(&turn, echo);
        let writer = ResponseWriter::new(heading, Reader::new(Some(turn.parser.clone())));
        self.converse(turn, Dialect::RESPONSES, writer, visit).await
    }
}
