//! Fields of OpenAI's that modelpool does not implement: refused where they would change the answer.

use serde_json::{Map, Value};

use super::{ApiError, Shape};

/// Fields that would change the answer.
const UNSUPPORTED: [&str; 3] = ["functions", "function_call", "audio"];
/// Fields that only one of the two has, and where it is asked for.
const OF_CHATS: [&str; 2] = ["tools", "tool_choice"];
const OF_COMPLETIONS: [&str; 2] = ["echo", "suffix"];

/// Refuses a request that asks for what there is not.
pub(super) fn refuse(object: &Map<String, Value>, shape: Shape) -> Result<(), ApiError> {
    let asks = |field: &&str| object.get(*field).is_some_and(|value| !is_neutral(field, value));
    if let Some(field) = UNSUPPORTED.into_iter().find(asks) {
        let instead = if field.starts_with("function") { "give tools" } else { "leave it out" };
        let message = format!("{field}: this server does not support it; {instead}");
        return Err(ApiError::invalid(field, message));
    }
    let (foreign, owner, path) = match shape {
        Shape::Chat => (OF_COMPLETIONS, "completions", "/v1/completions"),
        Shape::Completion => (OF_CHATS, "chats", "/v1/chat/completions"),
    };
    match foreign.into_iter().find(asks) {
        Some(field) => {
            let message = format!("{field}: only {owner} have it; leave it out, or ask {path}");
            Err(ApiError::invalid(field, message))
        }
        _ => Ok(()),
    }
}

/// Whether a field's value means the same as leaving the field out.
fn is_neutral(field: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) if matches!(field, "tool_choice" | "function_call") => {
            text == "none" || text == "auto"
        }
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
