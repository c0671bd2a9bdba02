//! Puts a response together of what the engine tells, and tells each step as an event.

use super::response::{
    EventBody, EventText, Heading, Item, ItemContent, Progress, Status, WireEvent, WireUsage, now,
};
use crate::api::answer::{End, Part, Reader};
use crate::api::choices::Choices;
use crate::api::converse::Reply;
use crate::api::dialect::Dialect;
use crate::api::error::ApiError;
use crate::api::logprobs::tokens;
use crate::api::stream::{Outbox, Writer};
use crate::generation::{Event, TokenLogprobs};

/// Writes one response. A stream that breaks ends with `response.failed` and an event `error`.
#[derive(Debug)]
pub(super) struct ResponseWriter {
    heading: Heading,
    reader: Reader,
    /// How many events there were.
    events: u64,
    items: Vec<Item>,
    /// Probabilities of tokens whose text is not certain yet.
    held: Vec<TokenLogprobs>,
    status: Status,
    usage: Option<WireUsage>,
    completed_at: Option<u64>,
}

impl ResponseWriter {
    /// The response with this heading, read by `reader`.
    pub fn new(heading: Heading, reader: Reader) -> Self {
        Self {
            heading,
            reader,
            events: 0,
            items: Vec::new(),
            held: Vec::new(),
            status: Status::InProgress,
            usage: None,
            completed_at: None,
        }
    }

    fn progress<'a>(&'a self, error: Option<&'a ApiError>) -> Progress<'a> {
        let Self { status, items, usage, completed_at, .. } = self;
        Progress { status: *status, items, usage: *usage, completed_at: *completed_at, error }
    }

    /// Tells how far the response has come.
    fn tell(&mut self, name: &'static str, error: Option<&ApiError>, out: &mut Outbox) {
        let mut events = self.events;
        let response = Box::new(self.heading.response(self.progress(error)));
        send(&mut events, name, EventBody::Response { response }, out);
        self.events = events;
    }

    /// The next item begins.
    fn open(&mut self, content: ItemContent, out: &mut Outbox) {
        self.close(Status::Completed, out);
        let (output_index, item) = (self.items.len(), Item::new(content));
        let body = EventBody::Item { output_index, item: item.empty() };
        send(&mut self.events, "response.output_item.added", body, out);
        if let Some(part) = item.empty_part() {
            let body = EventBody::Part { item_id: &item.id, output_index, content_index: 0, part };
            send(&mut self.events, "response.content_part.added", body, out);
        }
        self.items.push(item);
    }

    /// The last item has ended, if it has not before.
    fn close(&mut self, status: Status, out: &mut Outbox) {
        let Some(output_index) = self.items.len().checked_sub(1) else { return };
        let Self { items, events, .. } = self;
        let item = &mut items[output_index];
        if item.status != Status::InProgress {
            return;
        }
        item.status = status;
        let item_id = &item.id;
        let (name, body) = match &item.content {
            ItemContent::Reasoning(text) => {
                let text = EventText { delta: None, text: Some(text), logprobs: None };
                ("response.reasoning_text.done", text_event(item_id, output_index, text))
            }
            ItemContent::Message { text, logprobs } => {
                let text = EventText { delta: None, text: Some(text), logprobs: Some(tokens(logprobs)) };
                ("response.output_text.done", text_event(item_id, output_index, text))
            }
            ItemContent::Call { name, arguments, .. } => {
                let body = EventBody::ArgumentsDone { item_id, output_index, name, arguments };
                ("response.function_call_arguments.done", body)
            }
        };
        send(events, name, body, out);
        if let Some(part) = item.part() {
            let body = EventBody::Part { item_id, output_index, content_index: 0, part };
            send(events, "response.content_part.done", body, out);
        }
        let body = EventBody::Item { output_index, item: item.whole() };
        send(events, "response.output_item.done", body, out);
    }

    fn part(&mut self, part: Part, out: &mut Outbox) {
        match part {
            Part::Role => {}
            Part::Thought(text) => {
                if !matches!(self.last(), Some(ItemContent::Reasoning(_))) {
                    self.open(ItemContent::Reasoning(String::new()), out);
                }
                self.more(&text, out);
            }
            Part::Text(text, figures) => {
                self.held.extend(figures.map(|figures| *figures));
                if text.is_empty() {
                    return;
                }
                if !matches!(self.last(), Some(ItemContent::Message { .. })) {
                    let content = ItemContent::Message { text: String::new(), logprobs: Vec::new() };
                    self.open(content, out);
                }
                self.more(&text, out);
            }
            Part::Call { id, name, .. } => {
                self.open(ItemContent::Call { call_id: id, name, arguments: String::new() }, out);
            }
            Part::Arguments { text, .. } => self.more(&text, out),
            Part::Finish(end, usage) => {
                self.usage = Some(WireUsage::new(usage, self.reader.thought_tokens()));
                self.status = if end == End::Length { Status::Incomplete } else { Status::Completed };
                self.close(self.status, out);
            }
        }
    }

    /// The item that may get more.
    fn last(&self) -> Option<&ItemContent> {
        self.items.last().map(|item| &item.content)
    }

    /// More of the last item.
    fn more(&mut self, delta: &str, out: &mut Outbox) {
        // Those of thoughts and calls are not told.
        let figures = std::mem::take(&mut self.held);
        let Some(output_index) = self.items.len().checked_sub(1) else { return };
        let Self { items, events, .. } = self;
        let Item { id, content, .. } = &mut items[output_index];
        let more = |logprobs| EventText { delta: Some(delta), text: None, logprobs };
        match content {
            ItemContent::Reasoning(text) => {
                text.push_str(delta);
                let body = text_event(id, output_index, more(None));
                send(events, "response.reasoning_text.delta", body, out);
            }
            ItemContent::Message { text, logprobs } => {
                text.push_str(delta);
                let body = text_event(id, output_index, more(Some(tokens(&figures))));
                send(events, "response.output_text.delta", body, out);
                logprobs.extend(figures);
            }
            ItemContent::Call { arguments, .. } => {
                arguments.push_str(delta);
                let body = EventBody::ArgumentsDelta { item_id: id, output_index, delta };
                send(events, "response.function_call_arguments.delta", body, out);
            }
        }
    }
}

fn text_event<'a>(item_id: &'a str, output_index: usize, text: EventText<'a>) -> EventBody<'a> {
    EventBody::Text { item_id, output_index, content_index: 0, text }
}

fn send(events: &mut u64, name: &'static str, body: EventBody<'_>, out: &mut Outbox) {
    out.event(name, &WireEvent { r#type: name, sequence_number: *events, body });
    *events += 1;
}

impl Writer for ResponseWriter {
    fn begin(&mut self, _: &Choices, out: &mut Outbox) {
        self.tell("response.created", None, out);
        self.tell("response.in_progress", None, out);
    }

    fn take(&mut self, _: &Choices, _: usize, event: Event, out: &mut Outbox) -> Result<(), ApiError> {
        for part in self.reader.take(event)? {
            self.part(part, out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Outbox) {
        if self.status == Status::Incomplete {
            return self.tell("response.incomplete", None, out);
        }
        self.completed_at = Some(now());
        self.tell("response.completed", None, out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut Outbox) {
        self.status = Status::Failed;
        for item in self.items.iter_mut().filter(|item| item.status == Status::InProgress) {
            item.status = Status::Incomplete;
        }
        self.tell("response.failed", Some(error), out);
        out.frame(Dialect::RESPONSES.frame(error, self.events));
    }
}

impl Reply for ResponseWriter {
    fn whole(&self) -> Vec<u8> {
        let response = self.heading.response(self.progress(None));
        serde_json::to_vec(&response).expect("strings and numbers always serialize")
    }
}
