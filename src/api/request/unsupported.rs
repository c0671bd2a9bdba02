//! Fields of OpenAI's that modelpool does not implement: refused where they would change the answer.

use serde_json::{Map, Value};

use super::{ApiError, Shape};

/// Fields that would change the answer.
const UNSUPPORTED: [&str; 5] = ["echo", "suffix", "functions", "function_call", "audio"];
/// Fields that only chats have.
const OF_CHATS: [&str; 2] = ["tools", "tool_choice"];

/// Refuses a request that asks for what there is not.
pub(super) fn refuse(object: &Map<String, Value>, shape: Shape) -> Result<(), ApiError> {
    let asked = |field: &str| object.get(field).is_some_and(|value| !is_neutral(field, value));
    if let Some(field) = UNSUPPORTED.into_iter().find(|field| asked(field)) {
        let instead = if field.starts_with("function") { "give tools" } else { "leave it out" };
        let message = format!("{field}: this server does not support it; {instead}");
        return Err(ApiError::invalid(field, message));
    }
    match OF_CHATS.into_iter().find(|field| asked(field)) {
        Some(field) if shape == Shape::Completion => {
            let message = format!("{field}: only chats have it; ask /v1/chat/completions");
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
