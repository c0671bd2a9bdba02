//! Generates text for many sequences at once in one context.
//!
//! [`Engine`] runs the iteration loop (admit, plan, decode, sample, emit) over a [`Context`]: llama.cpp's
//! ([`llama`]) or a stand-in without a model ([`fake`]). It owns no thread and reads no clock; a worker calls it.
//! `llama/` is the only user of llama-cpp-2.

pub mod fake;
#[cfg(feature = "fault-injection")]
pub mod faulty;
mod iteration;
pub mod llama;
mod text;

use std::path::PathBuf;

pub use iteration::{Engine, StepReport};
use serde::{Deserialize, Serialize};

use crate::generation::Token;
use crate::units::DeviceId;

/// What to load into a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightsSpec {
    /// The GGUF file.
    pub path: PathBuf,
    /// Where the weights go.
    pub device: DeviceId,
}

/// What a context must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSpec {
    /// Sequences that share each decode call.
    pub slots: u32,
    /// Tokens that each slot holds, prompt and answer together.
    pub context_tokens: u32,
    /// CPU threads of one decode call.
    pub threads: u32,
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
pub trait Context {
    /// Slots and tokens as they were asked for.
    fn spec(&self) -> ContextSpec;

    /// Token ids of a text. Special tokens written in it are recognized; a beginning-of-sequence token is added
    /// where the model asks for one and the text does not begin with it.
    fn tokenize(&self, text: &str) -> Vec<Token>;

    /// Number of tokens in the vocabulary.
    fn vocab_tokens(&self) -> u32;

    /// Appends the bytes of a token to `out`; control tokens have none.
    fn append_piece(&self, token: Token, out: &mut Vec<u8>);

    /// Whether the token ends a turn.
    fn ends_generation(&self, token: Token) -> bool;

    /// Computes a batch of at most [`Context::max_batch_tokens`].
    ///
    /// # Errors
    ///
    /// [`EngineError::Decode`]; the KV cache of the sequences in the batch is then undefined.
    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), EngineError>;

    /// The most tokens of one decode call.
    fn max_batch_tokens(&self) -> usize;

    /// Logits `[n_vocab]` after the batch's token number `row`, which must have wanted them.
    fn logits(&self, row: usize) -> &[f32];

    /// Forgets a slot's sequence.
    fn clear(&mut self, slot: u32);

    /// Changes the number of CPU threads, keeping all sequences.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the context is lost with all its sequences.
    fn set_threads(&mut self, threads: u32) -> Result<(), EngineError>;
}
