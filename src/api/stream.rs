//! Server-sent events: one for each piece of text, as it comes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use super::error::ApiError;
use super::request::Shape;
use super::response::{Heading, Part};
use crate::admission::Flight;
use crate::generation::Event;

/// The body of a streaming answer. A stream that breaks ends with an error event and without `[DONE]`, so that
/// nobody takes it for complete.
pub struct EventStream {
    flight: Flight,
    heading: Heading,
    include_usage: bool,
    /// Frames not sent yet.
    frames: VecDeque<Bytes>,
    ended: bool,
}

impl EventStream {
    /// The stream of a flight that has started.
    #[must_use]
    pub fn new(flight: Flight, heading: Heading, include_usage: bool) -> Self {
        let mut stream = Self { flight, heading, include_usage, frames: VecDeque::new(), ended: false };
        if stream.heading.shape == Shape::Chat {
            stream.push(Part::Role);
        }
        stream
    }

    fn push(&mut self, part: Part<'_>) {
        let json = self.heading.chunk(part);
        self.frames.push_back(frame(&json));
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Part::Text(text));
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Started { .. } | Event::Embedding(_) => {}
            Event::Token { text, .. } => self.push_text(&text),
            Event::Finished { reason, text, usage } => {
                self.push_text(&text);
                self.push(Part::Finish(reason));
                if self.include_usage {
                    self.push(Part::Usage(usage));
                }
                self.frames.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.ended = true;
            }
            Event::Failed(error) => {
                let body = ApiError::from(error).body(self.heading.shape.prompt_field());
                let json = serde_json::to_vec(&body).expect("strings always serialize");
                self.frames.push_back(frame(&json));
                self.ended = true;
            }
        }
    }
}

/// One event. JSON has no line breaks of its own, so it is a single `data` line.
fn frame(json: &[u8]) -> Bytes {
    [b"data: ", json, b"\n\n"].concat().into()
}

impl Stream for EventStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let event = ready!(self.flight.poll_next(context));
            self.take(event);
        }
    }
}
