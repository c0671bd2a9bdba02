//! The text to continue.

use serde::Deserialize;

use super::ApiError;
use crate::generation::{Prompt, Token};

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of token ids")]
pub(super) enum RawPrompt {
    Text(String),
    Tokens(Vec<Token>),
    Texts(Vec<String>),
}

/// The prompt of a completion.
pub(super) fn prompt(prompt: Option<RawPrompt>) -> Result<Prompt, ApiError> {
    match prompt {
        None => Err(ApiError::invalid("prompt", "prompt: missing; give a string or an array of token ids")),
        Some(RawPrompt::Text(text)) => Ok(Prompt::Text(text)),
        Some(RawPrompt::Tokens(tokens)) => Ok(Prompt::Tokens(tokens)),
        Some(RawPrompt::Texts(texts)) => match <[String; 1]>::try_from(texts) {
            Ok([text]) => Ok(Prompt::Text(text)),
            Err(texts) => {
                let message =
                    format!("prompt: one prompt a request, got {}; send one request for each", texts.len());
                Err(ApiError::invalid("prompt", message))
            }
        },
    }
}
