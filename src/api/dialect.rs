//! How a path tells its clients what went wrong: the shape of its errors, and its names for the fields that they are about.
//!
//! What an error says, and its status, is the same everywhere ([`ApiError`]); only its clothes differ.

use bytes::Bytes;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ApiError;

/// Whose clients a path serves, and what they call things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    shape: ErrorShape,
    /// The field that the prompt comes from; empty where there is none.
    prompt: &'static str,
    /// The field with the answer's JSON schema, where that has another name than the engine's.
    schema: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorShape {
    OpenAi,
    /// OpenAI's for answers, but with an event of its own in streams.
    Responses,
    Anthropic,
}

impl Dialect {
    /// Paths without a prompt.
    pub const PLAIN: Self = Self { shape: ErrorShape::OpenAi, prompt: "", schema: None };
    /// Chats.
    pub const CHAT: Self = Self { prompt: "messages", ..Self::PLAIN };
    /// Completions.
    pub const COMPLETION: Self = Self { prompt: "prompt", ..Self::PLAIN };
    /// Gaps in a text.
    pub const INFILL: Self = Self { prompt: "input_prefix", ..Self::PLAIN };
    /// OpenAI's Responses.
    pub const RESPONSES: Self =
        Self { shape: ErrorShape::Responses, prompt: "input", schema: Some("text.format.schema") };
    /// Anthropic's Messages.
    pub const MESSAGES: Self = Self {
        shape: ErrorShape::Anthropic,
        prompt: "messages",
        schema: Some("output_config.format.schema"),
    };

    /// Whether answers have Anthropic's shape.
    #[must_use]
    pub fn is_anthropic(self) -> bool {
        self.shape == ErrorShape::Anthropic
    }

    /// The field at fault, by the name that it has here.
    fn param(self, error: &ApiError) -> Option<&str> {
        match (error.param(self.prompt), self.schema) {
            // The engine's name of what it could not read.
            (Some("json_schema"), Some(schema)) if error.is_about_a_grammar() => Some(schema),
            (param, _) => param,
        }
    }

    /// An error as the body of a response to the request `id`.
    #[must_use]
    pub fn body(self, error: &ApiError, id: &str) -> Value {
        if self.is_anthropic() {
            return json!(self.anthropic(error, Some(id)));
        }
        json!(self.openai(error))
    }

    /// An error as an event: the last one of its stream, which has had `events` before, where they are counted.
    #[must_use]
    pub fn frame(self, error: &ApiError, events: u64) -> Bytes {
        match self.shape {
            ErrorShape::OpenAi => data(&self.openai(error)),
            ErrorShape::Anthropic => event("error", &self.anthropic(error, None)),
            ErrorShape::Responses => {
                let body = self.openai(error);
                let ErrorDetail { message, param, code, .. } = &body.error;
                // As it is documented, and, in `error`, as it comes from OpenAI: clients raise that by themselves.
                let fields = json!({ "type": "error", "code": code, "message": message, "param": param,
                    "sequence_number": events, "error": body.error });
                event("error", &fields)
            }
        }
    }

    fn openai(self, error: &ApiError) -> ErrorBody {
        let (status, code) = error.status();
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        let param = self.param(error).map(ToOwned::to_owned);
        ErrorBody { error: ErrorDetail { message: error.to_string(), kind, param, code } }
    }

    fn anthropic(self, error: &ApiError, id: Option<&str>) -> AnthropicErrorBody {
        let (status, _) = error.status();
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "timeout_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "api_error",
        };
        // There is no field for the one at fault: the message names it.
        let mut message = error.to_string();
        if let Some(param) = self.param(error).filter(|param| !message.contains(param)) {
            message = match message.strip_prefix("json_schema: ") {
                Some(reason) => format!("{param}: {reason}"),
                None => format!("{param}: {message}"),
            };
        }
        let error = AnthropicErrorDetail { kind, message };
        AnthropicErrorBody { kind: "error", error, request_id: id.map(ToOwned::to_owned) }
    }
}

/// An event without a name.
#[must_use]
pub fn data(body: &impl Serialize) -> Bytes {
    data_line(&json_bytes(body))
}

/// An event of JSON that is written already. It has no line breaks of its own, so it is a single `data` line.
#[must_use]
pub fn data_line(json: &[u8]) -> Bytes {
    [b"data: ", json, b"\n\n"].concat().into()
}

/// An event with a name.
#[must_use]
pub fn event(name: &str, body: &impl Serialize) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", &json_bytes(body), b"\n\n"].concat().into()
}

fn json_bytes(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("strings and numbers always serialize")
}

/// `{"error": {…}}`
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Error")]
pub struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Clone, Debug, JsonSchema, Serialize)]
struct ErrorDetail {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: &'static str,
}

/// `{"type":"error","error":{…},"request_id":…}`
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "MessagesError")]
pub struct AnthropicErrorBody {
    #[serde(rename = "type")]
    kind: &'static str,
    error: AnthropicErrorDetail,
    /// Not in streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

#[derive(Clone, Debug, JsonSchema, Serialize)]
struct AnthropicErrorDetail {
    #[serde(rename = "type")]
    kind: &'static str,
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::GenerationError;

    fn grammar() -> ApiError {
        GenerationError::Grammar { field: "json_schema".into(), reason: "no such type".into() }.into()
    }

    #[test]
    fn fields_have_the_names_of_the_api_that_was_asked() {
        let empty = ApiError::from(GenerationError::PromptEmpty);
        for (dialect, prompt, schema) in [
            (Dialect::CHAT, "messages", "json_schema"),
            (Dialect::COMPLETION, "prompt", "json_schema"),
            (Dialect::RESPONSES, "input", "text.format.schema"),
        ] {
            assert_eq!(dialect.body(&empty, "r")["error"]["param"], prompt);
            assert_eq!(dialect.body(&grammar(), "r")["error"]["param"], schema);
        }
        let message = |error: &ApiError| Dialect::MESSAGES.body(error, "r")["error"]["message"].clone();
        assert_eq!(message(&empty), "messages: the prompt is empty; give at least one token");
        assert_eq!(message(&grammar()), "output_config.format.schema: no such type");
        assert_eq!(message(&ApiError::invalid("system", "system: no")), "system: no");
        let unknown = ApiError::UnknownModel { name: "m".into(), available: "n".into() };
        assert_eq!(message(&unknown), "the model \"m\" does not exist; there are: n");
    }

    #[test]
    fn anthropics_clients_find_their_own_types_and_the_request() {
        for (error, kind) in [
            (ApiError::NotFound { path: "/x".into() }, "not_found_error"),
            (ApiError::BodyTooLarge { limit: 1 }, "request_too_large"),
            (ApiError::BadKey(crate::api::auth::BadKey::Missing), "authentication_error"),
            (GenerationError::Stopped.into(), "overloaded_error"),
            (GenerationError::Deadline { timeout_ms: 1 }.into(), "timeout_error"),
            (GenerationError::Lost { interruptions: 8, reason: "x".into() }.into(), "api_error"),
            (grammar(), "invalid_request_error"),
        ] {
            let body = Dialect::MESSAGES.body(&error, "r");
            assert_eq!((&body["type"], &body["request_id"]), (&json!("error"), &json!("r")));
            assert_eq!(body["error"]["type"], kind, "{error}");
        }
    }

    #[test]
    fn streams_end_with_the_event_that_clients_know() {
        let error = ApiError::from(GenerationError::Stopped);
        let frame = |dialect: Dialect| String::from_utf8(dialect.frame(&error, 7).to_vec()).unwrap();
        assert!(frame(Dialect::CHAT).starts_with("data: {\"error\":{\"message\":"));
        let start = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",";
        assert!(frame(Dialect::MESSAGES).starts_with(start), "{}", frame(Dialect::MESSAGES));
        let responses = frame(Dialect::RESPONSES);
        assert!(responses.starts_with("event: error\ndata: {\"type\":\"error\",\"code\":\"shutting_down\""));
        assert!(responses.contains("\"sequence_number\":7,\"error\":{\"message\":"), "{responses}");
    }
}
