//! Puts a message together of what the engine tells, and tells each step as an event.

use uuid::Uuid;

use super::response::{Block, WireDelta, WireEvent, WireMessage, WireStop, WireUsage};
use crate::api::answer::{End, Part, Reader};
use crate::api::choices::Choices;
use crate::api::converse::Reply;
use crate::api::dialect::Dialect;
use crate::api::error::ApiError;
use crate::api::stream::{Outbox, Writer};
use crate::generation::{Event, FinishReason, Usage};

/// Writes one message. A stream that breaks ends with an event `error`, and without `message_stop`.
#[derive(Debug)]
pub(super) struct MessageWriter {
    id: String,
    model: String,
    /// The request's stop sequences.
    stop: Vec<String>,
    reader: Reader,
    /// Whether `message_start` was told: it has the counts of the prompt, which come with the first event.
    begun: bool,
    blocks: Vec<Block>,
    /// Whether the last block may get more.
    open: bool,
    usage: Usage,
    end: Option<End>,
    reason: Option<FinishReason>,
}

impl MessageWriter {
    /// The message of a model, read by `reader`; it may end with one of `stop`.
    pub fn new(model: String, stop: Vec<String>, reader: Reader) -> Self {
        Self {
            id: format!("msg_{}", Uuid::new_v4().simple()),
            model,
            stop,
            reader,
            begun: false,
            blocks: Vec::new(),
            open: false,
            usage: Usage::default(),
            end: None,
            reason: None,
        }
    }

    fn message(&self) -> WireMessage<'_> {
        WireMessage {
            id: &self.id,
            r#type: "message",
            role: "assistant",
            model: &self.model,
            content: self.blocks.iter().map(Block::whole).collect(),
            stop: self.stop(),
            usage: self.usage(),
        }
    }

    fn usage(&self) -> WireUsage {
        WireUsage::new(self.usage, self.reader.thought_tokens())
    }

    fn stop(&self) -> WireStop<'_> {
        let Some(end) = self.end else { return WireStop::default() };
        match (end, self.reason) {
            (End::ToolCalls, _) => WireStop { stop_reason: Some("tool_use"), stop_sequence: None },
            (End::Length, _) => WireStop { stop_reason: Some("max_tokens"), stop_sequence: None },
            (End::Stop, Some(FinishReason::StopString(which))) => WireStop {
                stop_reason: Some("stop_sequence"),
                stop_sequence: self.stop.get(which as usize).map(String::as_str),
            },
            (End::Stop, _) => WireStop { stop_reason: Some("end_turn"), stop_sequence: None },
        }
    }

    /// The next block begins.
    fn open(&mut self, block: Block, out: &mut Outbox) {
        self.close(out);
        let index = self.blocks.len();
        send(&WireEvent::ContentBlockStart { index, content_block: block.empty() }, out);
        self.blocks.push(block);
        self.open = true;
    }

    /// The last block has ended.
    fn close(&mut self, out: &mut Outbox) {
        let Some(index) = self.blocks.len().checked_sub(1).filter(|_| self.open) else { return };
        if let Block::Thinking(_) = self.blocks[index] {
            // Some clients give thoughts back only if they have a signature.
            let delta = WireDelta::Signature { signature: "" };
            send(&WireEvent::ContentBlockDelta { index, delta }, out);
        }
        send(&WireEvent::ContentBlockStop { index }, out);
        self.open = false;
    }

    fn part(&mut self, part: Part, out: &mut Outbox) {
        let last = self.blocks.last().filter(|_| self.open);
        match &part {
            Part::Thought(_) if !matches!(last, Some(Block::Thinking(_))) => {
                self.open(Block::Thinking(String::new()), out);
            }
            // A token that only has figures to tell.
            Part::Text(text, _) if text.is_empty() => return,
            Part::Text(..) if !matches!(last, Some(Block::Text(_))) => {
                self.open(Block::Text(String::new()), out);
            }
            _ => {}
        }
        match part {
            Part::Role => {}
            Part::Call { id, name, .. } => self.open(Block::ToolUse { id, name, input: String::new() }, out),
            Part::Thought(text) | Part::Text(text, _) | Part::Arguments { text, .. } => self.more(&text, out),
            Part::Finish(end, usage) => {
                self.close(out);
                (self.end, self.usage) = (Some(end), usage);
                send(&WireEvent::MessageDelta { delta: self.stop(), usage: self.usage() }, out);
            }
        }
    }

    /// More of the last block.
    fn more(&mut self, text: &str, out: &mut Outbox) {
        let Some(index) = self.blocks.len().checked_sub(1) else { return };
        let delta = match &mut self.blocks[index] {
            Block::Thinking(so_far) => {
                so_far.push_str(text);
                WireDelta::Thinking { thinking: text }
            }
            Block::Text(so_far) => {
                so_far.push_str(text);
                WireDelta::Text { text }
            }
            Block::ToolUse { input, .. } => {
                input.push_str(text);
                WireDelta::InputJson { partial_json: text }
            }
        };
        send(&WireEvent::ContentBlockDelta { index, delta }, out);
    }
}

fn send(event: &WireEvent<'_>, out: &mut Outbox) {
    out.event(event.name(), event);
}

impl Writer for MessageWriter {
    fn take(
        &mut self,
        choices: &Choices,
        index: usize,
        event: Event,
        out: &mut Outbox,
    ) -> Result<(), ApiError> {
        if !self.begun && !matches!(event, Event::Failed(_)) {
            self.begun = true;
            // Some tokens may be on their way already.
            self.usage = Usage { completion_tokens: 0, ..choices.pace(index).usage };
            send(&WireEvent::MessageStart { message: self.message() }, out);
        }
        if let Event::Finished { reason, .. } = event {
            self.reason = Some(reason);
        }
        for part in self.reader.take(event)? {
            self.part(part, out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Outbox) {
        send(&WireEvent::MessageStop {}, out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut Outbox) {
        out.frame(Dialect::MESSAGES.frame(error, 0));
    }
}

impl Reply for MessageWriter {
    fn whole(&self) -> Vec<u8> {
        serde_json::to_vec(&self.message()).expect("strings and numbers always serialize")
    }
}
