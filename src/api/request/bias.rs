//! What is added to the logits of single tokens: OpenAI's map and llama.cpp's array.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ApiError;
use super::range::shorten;
use crate::generation::Token;

/// The most tokens that a request favours or forbids. OpenAI takes 300. Each is applied again for each token, in the
/// loop that all sequences of an instance share, so that many would slow down everybody.
const MAX_ENTRIES: usize = 1024;
/// OpenAI's range; from either end no other logit wins.
const MAX_BIAS: f64 = 100.0;

const FIELD: &str = "logit_bias";

/// Reads `{"5": -1.5}`, or `[[5, -1.5], [6, false]]`, in which `false` forbids a token. Ordered by token.
pub(super) fn read(field: Option<&Value>) -> Result<Vec<(Token, f32)>, ApiError> {
    let mut biases = BTreeMap::new();
    match field {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::Object(entries)) => {
            check_count(entries.len())?;
            for (token, bias) in entries {
                let place = format!("{FIELD}.{}", shorten(token));
                let id = token.parse().map_err(|_| invalid(&place, "expected a token id as the key"))?;
                add(&mut biases, &place, id, bias)?;
            }
        }
        Some(Value::Array(entries)) => {
            check_count(entries.len())?;
            for (index, entry) in entries.iter().enumerate() {
                let place = format!("{FIELD}[{index}]");
                let pair = entry.as_array().map(Vec::as_slice);
                let Some([token, bias]) = pair else {
                    return Err(invalid(&place, "expected [token id, bias]"));
                };
                let id = token.as_u64().and_then(|id| id.try_into().ok());
                let id = id.ok_or_else(|| invalid(&format!("{place}[0]"), "expected a token id"))?;
                add(&mut biases, &place, id, bias)?;
            }
        }
        Some(_) => {
            let expected = "expected an object of token ids and biases, or an array of [token id, bias]";
            return Err(invalid(FIELD, expected));
        }
    }
    Ok(biases.into_iter().collect())
}

fn check_count(entries: usize) -> Result<(), ApiError> {
    if entries > MAX_ENTRIES {
        return Err(invalid(FIELD, &format!("at most {MAX_ENTRIES} tokens, got {entries}")));
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "a number from -100 to 100; logits are f32")]
fn add(biases: &mut BTreeMap<Token, f32>, place: &str, token: Token, bias: &Value) -> Result<(), ApiError> {
    let bias = match bias {
        Value::Bool(false) => f32::NEG_INFINITY,
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.abs() <= MAX_BIAS => number as f32,
            _ => return Err(invalid(place, &format!("expected a bias from -100 to 100, got {number}"))),
        },
        _ => return Err(invalid(place, "expected a bias from -100 to 100, or false to forbid the token")),
    };
    if biases.insert(token, bias).is_some() {
        return Err(invalid(place, &format!("the token {token} has a bias already; give each token once")));
    }
    Ok(())
}

fn invalid(place: &str, message: &str) -> ApiError {
    ApiError::invalid(place, format!("{place}: {message}"))
}
