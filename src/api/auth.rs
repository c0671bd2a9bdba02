//! Who asks, and what they may: keys, limits, and the terms on which a request waits.
//!
//! Each endpoint has a class ([`Access`]); [`Api::caller`] decides. Whoever hands a request to admission gets its
//! [`Arrival`] from [`Visit::arrive`], which checks the model and the limits of the key.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

use super::Api;
use super::error::ApiError;
use crate::admission::queue::Claim;
use crate::admission::{Arrival, Deadline};
use crate::generation::{GenerationRequest, Prompt};
use crate::keys::Key;
use crate::units::ModelName;

/// Tokens that an answer is taken to have while it is not known, where the request sets no bound.
const GUESSED_ANSWER_TOKENS: u64 = 256;
/// Bytes of text that are taken for a token before it is counted.
const BYTES_PER_TOKEN: u64 = 4;

/// Who may use an endpoint. Where the server has no keys, everybody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever has a key.
    User,
    /// Whoever has a key with `admin: true`.
    Admin,
}

/// Why nobody is behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// None was sent.
    Missing,
    /// It is not in the file.
    Unknown,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => {
                "this server needs an API key; send it in the header `Authorization: Bearer KEY` or `x-api-key: KEY`"
            }
            Self::Unknown => "the API key is not known; check it, or ask the operator for another one",
        })
    }
}

/// What a key may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// Ask for this model.
    Model {
        /// The key's name.
        key: String,
        /// The model.
        model: String,
    },
    /// What only operators may.
    NotAdmin {
        /// The key's name.
        key: String,
    },
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { key, model } => {
                write!(
                    f,
                    "the API key {key:?} may not ask for the model {model:?}; ask the operator to allow it"
                )
            }
            Self::NotAdmin { key } => {
                write!(f, "the API key {key:?} is not an operator's; use one with `admin: true`")
            }
        }
    }
}

/// A request on its way through the handlers.
pub struct Visit<'a> {
    /// When it came.
    pub arrived: Instant,
    /// How logs and the client call it.
    pub id: &'a HeaderValue,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its key; `None` where none is needed.
    pub key: Option<Arc<Key>>,
}

impl Api {
    /// Who asks; `None` where no key is needed.
    ///
    /// # Errors
    ///
    /// [`ApiError::BadKey`] or [`ApiError::Forbidden`] if they may not.
    pub(super) fn caller(&self, access: Access, headers: &HeaderMap) -> Result<Option<Arc<Key>>, ApiError> {
        if access == Access::Open || self.keys.is_open() {
            return Ok(None);
        }
        let secret = secret(headers).ok_or(ApiError::BadKey(BadKey::Missing))?;
        let key = self.keys.find(secret).ok_or(ApiError::BadKey(BadKey::Unknown))?;
        if access == Access::Admin && !key.policy.admin {
            key.rejected("admin_required");
            return Err(ApiError::Forbidden(Forbidden::NotAdmin { key: key.policy.name.to_string() }));
        }
        Ok(Some(key))
    }
}

/// The key that a client sends: as OpenAI's clients do, or as Anthropic's.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, secret) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok()).filter(|secret| !secret.is_empty())
}

impl Visit<'_> {
    /// Lets a request in that will take about `tokens` of a model, and says on what terms it waits. `timeout`: how long
    /// the client gives it.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`] if the key may not ask for the model, [`ApiError::LimitExceeded`] if not now.
    pub fn arrive(
        &self,
        model: &ModelName,
        tokens: u64,
        timeout: Option<Duration>,
    ) -> Result<Arrival, ApiError> {
        let mut arrival = Arrival::new(self.arrived, self.id.to_str().unwrap_or_default());
        self.allows(model)?;
        if let Some(key) = &self.key {
            arrival.pass = Some(Arc::new(key.enter(tokens)?));
            let (weight, priority) = (key.policy.weight, key.policy.priority);
            arrival.claim = Claim { flow: Some(key.policy.name.clone()), weight, priority };
        }
        arrival.deadline = timeout.and_then(|timeout| {
            let at = tokio::time::Instant::from_std(self.arrived.checked_add(timeout)?);
            Some(Deadline { at, timeout })
        });
        Ok(arrival)
    }

    /// Refuses a model that the key may not ask for.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`], with both.
    pub fn allows(&self, model: &ModelName) -> Result<(), ApiError> {
        match &self.key {
            Some(key) if !self.may_use(model) => {
                key.rejected("model_not_allowed");
                let (key, model) = (key.policy.name.to_string(), model.to_string());
                Err(ApiError::Forbidden(Forbidden::Model { key, model }))
            }
            _ => Ok(()),
        }
    }

    /// Whether the key may ask for a model.
    #[must_use]
    pub fn may_use(&self, model: &ModelName) -> bool {
        let models = self.key.as_ref().and_then(|key| key.policy.models.as_ref());
        models.is_none_or(|models| models.contains(model))
    }
}

/// About how many tokens a prompt has.
#[must_use]
pub fn prompt_tokens(prompt: &Prompt) -> u64 {
    let (bytes, tokens) = prompt.extent();
    bytes as u64 / BYTES_PER_TOKEN + tokens as u64 + 1
}

/// About how many tokens requests take of their key's limit: their prompts, those of choices of the same prompt once, and the
/// most that each asks for.
#[must_use]
pub fn tokens(requests: impl Iterator<Item = GenerationRequest>) -> u64 {
    let mut last = None;
    requests.fold(0, |sum: u64, request| {
        let answer = request.max_tokens.map_or(GUESSED_ANSWER_TOKENS, u64::from);
        let new = last.as_ref() != Some(&request.prompt);
        let prompt = if new { prompt_tokens(&request.prompt) } else { 0 };
        last = Some(request.prompt);
        sum.saturating_add(prompt).saturating_add(answer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_openais_or_anthropics_clients_send_them() {
        let check = |name: &'static str, value: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            assert_eq!(secret(&headers), expected, "{name}: {value}");
        };
        check("authorization", "Bearer mp-1", Some("mp-1"));
        check("authorization", "bearer  mp-1 ", Some("mp-1"));
        check("authorization", "Basic bXA=", None);
        check("authorization", "Bearer", None);
        check("authorization", "Bearer ", None);
        check("x-api-key", "mp-1", Some("mp-1"));
        check("x-api-key", "", None);
    }

    #[test]
    fn tokens_are_guessed_before_they_are_counted() {
        let request =
            |prompt: Prompt, max_tokens| GenerationRequest { max_tokens, ..GenerationRequest::new(prompt) };
        let text = Prompt::Text("x".repeat(40));
        let three = [(); 3].map(|()| request(text.clone(), Some(10)));
        assert_eq!(tokens(three.into_iter()), 11 + 30);
        assert_eq!(tokens([request(text, None)].into_iter()), 11 + 256);
        assert_eq!(tokens([request(Prompt::Tokens(vec![1; 7]), Some(1))].into_iter()), 8 + 1);
    }
}
