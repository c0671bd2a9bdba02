//! A model's tokens as bytes, in one piece of memory that every thread can read.
//!
//! llama.cpp is asked once, when the weights are loaded. After that, text is made from tokens without a call into it,
//! in any thread.

use crate::generation::Token;

/// A model's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<u32>,
    /// Tokens that end a turn, in order.
    end_of_generation: Vec<Token>,
    /// Control tokens and the text that they are written as, where it is known; in order.
    special: Vec<(Token, Vec<u8>)>,
}

impl Vocabulary {
    /// Collects `tokens` in the order of their numbers: the bytes of each, none for control tokens, and whether it
    /// ends a turn.
    pub fn new<B: AsRef<[u8]>>(tokens: impl IntoIterator<Item = (B, bool)>) -> Self {
        let mut vocabulary = Self::default();
        for (bytes, ends_generation) in tokens {
            if ends_generation {
                vocabulary.end_of_generation.push(vocabulary.tokens());
            }
            vocabulary.bytes.extend_from_slice(bytes.as_ref());
            vocabulary.ends.push(u32::try_from(vocabulary.bytes.len()).expect("vocabularies are small"));
        }
        vocabulary
    }

    /// Adds the text that control tokens are written as.
    #[must_use]
    pub fn with_special(self, mut special: Vec<(Token, Vec<u8>)>) -> Self {
        special.sort_unstable_by_key(|(token, _)| *token);
        Self { special, ..self }
    }

    /// The control token that is written as this text.
    #[must_use]
    pub fn special(&self, text: &str) -> Option<Token> {
        self.special.iter().find(|(_, written)| written == text.as_bytes()).map(|(token, _)| *token)
    }

    /// How many tokens there are.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("vocabularies are small")
    }

    /// The bytes of a token; not always whole characters. Empty for control tokens, and for what is no token.
    #[must_use]
    pub fn piece(&self, token: Token) -> &[u8] {
        let at = token as usize;
        let Some(&end) = self.ends.get(at) else { return &[] };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..end as usize]
    }

    /// The bytes of a token, and of a control token those that it is written as.
    #[must_use]
    pub fn written(&self, token: Token) -> &[u8] {
        match self.special.binary_search_by_key(&token, |(special, _)| *special) {
            Ok(at) => &self.special[at].1,
            Err(_) => self.piece(token),
        }
    }

    /// Whether a token ends a turn.
    #[must_use]
    pub fn ends_generation(&self, token: Token) -> bool {
        self.end_of_generation.binary_search(&token).is_ok()
    }

    /// The tokens that end a turn, in order.
    #[must_use]
    pub fn end_of_generation(&self) -> &[Token] {
        &self.end_of_generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_has_its_bytes() {
        let vocabulary = Vocabulary::new([("a", false), ("", true), ("\u{e9}x", false), ("", true)])
            .with_special(vec![(1, b"<end>".to_vec())]);
        assert_eq!((vocabulary.special("<end>"), vocabulary.special("a")), (Some(1), None));
        assert_eq!((vocabulary.written(1), vocabulary.written(0)), (b"<end>".as_slice(), b"a".as_slice()));
        assert_eq!(vocabulary.tokens(), 4);
        let pieces: Vec<&[u8]> = (0..5).map(|token| vocabulary.piece(token)).collect();
        assert_eq!(pieces, [b"a".as_slice(), b"", "\u{e9}x".as_bytes(), b"", b""]);
        assert_eq!(vocabulary.end_of_generation(), [1, 3]);
        assert!(vocabulary.ends_generation(3) && !vocabulary.ends_generation(2));
    }
}
