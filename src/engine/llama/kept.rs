//! What contexts that are gone had in their KV caches, in host memory, for contexts to come on the same weights.
//!
//! A worker that gives up an instance in a quiet moment and makes a new one in the next burst need not compute the
//! system prompts and conversations again that the old one held.

use std::collections::VecDeque;

use llama_cpp_2::context::session::SeqState;

use crate::engine::prefix::common_prefix;
use crate::generation::Token;
use crate::policy::KvCacheType;

/// Texts shorter than this are computed as fast as they are copied.
const MIN_TOKENS: usize = 32;

/// One text.
pub(super) struct Kept {
    pub tokens: Vec<Token>,
    pub state: SeqState,
    /// Only contexts of the same type can take it.
    pub kind: KvCacheType,
}

impl Kept {
    /// What it takes.
    fn bytes(&self) -> u64 {
        (self.state.byte_len() + self.tokens.len() * size_of::<Token>()) as u64
    }
}

/// Texts within a limit of bytes, latest last.
#[derive(Default)]
pub(super) struct KeptTexts {
    texts: VecDeque<Kept>,
}

impl KeptTexts {
    /// Whether a text is worth keeping: it is long enough, and no kept one begins with it.
    pub fn wants(&self, tokens: &[Token], kind: KvCacheType) -> bool {
        let known = |kept: &Kept| kept.kind == kind && kept.tokens.starts_with(tokens);
        tokens.len() >= MIN_TOKENS && !self.texts.iter().any(known)
    }

    /// Keeps a text; those that it begins with, and the oldest ones, make room.
    pub fn add(&mut self, kept: Kept, limit_bytes: u64) {
        self.texts.retain(|other| other.kind != kept.kind || !kept.tokens.starts_with(&other.tokens));
        self.texts.push_back(kept);
        let mut total: u64 = self.texts.iter().map(Kept::bytes).sum();
        while total > limit_bytes {
            let Some(oldest) = self.texts.pop_front() else { break };
            total -= oldest.bytes();
        }
    }

    /// The text that has the longest beginning in common with `tokens`, and how long that is.
    pub fn find(&self, tokens: &[Token], kind: KvCacheType) -> Option<(&Kept, usize)> {
        let same = self.texts.iter().filter(|kept| kept.kind == kind);
        same.map(|kept| (kept, common_prefix(&kept.tokens, tokens))).max_by_key(|(_, common)| *common)
    }
}
