//! What the file of a model's best variant says about the model, for those who ask. PURE.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::gguf::Header;

/// What is told of a model beside its policy. All variants are one model: the best one's file stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// llama.cpp's name of the architecture.
    pub architecture: String,
    /// Positions that it was trained for.
    pub trained_context_tokens: u32,
    /// Numbers in the vector of a token.
    pub embedding_length: u32,
    /// Tokens that there are.
    pub vocabulary_tokens: u64,
    /// The Jinja template that turns messages into a prompt, if the file has one.
    pub chat_template: Option<String>,
    /// What a reranker is asked, with `{query}` and `{document}` in it, if the file says.
    pub rerank_template: Option<String>,
    /// Text of the token that begins a sequence.
    pub bos_token: String,
    /// Text of the token that ends a sequence.
    pub eos_token: String,
    /// When the file was last changed, in seconds since 1970; 0 if that is not known.
    pub changed_at: u64,
}

impl Facts {
    /// What `header` says of a file that was last changed at `modified`.
    pub(super) fn of(header: &Header, modified: Option<SystemTime>) -> Self {
        let since_1970 = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        Self {
            architecture: header.architecture.clone(),
            trained_context_tokens: header.context_length_train,
            embedding_length: header.embedding_length,
            vocabulary_tokens: header.vocab_tokens,
            chat_template: header.chat_template.clone(),
            rerank_template: header.rerank_template.clone(),
            bos_token: header.bos_token.clone().unwrap_or_default(),
            eos_token: header.eos_token.clone().unwrap_or_default(),
            changed_at: since_1970.map_or(0, |since| since.as_secs()),
        }
    }
}
