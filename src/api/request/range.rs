//! Checks of single values: a default where nothing is given, and errors that name field, range and value.

use std::fmt;

use super::ApiError;

/// The numbers that a field takes, up to and with `high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    low: f32,
    includes_low: bool,
    high: f32,
}

/// `low` to `high`, both included.
pub(super) const fn from_to(low: f32, high: f32) -> Range {
    Range { low, includes_low: true, high }
}

/// Above `low`, up to `high`.
pub(super) const fn above_to(low: f32, high: f32) -> Range {
    Range { low, includes_low: false, high }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, includes_low, high } = self;
        if *includes_low {
            write!(f, "a number from {low} to {high}")
        } else {
            write!(f, "a number above {low} and up to {high}")
        }
    }
}

/// The number given for a field, or its default.
#[expect(clippy::cast_possible_truncation, reason = "within the range; llama.cpp counts with 32 bits")]
pub(super) fn number(field: &str, given: Option<f64>, default: f32, range: Range) -> Result<f32, ApiError> {
    let Some(value) = given else { return Ok(default) };
    let low = f64::from(range.low);
    let above_low = if range.includes_low { value >= low } else { value as f32 > range.low };
    if above_low && value <= f64::from(range.high) {
        return Ok(value as f32);
    }
    let got = if value.abs() < 1e15 { value.to_string() } else { format!("{value:e}") };
    Err(out_of_range(field, &range.to_string(), got))
}

/// A number of tokens that a field counts back; −1 is the whole context, given as `None`.
pub(super) fn tokens_back(
    field: &str,
    given: Option<i64>,
    default: Option<u32>,
) -> Result<Option<u32>, ApiError> {
    match given {
        None => Ok(default),
        Some(-1) => Ok(None),
        Some(given) => u32::try_from(given).map(Some).map_err(|_| {
            out_of_range(field, "a whole number from 0 to 4294967295, or -1 for the whole context", given)
        }),
    }
}

/// The error for a value outside of what is expected.
pub(super) fn out_of_range(field: &str, expected: &str, got: impl fmt::Display) -> ApiError {
    ApiError::invalid(field, format!("{field}: expected {expected}, got {got}"))
}

/// The error for a field that has to be there.
pub(super) fn missing(field: impl Into<String>) -> ApiError {
    let field = field.into();
    ApiError::invalid(field.clone(), format!("{field}: missing"))
}

/// Checks a list of strings: at most `most` of them, each of 1 to `most_bytes` bytes.
pub(super) fn strings(
    field: &str,
    given: Vec<String>,
    most: usize,
    most_bytes: usize,
) -> Result<Vec<String>, ApiError> {
    if given.len() > most {
        let message = format!("{field}: at most {most} strings, got {}", given.len());
        return Err(ApiError::invalid(field, message));
    }
    for (index, text) in given.iter().enumerate() {
        if text.is_empty() || text.len() > most_bytes {
            let field = format!("{field}[{index}]");
            let message = format!("{field}: expected 1 to {most_bytes} bytes, got {}", text.len());
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(given)
}

/// What a client wrote, short enough to be repeated to it.
pub(super) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
