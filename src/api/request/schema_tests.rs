//! Schemas that people write are let through, and those that take llama.cpp's converter for ever are not.

use serde_json::{Value, json};

use super::*;
use schema_values::MAX_ENUM_VALUES;

#[track_caller]
fn refuses(schema: &Value, expected: &str) {
    let fault = check(schema).expect_err(expected);
    assert!(fault.contains(expected), "{fault}");
}

fn accepts(schema: &Value) {
    assert_eq!(check(schema), Ok(schema.to_string()));
}

fn object(properties: usize) -> Value {
    let properties: Map<_, _> = (0..properties).map(|index| (format!("p{index}"), json!({}))).collect();
    json!({ "type": "object", "properties": properties })
}

#[test]
fn usual_schemas_are_let_through() {
    accepts(&json!({}));
    accepts(&json!({ "type": ["string", "null"], "enum": ["a", "b"], "pattern": "^a+$" }));
    accepts(&json!({ "type": "array", "items": { "type": "integer" }, "maxItems": 5 }));
    accepts(
        &json!({ "type": "object", "additionalProperties": true, "$defs": { "unused": { "$ref": "#/nowhere" } } }),
    );
    // A tree: a schema that leads back to itself.
    accepts(&json!({
        "$defs": { "node": { "type": "object", "properties": {
            "value": { "type": "string" },
            "children": { "type": "array", "items": { "$ref": "#/$defs/node" } },
        } } },
        "$ref": "#/$defs/node",
    }));
    accepts(&object(MAX_PROPERTIES));
    accepts(&json!({ "enum": vec!["x"; MAX_ENUM_VALUES] }));
}

#[test]
fn what_a_schema_has_is_bounded() {
    refuses(&json!([]), "expected a JSON schema, which is an object");
    refuses(&json!({ "description": "x".repeat(MAX_BYTES) }), "expected at most 65536 bytes");
    refuses(&object(3000), "an object has at most 128 properties, got 3000");
    let eight: Vec<_> = (0..8).map(|_| object(125)).collect();
    accepts(&json!({ "prefixItems": eight }));
    refuses(&json!({ "prefixItems": eight, "items": object(1) }), "more than 1000 properties in all");
    refuses(&json!({ "enum": vec![1; 20_000] }), "an enum has at most 1000 values, got 20000");
    refuses(&json!({ "type": vec!["string"; 8] }), "JSON has 7 types, got 8 in one type");
    refuses(&json!({ "pattern": "a".repeat(1025) }), "a pattern has at most 1024 bytes, got 1025");
    refuses(
        &json!({ "properties": { "x".repeat(257): {} } }),
        "the name of a property has at most 256 bytes",
    );
    refuses(&json!({ "$ref": format!("#/{}", "x".repeat(256)) }), "a $ref has at most 256 bytes");
}

#[test]
fn what_the_converter_does_not_know_is_named() {
    for (schema, expected) in [
        (json!({ "type": "colour" }), "type: expected array, boolean, integer"),
        (json!({ "type": [] }), "type: expected"),
        (json!({ "enum": [] }), "an enum has at least one value"),
        (json!({ "enum": 1 }), "enum: expected an array of values, got 1"),
        (json!({ "pattern": 1 }), "pattern: expected a string, got 1"),
        (json!({ "required": "a" }), "required: expected an array of names"),
        (json!({ "properties": [] }), "properties: expected an object of schemas"),
        (json!({ "properties": { "a": true } }), "properties.a: expected a schema"),
        (json!({ "anyOf": [] }), "anyOf: expected at least one schema"),
        (json!({ "items": 5 }), "items: expected a schema, or an array of schemas"),
        (json!({ "additionalProperties": 5 }), "additionalProperties: expected true, false or a schema"),
        (json!({ "minItems": 5, "maxItems": 2 }), "minItems (5) is more than maxItems (2)"),
        (json!({ "maxLength": -1 }), "maxLength: expected a whole number from 0 to 2147483647, got -1"),
        (json!({ "maxLength": 1_u64 << 31 }), "maxLength: expected a whole number"),
        (json!({ "minItems": 2001 }), "minItems: expected at most 2000, got 2001"),
        (json!({ "minimum": "1" }), "minimum: expected a number, got \"1\""),
        (json!({ "type": "integer", "maximum": 1e300 }), "maximum: expected a number of at most 64 bits"),
        (json!({ "type": "integer", "maximum": u64::MAX }), "maximum: expected a number of at most 64 bits"),
        (json!({ "minimum": 5, "maximum": 2 }), "the minimum (5) is more than the maximum (2)"),
    ] {
        refuses(&json!({ "items": schema }), expected);
    }
    accepts(&json!({ "type": "integer", "minimum": 0.5, "maximum": i64::MAX }));
}

#[test]
fn levels_are_bounded_whatever_they_are_made_of() {
    for wrap in [
        |inner: Value| json!({ "properties": { "a": inner } }),
        |inner: Value| json!({ "items": inner }),
        |inner: Value| json!({ "prefixItems": [inner] }),
        |inner: Value| json!({ "anyOf": [{}, inner] }),
        |inner: Value| json!({ "additionalProperties": inner }),
    ] {
        let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| wrap(inner));
        accepts(&nested(MAX_DEPTH));
        refuses(&nested(MAX_DEPTH + 1), "more than 32 levels, $refs followed");
    }
    let chain: Map<_, _> = (0..100)
        .map(|index| (format!("d{index}"), json!({ "items": { "$ref": format!("#/$defs/d{}", index + 1) } })))
        .collect();
    refuses(&json!({ "$defs": chain, "$ref": "#/$defs/d0" }), "more than 32 levels");
    // The same with what was measured on another way already.
    let mut chain: Map<_, _> = (0..20)
        .map(|index| (format!("d{index}"), json!({ "items": { "$ref": format!("#/$defs/d{}", index + 1) } })))
        .collect();
    chain.insert("d20".into(), json!({}));
    refuses(
        &json!({ "$defs": chain, "properties": {
        "a": { "$ref": "#/$defs/d14" }, "b": { "$ref": "#/$defs/d0" } } }),
        "more than 32 levels",
    );
}

#[test]
fn a_schema_is_bounded_by_what_it_becomes() {
    // 2^14 copies of a few bytes.
    let mut definitions: Map<_, _> = (0..14)
        .map(|index| {
            let next = json!({ "$ref": format!("#/$defs/d{}", index + 1) });
            (format!("d{index}"), json!({ "anyOf": [next, next] }))
        })
        .collect();
    definitions.insert("d14".into(), json!({ "type": "string" }));
    let written_out = "written out it has more than 262144 bytes";
    refuses(&json!({ "$defs": definitions, "$ref": "#/$defs/d0" }), written_out);
    let types = json!(["object", "array", "string", "number", "integer", "boolean", "null"]);
    let copies = (0..7).fold(json!({}), |inner, _| json!({ "type": types, "properties": { "a": inner } }));
    refuses(&copies, written_out);
    // Properties that come together from several schemas.
    let parts =
        json!({ "$defs": { "part": object(100) }, "allOf": [{ "$ref": "#/$defs/part" }, object(100)] });
    refuses(&parts, "an object has at most 128 properties, got 200");
}

#[test]
fn references_lead_somewhere_in_the_same_schema() {
    refuses(&json!({ "$ref": "https://example.com/x" }), "a $ref points into the same schema");
    refuses(&json!({ "$ref": "#" }), "a $ref points into the same schema");
    refuses(&json!({ "$ref": 5 }), "a $ref is a string");
    refuses(&json!({ "$ref": "#/$defs/x" }), "$ref \"#/$defs/x\" points nowhere");
    refuses(&json!({ "prefixItems": [{ "$ref": "#/prefixItems/1" }] }), "points nowhere");
    accepts(&json!({ "prefixItems": [{ "$ref": "#/prefixItems/1" }, {}] }));
    let circle = json!({ "a": { "$ref": "#/b" }, "b": { "$ref": "#/a" }, "allOf": [{ "$ref": "#/a" }] });
    refuses(&circle, "$ref \"#/a\" leads only to other $refs");
}
