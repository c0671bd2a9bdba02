//! Anthropic's Messages: what `/v1/messages` answers, whole or as it comes, and how many tokens a prompt has.

mod response;
mod stream;

use std::sync::Arc;
use std::time::SystemTime;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use warp::reply::{Reply as _, Response};

use super::Api;
use super::answer::Reader;
use super::auth::Visit;
use super::dialect::Dialect;
use super::error::ApiError;
use super::request;
use crate::generation::{Question, Reply};
pub(super) use response::schema as message_schema;
use stream::MessageWriter;

/// How many tokens a prompt has.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "AnthropicCount")]
struct Count {
    input_tokens: u64,
}

/// What `/v1/messages/count_tokens` answers.
pub(super) fn count_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Count>()
}

impl Api {
    /// `/v1/messages`
    pub(super) async fn messages(&self, bytes: &[u8], visit: &Visit<'_>) -> Result<Response, ApiError> {
        // Not held while the request waits: a reload may put another catalog in its place.
        let catalog = Arc::clone(&self.pool.load().catalog);
        let turn = request::read_messages(bytes, &catalog, SystemTime::now())?;
        let (model, stop) = (turn.model.policy.name.to_string(), turn.request.stop.clone());
        let writer = MessageWriter::new(model, stop, Reader::new(Some(turn.parser.clone())));
        self.converse(turn, Dialect::MESSAGES, writer, visit).await
    }

    /// `/v1/messages/count_tokens`: takes no slot.
    pub(super) async fn count_tokens(&self, bytes: &[u8], visit: &Visit<'_>) -> Result<Response, ApiError> {
        let catalog = Arc::clone(&self.pool.load().catalog);
        let (model, prompt) = request::read_count(bytes, &catalog, SystemTime::now())?;
        let name = &model.policy.name;
        visit.allows(name)?;
        match self.cache.admission().ask(name, Question::Count(prompt)).await? {
            Reply::Count(tokens) => {
                let input_tokens = tokens.into();
                Ok(warp::reply::json(&Count { input_tokens }).into_response())
            }
            _ => Err(ApiError::foreign_reply()),
        }
    }
}
