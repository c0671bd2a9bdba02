//! Grammars in llama.cpp's notation (GBNF): which texts they describe, and what may follow the beginning of one.
//!
//! Input: a grammar's text, then the bytes of tokens. Output: whether a token may follow. PURE.
//! Must not: take long for anything that a client can write. llama.cpp's own matcher keeps each way through a grammar as a
//! list of its own: a few hundred letters, such as `[a-z]*` over and over, hold it up for minutes, and with it all
//! sequences of its instance. Here ways share what they have in common, what was found once is remembered, the size of a
//! grammar is bounded when it is read (`read`), and the work for each token when it is followed (`follow`).
//! Callers: `api::request`, so that a grammar is refused before it waits, and `engine::llama`.

mod follow;
mod order;
mod read;
mod utf8;

pub use follow::{Exhausted, Follower};

use crate::generation::Token;

/// How large a grammar may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of its text.
    pub bytes: usize,
    /// Parentheses inside each other.
    pub nesting: usize,
    /// Elements of all rules, repetitions written out.
    pub elements: usize,
    /// Whether a larger maximum than [`MAX_REPETITIONS`] means any number, and is not refused.
    pub rounds_up: bool,
}

impl Bounds {
    /// For what a client writes.
    pub const WRITTEN: Self = Self { bytes: 64 << 10, nesting: 64, elements: 100_000, rounds_up: false };
    /// For what a schema became: more than a client's schema within its own bounds becomes.
    pub const CONVERTED: Self =
        Self { bytes: 16 << 20, nesting: 1 << 10, elements: 2_000_000, rounds_up: true };
}

/// The most times that something is repeated; llama.cpp's own limit.
pub const MAX_REPETITIONS: usize = 2000;

/// A grammar within its bounds.
#[derive(Clone, Debug)]
pub struct Grammar {
    /// The alternatives of all rules, each with an [`Element::End`] behind it.
    elements: Vec<Element>,
    /// Where each rule's alternatives begin.
    rules: Vec<Vec<u32>>,
    sets: Vec<Set>,
    tokens: Vec<TokenElement>,
    root: u32,
}

/// One step of an alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Char(u32),
    /// Any character.
    Any,
    /// One of a set, by its index.
    Set(u32),
    /// A rule, by its index.
    Rule(u32),
    /// A whole token, by its index among those of the grammar.
    Token(u32),
    End,
}

/// A class of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Set {
    ranges: Vec<(u32, u32)>,
    /// All others.
    inverted: bool,
}

impl Set {
    fn has(&self, character: u32) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != self.inverted
    }

    /// Whether it has a character from `low` to `high`.
    fn meets(&self, low: u32, high: u32) -> bool {
        // A range begins within them, or goes on from before: if any has one, one of these is among them.
        let after = |end: u32| end.saturating_add(1);
        let starts = self.ranges.iter().flat_map(|(start, end)| [*start, after(*end)]);
        std::iter::once(low).chain(starts.filter(|start| (low..=high).contains(start))).any(|c| self.has(c))
    }
}

/// A token, or any other than it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TokenElement {
    name: TokenName,
    inverted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TokenName {
    Id(Token),
    /// The text that it is written as.
    Text(String),
}

impl Grammar {
    /// Reads a grammar.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with its line; or what it has too much of.
    pub fn read(text: &str, bounds: Bounds) -> Result<Self, String> {
        read::read(text, bounds)
    }

    /// Finds the tokens that it names by their text. `find` gives the token of a text that is one.
    ///
    /// # Errors
    ///
    /// Names a text that is no token, or an id of `tokens` or more.
    pub fn resolve(&mut self, tokens: u32, find: impl Fn(&str) -> Option<Token>) -> Result<(), String> {
        for element in &mut self.tokens {
            match &element.name {
                TokenName::Id(id) if *id >= tokens => {
                    return Err(format!(
                        "<[{id}]> is no token, the vocabulary ends at {}",
                        tokens.saturating_sub(1)
                    ));
                }
                TokenName::Id(_) => {}
                TokenName::Text(text) => {
                    element.name = TokenName::Id(find(text).ok_or_else(|| {
                        let text: String = text.chars().take(64).collect();
                        format!("{text} is no token of this model")
                    })?);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
