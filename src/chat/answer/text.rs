//! Reads an answer that is one text: thoughts in tags, calls behind marks, and what is said.

use std::sync::Arc;

use super::Delta;
use super::call::{CallReader, Found, Progress, Sheet};
use super::json::is_space;
use super::mark::{Match, matches, overlap};
use super::named::NamedReader;
use super::object::ObjectReader;
use super::parameters::ParametersReader;
use crate::chat::{AnswerForm, CallFormat, CallSyntax, Tool};

/// Where in the answer the reader is.
#[derive(Clone, Debug)]
enum Place {
    /// At the beginning, before thoughts.
    Start,
    Thoughts,
    /// Behind thoughts, where there may be space.
    BehindThoughts,
    /// Before anything is said, where a call may begin without a mark.
    Opening,
    Text,
    /// Behind the mark that begins calls.
    Calls,
    Call(CallReader),
    BehindCall,
}

/// Reads one answer.
#[derive(Clone, Debug)]
pub(super) struct TextReader {
    form: AnswerForm,
    tools: Arc<[Tool]>,
    /// Whether calls after the first one count.
    several: bool,
    place: Place,
    /// Not read yet.
    rest: String,
    /// Space that is told only if something follows it.
    space: String,
    /// What was read of a call, or of what leads to it, that was not told yet.
    raw: String,
    found: Found,
    /// Whether there were thoughts.
    thinks: bool,
    /// How many calls were told.
    pub calls: usize,
    deltas: Vec<Delta>,
}

impl TextReader {
    /// Reads an answer of this form. `tools`: what can be called; `several`: whether calls after the first one count,
    /// or are left out.
    pub fn new(form: AnswerForm, tools: Arc<[Tool]>, several: bool) -> Self {
        let place = if form.thinking { Place::Thoughts } else { Place::Start };
        Self {
            form,
            tools,
            several,
            place,
            rest: String::new(),
            space: String::new(),
            raw: String::new(),
            found: Found::default(),
            thinks: false,
            calls: 0,
            deltas: Vec::new(),
        }
    }

    /// Takes the next piece of text and tells what it made certain.
    pub fn push(&mut self, text: &str) -> Vec<Delta> {
        self.rest.push_str(text);
        while self.step() {}
        std::mem::take(&mut self.deltas)
    }

    /// The text has ended: tells what was held back.
    pub fn finish(&mut self) -> Vec<Delta> {
        let rest = std::mem::take(&mut self.rest);
        match self.place {
            Place::Thoughts => self.think(&rest),
            // The beginning of a call was told; its client sees that it is not whole.
            Place::Call(_) if self.found.begun => {}
            Place::BehindCall | Place::BehindThoughts if rest.trim().is_empty() => {}
            _ => {
                let raw = std::mem::take(&mut self.raw);
                self.say(&raw);
                self.say(&rest);
            }
        }
        let space = std::mem::take(&mut self.space);
        if self.calls == 0 && !matches!(self.place, Place::Thoughts) {
            self.tell(Delta::Text(space));
        }
        std::mem::take(&mut self.deltas)
    }

    /// Reads on; false if more text is needed.
    fn step(&mut self) -> bool {
        match self.place {
            Place::Start => self.start(),
            Place::Thoughts => self.thoughts(),
            Place::BehindThoughts => {
                let space = self.space_ahead();
                self.rest.drain(..space);
                self.go_if(!self.rest.is_empty(), Place::Opening)
            }
            Place::Opening => self.opening(),
            Place::Text => self.text(),
            Place::Calls => self.begin_call(),
            Place::Call(_) => self.call(),
            Place::BehindCall => self.behind_call(),
        }
    }

    fn go(&mut self, place: Place) -> bool {
        self.place = place;
        true
    }

    fn go_if(&mut self, certain: bool, place: Place) -> bool {
        if certain { self.go(place) } else { false }
    }

    fn start(&mut self) -> bool {
        let Some(tags) = self.form.thoughts else { return self.go(Place::Opening) };
        let space = self.space_ahead();
        match matches(&self.rest[space..], tags.open) {
            Match::Whole => {
                self.rest.drain(..space + tags.open.len());
                self.go(Place::Thoughts)
            }
            Match::Begun => false,
            Match::Not => self.go(Place::Opening),
        }
    }

    fn thoughts(&mut self) -> bool {
        let close = self.form.thoughts.map_or("", |tags| tags.close);
        if let Some(at) = self.rest.find(close) {
            let thought = self.rest[..at].to_owned();
            self.rest.drain(..at + close.len());
            self.think(&thought);
            self.space.clear();
            return self.go(Place::BehindThoughts);
        }
        let certain = self.rest.len() - overlap(&self.rest, close);
        let thought: String = self.rest.drain(..certain).collect();
        self.think(&thought);
        false
    }

    /// A call without a mark begins with a brace.
    fn opening(&mut self) -> bool {
        let bare = self.form.calls.is_some_and(|format| format.bare);
        let space = self.space_ahead();
        match self.rest[space..].chars().next() {
            None if bare => false,
            Some('{') if bare => {
                self.raw = self.rest.drain(..space).collect();
                self.read_object(true)
            }
            _ => self.go(Place::Text),
        }
    }

    fn text(&mut self) -> bool {
        let begin = self.form.calls.map_or("", |format| format.begin);
        if begin.is_empty() {
            let text = std::mem::take(&mut self.rest);
            self.say(&text);
            return false;
        }
        if let Some(at) = self.rest.find(begin) {
            let text: String = self.rest.drain(..at).collect();
            self.say(&text);
            self.raw = self.rest.drain(..begin.len()).collect();
            return self.go(Place::Calls);
        }
        let certain = self.rest.len() - overlap(&self.rest, begin);
        let text: String = self.rest.drain(..certain).collect();
        self.say(&text);
        false
    }

    /// Behind the mark: the first call, or the bracket before it.
    fn begin_call(&mut self) -> bool {
        let Some(format) = self.form.calls else { return self.go(Place::Text) };
        let space = self.space_ahead();
        let Some(next) = self.rest[space..].chars().next() else { return false };
        match format.syntax {
            CallSyntax::Array if next == '[' => {
                self.raw.extend(self.rest.drain(..=space));
                self.read_call(format)
            }
            // Some leave the bracket out.
            _ => self.read_call(format),
        }
    }

    fn read_call(&mut self, format: &'static CallFormat) -> bool {
        match &format.syntax {
            // Behind a mark that can stand before other things, only what surely is a call is one.
            CallSyntax::Object | CallSyntax::Array => self.read_object(format.bare),
            CallSyntax::Named { begin, separator, end } => {
                self.read_with(CallReader::Named(NamedReader::new(begin, separator, end)))
            }
            syntax @ CallSyntax::Parameters { .. } => {
                self.read_with(CallReader::Parameters(ParametersReader::new(syntax, format.end)))
            }
        }
    }

    fn read_object(&mut self, strict: bool) -> bool {
        self.read_with(CallReader::Object(ObjectReader::new(strict)))
    }

    fn read_with(&mut self, reader: CallReader) -> bool {
        self.found = Found::default();
        self.go(Place::Call(reader))
    }

    fn call(&mut self) -> bool {
        let Place::Call(reader) = &mut self.place else { return false };
        let mut sheet = Sheet { found: &mut self.found, tools: &self.tools };
        let (taken, progress) = reader.read(&self.rest, &mut sheet);
        let read: String = self.rest.drain(..taken).collect();
        if !self.found.begun {
            self.raw.push_str(&read);
        }
        self.tell_call();
        match progress {
            Progress::More => false,
            Progress::Done => self.go(Place::BehindCall),
            Progress::Broken => {
                let raw = std::mem::take(&mut self.raw);
                self.say(&raw);
                self.go(Place::Text)
            }
        }
    }

    /// Tells what is known of the call, once its function is known and its arguments have begun.
    fn tell_call(&mut self) {
        let Some(name) = &self.found.name else { return };
        if self.found.arguments.is_empty() {
            return;
        }
        if !self.found.begun {
            self.found.begun = true;
            self.found.counts = self.several || self.calls == 0;
            self.raw.clear();
            self.space.clear();
            if self.found.counts {
                self.deltas.push(Delta::Call { index: self.calls, name: name.clone() });
                self.calls += 1;
            }
        }
        let text = std::mem::take(&mut self.found.arguments);
        if self.found.counts {
            self.tell(Delta::Arguments { index: self.calls - 1, text });
        }
    }

    fn behind_call(&mut self) -> bool {
        let Some(format) = self.form.calls else { return self.go(Place::Text) };
        let space = self.space_ahead();
        let ahead = &self.rest[space..];
        let Some(next) = ahead.chars().next() else { return false };
        if !format.end.is_empty() {
            match matches(ahead, format.end) {
                Match::Whole => {
                    self.rest.drain(..space + format.end.len());
                    return self.go(Place::Text);
                }
                Match::Begun => return false,
                Match::Not => {}
            }
        }
        let further = match &format.syntax {
            CallSyntax::Array if next == ']' => {
                self.rest.drain(..=space);
                // The end may still come.
                return self.go_if(true, if format.end.is_empty() { Place::Text } else { Place::BehindCall });
            }
            CallSyntax::Array => next == ',',
            CallSyntax::Named { begin, .. } | CallSyntax::Parameters { begin, .. } if !begin.is_empty() => {
                match matches(ahead, begin) {
                    Match::Begun => return false,
                    found => found == Match::Whole,
                }
            }
            CallSyntax::Object if format.bare => {
                let behind = ahead.trim_start_matches(|c| is_space(c) || c == ';' || c == ',');
                match behind.chars().next() {
                    None => return false,
                    next => next == Some('{'),
                }
            }
            _ => false,
        };
        if !further {
            return self.go(Place::Text);
        }
        let skipped = self.rest.len() - ahead.trim_start_matches([' ', '\t', '\n', '\r', ';', ',']).len();
        self.raw = self.rest.drain(..skipped).collect();
        self.read_call(format)
    }

    fn space_ahead(&self) -> usize {
        self.rest.find(|character| !is_space(character)).unwrap_or(self.rest.len())
    }

    /// Text, without space at its end where that may stand before a call.
    fn say(&mut self, text: &str) {
        if self.form.calls.is_none() {
            self.tell(Delta::Text(text.to_owned()));
            return;
        }
        self.space.push_str(text);
        let certain = self.space.trim_end_matches(is_space).len();
        let said: String = self.space.drain(..certain).collect();
        self.tell(Delta::Text(said));
    }

    /// Thoughts, without space around them.
    fn think(&mut self, text: &str) {
        let text = if self.thinks { text } else { text.trim_start_matches(is_space) };
        self.thinks |= !text.is_empty();
        self.space.push_str(text);
        let certain = self.space.trim_end_matches(is_space).len();
        let thought: String = self.space.drain(..certain).collect();
        self.tell(Delta::Thought(thought));
    }

    fn tell(&mut self, delta: Delta) {
        match (&delta, self.deltas.last_mut()) {
            (Delta::Text(text) | Delta::Thought(text) | Delta::Arguments { text, .. }, _)
                if text.is_empty() => {}
            (Delta::Text(text), Some(Delta::Text(last)))
            | (Delta::Thought(text), Some(Delta::Thought(last))) => {
                last.push_str(text);
            }
            _ => self.deltas.push(delta),
        }
    }
}
