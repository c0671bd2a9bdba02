//! Says what is wrong with a policy, and collects faults until all are known.
//!
//! Pure values. Messages name the place, the value, the limit and the remedy.

use std::fmt;

use super::path::{Position, YamlPath};

/// Faults shown at once; a text with more is hardly a policy.
pub(super) const MAX_FAULTS: usize = 100;

/// Why there is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file is missing, a folder, too long, or not text.
    #[error("{origin}: cannot read {what}: {reason}; {remedy}")]
    Unreadable {
        /// Which file.
        origin: String,
        /// What it was to be.
        what: &'static str,
        /// Why not.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The text is not a legal policy. `faults` is never empty, and in the text's order.
    #[error("{}", report(origin, faults))]
    Invalid {
        /// Which text.
        origin: String,
        /// All that is wrong with it, in its order.
        faults: Vec<Fault>,
    },
}

/// One thing to mend in the text of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where in the document, such as `models[0].slots`; empty for the document as a whole.
    pub path: String,
    /// Line in the text, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// One line for the number of faults and one for each fault, without a line end after the last.
fn report(origin: &str, faults: &[Fault]) -> String {
    let plural = if faults.len() == 1 { "" } else { "s" };
    let more = if faults.len() >= MAX_FAULTS { " or more" } else { "" };
    let head = format!("{origin}: {} fault{plural}{more}", faults.len());
    faults.iter().fold(head, |text, fault| format!("{text}\n  {origin}:{fault}"))
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    found: Vec<Found>,
    lost: Vec<YamlPath>,
    /// What was read where, if anybody wants to know.
    kinds: Option<Vec<(YamlPath, Kind)>>,
}

/// What a key takes, as far as that is the same for all texts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A whole number.
    Whole { default: u64, low: u64, high: u64 },
    /// A number above `low`, or from there on, up to `high`.
    Number { default: f64, low: f64, includes_low: bool, high: f64 },
    /// An amount of memory.
    Bytes { default: String, low: String, high: String },
    /// One of these words.
    Choice { default: Option<String>, words: Vec<String> },
    /// `true` or `false`.
    Flag { default: bool },
}

#[derive(Debug)]
struct Found {
    path: YamlPath,
    /// Known only where it is not the position of `path`, as for a key's second occurrence.
    position: Option<Position>,
    message: String,
}

impl Faults {
    /// None yet; also remembers what each key takes.
    pub fn describing() -> Self {
        Self { kinds: Some(Vec::new()), ..Self::default() }
    }

    /// What the keys take that were read.
    pub fn kinds(&self) -> &[(YamlPath, Kind)] {
        self.kinds.as_deref().unwrap_or_default()
    }

    /// Remembers what the key at a place takes, if anybody wants to know.
    pub fn describe(&mut self, path: impl FnOnce() -> YamlPath, kind: impl FnOnce() -> Kind) {
        if let Some(kinds) = &mut self.kinds {
            kinds.push((path(), kind()));
        }
    }

    /// Notes a fault of the node at `path`.
    pub fn add(&mut self, path: YamlPath, message: impl Into<String>) {
        self.found.push(Found { path, position: None, message: message.into() });
    }

    /// Notes a fault at `position`, which is not where `path` first stands.
    pub fn add_at(&mut self, path: YamlPath, position: Position, message: impl Into<String>) {
        self.found.push(Found { path, position: Some(position), message: message.into() });
    }

    /// Notes a fault for which the node at `path` had to be left out, with all that it holds.
    pub fn lose(&mut self, path: YamlPath, message: impl Into<String>) {
        self.lost.push(path.clone());
        self.add(path, message);
    }

    /// Notes that the node at `path` is missing, unless it was there and had to be left out.
    pub fn add_missing(&mut self, path: YamlPath, remedy: &str) {
        if !self.lost.iter().any(|lost| lost.contains(&path)) {
            self.add(path, format!("missing; {remedy}"));
        }
    }

    /// How many faults are known.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// The first [`MAX_FAULTS`] faults in the order of the text, with the lines and columns that `locate` gives.
    pub fn located(self, locate: impl Fn(&YamlPath) -> Position) -> Vec<Fault> {
        let place = |found: Found| {
            let Position { line, column } = found.position.unwrap_or_else(|| locate(&found.path));
            Fault { path: found.path.to_string(), line, column, message: found.message }
        };
        let mut faults: Vec<Fault> = self.found.into_iter().map(place).collect();
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.truncate(MAX_FAULTS);
        faults
    }
}
