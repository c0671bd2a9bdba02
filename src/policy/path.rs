//! Names a place in a YAML document, such as `models[0].scale.max_instances`, and a place in its text.
//!
//! Pure values; imports nothing of the crate.

use std::fmt;

/// Characters of a key that a message shows; a longer key is cut.
const MAX_SHOWN_CHARS: usize = 64;

/// A place in the text; both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

/// One step down from a mapping or a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The way from the root of a document to one node; empty at the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct YamlPath(Vec<Step>);

impl YamlPath {
    /// The steps from the root down.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The node at `key` of the mapping here.
    pub fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// The element `index` of the list here.
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// The node one `step` down from here.
    pub fn then(&self, step: Step) -> Self {
        self.0.iter().cloned().chain([step]).collect()
    }

    /// Whether this node is `other` or holds it.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl FromIterator<Step> for YamlPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for YamlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if depth == 0 { "" } else { "." };
                    write!(f, "{dot}{}", shown_key(key))?;
                }
            }
        }
        Ok(())
    }
}

/// `key` as it is written in messages: quoted where it is no plain word, and never long.
fn shown_key(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if key.len() <= MAX_SHOWN_CHARS && !key.is_empty() && key.chars().all(plain) {
        key.to_owned()
    } else {
        shown_text(key)
    }
}

/// `text` in quotes, with escapes for what is not printable, and never long.
pub(super) fn shown_text(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        let root = YamlPath::default();
        let slots = root.key("models").index(2).key("slots");
        for (path, text) in [
            (root.clone(), ""),
            (slots.clone(), "models[2].slots"),
            (root.key("a b").key("c"), "\"a b\".c"),
            (root.key(""), "\"\""),
        ] {
            assert_eq!(path.to_string(), text);
        }
        assert!(root.contains(&slots) && slots.contains(&slots) && !slots.contains(&root));
    }

    #[test]
    fn long_keys_are_cut_between_characters() {
        let key = "ü".repeat(1000);
        assert_eq!(YamlPath::default().key(&key).to_string(), format!("\"{}\"...", "ü".repeat(64)));
    }
}
