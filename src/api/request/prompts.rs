//! The prompts of a completion: texts, token ids, or several of them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ApiError;
use crate::generation::{Infill, Prompt, PromptPart, Token};

/// The most answers of a request, over all prompts and choices: each waits for a slot of its own.
pub(super) const MAX_ANSWERS: usize = 128;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string, an array of token ids, or an array of such prompts")]
#[schemars(rename = "Prompt")]
pub(super) enum RawPrompt {
    Text(#[schemars(length(min = 1))] String),
    Many(#[schemars(length(min = 1))] Vec<RawPart>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "PromptPart")]
pub(super) enum RawPart {
    Token(Token),
    Text(String),
    Many(Vec<RawPart>),
}

/// The fields that only completions have.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "CompletionPrompt")]
pub(super) struct RawCompletion {
    #[schemars(with = "RawPrompt")]
    prompt: Option<RawPrompt>,
    suffix: Option<String>,
    echo: Option<bool>,
}

impl RawCompletion {
    /// The prompts, and whether each answer begins with its own. `tells`: whether probabilities are told.
    pub(super) fn check(self, tells: bool) -> Result<(Vec<Prompt>, bool), ApiError> {
        let echo = self.echo == Some(true);
        if echo && tells {
            let message = "echo: the probabilities of a prompt are not computed; leave logprobs or echo out";
            return Err(ApiError::invalid("echo", message));
        }
        let mut prompts = prompts(self.prompt)?;
        if let Some(suffix) = self.suffix.filter(|suffix| !suffix.is_empty()) {
            let filled = prompts.into_iter().map(|prompt| with_suffix(prompt, suffix.clone()));
            prompts = filled.collect::<Result<_, _>>()?;
        }
        Ok((prompts, echo))
    }
}

/// At least one prompt. An array of texts or of arrays has several; one with token ids is one.
pub(super) fn prompts(prompt: Option<RawPrompt>) -> Result<Vec<Prompt>, ApiError> {
    match prompt {
        None => Err(invalid("missing; give a string or an array of token ids")),
        Some(RawPrompt::Text(text)) => Ok(vec![Prompt::Text(text)]),
        Some(RawPrompt::Many(parts)) if parts.is_empty() => {
            Err(invalid("expected at least one token, got none"))
        }
        Some(RawPrompt::Many(parts)) if parts.iter().any(|part| matches!(part, RawPart::Token(_))) => {
            Ok(vec![one(parts)?])
        }
        Some(RawPrompt::Many(parts)) => {
            let prompts = parts.into_iter().map(|part| match part {
                RawPart::Text(text) => Ok(Prompt::Text(text)),
                RawPart::Token(token) => Ok(Prompt::Tokens(vec![token])),
                RawPart::Many(parts) => one(parts),
            });
            prompts.collect()
        }
    }
}

/// What several choices of several prompts come to.
pub(super) fn bounded(prompts: usize, choices: u32) -> Result<(), ApiError> {
    let answers = prompts.saturating_mul(choices as usize);
    if answers <= MAX_ANSWERS {
        return Ok(());
    }
    let each = if choices == 1 { String::new() } else { format!(" of {choices} choices each") };
    Err(invalid(&format!(
        "{prompts} prompts{each}, at most {MAX_ANSWERS} answers a request; send several requests"
    )))
}

/// A prompt whose answer is followed by `suffix`.
fn with_suffix(prompt: Prompt, suffix: String) -> Result<Prompt, ApiError> {
    match prompt {
        Prompt::Text(prefix) => Ok(Prompt::Infill(Infill { prefix, suffix, extra: Vec::new() })),
        _ => Err(ApiError::invalid("suffix", "suffix: needs a text as its prompt, got token ids")),
    }
}

/// Token ids, or texts between them.
fn one(parts: Vec<RawPart>) -> Result<Prompt, ApiError> {
    let mut mixed: Vec<PromptPart> = Vec::new();
    for part in parts {
        match (part, mixed.last_mut()) {
            (RawPart::Token(token), Some(PromptPart::Tokens(tokens))) => tokens.push(token),
            (RawPart::Token(token), _) => mixed.push(PromptPart::Tokens(vec![token])),
            (RawPart::Text(text), _) => mixed.push(PromptPart::Text(text)),
            (RawPart::Many(_), _) => {
                return Err(invalid("a prompt has texts and token ids, got an array in one"));
            }
        }
    }
    match <[PromptPart; 1]>::try_from(mixed) {
        Ok([PromptPart::Tokens(tokens)]) => Ok(Prompt::Tokens(tokens)),
        Ok([PromptPart::Text(text)]) => Ok(Prompt::Text(text)),
        Err(mixed) => Ok(Prompt::Mixed(mixed)),
    }
}

fn invalid(what: &str) -> ApiError {
    ApiError::invalid("prompt", format!("prompt: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &[Prompt]) {
        let raw: RawPrompt = serde_json::from_str(json).unwrap();
        assert_eq!(prompts(Some(raw)).as_deref(), Ok(expected), "{json}");
    }

    fn text(text: &str) -> Prompt {
        Prompt::Text(text.into())
    }

    #[test]
    fn arrays_are_one_prompt_or_several_as_openai_and_llama_server_read_them() {
        check(r#""a""#, &[text("a")]);
        check("[1, 2]", &[Prompt::Tokens(vec![1, 2])]);
        check(r#"["a"]"#, &[text("a")]);
        check(r#"["a", "b"]"#, &[text("a"), text("b")]);
        check("[[1, 2], [3]]", &[Prompt::Tokens(vec![1, 2]), Prompt::Tokens(vec![3])]);
        let parts =
            vec![PromptPart::Tokens(vec![1, 2]), PromptPart::Text("a".into()), PromptPart::Tokens(vec![3])];
        check(r#"[1, 2, "a", 3]"#, &[Prompt::Mixed(parts.clone())]);
        check(r#"["x", [1, 2, "a", 3]]"#, &[text("x"), Prompt::Mixed(parts)]);
    }

    #[test]
    fn answers_are_bounded_over_all_prompts() {
        assert!(bounded(128, 1).is_ok() && bounded(8, 16).is_ok());
        let error = bounded(9, 16).unwrap_err().to_string();
        assert_eq!(
            error,
            "prompt: 9 prompts of 16 choices each, at most 128 answers a request; send several requests"
        );
    }
}
