//! Reads the answers of gpt-oss: messages on channels, each with a header that says what it is.
//!
//! `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`. What is said to
//! `functions.name` calls that function. The format is OpenAI's "harmony"
//! (<https://cookbook.openai.com/articles/openai-harmony>).

use super::Delta;
use super::json::is_space;
use super::mark::{Match, matches, overlap};
use super::named::is_name;

/// Ends a header.
const MESSAGE: &str = "<|message|>";
/// Each ends a message.
const ENDS: [&str; 5] = ["<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>"];
/// What an answer with headers begins with, behind the name of who speaks.
const BEGINNINGS: [&str; 3] = ["<|channel|>", " to=", "<|start|>"];
/// The longest header.
const MAX_HEADER_BYTES: usize = 512;

/// All marks, which are special tokens.
pub(in crate::chat) const MARKS: [&str; 7] =
    ["<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>", "<|call|>", "<|return|>"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Header,
    Thought,
    Text,
    /// Before the arguments for a function.
    BeforeArguments(String),
    Arguments,
}

/// Reads one answer.
#[derive(Clone, Debug)]
pub(super) struct ChannelReader {
    place: Place,
    rest: String,
    /// How many calls were told.
    pub calls: usize,
    deltas: Vec<Delta>,
}

impl ChannelReader {
    pub fn new() -> Self {
        Self { place: Place::Start, rest: String::new(), calls: 0, deltas: Vec::new() }
    }

    pub fn push(&mut self, text: &str) -> Vec<Delta> {
        self.rest.push_str(text);
        while self.step() {}
        std::mem::take(&mut self.deltas)
    }

    /// The text has ended: tells what was held back, but no half header.
    pub fn finish(&mut self) -> Vec<Delta> {
        let rest = std::mem::take(&mut self.rest);
        if self.place != Place::Header {
            self.tell(&rest);
        }
        std::mem::take(&mut self.deltas)
    }

    fn step(&mut self) -> bool {
        match &self.place {
            Place::Start => {
                let found = BEGINNINGS.map(|beginning| matches(&self.rest, beginning));
                if found.contains(&Match::Whole) {
                    self.place = Place::Header;
                } else if found.contains(&Match::Begun) {
                    return false;
                } else {
                    self.place = Place::Text;
                }
                true
            }
            Place::Header => self.header(),
            Place::BeforeArguments(name) => {
                let space = self.rest.find(|character| !is_space(character));
                let Some(space) = space else { return false };
                if self.rest[space..].starts_with('{') {
                    self.deltas.push(Delta::Call { index: self.calls, name: name.clone() });
                    self.calls += 1;
                    self.rest.drain(..space);
                    self.place = Place::Arguments;
                } else {
                    self.place = Place::Text;
                }
                true
            }
            Place::Thought | Place::Text | Place::Arguments => self.body(),
        }
    }

    fn header(&mut self) -> bool {
        let Some(at) = self.rest.find(MESSAGE) else {
            if self.rest.len() > MAX_HEADER_BYTES {
                self.place = Place::Text;
                return true;
            }
            return false;
        };
        let header: String = self.rest.drain(..at + MESSAGE.len()).collect();
        let function = header.split_once("to=functions.").map(|(_, rest)| {
            rest.split(|character| !is_name(character)).next().unwrap_or_default().to_owned()
        });
        self.place = match function.filter(|name| !name.is_empty()) {
            Some(name) => Place::BeforeArguments(name),
            None if header.contains("analysis") => Place::Thought,
            None => Place::Text,
        };
        true
    }

    fn body(&mut self) -> bool {
        let end = ENDS.iter().filter_map(|end| Some((self.rest.find(end)?, *end))).min();
        if let Some((at, end)) = end {
            let text: String = self.rest.drain(..at).collect();
            self.tell(&text);
            // The other marks are a part of the next header.
            if !matches!(end, "<|start|>" | "<|channel|>") {
                self.rest.drain(..end.len());
            }
            self.place = Place::Header;
            return true;
        }
        let held = ENDS.iter().map(|end| overlap(&self.rest, end)).max().unwrap_or(0);
        let text: String = self.rest.drain(..self.rest.len() - held).collect();
        self.tell(&text);
        false
    }

    fn tell(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = text.to_owned();
        self.deltas.push(match self.place {
            Place::Thought => Delta::Thought(text),
            Place::Arguments => Delta::Arguments { index: self.calls - 1, text },
            _ => Delta::Text(text),
        });
    }
}
