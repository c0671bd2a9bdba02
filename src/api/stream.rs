//! Server-sent events: one for each piece of text, as it comes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use super::answer::{Part, Reader};
use super::choices::{Choices, total};
use super::error::ApiError;
use super::logprobs::Offset;
use super::request::Shape;
use super::response::Heading;
use crate::generation::{Event, Usage};

/// The body of a streaming answer. A stream that breaks ends with an error event and without `[DONE]`, so that
/// nobody takes it for complete.
pub struct EventStream {
    /// `None` after the end.
    choices: Option<Choices>,
    heading: Heading,
    include_usage: bool,
    /// Reads the text of each choice.
    readers: Vec<Reader>,
    /// Where the text of each choice is.
    offsets: Vec<Offset>,
    /// The counts of the choices that have ended.
    usages: Vec<Usage>,
    /// Frames not sent yet.
    frames: VecDeque<Bytes>,
}

impl EventStream {
    /// The stream of choices that have started, each read by a copy of `reader`.
    #[must_use]
    pub fn new(choices: Choices, reader: Reader, heading: Heading, include_usage: bool) -> Self {
        let count = choices.count();
        let mut stream = Self {
            choices: Some(choices),
            heading,
            include_usage,
            readers: vec![reader; count],
            offsets: vec![Offset::default(); count],
            usages: Vec::new(),
            frames: VecDeque::new(),
        };
        if stream.heading.shape == Shape::Chat {
            (0..count).for_each(|index| stream.push(index, &Part::Role));
        }
        stream
    }

    fn push(&mut self, index: usize, part: &Part) {
        let json = self.heading.chunk(index, part, &mut self.offsets[index]);
        self.frames.push_back(frame(&json));
    }

    fn take(&mut self, index: usize, event: Event) {
        match self.readers[index].take(event) {
            Ok(parts) => {
                for part in &parts {
                    self.push(index, part);
                    if let Part::Finish(_, usage) = part {
                        self.usages.push(*usage);
                    }
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// All choices have ended.
    fn finish(&mut self) {
        if self.include_usage {
            let json = self.heading.usage_chunk(total(self.usages.drain(..)));
            self.frames.push_back(frame(&json));
        }
        self.frames.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.choices = None;
    }

    /// One choice has failed; the others are given up.
    fn fail(&mut self, error: &ApiError) {
        let body = error.body(self.heading.shape.prompt_field());
        let json = serde_json::to_vec(&body).expect("strings always serialize");
        self.frames.push_back(frame(&json));
        self.choices = None;
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
            let Some(choices) = &mut self.choices else { return Poll::Ready(None) };
            match ready!(choices.poll_next(context)) {
                Some((index, event)) => self.take(index, event),
                None => self.finish(),
            }
        }
    }
}
