//! How long an answer took, in llama-server's shape.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::admission::Pace;

/// Times in milliseconds. What there is no figure for, such as the rate of no tokens, is null.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Timings {
    /// Tokens of the prompt that came from a KV cache.
    cache_n: u32,
    /// Those that were computed.
    prompt_n: u32,
    /// From the slot to the first token.
    prompt_ms: Option<f64>,
    prompt_per_token_ms: Option<f64>,
    prompt_per_second: Option<f64>,
    /// Tokens generated.
    predicted_n: u32,
    /// From the first token to the last.
    predicted_ms: Option<f64>,
    /// The mean gap between two tokens: there is one gap less than tokens.
    predicted_per_token_ms: Option<f64>,
    predicted_per_second: Option<f64>,
}

impl Timings {
    /// Those of an answer that has one choice: several share no time.
    #[must_use]
    pub fn of_one(paces: &[Pace]) -> Option<Self> {
        match paces {
            [pace] => Some((*pace).into()),
            _ => None,
        }
    }
}

impl From<Pace> for Timings {
    fn from(pace: Pace) -> Self {
        let usage = pace.usage;
        let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        let (prompt, generation) = (pace.prompt_time(), pace.generation_time());
        let gaps = usage.completion_tokens.saturating_sub(1);
        Self {
            cache_n: usage.cached_tokens,
            prompt_n: computed,
            prompt_ms: prompt.map(milliseconds),
            prompt_per_token_ms: per_token(prompt, computed),
            prompt_per_second: per_second(prompt, computed),
            predicted_n: usage.completion_tokens,
            predicted_ms: generation.map(milliseconds),
            predicted_per_token_ms: per_token(generation, gaps),
            predicted_per_second: per_second(generation, gaps),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

fn per_token(time: Option<Duration>, tokens: u32) -> Option<f64> {
    let each = time?.as_secs_f64() * 1e3 / f64::from(tokens);
    Some(rounded(each)).filter(|value| value.is_finite())
}

fn per_second(time: Option<Duration>, tokens: u32) -> Option<f64> {
    let rate = f64::from(tokens) / time?.as_secs_f64();
    Some(rounded(rate)).filter(|value| value.is_finite() && tokens > 0)
}

/// Three decimals: nothing here is known to less than a microsecond.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_what_there_was() {
        let time = Some(Duration::from_millis(500));
        assert_eq!((per_token(time, 5), per_second(time, 5)), (Some(100.0), Some(10.0)));
        assert_eq!((per_token(time, 0), per_second(time, 0)), (None, None));
        assert_eq!((per_token(None, 5), per_second(None, 5)), (None, None));
        assert_eq!(per_second(Some(Duration::ZERO), 5), None);
        let nothing = serde_json::to_value(Timings::from(Pace::default())).unwrap();
        assert_eq!((&nothing["prompt_n"], &nothing["prompt_ms"]), (&0.into(), &serde_json::Value::Null));
    }
}
