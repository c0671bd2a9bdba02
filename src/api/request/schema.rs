//! Bounds JSON schemas before a worker turns them into grammars.
//!
//! PURE. llama.cpp's converter (`json-schema.cpp`, `json-schema-to-grammar.cpp`) recurses through a schema and its
//! `$ref`s, copies it for each name in `type`, and takes time with the cube of an object's optional properties. A
//! schema of a few lines can so take for ever or end the worker; what it becomes is bounded here.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::range::shorten;
use super::schema_values;

/// The most bytes of a schema.
const MAX_BYTES: usize = 64 << 10;
/// The most bytes of a schema that is written out: each `$ref` replaced by what it means, each name in `type` with a
/// copy of its own. 64 KiB are never more without either.
const MAX_WRITTEN_OUT_BYTES: usize = 256 << 10;
/// The most levels of schemas inside each other, `$ref`s followed; the converter recurses with each. OpenAI takes 10.
const MAX_DEPTH: usize = 32;
/// The most properties of one object, those that `allOf` adds included: 128 optional ones take 20 ms, twice as many
/// six times as long.
const MAX_PROPERTIES: usize = 128;
/// The most properties of all objects.
const MAX_ALL_PROPERTIES: usize = 1000;
/// The most bytes of a property's name and of a `$ref`. The converter recurses with each character of a name.
const MAX_NAME_BYTES: usize = 256;

/// Where a schema has another one, and where it has several.
const ONE: [&str; 3] = ["additionalProperties", "items", "prefixItems"];
const SEVERAL: [&str; 5] = ["anyOf", "oneOf", "allOf", "items", "prefixItems"];

/// The text of a schema within the bounds; else what is wrong with it.
pub(super) fn check(schema: &Value) -> Result<String, String> {
    if !schema.is_object() {
        return Err("expected a JSON schema, which is an object".into());
    }
    let text = schema.to_string();
    if text.len() > MAX_BYTES {
        return Err(format!("expected at most {MAX_BYTES} bytes, got {}; simplify the schema", text.len()));
    }
    Checker { root: schema, references: HashMap::new(), properties: 0 }.node(schema, 1)?;
    Ok(text)
}

/// What a schema becomes.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// Bytes, written out.
    bytes: usize,
    /// Levels, its own included.
    depth: usize,
    /// Properties that it would add to an object that has it in its `allOf`.
    properties: usize,
}

struct Checker<'schema> {
    root: &'schema Value,
    /// The size of what each `$ref` means; `None` while it is looked at, because it leads back to itself.
    references: HashMap<&'schema str, Option<Size>>,
    /// Of all objects so far.
    properties: usize,
}

impl<'schema> Checker<'schema> {
    /// Looks at a schema that is `depth` levels down.
    fn node(&mut self, schema: &'schema Value, depth: usize) -> Result<Size, String> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let Some(fields) = schema.as_object() else {
            // `true` and `false`, or what the converter refuses.
            return Ok(Size { bytes: schema.to_string().len(), depth: 1, properties: 0 });
        };
        if let Some(reference) = fields.get("$ref") {
            return self.reference(reference, depth);
        }
        schema_values::check(fields)?;
        let mut size = Size { bytes: own_bytes(fields), depth: 0, properties: 0 };
        if let Some(Value::Object(properties)) = fields.get("properties") {
            size.properties = properties.len();
            self.count(properties.len())?;
            for (name, property) in properties {
                check_name("the name of a property", name)?;
                size.add(self.node(property, depth + 1)?);
            }
        }
        for key in ONE {
            if let Some(inner @ Value::Object(_)) = fields.get(key) {
                size.add(self.node(inner, depth + 1)?);
            }
        }
        for key in SEVERAL {
            for inner in fields.get(key).and_then(Value::as_array).into_iter().flatten() {
                let inner = self.node(inner, depth + 1)?;
                size.add(inner);
                if key.ends_with("Of") {
                    size.properties = size.properties.saturating_add(inner.properties);
                }
            }
        }
        if size.properties > MAX_PROPERTIES && fields.contains_key("allOf") {
            return Err(crowded(size.properties));
        }
        let types = fields.get("type").and_then(Value::as_array).map_or(1, Vec::len);
        size.bytes = size.bytes.saturating_mul(types.max(1));
        size.depth += 1;
        size.checked(depth)
    }

    fn count(&mut self, properties: usize) -> Result<(), String> {
        if properties > MAX_PROPERTIES {
            return Err(crowded(properties));
        }
        self.properties += properties;
        if self.properties > MAX_ALL_PROPERTIES {
            return Err(format!("more than {MAX_ALL_PROPERTIES} properties in all; simplify the schema"));
        }
        Ok(())
    }

    /// Follows a `$ref`; one that leads back to itself is counted once.
    fn reference(&mut self, reference: &'schema Value, depth: usize) -> Result<Size, String> {
        let own = Size { bytes: reference.to_string().len(), depth: 1, properties: 0 };
        let Some(name) = reference.as_str() else { return Err("a $ref is a string".into()) };
        check_name("a $ref", name)?;
        let size = match self.references.get(name) {
            Some(Some(known)) => *known,
            Some(None) => Size::default(),
            None => {
                let target = resolve(self.root, name)?;
                self.refuse_circle(name, target)?;
                self.references.insert(name, None);
                let size = self.node(target, depth + 1)?;
                self.references.insert(name, Some(size));
                size
            }
        };
        let mut sum = Size { properties: size.properties, ..own };
        sum.bytes = sum.bytes.saturating_add(size.bytes);
        sum.depth += size.depth;
        sum.checked(depth)
    }

    /// Refuses a `$ref` to a `$ref` to a `$ref`, and so on, without anything in between.
    fn refuse_circle(&self, name: &str, mut target: &'schema Value) -> Result<(), String> {
        for _ in 0..MAX_DEPTH {
            let Some(next) = target.get("$ref").and_then(Value::as_str) else { return Ok(()) };
            target = resolve(self.root, next)?;
        }
        Err(format!("$ref {:?} leads only to other $refs", shorten(name)))
    }
}

impl Size {
    fn add(&mut self, inner: Self) {
        self.bytes = self.bytes.saturating_add(inner.bytes);
        self.depth = self.depth.max(inner.depth);
    }

    /// Within the bounds, `depth` levels down.
    fn checked(self, depth: usize) -> Result<Self, String> {
        if self.bytes > MAX_WRITTEN_OUT_BYTES {
            return Err(format!(
                "with each $ref and each of several types written out it has more than {MAX_WRITTEN_OUT_BYTES} \
                 bytes; simplify the schema"
            ));
        }
        if depth + self.depth - 1 > MAX_DEPTH {
            return Err(too_deep());
        }
        Ok(self)
    }
}

fn crowded(properties: usize) -> String {
    format!("an object has at most {MAX_PROPERTIES} properties, got {properties}")
}

fn too_deep() -> String {
    format!("more than {MAX_DEPTH} levels, $refs followed; simplify the schema")
}

/// Bytes of a schema without those inside it.
fn own_bytes(fields: &Map<String, Value>) -> usize {
    let own = fields.iter().map(|(key, value)| match key.as_str() {
        "$defs"
        | "definitions"
        | "items"
        | "prefixItems"
        | "additionalProperties"
        | "anyOf"
        | "oneOf"
        | "allOf" => 0,
        "properties" => value.as_object().map_or(0, |inner| inner.keys().map(|name| name.len() + 4).sum()),
        key => key.len() + value.to_string().len() + 4,
    });
    own.sum::<usize>() + 2
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("{what} has at most {MAX_NAME_BYTES} bytes, got {}", name.len()));
    }
    Ok(())
}

/// What a `$ref` means, found as the converter finds it: without escapes.
fn resolve<'schema>(root: &'schema Value, name: &str) -> Result<&'schema Value, String> {
    let Some(path) = name.strip_prefix("#/") else {
        let got = shorten(name);
        return Err(format!("a $ref points into the same schema, such as \"#/$defs/name\", got {got:?}"));
    };
    path.split('/')
        .try_fold(root, |value, step| match value {
            Value::Object(fields) => fields.get(step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
        .ok_or_else(|| format!("$ref {:?} points nowhere", shorten(name)))
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
