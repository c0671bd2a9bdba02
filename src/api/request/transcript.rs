//! Messages in the making, for APIs that spread a turn over blocks or items: what belongs to one turn becomes one message,
//! because many templates take only users and assistants that alternate.

use super::ApiError;
use super::messages::name_results;
use crate::chat::{Message, ToolCall};

/// A conversation as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Transcript(Vec<Message>);

impl Transcript {
    /// Text of somebody who is not the assistant. Texts that follow each other begin on new lines.
    pub fn say(&mut self, role: &str, text: &str) {
        match self.0.last_mut() {
            Some(last) if last.role == role => {
                let content = last.content.get_or_insert_default();
                content.push('\n');
                content.push_str(text);
            }
            _ => self.0.push(Message::text(role, text)),
        }
    }

    /// Text of the assistant. It continues what the same turn said before, as the model did.
    pub fn answer(&mut self, text: &str) {
        self.assistant().content.get_or_insert_default().push_str(text);
    }

    /// What the assistant thought.
    pub fn think(&mut self, text: &str) {
        self.assistant().reasoning.get_or_insert_default().push_str(text);
    }

    /// A function that the assistant called.
    pub fn call(&mut self, call: ToolCall) {
        self.assistant().calls.push(call);
    }

    /// What the call with this id came to.
    pub fn result(&mut self, id: &str, text: String) {
        let call_id = Some(id.to_owned());
        self.0.push(Message { call_id, ..Message::text("tool", text) });
    }

    /// The assistant's message that is being read.
    pub fn assistant(&mut self) -> &mut Message {
        if self.0.last().is_none_or(|last| last.role != "assistant") {
            self.0.push(Message { role: "assistant".to_owned(), ..Message::default() });
        }
        self.0.last_mut().expect("one is there")
    }

    /// All messages, of which there must be one. `field`: what the API calls them.
    pub fn finish(self, field: &str) -> Result<Vec<Message>, ApiError> {
        let mut messages = self.0;
        if messages.is_empty() {
            let message = format!("{field}: expected at least one message, got none");
            return Err(ApiError::invalid(field, message));
        }
        name_results(&mut messages);
        Ok(messages)
    }
}
