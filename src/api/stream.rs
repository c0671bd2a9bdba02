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
    timings_per_token: bool,
    /// Reads the text of each choice.
    readers: Vec<Reader>,
    /// Where the text of each choice is.
    offsets: Vec<Offset>,
    /// The counts of the choices, once they have ended.
    usages: Vec<Usage>,
    /// Frames not sent yet.
    frames: VecDeque<Bytes>,
}

impl EventStream {
    /// The stream of choices that have started, each read by a copy of `reader`. Each begins with the `echoes` of its
    /// prompt, if there are any.
    #[must_use]
    pub fn new(
        choices: Choices,
        reader: Reader,
        heading: Heading,
        include_usage: bool,
        timings_per_token: bool,
        echoes: &[String],
    ) -> Self {
        let count = choices.count();
        let heading = heading.of(&choices.provenance().served.variant);
        let mut stream = Self {
            choices: Some(choices),
            heading,
            include_usage,
            timings_per_token,
            readers: vec![reader; count],
            offsets: vec![Offset::default(); count],
            usages: vec![Usage::default(); count],
            frames: VecDeque::new(),
        };
        if stream.heading.shape == Shape::Chat {
            (0..count).for_each(|index| stream.push(index, &Part::Role));
        }
        for (prompt, echo) in echoes.iter().enumerate() {
            let choices = prompt * stream.heading.per_prompt..;
            let echo = Part::Text(echo.clone(), None);
            choices.take(stream.heading.per_prompt).for_each(|index| stream.push(index, &echo));
        }
        stream
    }

    fn push(&mut self, index: usize, part: &Part) {
        let timed = self.timings_per_token || matches!(part, Part::Finish(..));
        let only = self.choices.as_ref().filter(|choices| timed && choices.count() == 1);
        let timings = only.map(|choices| choices.pace(index).into());
        let json = self.heading.chunk(index, part, &mut self.offsets[index], timings);
        self.frames.push_back(frame(&json));
    }

    fn take(&mut self, index: usize, event: Event) {
        match self.readers[index].take(event) {
            Ok(parts) => {
                for part in &parts {
                    self.push(index, part);
                    if let Part::Finish(_, usage) = part {
                        self.usages[index] = *usage;
                    }
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// All choices have ended.
    fn finish(&mut self) {
        if self.include_usage {
            let json = self.heading.usage_chunk(total(&self.usages, self.heading.per_prompt));
            self.frames.push_back(frame(&json));
        }
        self.frames.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.choices = None;
    }

    /// One choice has failed; the others are given up.
    fn fail(&mut self, error: &ApiError) {
        self.frames.push_back(error_frame(error, self.heading.shape.prompt_field()));
        self.choices = None;
    }
}

/// An error as an event: the last one of its stream.
#[must_use]
pub fn error_frame(error: &ApiError, prompt_field: &str) -> Bytes {
    frame(&serde_json::to_vec(&error.body(prompt_field)).expect("strings always serialize"))
}

/// One event. JSON has no line breaks of its own, so it is a single `data` line.
pub(super) fn frame(json: &[u8]) -> Bytes {
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
