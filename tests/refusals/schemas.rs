//! Hostile schemas, as the schema of an answer and as the parameters of a function.

use serde_json::{Map, Value, json};

use crate::case::{Case, bad_chat, chat};

/// 2^40 copies of a few bytes.
pub fn branching() -> Value {
    let mut definitions: Map<String, Value> = (0..40)
        .map(|index| {
            let next = json!({ "$ref": format!("#/$defs/d{}", index + 1) });
            (format!("d{index}"), json!({ "anyOf": [next, next] }))
        })
        .collect();
    definitions.insert("d40".into(), json!({ "type": "string" }));
    json!({ "$defs": definitions, "type": "object", "properties": { "a": { "$ref": "#/$defs/d0" } } })
}

pub fn optional(properties: usize) -> Value {
    let each = (0..properties).map(|index| (format!("p{index}"), json!({ "type": "string" })));
    json!({ "type": "object", "properties": Value::Object(each.collect()) })
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({ "type": "string" }), |inner, _| json!({ "type": "array", "items": inner }))
}

/// Schemas, and what is said of them.
fn refused() -> Vec<(Value, &'static str)> {
    let circle = |inner: Value| json!({ "$defs": { "a": inner }, "$ref": "#/$defs/a" });
    vec![
        (branching(), "more than 32 levels, $refs followed"),
        (json!({ "enum": (0..100_000).collect::<Vec<_>>() }), "expected at most 65536 bytes"),
        (json!({ "enum": (0..1001).collect::<Vec<_>>() }), "an enum has at most 1000 values, got 1001"),
        (json!({ "enum": [] }), "an enum has at least one value"),
        (optional(3000), "expected at most 65536 bytes"),
        (optional(129), "an object has at most 128 properties, got 129"),
        (nested(40), "more than 32 levels"),
        (json!({ "anyOf": vec![json!({ "type": "string" }); 5000] }), "expected at most 65536 bytes"),
        (json!({ "anyOf": [] }), "anyOf: expected at least one schema"),
        (json!({ "oneOf": [null] }), "oneOf: expected at least one schema"),
        (json!({ "$ref": "#" }), "a $ref points into the same schema"),
        (json!({ "$ref": "#/$defs/nope" }), "points nowhere"),
        (json!({ "$ref": "https://example.com/x.json" }), "a $ref points into the same schema"),
        (json!({ "$ref": 5 }), "a $ref is a string"),
        (circle(json!({ "$ref": "#/$defs/a" })), "leads only to other $refs"),
        (json!({ "type": "colour" }), "type: expected array, boolean, integer"),
        (json!({ "type": 5 }), "type: expected"),
        (json!({ "type": vec!["string"; 8] }), "JSON has 7 types"),
        (json!({ "type": "array", "minItems": 5, "maxItems": 2 }), "minItems (5) is more than maxItems (2)"),
        (json!({ "type": "array", "minItems": 1_000_000 }), "minItems: expected at most 2000, got 1000000"),
        (json!({ "type": "array", "maxItems": -1 }), "maxItems: expected a whole number from 0"),
        (json!({ "type": "string", "maxLength": 1_u64 << 31 }), "maxLength: expected a whole number from 0"),
        (json!({ "type": "string", "minLength": "x" }), "minLength: expected a whole number from 0"),
        (
            json!({ "type": "string", "minLength": 3, "maxLength": 2 }),
            "minLength (3) is more than maxLength (2)",
        ),
        (
            json!({ "type": "integer", "minimum": 5, "maximum": 2 }),
            "the minimum (5) is more than the maximum (2)",
        ),
        (json!({ "type": "integer", "minimum": 1e300 }), "minimum: expected a number of at most 64 bits"),
        (json!({ "type": "string", "pattern": 5 }), "pattern: expected a string"),
        (json!({ "type": "string", "pattern": "a".repeat(1025) }), "a pattern has at most 1024 bytes"),
        (json!({ "type": "string", "pattern": "^a{1000000}$" }), "expected at most 2000 repetitions"),
        (json!({ "type": "string", "pattern": "^(a$" }), "llama.cpp cannot make a grammar of it"),
        (json!({ "type": "object", "properties": [] }), "properties: expected an object of schemas"),
        (json!({ "type": "object", "properties": { "a": 5 } }), "properties.a: expected a schema"),
        (json!({ "type": "object", "properties": { "x".repeat(257): {} } }), "at most 256 bytes"),
        (json!({ "type": "object", "required": "a" }), "required: expected an array of names"),
        (
            json!({ "type": "object", "additionalProperties": 5 }),
            "additionalProperties: expected true, false",
        ),
        (json!({ "type": "array", "items": 5 }), "items: expected a schema"),
    ]
}

pub fn cases() -> Vec<Case> {
    let own = refused()
        .into_iter()
        .map(|(schema, says)| bad_chat(&json!({ "json_schema": schema }), "json_schema", says));
    let formats = refused().into_iter().take(8).map(|(schema, says)| {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": schema } });
        bad_chat(&json!({ "response_format": format }), "response_format.json_schema.schema", says)
    });
    // Those that are known before a worker converts all of them together.
    let of_functions = refused().into_iter().filter_map(|(schema, says)| {
        let known = !says.contains("repetitions") && !says.contains("grammar");
        let parameters = json!({ "type": "object", "properties": { "a": schema } });
        let points = schema.get("$ref").is_some() || schema.get("$defs").is_some();
        (known && !points).then(|| of_function(&parameters, "tools[0].function.parameters", says))
    });
    own.chain(formats).chain(of_functions).chain(functions()).collect()
}

fn of_function(parameters: &Value, param: &str, says: &str) -> Case {
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": parameters } });
    bad_chat(&json!({ "tools": [tool], "tool_choice": "required" }), param, says)
}

fn functions() -> Vec<Case> {
    let named = |name: &str| json!({ "type": "function", "function": { "name": name } });
    let bad = |tools: Value, param: &str, says: &str| bad_chat(&json!({ "tools": tools }), param, says);
    let many: Vec<Value> = (0..129).map(|index| named(&format!("f{index}"))).collect();
    let chosen = |choice: Value| json!({ "tools": [named("f")], "tool_choice": choice });
    vec![
        of_function(&branching(), "tools[0].function.parameters", "more than 32 levels"),
        of_function(&json!([]), "tools[0].function.parameters", "expected a JSON schema of an object"),
        of_function(
            &json!({ "type": "array" }),
            "tools[0].function.parameters",
            "expected a JSON schema of an object",
        ),
        bad(json!(many), "tools", "at most 128 functions, got 129"),
        bad(json!([named("f"), named("f")]), "tools[1].function.name", "another function is called"),
        bad(json!([named("a b")]), "tools[0].function.name", "expected 1 to 64 letters"),
        bad(json!([named("")]), "tools[0].function.name", "expected 1 to 64 letters"),
        bad(json!([named(&"a".repeat(65))]), "tools[0].function.name", "expected 1 to 64 letters"),
        bad(json!([{ "type": "function", "function": {} }]), "tools[0].function.name", "missing"),
        bad(json!([{ "type": "function" }]), "tools[0].function", "missing"),
        bad(json!([{ "type": "web_search" }]), "tools[0].type", "expected \"function\""),
        bad(json!([null]), "tools[0]", "expected an object"),
        bad(json!([{}]), "tools[0].type", "missing"),
        bad_chat(
            &chosen(json!({ "type": "function", "function": { "name": "g" } })),
            "tool_choice.function.name",
            "got \"g\"",
        ),
        bad_chat(&json!({ "tool_choice": "required" }), "tool_choice", "there is nothing to choose"),
        bad_chat(
            &json!({ "tools": [named("f")], "grammar": "root ::= \"a\"" }),
            "tools",
            "cannot be combined with a grammar",
        ),
        Case::post(
            "/apply-template",
            chat(&json!({ "tools": [named("a b")] })).to_string(),
            "tools[0].function.name",
            "expected 1 to 64 letters",
        ),
    ]
}

/// Patterns that hold up who keeps each way to read a text for itself, and the largest that is let through.
pub fn hard() -> Vec<(&'static str, Value)> {
    let pattern = |pattern: String| json!({ "json_schema": { "type": "string", "pattern": pattern } });
    let types = json!(["object", "array", "string", "number", "integer", "boolean", "null"]);
    vec![
        ("(a+)+$", pattern("(a+)+$".into())),
        ("^(a+)+$", pattern("^(a+)+$".into())),
        ("^(.*)*$", pattern("^(.*)*$".into())),
        ("a* five hundred times", pattern(format!("^{}$", "a*".repeat(500)))),
        ("[a-z]* a hundred times", pattern(format!("^{}$", "[a-z]*".repeat(165)))),
        ("any character five hundred times", pattern(format!("^{}$", ".".repeat(500)))),
        ("repetitions in repetitions", pattern("^((a{0,200}){0,200}){0,200}$".into())),
        ("a|a|a…", pattern(format!("^({}a)*$", "a|".repeat(400)))),
        ("parentheses", pattern(format!("^{}a{}$", "(".repeat(500), ")".repeat(500)))),
        ("128 optional properties", json!({ "json_schema": optional(128) })),
        ("1000 values", json!({ "json_schema": { "enum": (0..1000).collect::<Vec<_>>() } })),
        ("all types in arrays", json!({ "json_schema": { "type": "array", "items": { "type": types } } })),
        ("arrays of up to 2000", json!({ "json_schema": { "type": "array", "maxItems": 2000 } })),
        ("31 levels", json!({ "json_schema": nested(31) })),
    ]
}
