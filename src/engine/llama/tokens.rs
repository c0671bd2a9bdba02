//! What llama.cpp knows of a model's tokens.

use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::LlamaVocab;

use crate::engine::Vocabulary;
use crate::engine::marks::Marks;
use crate::generation::{SpecialToken, Token, Tokenizing};

/// Asks for all tokens at once.
pub(super) fn vocabulary(vocab: &LlamaVocab<'_>) -> Vocabulary {
    let mut piece = Vec::with_capacity(64);
    let vocabulary = Vocabulary::new(vocab.tokens().map(|token| {
        piece.clear();
        vocab.token_to_piece_into(token, &mut piece, false, None);
        (piece.clone(), vocab.is_eog(token))
    }));
    let control = vocab.tokens().filter(|token| vocab.is_control(*token));
    let special = control.filter_map(|token| Some((own(token)?, vocab.token_to_piece(token, true, None))));
    vocabulary.with_special(special.collect())
}

/// The most special tokens of a text that is tokenized at once; the time that llama.cpp takes grows with their square.
const MARKS_AT_ONCE: usize = 500;

/// Tokenizes texts of any kind in a time that grows with their length.
pub(super) struct Tokenizer {
    /// All special tokens.
    special: Marks,
    /// Those that are recognized even where no special tokens are.
    defined: Marks,
}

impl Tokenizer {
    pub(super) fn new(vocab: &LlamaVocab<'_>) -> Self {
        let marks = |wanted: &dyn Fn(LlamaToken) -> bool| {
            Marks::new(vocab.tokens().filter(|token| wanted(*token)).filter_map(|token| {
                let strips = vocab.attr(token).contains(LlamaTokenAttr::RStrip);
                Some((vocab.text(token)?.to_bytes(), strips))
            }))
        };
        let defined = |token| vocab.attr(token).contains(LlamaTokenAttr::UserDefined);
        let special = |token| {
            vocab.is_control(token) || vocab.attr(token).contains(LlamaTokenAttr::Unknown) || defined(token)
        };
        Self { special: marks(&special), defined: marks(&defined) }
    }

    /// As a prompt: with the token that begins a sequence, unless the text has it, and nothing at the end.
    pub(super) fn tokenize(&self, vocab: &LlamaVocab<'_>, text: &str) -> Vec<Token> {
        let mut tokens =
            self.tokenize_with(vocab, text, Tokenizing { add_special: false, parse_special: true });
        if let Some(begin) = special(vocab, SpecialToken::Begin)
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        tokens
    }

    pub(super) fn tokenize_with(&self, vocab: &LlamaVocab<'_>, text: &str, form: Tokenizing) -> Vec<Token> {
        let marks = if form.parse_special { &self.special } else { &self.defined };
        let one = |text: &str, add_special| {
            vocab.tokenize(text.as_bytes(), add_special, form.parse_special).into_iter().filter_map(own)
        };
        match marks.divide(text, MARKS_AT_ONCE).as_slice() {
            [whole] => one(whole, form.add_special).collect(),
            parts => {
                let around = |token| special(vocab, token).filter(|_| form.add_special).into_iter();
                let inner = parts.iter().flat_map(|part| one(part, false));
                around(SpecialToken::Begin).chain(inner).chain(around(SpecialToken::End)).collect()
            }
        }
    }
}

pub(super) fn special(vocab: &LlamaVocab<'_>, token: SpecialToken) -> Option<Token> {
    match token {
        SpecialToken::Begin => own(vocab.bos()).filter(|_| vocab.should_add_bos()),
        SpecialToken::End => own(vocab.eos()).or(own(vocab.sep())).filter(|_| vocab.should_add_eos()),
        SpecialToken::Separator => own(vocab.sep()).filter(|_| vocab.should_add_sep()),
        SpecialToken::InfillPrefix => own(vocab.fim_pre()),
        SpecialToken::InfillSuffix => own(vocab.fim_suf()),
        SpecialToken::InfillMiddle => own(vocab.fim_mid()),
        SpecialToken::InfillProject => own(vocab.fim_rep()),
        SpecialToken::InfillFile => own(vocab.fim_sep()),
    }
}

pub(super) fn written(vocab: &LlamaVocab<'_>, token: Token) -> Vec<u8> {
    let mut piece = Vec::with_capacity(64);
    vocab.token_to_piece_into(llama_token(token), &mut piece, true, None);
    piece
}

/// llama.cpp's number for no token is negative.
fn own(token: LlamaToken) -> Option<Token> {
    Token::try_from(token.0).ok()
}

pub(super) fn llama_token(token: Token) -> LlamaToken {
    LlamaToken(i32::try_from(token).expect("token ids were checked against the vocabulary"))
}
