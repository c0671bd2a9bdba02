//! What can be asked of an instance besides generations: answered from its weights alone, so that it takes no slot.

use serde::{Deserialize, Serialize};

use super::{Prompt, Token};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// The tokens of a text.
    Tokenize {
        /// The text.
        text: String,
        /// In which form.
        form: Tokenizing,
        /// Whether the bytes of each token are wanted, too.
        with_pieces: bool,
    },
    /// The text of tokens. Special tokens are written by their names.
    Detokenize(Vec<Token>),
    /// How many tokens a prompt has, special tokens that are added to it included.
    Count(Prompt),
}

/// How a text becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokenizing {
    /// Tokens that begin and end a sequence are added where the model asks for them.
    pub add_special: bool,
    /// Special tokens that are written in the text are recognized.
    pub parse_special: bool,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Question::Tokenize`].
    Tokens {
        /// The tokens.
        tokens: Vec<Token>,
        /// Their bytes, which are not always whole characters; empty if they were not wanted.
        pieces: Vec<Vec<u8>>,
    },
    /// To [`Question::Detokenize`]. Bytes that are no character became U+FFFD.
    Text(String),
    /// To [`Question::Count`].
    Count(u32),
}
