//! Reads a call whose arguments stand between tags, texts as they are: `<parameter=city>Zürich</parameter>`.
//!
//! What of it is text, and what a number or more, the function's schema says.

use serde_json::Value;

use super::call::{Progress, Reader, Sheet};
use super::json::is_space;
use super::mark::{Match, matches};
use super::named::is_name;
use crate::chat::{CallSyntax, Tool};

/// The longest name of a function or an argument.
const MAX_NAME_BYTES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Begin,
    Name,
    /// Before an argument, or the end.
    Between,
    Key,
    BeforeValue,
    Value,
}

/// Reads one call.
#[derive(Clone, Debug)]
pub(super) struct ParametersReader {
    syntax: &'static CallSyntax,
    /// What follows a call, where it has no end of its own.
    after: &'static str,
    place: Place,
    function: String,
    key: String,
    /// How many arguments there were.
    count: usize,
}

impl ParametersReader {
    pub fn new(syntax: &'static CallSyntax, after: &'static str) -> Self {
        Self { syntax, after, place: Place::Begin, function: String::new(), key: String::new(), count: 0 }
    }

    fn step(&mut self, text: &str, sheet: &mut Sheet<'_>) -> (usize, Progress) {
        let CallSyntax::Parameters { begin, name_end, key_begin, key_end, value_begin, value_end, end } =
            self.syntax
        else {
            return (0, Progress::Broken);
        };
        let space = text.find(|character| !is_space(character)).unwrap_or(text.len());
        let trimmed = &text[space..];
        match self.place {
            Place::Begin => match matches(trimmed, begin) {
                Match::Whole => self.go(Place::Name, space + begin.len()),
                Match::Begun => (0, Progress::More),
                Match::Not => (0, Progress::Broken),
            },
            Place::Name => {
                let length = trimmed.find(|character| !is_name(character)).unwrap_or(trimmed.len());
                match matches(&trimmed[length..], name_end) {
                    _ if length > MAX_NAME_BYTES => (0, Progress::Broken),
                    _ if length == trimmed.len() => (0, Progress::More),
                    Match::Whole if length > 0 => {
                        trimmed[..length].clone_into(&mut self.function);
                        sheet.name(self.function.clone());
                        self.go(Place::Between, space + length + name_end.len())
                    }
                    Match::Begun => (0, Progress::More),
                    _ => (0, Progress::Broken),
                }
            }
            Place::Between => {
                let (end, taken) = if end.is_empty() { (self.after, 0) } else { (*end, end.len()) };
                match (matches(trimmed, key_begin), matches(trimmed, end)) {
                    (Match::Whole, _) => self.go(Place::Key, space + key_begin.len()),
                    (_, Match::Whole) => {
                        let rest = if self.count == 0 { "{}" } else { "}" };
                        rest.chars().for_each(|character| sheet.arguments(character));
                        (space + taken, Progress::Done)
                    }
                    (Match::Begun, _) | (_, Match::Begun) => (0, Progress::More),
                    _ => (0, Progress::Broken),
                }
            }
            Place::Key => match text.find(key_end) {
                Some(at) if at <= MAX_NAME_BYTES => {
                    text[..at].trim().clone_into(&mut self.key);
                    self.go(Place::BeforeValue, at + key_end.len())
                }
                None if text.len() <= MAX_NAME_BYTES => (0, Progress::More),
                _ => (0, Progress::Broken),
            },
            Place::BeforeValue if value_begin.is_empty() => self.go(Place::Value, 0),
            Place::BeforeValue => match matches(trimmed, value_begin) {
                Match::Whole => self.go(Place::Value, space + value_begin.len()),
                Match::Begun => (0, Progress::More),
                Match::Not => (0, Progress::Broken),
            },
            Place::Value => match text.find(value_end) {
                Some(at) => {
                    self.argument(&text[..at], sheet);
                    self.go(Place::Between, at + value_end.len())
                }
                None => (0, Progress::More),
            },
        }
    }

    fn go(&mut self, place: Place, taken: usize) -> (usize, Progress) {
        self.place = place;
        (taken, Progress::More)
    }

    fn argument(&mut self, written: &str, sheet: &mut Sheet<'_>) {
        // A value stands in lines of its own.
        let written = written.strip_prefix('\n').unwrap_or(written);
        let written = written.strip_suffix('\n').unwrap_or(written);
        let value = if takes_text(sheet.tool(&self.function), &self.key) {
            written.into()
        } else {
            serde_json::from_str(written.trim()).unwrap_or_else(|_| Value::from(written))
        };
        let start = if self.count == 0 { "{" } else { ", " };
        self.count += 1;
        let text = format!("{start}{}: {value}", Value::from(self.key.as_str()));
        text.chars().for_each(|character| sheet.arguments(character));
    }
}

/// Whether an argument is a text and nothing else.
fn takes_text(tool: Option<&Tool>, key: &str) -> bool {
    let schema = tool.and_then(|tool| tool.parameters.get("properties")?.get(key));
    schema.and_then(|schema| schema.get("type")).is_some_and(|kind| kind == "string")
}

impl Reader for ParametersReader {
    fn read(&mut self, text: &str, sheet: &mut Sheet<'_>) -> (usize, Progress) {
        let mut taken = 0;
        loop {
            let place = self.place;
            let (more, progress) = self.step(&text[taken..], sheet);
            taken += more;
            if progress != Progress::More || (more == 0 && place == self.place) {
                return (taken, progress);
            }
        }
    }
}
