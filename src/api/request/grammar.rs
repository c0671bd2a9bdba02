//! What the text must conform to: a grammar, a JSON schema, or JSON of any kind.

use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

use super::range::{missing, out_of_range, shorten};
use super::{ApiError, schema};
use crate::generation::Grammar;
use crate::grammar::{self, Bounds};

/// The fields that say it; a request has one of them.
const FIELDS: [&str; 3] = ["grammar", "json_schema", "response_format"];

/// What the fields look like that say it, and the bias of tokens, which has two forms as well.
pub(super) fn fields_schema() -> Schema {
    let others = json_schema!({ "type": "object", "properties": {
        "json_schema": { "description": "A JSON schema.", "type": ["object", "null"] },
        "response_format": {
            "type": ["object", "null"],
            "properties": { "type": { "enum": ["text", "json_object", "json_schema"] } },
            "required": ["type"],
        },
    } });
    json_schema!({ "allOf": [own_fields_schema(), others] })
}

/// Those of them that all APIs have.
pub(super) fn own_fields_schema() -> Schema {
    json_schema!({ "type": "object", "properties": {
        "grammar": { "type": ["string", "null"], "maxLength": Bounds::WRITTEN.bytes },
        "logit_bias": { "anyOf": [{ "type": ["object", "array", "null"] }, { "const": false }] },
    } })
}

/// Reads whichever of the fields is there.
pub(super) fn read(object: &Map<String, Value>) -> Result<Option<Grammar>, ApiError> {
    let [grammar, json_schema, response_format] = FIELDS.map(|field| object.get(field));
    let found = [gbnf(grammar)?, at_top(json_schema)?, formatted(response_format)?];
    only(FIELDS.into_iter().zip(found))
}

/// The one grammar that these fields give, if any does.
fn only(
    fields: impl IntoIterator<Item = (&'static str, Option<Grammar>)>,
) -> Result<Option<Grammar>, ApiError> {
    let mut given = fields.into_iter().filter_map(|(field, found)| Some((field, found?)));
    let Some((first, grammar)) = given.next() else { return Ok(None) };
    if let Some((second, _)) = given.next() {
        let message = format!("{second}: cannot be combined with {first}; give one of them");
        return Err(ApiError::invalid(second, message));
    }
    Ok(Some(grammar))
}

/// As [`read`], for an API whose field `format` is `{"type":…,"schema":…}` in place of `response_format`.
pub(super) fn read_with_format(
    object: &Map<String, Value>,
    format: &'static str,
    given: Option<&Value>,
) -> Result<Option<Grammar>, ApiError> {
    let formatted = flat(format, given)?;
    only([("grammar", gbnf(object.get("grammar"))?), (format, formatted)])
}

/// A format with its schema beside its type.
fn flat(path: &str, format: Option<&Value>) -> Result<Option<Grammar>, ApiError> {
    let fields = match format {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(ApiError::invalid(path, format!("{path}: expected an object"))),
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => schema_at(path, &json!({ "type": "object" })).map(Some),
        Some("json_schema") => {
            let path = format!("{path}.schema");
            let schema = fields.get("schema").filter(|schema| !schema.is_null());
            schema_at(&path, schema.ok_or_else(|| missing(path.as_str()))?).map(Some)
        }
        Some(other) => {
            let got = format!("{:?}", shorten(other));
            Err(out_of_range(&format!("{path}.type"), "text, json_object or json_schema", got))
        }
        None => Err(missing(format!("{path}.type"))),
    }
}

/// `grammar`: text in llama.cpp's notation.
fn gbnf(field: Option<&Value>) -> Result<Option<Grammar>, ApiError> {
    match field {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => match grammar::Grammar::read(text, Bounds::WRITTEN) {
            Ok(_) => Ok(Some(Grammar::Gbnf(text.clone()))),
            Err(reason) => Err(ApiError::invalid("grammar", format!("grammar: {reason}"))),
        },
        Some(_) => Err(ApiError::invalid("grammar", "grammar: expected a string")),
    }
}

/// `json_schema`: the schema itself, as llama.cpp's server takes it.
fn at_top(field: Option<&Value>) -> Result<Option<Grammar>, ApiError> {
    match field {
        None | Some(Value::Null) => Ok(None),
        Some(schema) => schema_at("json_schema", schema).map(Some),
    }
}

/// `response_format`: OpenAI's way to ask for the same.
fn formatted(field: Option<&Value>) -> Result<Option<Grammar>, ApiError> {
    let fields = match field {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(ApiError::invalid("response_format", "response_format: expected an object")),
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => match fields.get("schema") {
            None | Some(Value::Null) => schema_at("response_format", &json!({ "type": "object" })).map(Some),
            Some(schema) => schema_at("response_format.schema", schema).map(Some),
        },
        Some("json_schema") => {
            let path = "response_format.json_schema.schema";
            let schema = fields.get("json_schema").and_then(|format| format.get("schema"));
            schema_at(path, schema.ok_or_else(|| missing(path))?).map(Some)
        }
        Some(other) => {
            let got = format!("{:?}", shorten(other));
            Err(out_of_range("response_format.type", "text, json_object or json_schema", got))
        }
        None => Err(missing("response_format.type")),
    }
}

fn schema_at(path: &str, schema: &Value) -> Result<Grammar, ApiError> {
    match schema::check(schema) {
        Ok(text) => Ok(Grammar::JsonSchema(text)),
        Err(reason) => Err(ApiError::invalid(path, format!("{path}: {reason}"))),
    }
}
