//! Server-sent events: what the choices of a request tell, in the words of an API, as it comes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;

use super::answer::{Part, Reader};
use super::choices::{Choices, total};
use super::dialect::{self, Dialect};
use super::error::ApiError;
use super::logprobs::Offset;
use super::request::Shape;
use super::response::Heading;
use crate::generation::{Event, Usage};

/// Writes what choices tell in the words of an API. A stream sends it; a whole answer can be made of what its writer
/// knows at the end.
pub trait Writer: Send + Sync + Unpin + 'static {
    /// The choices have started; some have nothing to tell before the first event.
    fn begin(&mut self, _choices: &Choices, _out: &mut Outbox) {}

    /// One of them tells something.
    ///
    /// # Errors
    ///
    /// The failure, if that is what it tells.
    fn take(
        &mut self,
        choices: &Choices,
        index: usize,
        event: Event,
        out: &mut Outbox,
    ) -> Result<(), ApiError>;

    /// All have ended.
    fn finish(&mut self, out: &mut Outbox);

    /// One has failed; the others are given up.
    fn fail(&mut self, error: &ApiError, out: &mut Outbox);
}

/// Frames that were not sent yet.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    /// Nobody reads them: the answer is wanted as a whole.
    closed: bool,
}

impl Outbox {
    /// An event without a name.
    pub fn data(&mut self, body: &impl Serialize) {
        if !self.closed {
            self.frames.push_back(dialect::data(body));
        }
    }

    /// An event with a name.
    pub fn event(&mut self, name: &str, body: &impl Serialize) {
        if !self.closed {
            self.frames.push_back(dialect::event(name, body));
        }
    }

    /// A frame as it is.
    pub fn frame(&mut self, frame: Bytes) {
        if !self.closed {
            self.frames.push_back(frame);
        }
    }
}

/// The body of a streaming answer.
pub struct EventStream<W> {
    /// `None` after the end.
    choices: Option<Choices>,
    writer: W,
    out: Outbox,
}

impl<W: Writer> EventStream<W> {
    /// The stream of choices that have started.
    #[must_use]
    pub fn new(choices: Choices, mut writer: W) -> Self {
        let mut out = Outbox::default();
        writer.begin(&choices, &mut out);
        Self { choices: Some(choices), writer, out }
    }
}

impl<W: Writer> Stream for EventStream<W> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { choices, writer, out } = &mut *self;
        loop {
            if let Some(frame) = out.frames.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some(going) = choices else { return Poll::Ready(None) };
            if let Some((index, event)) = ready!(going.poll_next(context)) {
                if let Err(error) = writer.take(going, index, event, out) {
                    writer.fail(&error, out);
                    *choices = None;
                }
            } else {
                writer.finish(out);
                *choices = None;
            }
        }
    }
}

/// Has the choices written to their end, and sends nothing: the writer then knows the whole answer.
///
/// # Errors
///
/// The first failure of any.
pub async fn written<W: Writer>(mut choices: Choices, mut writer: W) -> Result<W, ApiError> {
    let mut out = Outbox { closed: true, ..Outbox::default() };
    writer.begin(&choices, &mut out);
    while let Some((index, event)) = poll_fn(|context| choices.poll_next(context)).await {
        writer.take(&choices, index, event, &mut out)?;
    }
    writer.finish(&mut out);
    Ok(writer)
}

/// Writes OpenAI's chunks. A stream that breaks ends with an error event and without `[DONE]`, so that nobody takes it for
/// complete.
pub struct ChunkWriter {
    heading: Heading,
    dialect: Dialect,
    include_usage: bool,
    timings_per_token: bool,
    /// The beginning of the text of each prompt's choices; empty where they have none.
    echoes: Vec<String>,
    /// Reads the text of any choice.
    reader: Reader,
    /// Reads the text of each choice.
    readers: Vec<Reader>,
    /// Where the text of each choice is.
    offsets: Vec<Offset>,
    /// The counts of the choices, once they have ended.
    usages: Vec<Usage>,
}

impl ChunkWriter {
    /// Writes choices that are each read by a copy of `reader`, and that begin with the `echoes` of their prompts, if there
    /// are any.
    #[must_use]
    pub fn new(
        reader: Reader,
        heading: Heading,
        include_usage: bool,
        timings_per_token: bool,
        echoes: Vec<String>,
    ) -> Self {
        let dialect = heading.shape.dialect();
        let (readers, offsets, usages) = Default::default();
        Self { heading, dialect, include_usage, timings_per_token, echoes, reader, readers, offsets, usages }
    }

    fn push(&mut self, choices: &Choices, index: usize, part: &Part, out: &mut Outbox) {
        let timed = self.timings_per_token || matches!(part, Part::Finish(..));
        let timings = (timed && choices.count() == 1).then(|| choices.pace(index).into());
        let json = self.heading.chunk(index, part, &mut self.offsets[index], timings);
        out.frame(dialect::data_line(&json));
    }
}

impl Writer for ChunkWriter {
    fn begin(&mut self, choices: &Choices, out: &mut Outbox) {
        let count = choices.count();
        self.heading.serve(&choices.provenance().served.variant);
        self.readers = vec![self.reader.clone(); count];
        self.offsets = vec![Offset::default(); count];
        self.usages = vec![Usage::default(); count];
        if self.heading.shape == Shape::Chat {
            (0..count).for_each(|index| self.push(choices, index, &Part::Role, out));
        }
        for (prompt, echo) in std::mem::take(&mut self.echoes).into_iter().enumerate() {
            let indices = prompt * self.heading.per_prompt..;
            let echo = Part::Text(echo, None);
            indices.take(self.heading.per_prompt).for_each(|index| self.push(choices, index, &echo, out));
        }
    }

    fn take(
        &mut self,
        choices: &Choices,
        index: usize,
        event: Event,
        out: &mut Outbox,
    ) -> Result<(), ApiError> {
        for part in &self.readers[index].take(event)? {
            self.push(choices, index, part, out);
            if let Part::Finish(_, usage) = part {
                self.usages[index] = *usage;
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Outbox) {
        if self.include_usage {
            let json = self.heading.usage_chunk(total(&self.usages, self.heading.per_prompt));
            out.frame(dialect::data_line(&json));
        }
        out.frame(Bytes::from_static(b"data: [DONE]\n\n"));
    }

    fn fail(&mut self, error: &ApiError, out: &mut Outbox) {
        out.frame(self.dialect.frame(error, 0));
    }
}
