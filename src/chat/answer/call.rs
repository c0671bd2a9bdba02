//! What the readers of single calls have in common: they take text, and note what they find.

use super::named::NamedReader;
use super::object::ObjectReader;
use super::parameters::ParametersReader;
use crate::chat::Tool;

/// How far a reader of a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Done,
    /// This is no call. What was read of it is text.
    Broken,
}

/// Reads one call.
pub(super) trait Reader {
    /// Takes what it can of a text and notes what it finds: how many bytes were taken.
    fn read(&mut self, text: &str, sheet: &mut Sheet<'_>) -> (usize, Progress);
}

#[derive(Clone, Debug)]
pub(super) enum CallReader {
    Object(ObjectReader),
    Named(NamedReader),
    Parameters(ParametersReader),
}

impl CallReader {
    pub fn read(&mut self, text: &str, sheet: &mut Sheet<'_>) -> (usize, Progress) {
        match self {
            Self::Object(reader) => reader.read(text, sheet),
            Self::Named(reader) => reader.read(text, sheet),
            Self::Parameters(reader) => reader.read(text, sheet),
        }
    }
}

/// What is known of a call that is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub name: Option<String>,
    /// Arguments that were not told yet.
    pub arguments: String,
    /// It was told.
    pub begun: bool,
    /// It is one of those that count.
    pub counts: bool,
}

/// Where a reader notes what it finds.
pub(super) struct Sheet<'a> {
    pub found: &'a mut Found,
    pub tools: &'a [Tool],
}

impl Sheet<'_> {
    pub fn name(&mut self, name: String) {
        self.found.name = Some(name);
    }

    pub fn arguments(&mut self, character: char) {
        self.found.arguments.push(character);
    }

    pub fn default_arguments(&mut self) {
        if !self.has_arguments() {
            self.found.arguments.push_str("{}");
        }
    }

    pub fn named(&self) -> bool {
        self.found.name.is_some()
    }

    pub fn has_arguments(&self) -> bool {
        self.found.begun || !self.found.arguments.is_empty()
    }

    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    pub fn knows(&self, name: &str) -> bool {
        self.tool(name).is_some()
    }
}
