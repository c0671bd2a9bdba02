//! One bad request, and what it is told.

use serde_json::{Value, json};

use crate::common::merge;

/// The model that makes text.
pub const MODEL: &str = "text";
pub const CHAT: &str = "/v1/chat/completions";
pub const COMPLETIONS: &str = "/v1/completions";

#[derive(Clone, Debug)]
pub struct Case {
    /// For people.
    pub name: String,
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub status: u16,
    pub code: &'static str,
    /// The field at fault.
    pub param: Option<String>,
    /// A piece of the message.
    pub says: String,
}

impl Case {
    /// A posted body that is a 400 because of a field.
    pub fn post(path: &str, body: impl Into<Vec<u8>>, param: &str, says: &str) -> Self {
        let body = body.into();
        let start = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        Self {
            name: format!("{path} {param} {says}: {start}"),
            method: "POST",
            path: path.into(),
            headers: Vec::new(),
            body,
            status: 400,
            code: "invalid_request",
            param: Some(param.into()),
            says: says.into(),
        }
    }

    /// A path with another status.
    pub fn at(method: &'static str, path: &str, status: u16, code: &'static str, says: &str) -> Self {
        let name = format!("{method} {path:.80}");
        Self { name, method, status, code, param: None, ..Self::post(path, "", "", says) }
    }

    pub fn of(self, param: &str) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub fn with(mut self, header: &'static str, value: &str) -> Self {
        self.name = format!("{} ({header}: {value:.40})", self.name);
        self.headers.push((header, value.into()));
        self
    }

    /// It is about a model that there is not.
    pub fn missing(self) -> Self {
        Self { status: 404, code: "model_not_found", ..self }
    }

    /// Another code with the same status.
    pub fn code(self, code: &'static str) -> Self {
        Self { code, ..self }
    }
}

/// A chat, with these fields besides.
pub fn chat(fields: &Value) -> Value {
    let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] });
    merge(&mut body, fields);
    body
}

/// A chat with these fields, which is refused because of one of them.
pub fn bad_chat(fields: &Value, param: &str, says: &str) -> Case {
    Case::post(CHAT, chat(fields).to_string(), param, says)
}

/// A completion with these fields, which is refused because of one of them.
pub fn bad_completion(fields: &Value, param: &str, says: &str) -> Case {
    let mut body = json!({ "model": MODEL, "prompt": "hi", "max_tokens": 2 });
    merge(&mut body, fields);
    Case::post(COMPLETIONS, body.to_string(), param, says)
}
