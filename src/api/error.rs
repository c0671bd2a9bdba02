//! The errors that clients see: what they say, the right status, and the field at fault. Their shape: `dialect`.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::reply::{Reply, Response};

use super::auth::{BadKey, Forbidden};
use super::dialect::Dialect;
use crate::admission::{AskError, RESTART_TIME, Rejection};
use crate::chat::ChatError;
use crate::generation::GenerationError;
use crate::keys::limits::Exceeded;
use crate::operator::Refusal;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request is at fault.
    #[error("{message}")]
    Invalid {
        /// The field, as a path like `messages[0].role`; `None` if it is the body as a whole.
        param: Option<String>,
        /// What is wrong with it.
        message: String,
    },
    /// No model of that name.
    #[error("the model {name:?} does not exist; there are: {available}")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names there are.
        available: String,
    },
    /// The model is in the policy, but its files cannot be used.
    #[error("the model {name:?} cannot be served: {reason}")]
    BrokenModel {
        /// The name asked for.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing at that path.
    #[error("there is nothing at {path}; see docs/api.md for what there is")]
    NotFound {
        /// The path.
        path: String,
    },
    /// The path does not take that method.
    #[error("{path} takes {allowed}, not {method}")]
    MethodNotAllowed {
        /// The path.
        path: String,
        /// The method used.
        method: String,
        /// The methods to use.
        allowed: String,
    },
    /// Only operators may do that, and no key says that this is one.
    #[error(
        "this changes the server and needs a key for operators; without one only GET is answered under /admin"
    )]
    AdminKeyRequired,
    /// The controller has ended, and the server with it soon.
    #[error("the server is shutting down and follows no orders any more")]
    NoController,
    /// A policy is not followed.
    #[error(transparent)]
    Policy(Refusal),
    /// More than the policy's `max_body_bytes`.
    #[error("the body is larger than {limit} bytes, the server's max_body_bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The body did not come in time.
    #[error("the body was not complete after {} s", .0.as_secs())]
    BodyTimeout(Duration),
    /// No API key, or one that is not known.
    #[error("{0}")]
    BadKey(BadKey),
    /// The key may not do that.
    #[error("{}", .0)]
    Forbidden(Forbidden),
    /// More than the key's limits.
    #[error(transparent)]
    LimitExceeded(#[from] Exceeded),
    /// There is no slot for it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The engine gave up.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// A conversation has no prompt.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The engine gave up one of several texts.
    #[error("{field}: {error}")]
    Text {
        /// The text's field, such as `input[3]`.
        field: String,
        /// Why.
        error: GenerationError,
    },
}

impl ApiError {
    /// A field at fault.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { param: Some(param.into()), message: message.into() }
    }

    /// What an engine says of a prompt is about this field, if it is one of several.
    pub fn of_prompt(self, field: Option<String>) -> Self {
        match (self, field) {
            (Self::Generation(error), Some(field)) if error.is_about_the_prompt() => {
                Self::Text { field, error }
            }
            (error, _) => error,
        }
    }

    /// A worker answered something else than it was asked.
    pub fn foreign_reply() -> Self {
        let reason = "the worker answered another question".to_owned();
        Self::Generation(GenerationError::Lost { interruptions: 0, reason })
    }

    /// Status and code: the one place where errors become HTTP.
    #[must_use]
    pub const fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid { .. } | Self::Chat(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::UnknownModel { .. } => (StatusCode::NOT_FOUND, "model_not_found"),
            Self::BrokenModel { .. } => (StatusCode::SERVICE_UNAVAILABLE, "model_broken"),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::AdminKeyRequired => (StatusCode::FORBIDDEN, "admin_key_required"),
            Self::NoController | Self::Policy(Refusal::ShuttingDown) => {
                (StatusCode::SERVICE_UNAVAILABLE, "shutting_down")
            }
            Self::Policy(Refusal::Invalid { .. }) => (StatusCode::BAD_REQUEST, "invalid_policy"),
            Self::Policy(Refusal::NotWritable(_) | Refusal::NotWritten(_)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "policy_not_written")
            }
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::BodyTimeout(_) => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            Self::BadKey(_) => (StatusCode::UNAUTHORIZED, "invalid_api_key"),
            Self::Forbidden(Forbidden::Model { .. }) => (StatusCode::FORBIDDEN, "model_not_allowed"),
            Self::Forbidden(Forbidden::NotAdmin { .. }) => (StatusCode::FORBIDDEN, "admin_required"),
            Self::LimitExceeded(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
            Self::Rejected(rejection) => match rejection {
                Rejection::Deadline { .. } => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
                Rejection::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue_full"),
                Rejection::TimedOut { .. } => (StatusCode::SERVICE_UNAVAILABLE, "queue_timeout"),
                Rejection::CannotLoad { .. } => (StatusCode::SERVICE_UNAVAILABLE, "model_load_failed"),
                // Not a 5xx: clients repeat those by themselves, and nothing would change.
                Rejection::Quarantined { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "request_quarantined"),
                Rejection::Removed { .. } => (StatusCode::NOT_FOUND, "model_not_found"),
                Rejection::Paused { .. } => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
                Rejection::ShuttingDown { .. } => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            },
            Self::Generation(error) | Self::Text { error, .. } => match error {
                GenerationError::PromptTooLong { .. }
                | GenerationError::TextTooLong { .. }
                | GenerationError::PromptTooLarge { .. } => {
                    (StatusCode::BAD_REQUEST, "context_length_exceeded")
                }
                GenerationError::PromptEmpty
                | GenerationError::NoInfill
                | GenerationError::ReplyTooLarge { .. }
                | GenerationError::UnknownToken { .. }
                | GenerationError::Grammar { .. } => (StatusCode::BAD_REQUEST, "invalid_request"),
                GenerationError::Lost { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "engine_error"),
                GenerationError::Poison { .. } => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "request_ended_workers")
                }
                GenerationError::Deadline { .. } => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
                GenerationError::Unread { .. } => (StatusCode::REQUEST_TIMEOUT, "answer_not_read"),
                GenerationError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            },
        }
    }

    /// The field at fault. `prompt_field` is what the client's endpoint calls its prompt.
    pub fn param<'a>(&'a self, prompt_field: &'a str) -> Option<&'a str> {
        match self {
            Self::Text { field, .. } | Self::Generation(GenerationError::Grammar { field, .. }) => {
                Some(field)
            }
            Self::Generation(GenerationError::UnknownToken { place, .. })
                if matches!(place.as_str(), "logit_bias" | "tokens") =>
            {
                Some(place)
            }
            Self::Invalid { param, .. } => param.as_deref(),
            Self::Chat(_) => Some(prompt_field),
            Self::UnknownModel { .. }
            | Self::BrokenModel { .. }
            | Self::Forbidden(Forbidden::Model { .. })
            | Self::Generation(GenerationError::NoInfill) => Some("model"),
            Self::Generation(error) if error.is_about_the_prompt() => Some(prompt_field),
            _ => None,
        }
    }

    /// Whether a grammar or schema is at fault in an engine's eyes.
    #[must_use]
    pub const fn is_about_a_grammar(&self) -> bool {
        matches!(self, Self::Generation(GenerationError::Grammar { .. }))
    }

    /// The error as a response to the request `id`.
    #[must_use]
    pub fn response(&self, dialect: Dialect, id: &str) -> Response {
        let (status, _) = self.status();
        let reply = warp::reply::json(&dialect.body(self, id));
        let mut response = warp::reply::with_status(reply, status).into_response();
        let headers = response.headers_mut();
        let retry_after = match self {
            Self::Rejected(rejection) => rejection.retry_after(),
            Self::LimitExceeded(exceeded) => Some(exceeded.retry_after),
            Self::Generation(GenerationError::Stopped)
            | Self::Text { error: GenerationError::Stopped, .. } => Some(RESTART_TIME),
            _ => None,
        };
        if let Some(wait) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if let Self::BadKey(_) = self {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::MethodNotAllowed { allowed, .. } = self
            && let Ok(allowed) = HeaderValue::from_str(allowed)
        {
            headers.insert(http::header::ALLOW, allowed);
        }
        response
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Rejected(rejection) => rejection.into(),
            AskError::Failed(error) => error.into(),
        }
    }
}
