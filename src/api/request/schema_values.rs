//! What stands in a schema besides other schemas, and of which kinds these are. llama.cpp's converter says only that a
//! schema is wrong, or takes a minimum above the maximum for a number of repetitions that never ends.

use serde_json::{Map, Value};

use super::range::shorten;
use crate::grammar::MAX_REPETITIONS;

/// The most values of one `enum`; each is a way on that is looked at with each token. OpenAI takes 1,000 in all.
pub(super) const MAX_ENUM_VALUES: usize = 1000;
/// The most bytes of a `pattern`: the converter recurses with its parentheses.
pub(super) const MAX_PATTERN_BYTES: usize = 1024;
/// The types of JSON, `integer` counted.
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
/// Where there are schemas by name, where there are several, and where there is one or perhaps something else.
const NAMED: [&str; 1] = ["properties"];
const LISTED: [&str; 3] = ["anyOf", "oneOf", "allOf"];

/// Checks the values of a schema that is no `$ref`.
pub(super) fn check(fields: &Map<String, Value>) -> Result<(), String> {
    check_type(fields.get("type"))?;
    match fields.get("enum") {
        Some(Value::Array(values)) if values.is_empty() => {
            return Err("an enum has at least one value".into());
        }
        Some(Value::Array(values)) if values.len() > MAX_ENUM_VALUES => {
            return Err(format!("an enum has at most {MAX_ENUM_VALUES} values, got {}", values.len()));
        }
        None | Some(Value::Array(_)) => {}
        Some(other) => return Err(wrong("enum", "an array of values", other)),
    }
    match fields.get("pattern") {
        Some(Value::String(pattern)) if pattern.len() > MAX_PATTERN_BYTES => {
            return Err(format!("a pattern has at most {MAX_PATTERN_BYTES} bytes, got {}", pattern.len()));
        }
        None | Some(Value::String(_)) => {}
        Some(other) => return Err(wrong("pattern", "a string", other)),
    }
    check_required(fields.get("required"))?;
    check_schemas(fields)?;
    check_counts(fields, "minItems", "maxItems")?;
    check_counts(fields, "minLength", "maxLength")?;
    check_numbers(fields)
}

fn check_type(kind: Option<&Value>) -> Result<(), String> {
    let known = |kind: &Value| kind.as_str().is_some_and(|name| TYPES.contains(&name));
    match kind {
        None => Ok(()),
        Some(Value::Array(kinds)) if kinds.len() > TYPES.len() => {
            Err(format!("JSON has {} types, got {} in one type", TYPES.len(), kinds.len()))
        }
        Some(Value::Array(kinds)) if !kinds.is_empty() && kinds.iter().all(known) => Ok(()),
        Some(kind) if known(kind) => Ok(()),
        Some(other) => Err(wrong("type", &format!("{}, or some of them", TYPES.join(", ")), other)),
    }
}

fn check_required(required: Option<&Value>) -> Result<(), String> {
    match required {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => Ok(()),
        Some(other) => Err(wrong("required", "an array of names", other)),
    }
}

/// Schemas are objects here: `true` and `false` are none to llama.cpp.
fn check_schemas(fields: &Map<String, Value>) -> Result<(), String> {
    for key in NAMED {
        match fields.get(key) {
            None => {}
            Some(Value::Object(schemas)) => {
                if let Some((name, other)) = schemas.iter().find(|(_, schema)| !schema.is_object()) {
                    return Err(wrong(
                        &format!("{key}.{}", shorten(name)),
                        "a schema, which is an object",
                        other,
                    ));
                }
            }
            Some(other) => return Err(wrong(key, "an object of schemas", other)),
        }
    }
    let objects = |schemas: &[Value]| schemas.iter().all(Value::is_object);
    for key in LISTED {
        match fields.get(key) {
            None => {}
            Some(Value::Array(schemas)) if !schemas.is_empty() && objects(schemas) => {}
            Some(other) => return Err(wrong(key, "at least one schema, each an object", other)),
        }
    }
    for key in ["items", "prefixItems"] {
        match fields.get(key) {
            None | Some(Value::Object(_)) => {}
            Some(Value::Array(schemas)) if objects(schemas) => {}
            Some(other) => return Err(wrong(key, "a schema, or an array of schemas", other)),
        }
    }
    match fields.get("additionalProperties") {
        None | Some(Value::Bool(_) | Value::Object(_)) => Ok(()),
        Some(other) => Err(wrong("additionalProperties", "true, false or a schema", other)),
    }
}

/// A least and a most number of things.
fn check_counts(fields: &Map<String, Value>, least: &str, most: &str) -> Result<(), String> {
    let count = |key: &str| match fields.get(key) {
        None => Ok(None),
        Some(value) => match value.as_u64().and_then(|count| i32::try_from(count).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(wrong(key, "a whole number from 0 to 2147483647", value)),
        },
    };
    match (count(least)?, count(most)?) {
        (Some(low), Some(high)) if low > high => {
            Err(format!("{least} ({low}) is more than {most} ({high}); nothing would satisfy that"))
        }
        (Some(low), _) if usize::try_from(low).is_ok_and(|low| low > MAX_REPETITIONS) => {
            Err(format!("{least}: expected at most {MAX_REPETITIONS}, got {low}"))
        }
        _ => Ok(()),
    }
}

/// The bounds of a number.
fn check_numbers(fields: &Map<String, Value>) -> Result<(), String> {
    let whole = fields.get("type").is_some_and(|kind| kind == "integer" || kind.is_array());
    let bound = |key: &str| match fields.get(key) {
        None => Ok(None),
        // An older draft's word for whether the other bound is exclusive.
        Some(Value::Bool(_)) if !whole && key.starts_with("exclusive") => Ok(None),
        // llama.cpp counts with 64 bits.
        Some(Value::Number(number)) if !whole || number.as_i64().is_some() => Ok(number.as_f64()),
        Some(Value::Number(number))
            if number.as_f64().is_some_and(|n| n.abs() < 9e18 && n.fract() != 0.0) =>
        {
            Ok(number.as_f64())
        }
        Some(other) if whole => Err(wrong(key, "a number of at most 64 bits", other)),
        Some(other) => Err(wrong(key, "a number", other)),
    };
    let exclusive = [bound("exclusiveMinimum")?, bound("exclusiveMaximum")?];
    let low = bound("minimum")?.or(exclusive[0]);
    let high = bound("maximum")?.or(exclusive[1]);
    match (low, high) {
        (Some(low), Some(high)) if low > high => {
            Err(format!("the minimum ({low}) is more than the maximum ({high}); nothing would satisfy that"))
        }
        _ => Ok(()),
    }
}

fn wrong(key: &str, expected: &str, got: &Value) -> String {
    format!("{key}: expected {expected}, got {}", shorten(&got.to_string()))
}
