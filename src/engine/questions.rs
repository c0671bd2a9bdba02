//! Answers what is asked of the weights alone.

use super::intake::token_count;
use super::{Weights, prompt};
use crate::generation::{GenerationError, Question, Reply, Token};

/// The largest answer in bytes, well below a worker's largest message.
const MAX_REPLY_BYTES: usize = 3 << 20;
/// The most bytes that a token's number and the length of its piece take in a message.
const TOKEN_BYTES: usize = 5 + 3;

/// Answers a question. `pooled`: the weights make vectors.
///
/// # Errors
///
/// [`GenerationError`] if it cannot be answered, or only at too great a length.
pub fn answer<W: Weights>(weights: &W, question: &Question, pooled: bool) -> Result<Reply, GenerationError> {
    match question {
        Question::Tokenize { text, form, with_pieces } => {
            let tokens = weights.tokenize_with(text, *form);
            bounded(tokens.len() * TOKEN_BYTES)?;
            let pieces: Vec<_> = if *with_pieces {
                tokens.iter().map(|token| weights.written(*token)).collect()
            } else {
                Vec::new()
            };
            bounded(tokens.len() * TOKEN_BYTES + pieces.iter().map(Vec::len).sum::<usize>())?;
            Ok(Reply::Tokens { tokens, pieces })
        }
        Question::Detokenize(tokens) => detokenize(weights, tokens),
        Question::Count(wanted) => Ok(Reply::Count(token_count(&prompt::tokens(weights, wanted, pooled)?))),
    }
}

fn detokenize<W: Weights>(weights: &W, tokens: &[Token]) -> Result<Reply, GenerationError> {
    let last = weights.vocabulary().tokens().saturating_sub(1);
    if let Some(token) = tokens.iter().find(|token| **token > last) {
        return Err(GenerationError::UnknownToken { place: "tokens".into(), token: *token, last });
    }
    let mut bytes = Vec::new();
    for token in tokens {
        bytes.extend(weights.written(*token));
        // Three bytes for each that is no character.
        bounded(bytes.len() * 3)?;
    }
    Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
}

fn bounded(bytes: usize) -> Result<(), GenerationError> {
    if bytes <= MAX_REPLY_BYTES {
        return Ok(());
    }
    Err(GenerationError::ReplyTooLarge { bytes: bytes as u64, limit: MAX_REPLY_BYTES as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::{END, FakeWeights};
    use crate::generation::{Prompt, Tokenizing};

    fn check(question: &Question, expected: Result<Reply, &str>) {
        let found = answer(&FakeWeights::default(), question, false);
        assert_eq!(
            found.map_err(|error| error.to_string()),
            expected.map_err(ToOwned::to_owned),
            "{question:?}"
        );
    }

    #[test]
    fn texts_become_tokens_and_tokens_texts() {
        let form = Tokenizing::default();
        let tokenize = |with_pieces| Question::Tokenize { text: "é".into(), form, with_pieces };
        check(&tokenize(false), Ok(Reply::Tokens { tokens: vec![0xc3, 0xa9], pieces: Vec::new() }));
        let pieces = vec![vec![0xc3], vec![0xa9]];
        check(&tokenize(true), Ok(Reply::Tokens { tokens: vec![0xc3, 0xa9], pieces }));
        check(&Question::Detokenize(vec![0xc3, 0xa9, END, 0xc3]), Ok(Reply::Text("é<end>\u{fffd}".into())));
        check(&Question::Count(Prompt::Text("abc".into())), Ok(Reply::Count(3)));
    }

    #[test]
    fn what_cannot_be_answered_is_said() {
        check(
            &Question::Detokenize(vec![257]),
            Err("tokens has the token id 257, the vocabulary ends at 256"),
        );
        let text = "x".repeat(MAX_REPLY_BYTES / TOKEN_BYTES + 1);
        let long = Question::Tokenize { text, form: Tokenizing::default(), with_pieces: false };
        check(
            &long,
            Err("the answer would have 3145736 bytes, at most 3145728 are sent; ask for a part at a time"),
        );
    }
}
