//! What a request asks of an engine, and what the engine answers.
//!
//! Plain values shared by the API, the pool and the engine; no behaviour beyond them.

use serde::{Deserialize, Serialize};

/// The number of a token in a model's vocabulary.
pub type Token = u32;

/// The text to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text, from the client or from a chat template. The model's special tokens are recognized in it; a
    /// beginning-of-sequence token is added where the model asks for one and the text does not begin with it.
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<Token>),
}

/// How the next token is chosen from the logits; see [`crate::sampling`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingSettings {
    /// Divides the logits; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Only the `top_k` likeliest tokens are candidates; 0 keeps all.
    pub top_k: u32,
    /// Only the likeliest tokens whose probabilities sum to `top_p` are candidates; 1 keeps all.
    pub top_p: f32,
    /// Decides every random draw together with the number of the token.
    pub seed: u64,
}

/// One request, validated, for one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: SamplingSettings,
    /// The most tokens to generate; `None` is what fits into the context.
    pub max_tokens: Option<u32>,
    /// Generation ends before the first of these; none is empty.
    pub stop: Vec<String>,
}

/// Why a generation ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn, or a stop string was reached.
    Stop,
    /// `max_tokens` or the context's end was reached.
    Length,
}

/// Tokens counted for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, special tokens included.
    pub prompt_tokens: u32,
    /// Tokens generated, the one that ended the turn included.
    pub completion_tokens: u32,
}

/// What an engine tells about one sequence, in this order: `Started`, any number of `Text`, `Finished`; or
/// `Failed` at any point, after which nothing follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The prompt was accepted.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: u32,
    },
    /// More text: whole characters, free of stop strings, possibly of several tokens.
    Text(String),
    /// The generation ended by itself.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Tokens counted.
        usage: Usage,
    },
    /// The generation cannot go on.
    Failed(GenerationError),
}

/// Why an engine gave up a sequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt_tokens} tokens, the context holds {context_tokens} and at least one is needed \
         for the answer; shorten the prompt or raise context_tokens in the policy"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens that a slot holds.
        context_tokens: u32,
    },
    /// Nothing to continue.
    #[error("the prompt is empty; give at least one token")]
    PromptEmpty,
    /// A token id outside of the vocabulary.
    #[error("the prompt has the token id {token}, the vocabulary ends at {last}")]
    UnknownToken {
        /// The id given.
        token: Token,
        /// The largest id there is.
        last: Token,
    },
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(String),
    /// The server stopped before the generation ended.
    #[error("the server is shutting down and could not finish the answer in time")]
    Stopped,
}

/// Receives the events of one sequence; dropping it frees the slot.
pub trait EventSink: Send {
    /// Takes the next event. Must not block: it runs in the engine's loop.
    fn emit(&mut self, event: Event);
    /// Called once for every generated token, with or without text to show yet.
    fn token(&mut self) {}
    /// False when nobody listens any more; the sequence is then given up.
    fn wanted(&self) -> bool;
}
