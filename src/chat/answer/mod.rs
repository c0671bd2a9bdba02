//! Reads what a model writes, piece by piece: its thoughts, what it says, the functions that it calls.
//!
//! However a text is cut into pieces, the deltas say the same. Text that may still become a mark is held back until
//! that is certain; a call is held back until its function is known and its arguments have begun, and comes out as
//! what is said if it breaks before. Space around thoughts and calls is left out.

mod call;
mod channels;
mod json;
mod mark;
mod named;
mod object;
mod parameters;
mod text;

use std::sync::Arc;

use super::{AnswerForm, CallIds, Tool};
use channels::ChannelReader;
pub(super) use channels::MARKS as CHANNEL_MARKS;
use text::TextReader;

/// More of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// What the model thinks.
    Thought(String),
    /// What it says.
    Text(String),
    /// It begins to call a function.
    Call {
        /// Which call of the answer, from 0.
        index: usize,
        /// The function.
        name: String,
    },
    /// More of the arguments of a call: all together are JSON.
    Arguments {
        /// Which call.
        index: usize,
        /// The text.
        text: String,
    },
}

#[derive(Clone, Debug)]
enum Reader {
    Text(Box<TextReader>),
    Channels(ChannelReader),
}

/// Reads one answer.
#[derive(Clone, Debug)]
pub struct AnswerParser {
    reader: Reader,
    ids: CallIds,
}

impl AnswerParser {
    /// Reads an answer of this form. `tools`: what can be called; `several`: whether calls after the first one count,
    /// or are left out.
    #[must_use]
    pub fn new(form: AnswerForm, tools: Arc<[Tool]>, several: bool) -> Self {
        let ids = form.calls.map_or(CallIds::Any, |format| format.ids);
        let reader = if form.channels {
            Reader::Channels(ChannelReader::new())
        } else {
            Reader::Text(Box::new(TextReader::new(form, tools, several)))
        };
        Self { reader, ids }
    }

    /// Takes the next piece of text and tells what it made certain.
    pub fn push(&mut self, text: &str) -> Vec<Delta> {
        match &mut self.reader {
            Reader::Text(reader) => reader.push(text),
            Reader::Channels(reader) => reader.push(text),
        }
    }

    /// The text has ended: tells what was held back.
    pub fn finish(&mut self) -> Vec<Delta> {
        match &mut self.reader {
            Reader::Text(reader) => reader.finish(),
            Reader::Channels(reader) => reader.finish(),
        }
    }

    /// How many calls were told.
    #[must_use]
    pub fn calls(&self) -> usize {
        match &self.reader {
            Reader::Text(reader) => reader.calls,
            Reader::Channels(reader) => reader.calls,
        }
    }

    /// What ids of calls look like.
    #[must_use]
    pub fn ids(&self) -> CallIds {
        self.ids
    }
}

#[cfg(test)]
#[path = "../answer_tests.rs"]
mod tests;
