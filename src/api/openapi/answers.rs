//! What is answered: the schemas of the types that are sent, and the statuses that can be.

use http::StatusCode;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::JSON;
use crate::api::admin::{self, Admin};
use crate::api::routes::Endpoint;
use crate::api::{anthropic, embeddings, models, native, probes, props, rerank, response, responses, tokens};

/// What an endpoint answers as JSON, where that has a schema.
pub(super) fn schema(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Option<Schema> {
    Some(match endpoint {
        Endpoint::Health => models::health_schema(generator),
        Endpoint::Live => probes::live_schema(generator),
        Endpoint::Ready => probes::ready_schema(generator),
        Endpoint::Models => models::models_schema(generator),
        Endpoint::Model => models::model_schema(generator),
        Endpoint::Metrics | Endpoint::OpenApi => return None,
        Endpoint::Embed => embeddings::answer_schema(generator),
        Endpoint::Rerank => rerank::answer_schema(generator),
        Endpoint::Tokenize => tokens::tokens_schema(generator),
        Endpoint::Detokenize => tokens::text_schema(generator),
        Endpoint::ApplyTemplate => tokens::prompt_schema(generator),
        Endpoint::Generate(_) => response::schema(generator),
        Endpoint::Native(_) => native::answer_schema(generator),
        Endpoint::Responses => responses::response_schema(generator),
        Endpoint::Messages => anthropic::message_schema(generator),
        Endpoint::CountTokens => anthropic::count_schema(generator),
        Endpoint::Props => props::props_schema(generator),
        Endpoint::Slots => props::slots_schema(generator),
        Endpoint::Admin(admin) => return admin::answer_schema(admin, generator),
    })
}

/// The statuses of errors that an endpoint can answer with. A wrong method is none of its answers.
fn statuses(endpoint: Endpoint) -> Vec<u16> {
    // Those of a body, of a model that is named, and of what waits for a slot or for an instance.
    const BODY: [u16; 3] = [400, 408, 413];
    const WAITS: [u16; 5] = [422, 429, 500, 503, 504];
    let of = |own: &[u16]| [&[401], own].concat();
    let mut statuses = match endpoint {
        // The same body as with 200.
        Endpoint::Health => return vec![503],
        Endpoint::Live => return Vec::new(),
        Endpoint::Ready => return vec![404, 503],
        Endpoint::Metrics | Endpoint::OpenApi | Endpoint::Models => of(&[]),
        Endpoint::Model | Endpoint::Props | Endpoint::Slots => of(&[403, 404, 503]),
        Endpoint::Embed
        | Endpoint::Rerank
        | Endpoint::Tokenize
        | Endpoint::Detokenize
        | Endpoint::Generate(_)
        | Endpoint::Responses
        | Endpoint::Messages
        | Endpoint::CountTokens
        | Endpoint::Native(_) => of(&[&BODY[..], &[403, 404], &WAITS].concat()),
        Endpoint::Admin(Admin::Instances | Admin::Policy) => of(&[403]),
        Endpoint::Admin(Admin::Decisions) => of(&[400, 403]),
        Endpoint::Admin(Admin::ReplacePolicy) => of(&[&BODY[..], &[403, 500, 503]].concat()),
        Endpoint::ApplyTemplate | Endpoint::Admin(_) => of(&[&BODY[..], &[403, 404, 503]].concat()),
    };
    statuses.sort_unstable();
    statuses
}

/// The errors of an endpoint, by status; each has the shape `error`.
pub(super) fn errors(endpoint: Endpoint, error: &Schema) -> Map<String, Value> {
    let described = statuses(endpoint).into_iter().map(|status| {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut response = json!({
            "description": reason.unwrap_or_default(),
            "content": { JSON: { "schema": error } },
        });
        if let Some((header, means, required)) = header(status) {
            response["headers"] =
                json!({ header: { "description": means, "required": required, "schema": { "type": "string" } } });
        }
        (status.to_string(), response)
    });
    described.collect()
}

/// A header that comes with a status, what it says, and whether it always comes.
const fn header(status: u16) -> Option<(&'static str, &'static str, bool)> {
    match status {
        401 => Some(("WWW-Authenticate", "How to send a key.", true)),
        429 => Some(("Retry-After", "Seconds until it can be tried again.", true)),
        422 | 503 | 504 => {
            Some(("Retry-After", "Seconds until it can be tried again, where that is known.", false))
        }
        _ => None,
    }
}
