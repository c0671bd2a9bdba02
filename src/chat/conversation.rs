//! What is said: messages, the functions that a model may call, and what else its template is given.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::python::dumps;

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said; `None` where a message of the assistant only calls functions.
    pub content: Option<String>,
    /// What the assistant thought before it said that.
    pub reasoning: Option<String>,
    /// The functions that the assistant called.
    pub calls: Vec<ToolCall>,
    /// Which call the result in a `tool` message is of.
    pub call_id: Option<String>,
    /// Who speaks, or the function whose result it is.
    pub name: Option<String>,
}

impl Message {
    /// A message of text alone.
    pub fn text(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), ..Self::default() }
    }
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// What its result refers to.
    pub id: Option<String>,
    /// The function.
    pub name: String,
    /// Its arguments by name.
    pub arguments: Map<String, Value>,
}

/// A function that a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its arguments.
    pub parameters: Value,
    /// All that was said about it, as templates get it: `{"type":"function","function":{…}}`.
    pub definition: Value,
}

/// What a template makes a prompt of.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// Oldest first; at least one.
    pub messages: Vec<Message>,
    /// The functions that the model may call.
    pub tools: Vec<Tool>,
    /// Further variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
    /// What the template takes for the present, in UTC.
    pub now: SystemTime,
}

/// How a template wants calls of earlier messages. Hugging Face gives arguments as an object and no content; some
/// templates join the arguments to text, or take the content for text in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallStyle {
    /// A message that only calls has the empty text as its content, instead of none.
    pub empty_content: bool,
    /// Arguments are JSON text instead of an object.
    pub text_arguments: bool,
}

impl CallStyle {
    /// All there are, in the order in which they are tried.
    pub const ALL: [Self; 4] = [
        Self { empty_content: false, text_arguments: false },
        Self { empty_content: true, text_arguments: false },
        Self { empty_content: false, text_arguments: true },
        Self { empty_content: true, text_arguments: true },
    ];
}

impl Message {
    /// The message as templates get it: with the fields of OpenAI's that it has.
    pub(super) fn value(&self, style: CallStyle) -> Value {
        let mut fields = Map::new();
        fields.insert("role".into(), self.role.as_str().into());
        let content = match &self.content {
            None if style.empty_content || self.calls.is_empty() => Some(""),
            content => content.as_deref(),
        };
        fields.insert("content".into(), content.into());
        let mut optional = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                fields.insert(key.into(), value.as_str().into());
            }
        };
        optional("reasoning_content", &self.reasoning);
        optional("tool_call_id", &self.call_id);
        optional("name", &self.name);
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(|call| call.value(style)).collect();
            fields.insert("tool_calls".into(), Value::Array(calls));
        }
        Value::Object(fields)
    }
}

impl ToolCall {
    fn value(&self, style: CallStyle) -> Value {
        let arguments = Value::Object(self.arguments.clone());
        let arguments = if style.text_arguments { dumps(&arguments).into() } else { arguments };
        let mut fields = Map::new();
        if let Some(id) = &self.id {
            fields.insert("id".into(), id.as_str().into());
        }
        fields.insert("type".into(), "function".into());
        fields.insert("function".into(), json!({ "name": self.name, "arguments": arguments }));
        Value::Object(fields)
    }
}
