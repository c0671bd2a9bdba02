//! The JSON Schema of policies, with which editors complete and check YAML.
//!
//! Pure. What each key takes is what validation says while it reads a small policy; what a key means is said by the
//! comments of the default policy. Only keys whose values are no plain numbers, words or amounts are described here.

use serde_json::{Map, Value, json};

use super::error::{Faults, Kind};
use super::path::{Step, YamlPath};
use super::raw::RawPolicy;
use super::spans::Spans;
use super::types::PolicySource;
use super::{read_raw, validate};

/// Has every list whose elements have keys.
const SMALL: &str = "models: [{ name: a, variants: [{ path: a.gguf }], \
                     scale: { schedule: [{ at: \"0 0 * * *\", min_instances: 0 }] } }]";

/// The schema, draft 2020-12. `commented`: a policy that has every key, with comments above them.
///
/// # Panics
///
/// Never: the small policy that it reads is legal, which a test shows.
#[must_use]
pub fn schema(commented: &str) -> Value {
    let mut faults = Faults::describing();
    let (_, raw) = read_raw::<RawPolicy>(SMALL, "", &mut faults);
    let source = PolicySource { text: SMALL.into(), file: None, folder: "".into() };
    validate::policy(raw.expect("a policy"), source, &mut faults).expect("a legal policy");
    let mut root = object();
    for (path, kind) in faults.kinds() {
        *place(&mut root, path.steps()) = of(kind);
    }
    let spans = Spans::read(commented, &mut Faults::default());
    for (path, schema) in others() {
        *place(&mut root, path.steps()) = schema;
    }
    require(&mut root);
    describe(&mut root, &YamlPath::default(), &spans, &commented.lines().collect::<Vec<_>>());
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "A policy of modelpool".into();
    root
}

fn object() -> Value {
    json!({ "type": ["object", "null"], "properties": {}, "additionalProperties": false })
}

/// Where the schema of a node stands, in that of the document.
fn place<'v>(schema: &'v mut Value, steps: &[Step]) -> &'v mut Value {
    let Some((step, rest)) = steps.split_first() else { return schema };
    if schema.is_null() {
        *schema = match step {
            Step::Key(_) => object(),
            Step::Index(_) => json!({ "type": ["array", "null"] }),
        };
    }
    let next = match step {
        Step::Key(key) => &mut schema["properties"][key],
        Step::Index(_) => &mut schema["items"],
    };
    place(next, rest)
}

/// An absent or null key has its default.
fn of(kind: &Kind) -> Value {
    match kind {
        Kind::Whole { default, low, high } => {
            // A default that is outside of the range stands for none.
            let default = if (low..=high).contains(&default) { json!(default) } else { Value::Null };
            json!({ "type": ["integer", "null"], "minimum": low, "maximum": high, "default": default })
        }
        Kind::Number { default, low, includes_low, high } => {
            let minimum = if *includes_low { "minimum" } else { "exclusiveMinimum" };
            json!({ "type": ["number", "null"], minimum: low, "maximum": high, "default": default })
        }
        Kind::Bytes { default, low, high } => json!({
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": AMOUNT }, { "type": "null" }],
            "$comment": format!("{low} to {high}"),
            "default": default,
        }),
        Kind::Choice { default, words } => {
            let words = words.iter().map(|word| json!(word)).chain([Value::Null]);
            json!({ "enum": words.collect::<Vec<_>>(), "default": default })
        }
        Kind::Flag { default } => json!({ "type": ["boolean", "null"], "default": default }),
    }
}

/// As [`crate::units::ByteCount`] reads it.
const AMOUNT: &str = r"^\s*[0-9]+(\.[0-9]+)?\s*([kMGT]B|[KMGT]iB|B)?\s*$";

/// What keys take that validation does not read as one of the [`Kind`]s.
fn others() -> Vec<(YamlPath, Value)> {
    let root = YamlPath::default();
    let (server, devices, model) = (root.key("server"), root.key("devices"), root.key("models").index(0));
    let text = json!({ "type": "string", "minLength": 1 });
    let maybe = json!({ "type": ["string", "null"] });
    let listed = json!({ "type": "array", "minItems": 1, "maxItems": 16, "items": {
        "type": "object", "properties": { "path": text }, "required": ["path"], "additionalProperties": false,
    } });
    let auto = json!({
        "type": "object", "properties": { "auto": text }, "required": ["auto"], "additionalProperties": false,
    });
    vec![
        (server.key("listen"), json!({ "type": ["string", "null"], "default": "127.0.0.1:8080" })),
        (server.key("api_keys_file"), maybe.clone()),
        (server.key("cors_origins"), json!({ "type": ["array", "null"], "items": { "type": "string" } })),
        (
            devices.key("host_memory_limit"),
            json!({ "type": ["integer", "string", "null"], "default": "75%" }),
        ),
        (model.key("name"), json!({ "type": "string", "pattern": "^[A-Za-z0-9._:/-]{1,128}$" })),
        (model.key("variants"), json!({ "anyOf": [listed, auto] })),
        (
            model.key("devices"),
            json!({ "type": ["array", "null"], "minItems": 1,
                "items": { "type": "string", "pattern": "^(host|gpu[0-9]+)$" } }),
        ),
        (model.key("scale").key("schedule").index(0).key("at"), text.clone()),
        (model.key("cache").key("redis"), maybe),
    ]
}

/// Says which keys have to be there.
fn require(root: &mut Value) {
    let models = &mut root["properties"]["models"];
    models["type"] = "array".into();
    models["minItems"] = 1.into();
    models["items"]["type"] = "object".into();
    models["items"]["required"] = json!(["name", "variants"]);
    let entry = &mut models["items"]["properties"]["scale"]["properties"]["schedule"]["items"];
    entry["type"] = "object".into();
    entry["required"] = json!(["at", "min_instances"]);
    // Truth values are understood where YAML 1.1 makes them of words.
    let engine = &mut models["items"]["properties"]["engine"]["properties"];
    for (key, values) in [("split", &[false][..]), ("flash_attention", &[false, true])] {
        let words = engine[key]["enum"].as_array_mut().expect("a choice");
        words.extend(values.iter().map(|value| json!(value)));
    }
    root["type"] = "object".into();
    root["required"] = json!(["models"]);
}

/// Adds what the comments above the keys say.
fn describe(schema: &mut Value, at: &YamlPath, spans: &Spans, lines: &[&str]) {
    if let Some(text) = comment(at, spans, lines) {
        schema["description"] = text.into();
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let properties: &mut Map<String, Value> = properties;
        for (key, schema) in properties {
            describe(schema, &at.key(key), spans, lines);
        }
    }
    if let Some(items) = schema.get_mut("items") {
        describe(items, &at.index(0), spans, lines);
    }
}

/// The comment that ends on the line before a key.
fn comment(at: &YamlPath, spans: &Spans, lines: &[&str]) -> Option<String> {
    let key = matches!(at.steps().last()?, Step::Key(_)) && spans.has(at);
    let above = lines.get(..key.then(|| spans.locate(at).line)?.checked_sub(1)?)?;
    let comment = above.iter().rev().map_while(|line| line.trim().strip_prefix('#'));
    let mut lines: Vec<&str> = comment.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.reverse();
    Some(lines.join("\n")).filter(|text| !text.is_empty())
}
