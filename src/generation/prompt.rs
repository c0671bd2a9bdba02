//! What there is to continue. Plain values; how they become tokens is in [`crate::engine`].

use serde::{Deserialize, Serialize};

use super::Token;

/// The text to continue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// Text, from the client or from a chat template. The model's special tokens are recognized in it; a
    /// beginning-of-sequence token is added where the model asks for one and the text does not begin with it.
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<Token>),
    /// Texts and token ids in turn. If a text comes first, it begins the sequence as [`Prompt::Text`] does.
    Mixed(Vec<PromptPart>),
    /// What is missing between two texts; only for models that were trained to fill in the middle.
    Infill(Infill),
    /// A query and a document, for a model that scores how well they match. In neither are special tokens recognized.
    Pair {
        /// The query.
        query: String,
        /// The document.
        document: String,
    },
}

impl Prompt {
    /// Bytes of its texts, and how many token ids it has.
    #[must_use]
    pub fn extent(&self) -> (usize, usize) {
        match self {
            Self::Text(text) => (text.len(), 0),
            Self::Tokens(tokens) => (0, tokens.len()),
            Self::Mixed(parts) => parts.iter().fold((0, 0), |(bytes, count), part| match part {
                PromptPart::Text(text) => (bytes + text.len(), count),
                PromptPart::Tokens(tokens) => (bytes, count + tokens.len()),
            }),
            Self::Infill(Infill { prefix, suffix, extra }) => {
                let extra: usize = extra.iter().map(|file| file.name.len() + file.text.len()).sum();
                (prefix.len() + suffix.len() + extra, 0)
            }
            Self::Pair { query, document } => (query.len() + document.len(), 0),
        }
    }
}

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromptPart {
    /// Text, with special tokens.
    Text(String),
    /// Token ids.
    Tokens(Vec<Token>),
}

/// Two texts between which one is missing. Special tokens are recognized in none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infill {
    /// What comes before.
    pub prefix: String,
    /// What comes after.
    pub suffix: String,
    /// Other files that may be of use, in their order.
    pub extra: Vec<ExtraFile>,
}

/// A file beside the one that is filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Tokens that have a part in how a model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialToken {
    /// Begins a sequence, where the model wants that.
    Begin,
    /// Ends each text of a pair, where the model wants that.
    End,
    /// Stands between the texts of a pair, where the model wants that.
    Separator,
    /// Stands before the text before a gap.
    InfillPrefix,
    /// Stands before the text after a gap.
    InfillSuffix,
    /// Stands before what fills the gap.
    InfillMiddle,
    /// Stands before the name of a project.
    InfillProject,
    /// Stands before the name of a file.
    InfillFile,
}
