//! `/openapi.json`: what can be asked and is answered, as OpenAPI 3.1. Made of the table of paths and of the types that the
//! handlers read and send, so that it cannot name what there is not.

mod answers;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::admin::{self, Admin};
use super::dialect::{AnthropicErrorBody, ErrorBody};
use super::request::{self, Native, Shape};
use super::routes::{self, Endpoint};
use super::{embeddings, rerank, tokens};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const EVENTS: &str = "text/event-stream";
const TEXT: &str = "text/plain";

/// What is said of one method of a path.
struct Operation {
    summary: &'static str,
    /// Parameters of the query, and what they mean.
    query: &'static [(&'static str, &'static str)],
    /// The body's type and schema.
    body: Option<(&'static str, Schema)>,
    /// Types of the answer.
    answers: &'static [&'static str],
}

const MODEL: (&str, &str) = ("model", "The model meant; the first of the policy by default.");

/// The whole document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut generator =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    // What is sent looks at the same types from the other side: what is left out is not required, what may be null is there.
    let mut sent = SchemaSettings::draft2020_12().for_serialize();
    sent.definitions_path = "/components/schemas".into();
    let mut sent = sent.into_generator();
    let (error, anthropic) = (sent.subschema_for::<ErrorBody>(), sent.subschema_for::<AnthropicErrorBody>());
    let mut paths: Map<String, Value> = Map::new();
    for (method, pattern, endpoint) in routes::all() {
        let operation = operation(endpoint, &mut generator);
        let methods = paths.entry(pattern).or_insert_with(|| json!({}));
        let error = if endpoint.dialect().is_anthropic() { &anthropic } else { &error };
        let answer = answers::schema(endpoint, &mut sent);
        let errors = answers::errors(endpoint, error);
        methods[method.to_ascii_lowercase()] = describe(method, pattern, operation, answer.as_ref(), errors);
    }
    let mut schemas = generator.take_definitions(true);
    schemas.extend(sent.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "modelpool",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A server for GGUF models: OpenAI's API, llama-server's own paths, and paths for operators. \
                            Fields that are not named are ignored.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// Describes a method of a path that answers with `answer` as JSON, or with an error.
fn describe(
    method: &str,
    pattern: &str,
    operation: Operation,
    answer: Option<&Schema>,
    errors: Map<String, Value>,
) -> Value {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let id: String = format!("{}{pattern}", method.to_ascii_lowercase()).chars().map(word).collect();
    let in_path = pattern
        .ends_with("{id}")
        .then(|| json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }));
    let in_query = operation.query.iter().map(|(name, means)| {
        let schema = if *name == "limit" {
            json!({ "type": "integer", "minimum": 0 })
        } else {
            json!({ "type": "string" })
        };
        json!({ "name": name, "in": "query", "description": means, "schema": schema })
    });
    let parameters: Vec<Value> = in_path.into_iter().chain(in_query).collect();
    let schema = |kind: &str| match (kind, answer) {
        (JSON, Some(schema)) => json!({ "schema": schema }),
        (JSON, None) => json!({ "schema": { "type": "object" } }),
        // A schema would be that of each event, and these have several forms.
        (EVENTS, _) => json!({}),
        _ => json!({ "schema": { "type": "string" } }),
    };
    let content: Map<String, Value> =
        operation.answers.iter().map(|kind| ((*kind).to_owned(), schema(kind))).collect();
    let mut responses =
        Map::from_iter([("200".to_owned(), json!({ "description": "The answer.", "content": content }))]);
    responses.extend(errors);
    // Those who ask how things are hear it then, too; or that there is no such model.
    if matches!(pattern, "/health" | "/ready") {
        let schema = &mut responses["503"]["content"][JSON]["schema"];
        *schema = json!({ "anyOf": [answer, schema.take()] });
    }
    let mut described = json!({
        "operationId": id.trim_matches('_'),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some((kind, schema)) = operation.body {
        described["requestBody"] =
            json!({ "required": pattern != "/admin/drain", "content": { kind: { "schema": schema } } });
    }
    described
}

/// What is said of an endpoint.
fn operation(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Operation {
    let get = |summary| Operation { summary, query: &[], body: None, answers: &[JSON] };
    let of_model = |summary| Operation { query: &[MODEL], ..get(summary) };
    let post = |summary, schema| Operation { body: Some((JSON, schema)), ..get(summary) };
    let post_of_model = |summary, schema| Operation { query: &[MODEL], ..post(summary, schema) };
    match endpoint {
        Endpoint::Health => get("Whether requests are taken, and how the models are doing."),
        Endpoint::Live => get("Whether the process lives."),
        Endpoint::Ready => Operation {
            query: &[("model", "Whether this one would take a request in time; any by default.")],
            ..get("Whether a request would get a slot in time.")
        },
        Endpoint::Models => get("The models."),
        Endpoint::Model => get("One model."),
        Endpoint::Metrics => Operation { answers: &[TEXT], ..get("Metrics for Prometheus.") },
        Endpoint::OpenApi => get("This document."),
        Endpoint::Embed => post("A vector for each text.", embeddings::schema(generator)),
        Endpoint::Rerank => post("How well documents match a query.", rerank::schema(generator)),
        Endpoint::Tokenize => post_of_model("The tokens of a text.", tokens::tokenize_schema(generator)),
        Endpoint::Detokenize => post_of_model("The text of tokens.", tokens::detokenize_schema(generator)),
        Endpoint::ApplyTemplate => {
            post_of_model("The prompt that messages become.", request::template_schema(generator))
        }
        Endpoint::Generate(shape) => {
            let summary = match shape {
                Shape::Chat => "The assistant's next message.",
                Shape::Completion => "The continuation of a text.",
            };
            Operation { answers: &[JSON, EVENTS], ..post(summary, request::schema(shape, generator)) }
        }
        Endpoint::Responses => Operation {
            answers: &[JSON, EVENTS],
            ..post("An answer to items, which is not kept.", request::responses_schema(generator))
        },
        Endpoint::Messages => Operation {
            answers: &[JSON, EVENTS],
            ..post("The assistant's next message, in Anthropic's shape.", request::messages_schema(generator))
        },
        Endpoint::CountTokens => {
            post("How many tokens such a request's prompt has.", request::count_schema(generator))
        }
        Endpoint::Native(path) => {
            let summary = match path {
                Native::Completion => "The continuation of a text, in llama-server's shape.",
                Native::Infill => "What is missing between two texts, in llama-server's shape.",
            };
            let schema = request::native_schema(path, generator);
            Operation { answers: &[JSON, EVENTS], ..post_of_model(summary, schema) }
        }
        Endpoint::Props => of_model("What a model is, and how it is asked by default."),
        Endpoint::Slots => {
            Operation { query: &[("model", "Only this model's.")], ..get("The slots of ready instances.") }
        }
        Endpoint::Admin(admin) => administration(admin, generator),
    }
}

fn administration(admin: Admin, generator: &mut SchemaGenerator) -> Operation {
    let get = |summary| Operation { summary, query: &[], body: None, answers: &[JSON] };
    let mut order =
        |summary| Operation { body: Some((JSON, admin::order_schema(generator))), ..get(summary) };
    let yaml = |summary| Operation { body: Some((YAML, text_schema())), ..get(summary) };
    match admin {
        Admin::Instances => get("All instances."),
        Admin::Decisions => Operation {
            query: &[("model", "Only this model's."), ("limit", "The most decisions.")],
            ..get("The latest decisions, newest first.")
        },
        Admin::Load => order("Hold instances of a model for a while."),
        Admin::Unload => order("Let all instances of a model go until the next request."),
        Admin::Pin => order("Hold instances of a model until that is taken back."),
        Admin::Drain => Operation {
            body: Some((JSON, admin::drain_schema(generator))),
            ..get("Take no requests, or take them again.")
        },
        Admin::Policy => Operation { answers: &[YAML], ..get("The policy that runs.") },
        Admin::ReplacePolicy => yaml("Follow another policy."),
        Admin::ValidatePolicy => yaml("Say what is wrong with a policy."),
    }
}

fn text_schema() -> Schema {
    String::json_schema(&mut SchemaGenerator::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `visit` with each reference to another part of the document.
    fn references(value: &Value, visit: &mut impl FnMut(&str)) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| match value {
                Value::String(target) if key == "$ref" => visit(target),
                value => references(value, visit),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, visit)),
            _ => {}
        }
    }

    /// The fields of a body, of all its parts.
    fn fields(document: &Value, schema: &Value) -> Vec<String> {
        if let Some(target) = schema["$ref"].as_str() {
            return fields(document, document.pointer(target.trim_start_matches('#')).expect("it resolves"));
        }
        let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
        let parts = schema["allOf"].as_array().into_iter().flatten().flat_map(|part| fields(document, part));
        own.chain(parts).collect()
    }

    #[test]
    fn every_path_is_there_and_every_reference_leads_somewhere() {
        let document = document();
        let mut ids = Vec::new();
        for (method, pattern, _) in routes::all() {
            let operation = &document["paths"][pattern][method.to_ascii_lowercase()];
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{method} {pattern}");
            for (status, response) in responses {
                let content = response["content"].as_object().unwrap();
                let known = content.iter().all(|(kind, told)| kind == EVENTS || told["schema"].is_object());
                assert!(known, "{method} {pattern} {status}");
            }
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "ids are unique");
        let mut seen = 0;
        references(&document, &mut |target| {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
            seen += 1;
        });
        assert!(seen > count, "{seen}");
    }

    #[test]
    fn the_fields_are_those_of_the_manual() {
        let document = document();
        let manual = include_str!("../../docs/api.md");
        let body = |path: &str| {
            let schema = &document["paths"][path]["post"]["requestBody"]["content"][JSON]["schema"];
            fields(&document, schema)
        };
        let known: Vec<String> =
            ["/v1/chat/completions", "/v1/completions"].iter().flat_map(|path| body(path)).collect();
        for field in &known {
            assert!(
                manual.contains(&format!("`{field}`")) || manual.contains(&format!("`{field}.")),
                "{field} is missing in docs/api.md"
            );
        }
        let (_, tables) = manual.split_once("\n## Fields\n").unwrap();
        let (tables, _) = tables.split_once("\n### Special tokens\n").unwrap();
        let rows = tables.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        for (field, _) in rows {
            let name = field.split('.').next().unwrap();
            assert!(known.iter().any(|known| known == name), "{field} is documented, and no field");
        }
        for path in [
            "/v1/embeddings",
            "/v1/messages",
            "/v1/rerank",
            "/v1/responses",
            "/tokenize",
            "/detokenize",
            "/completion",
            "/infill",
        ] {
            for field in body(path) {
                assert!(
                    manual.contains(&format!("`{field}`")) || manual.contains(&format!("\"{field}\"")),
                    "{path}: {field} is missing in docs/api.md"
                );
            }
        }
    }
}
