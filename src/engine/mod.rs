//! Generates text for many sequences at once in one context.
//!
//! [`Engine`] runs the iteration loop (admit, plan, decode, sample, emit) over a [`Context`]: llama.cpp's
//! ([`llama`]) or a stand-in without a model ([`fake`]). It owns no thread and reads no clock; a worker calls it.
//! `llama/` is the only user of llama-cpp-2.

mod crew;
mod emission;
pub mod fake;
#[cfg(feature = "fault-injection")]
pub mod faulty;
mod inline;
mod intake;
mod iteration;
pub mod llama;
mod marks;
mod prefix;
mod prompt;
mod questions;
mod slot;
mod text;
mod vocabulary;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use emission::{Emission, Emitter};
pub use inline::InlineEngine;
pub use intake::{Prepared, prepare};
pub use iteration::{Engine, StepReport};
pub use questions::answer;
use serde::{Deserialize, Serialize};
pub use vocabulary::Vocabulary;

use crate::generation::{GenerationError, Grammar, SpecialToken, Token, Tokenizing};
use crate::policy::{
    ContextOverflow, FlashAttention, KvCacheType, ModelPolicy, Pooling, PrefixCachePolicy, Split,
};
use crate::sampling::Constraint;
use crate::units::{ByteCount, DeviceSet};

/// What to load into a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightsSpec {
    /// The GGUF file.
    pub path: PathBuf,
    /// Where the weights go.
    pub devices: DeviceSet,
    /// Layers whose weights go to GPUs, if they are some; `None` is all.
    pub gpu_layers: Option<u32>,
    /// How they are divided if there are several.
    pub split: Split,
}

/// Passes over the weights for which one decode call has room.
const PASSES_PER_CALL: u32 = 4;

/// What a context must hold, and how it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSpec {
    /// Sequences that share each decode call.
    pub slots: u32,
    /// Tokens that each slot holds, prompt and answer together.
    pub context_tokens: u32,
    /// CPU threads of one decode call.
    pub threads: u32,
    /// The most tokens of one pass over the weights; see [`ContextSpec::pass_tokens`].
    pub batch_tokens: u32,
    /// How keys and values are stored.
    pub kv_cache_type: KvCacheType,
    /// Whether attention is fused.
    pub flash_attention: FlashAttention,
    /// How long a step with prompts may keep answers waiting; `None` adapts.
    pub target_itl: Option<Duration>,
    /// What happens to what does not fit.
    pub overflow: ContextOverflow,
    /// How the KV cache of earlier requests is used again.
    pub prefix_cache: PrefixCachePolicy,
    /// Makes embeddings, in this way.
    pub pooling: Option<Pooling>,
}

impl ContextSpec {
    /// A context of this size that computes as the policy says.
    #[must_use]
    pub fn new(policy: &ModelPolicy, threads: u32) -> Self {
        let engine = &policy.engine;
        Self {
            slots: policy.slots,
            context_tokens: policy.context_tokens,
            threads,
            batch_tokens: engine.batch_tokens,
            kv_cache_type: engine.kv_cache_type,
            flash_attention: engine.flash_attention,
            target_itl: policy.scale.target_itl,
            overflow: engine.context_overflow,
            prefix_cache: engine.prefix_cache,
            pooling: engine.pooling,
        }
    }

    /// A context of this size with the policy's defaults.
    #[must_use]
    pub fn sized(slots: u32, context_tokens: u32, threads: u32) -> Self {
        Self {
            slots,
            context_tokens,
            threads,
            batch_tokens: 512,
            kv_cache_type: KvCacheType::F16,
            flash_attention: FlashAttention::Auto,
            target_itl: None,
            overflow: ContextOverflow::Refuse,
            prefix_cache: PrefixCachePolicy { enabled: true, host_bytes: ByteCount::ZERO },
            pooling: None,
        }
    }

    /// The most tokens of one prompt, and room for one more. Texts that become embeddings are not divided into
    /// batches.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        match self.pooling {
            None => self.context_tokens as usize,
            Some(_) => self.context_tokens.min(self.pass_tokens()) as usize,
        }
    }

    /// The most tokens of one pass over the weights (llama.cpp's `n_ubatch`): every slot has a place in it.
    #[must_use]
    pub fn pass_tokens(&self) -> u32 {
        self.batch_tokens.max(self.slots)
    }

    /// The most tokens of one decode call (llama.cpp's `n_batch`), which llama.cpp divides into passes: several prompts
    /// that arrive together have room in it. Each is at least one pass when it makes embeddings.
    #[must_use]
    pub fn call_tokens(&self) -> u32 {
        match self.pooling {
            None => self.pass_tokens() * PASSES_PER_CALL,
            Some(_) => self.pass_tokens(),
        }
    }
}

/// Why the engine could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The weights could not be loaded.
    #[error("cannot load {path}: {reason}")]
    Load {
        /// The file.
        path: String,
        /// What llama.cpp said.
        reason: String,
    },
    /// The context could not be made; most often memory is short.
    #[error("cannot create a context of {slots} slots with {context_tokens} tokens each: {reason}")]
    Context {
        /// Slots asked for.
        slots: u32,
        /// Tokens per slot asked for.
        context_tokens: u32,
        /// What llama.cpp said.
        reason: String,
    },
    /// A decode call failed; every sequence in it is lost.
    #[error("decoding failed: {0}")]
    Decode(String),
}

impl EngineError {
    /// Whether memory is what was missing. llama.cpp says so only in words.
    #[must_use]
    pub fn short_of_memory(&self) -> bool {
        let (Self::Load { reason, .. } | Self::Context { reason, .. } | Self::Decode(reason)) = self;
        ["out of memory", "bad_alloc", "failed to allocate", "unable to allocate"]
            .iter()
            .any(|words| reason.contains(words))
    }
}

/// Loads weights. Implementations are chosen once, where the server is wired together.
pub trait Loader: Send + Sync + 'static {
    /// What [`Loader::load`] yields.
    type Weights: Weights;

    /// Loads one variant. Takes seconds for large files.
    ///
    /// # Errors
    ///
    /// [`EngineError::Load`] if the file cannot be used.
    fn load(&self, spec: &WeightsSpec) -> Result<Self::Weights, EngineError>;
}

/// Weights that any number of contexts share.
pub trait Weights: Sync {
    /// A context that borrows these weights.
    type Context<'weights>: Context + Send
    where
        Self: 'weights;

    /// Makes a context: KV cache and compute buffers.
    ///
    /// # Errors
    ///
    /// [`EngineError::Context`], most often because memory is short.
    fn context(&self, spec: ContextSpec) -> Result<Self::Context<'_>, EngineError>;

    /// The model's tokens.
    fn vocabulary(&self) -> &Arc<Vocabulary>;

    /// Token ids of a text. Special tokens written in it are recognized; a beginning-of-sequence token is added
    /// where the model asks for one and the text does not begin with it.
    fn tokenize(&self, text: &str) -> Vec<Token>;

    /// Token ids of a text in this form.
    fn tokenize_with(&self, text: &str, form: Tokenizing) -> Vec<Token>;

    /// The token that has this part, if the model has one; of those that begin, end or separate texts, only if the
    /// model wants it there.
    fn special(&self, token: SpecialToken) -> Option<Token>;

    /// The bytes of a token, and of a special one those of its name; not always whole characters.
    fn written(&self, token: Token) -> Vec<u8>;

    /// What keeps a text within a grammar. Can take long for a large one.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Grammar`] if it cannot be used.
    fn constraint(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, GenerationError>;
}

/// One token of a decode call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchToken {
    /// The token.
    pub token: Token,
    /// Its position in its sequence, from 0.
    pub position: u32,
    /// Its sequence's slot.
    pub slot: u32,
    /// Whether logits are wanted after it.
    pub wants_logits: bool,
}

/// One llama.cpp context, or a stand-in.
///
/// Each slot has a KV cache of its own, which holds the tokens that were decoded for it, at positions from 0 without
/// gaps, until they are removed.
pub trait Context {
    /// Slots and tokens as they were asked for.
    fn spec(&self) -> ContextSpec;

    /// Computes a batch of at most [`ContextSpec::call_tokens`], ordered by slot.
    ///
    /// # Errors
    ///
    /// [`EngineError::Decode`]; the KV cache of the sequences in the batch is then undefined.
    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), EngineError>;

    /// The most slots between two others that are worth a filler each, so that all are computed together; see
    /// [`crate::batching::gaps`].
    fn max_gap(&self) -> usize;

    /// Tokens after a prompt, to be forgotten afterwards, that cost as much as another pass over the weights; 0 if nothing
    /// may come after a prompt; see [`crate::batching::padding`].
    fn padding_price(&self) -> usize;

    /// Whether texts of different lengths that are computed together are divided into several passes, of which each would
    /// make a vector of its part alone.
    fn divides_texts(&self) -> bool;

    /// Logits `[n_vocab]` after the batch's token number `row`, which must have wanted them. Waits for them to be
    /// computed.
    fn logits(&self, row: usize) -> &[f32];

    /// What the last batch made of a slot's text: `[n_embd]`, or `[n_scores]` of a reranker.
    ///
    /// # Panics
    ///
    /// If the context makes no embeddings, or the slot was not in the batch.
    fn embedding(&self, slot: u32) -> &[f32];

    /// Forgets a slot's tokens from position `keep` on. False if the model cannot forget a part: then the slot is
    /// empty.
    fn truncate(&mut self, slot: u32, keep: u32) -> bool;

    /// Gives slot `to` the first `keep` tokens of slot `from` instead of its own. False if the model cannot: then
    /// `to` is empty.
    fn copy(&mut self, from: u32, to: u32, keep: u32) -> bool;

    /// Forgets `count` tokens of a slot from position `from` on and moves those behind them forward. False if the
    /// model cannot: then nothing changed.
    fn shift(&mut self, slot: u32, from: u32, count: u32) -> bool;

    /// Keeps the first `tokens` of a slot, which are all that it holds, for other contexts on the same weights.
    fn keep(&mut self, slot: u32, tokens: &[Token]);

    /// Gives a slot the longest beginning of `tokens` that was kept, if it has at least `least` tokens, and tells how
    /// many it has. 0 changes nothing.
    fn restore(&mut self, slot: u32, tokens: &[Token], least: usize) -> u32;

    /// How many threads may choose tokens between two decode calls.
    fn sampling_threads(&self) -> usize;

    /// Changes the number of CPU threads, keeping all sequences.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the context is lost with all its sequences.
    fn set_threads(&mut self, threads: u32) -> Result<(), EngineError>;
}
