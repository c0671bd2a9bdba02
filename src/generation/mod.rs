//! What a request asks of an engine, and what the engine answers.
//!
//! Plain values shared by the API, the pool and the engine; no behaviour beyond them.

mod prompt;
mod question;
mod settings;
mod vector;

use std::sync::Arc;

pub use prompt::{ExtraFile, Infill, Prompt, PromptPart, SpecialToken};
pub use question::{Question, Reply, Tokenizing};
use serde::{Deserialize, Serialize};
pub use settings::{
    CallGrammar, Dry, Grammar, Mirostat, MirostatVersion, Penalties, SamplingSettings, ThoughtGrammar,
    TokenLogprob, TokenLogprobs, Xtc,
};

pub use vector::normalize;

/// The number of a token in a model's vocabulary.
pub type Token = u32;

/// One request, validated, for one slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: SamplingSettings,
    /// The most tokens to generate; `None` is what fits into the context.
    pub max_tokens: Option<u32>,
    /// Generation ends before the first of these; none is empty.
    pub stop: Vec<String>,
    /// The token that ends a turn is never chosen.
    pub ignore_eos: bool,
    /// What the text must conform to.
    pub grammar: Option<Grammar>,
    /// Special tokens that are a part of the text, by their own text; all others have none.
    pub shown: Vec<String>,
    /// Tell the probability of each token, and of this many likeliest ones at its place; `None` tells nothing.
    pub logprobs: Option<u32>,
    /// Whether the beginning of the prompt may come from the KV cache of earlier requests.
    pub reuse_prefix: bool,
}

impl GenerationRequest {
    /// A request that leaves everything but the prompt at its default.
    #[must_use]
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            sampling: SamplingSettings::default(),
            max_tokens: None,
            stop: Vec::new(),
            ignore_eos: false,
            grammar: None,
            shown: Vec::new(),
            logprobs: None,
            reuse_prefix: true,
        }
    }
}

/// What an instance shall do for one slot: a request, from its beginning or from where another instance left it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceSpec {
    /// The request; never changes while it is served.
    pub request: Arc<GenerationRequest>,
    /// Tokens that other instances generated already. The text that they made certain was sent; the next random
    /// draw is that of token number `generated.len()`.
    pub generated: Vec<Token>,
}

impl From<GenerationRequest> for SequenceSpec {
    fn from(request: GenerationRequest) -> Self {
        Self { request: Arc::new(request), generated: Vec::new() }
    }
}

/// Why a generation ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// This one of the request's stop strings was reached, counted from 0.
    StopString(u32),
    /// `max_tokens` or the context's end was reached.
    Length,
}

impl FinishReason {
    /// OpenAI's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop | Self::StopString(_) => "stop",
            Self::Length => "length",
        }
    }
}

/// Tokens counted for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, special tokens included.
    pub prompt_tokens: u32,
    /// Those of them that were not computed for this request, because the KV cache had them.
    pub cached_tokens: u32,
    /// Tokens generated, the one that ended the turn included.
    pub completion_tokens: u32,
}

/// What an engine tells about one sequence, in this order: `Started`, perhaps `Cached`, any number of `Token` or one
/// `Embedding`, `Finished`; or `Failed` at any point, after which nothing follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The prompt was accepted.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: u32,
    },
    /// A part of the prompt need not be computed.
    Cached {
        /// Tokens of the prompt that the KV cache has.
        tokens: u32,
    },
    /// One more token that belongs to the text. Token and text come together, so that whoever knows all
    /// tokens so far also has all text that they made certain, and can have the rest generated elsewhere.
    Token {
        /// The token.
        token: Token,
        /// The text that it made certain: whole characters, free of stop strings, possibly of several tokens;
        /// often empty.
        text: String,
        /// Its probability, if the request asked for it.
        logprobs: Option<Box<TokenLogprobs>>,
    },
    /// What the prompt became, in an instance that makes embeddings: a vector of length 1, or the scores of a reranker.
    Embedding(Vec<f32>),
    /// The generation ended by itself.
    Finished {
        /// Why.
        reason: FinishReason,
        /// The last text; often empty.
        text: String,
        /// Tokens counted.
        usage: Usage,
    },
    /// The request cannot be served, here or elsewhere.
    Failed(GenerationError),
}

impl Event {
    /// About how many bytes it takes while it waits to be read.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        let content = match self {
            Self::Token { text, logprobs, .. } => {
                let tokens = logprobs.iter().flat_map(|all| all.top.iter().chain([&all.chosen]));
                let figures = tokens.map(|token| token.bytes.len() + size_of::<TokenLogprob>());
                text.len() + figures.sum::<usize>()
            }
            Self::Embedding(values) => size_of_val(values.as_slice()),
            Self::Finished { text, .. } => text.len(),
            Self::Started { .. } | Self::Cached { .. } | Self::Failed(_) => 0,
        };
        (size_of::<Self>() + content) as u64
    }
}

/// Why a request gets no answer, or no more of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
    /// A text does not fit into one decode call, and an embedding is made of whole texts.
    #[error(
        "the text has {text_tokens} tokens, at most {max_tokens} become an embedding; shorten it, or raise {limits} in \
         the policy"
    )]
    TextTooLong {
        /// Tokens of the text.
        text_tokens: u32,
        /// The most.
        max_tokens: u32,
        /// The policy's keys that hold it there.
        limits: String,
    },
    /// More than a worker is sent.
    #[error("the prompt has {bytes} bytes, a worker takes {limit}; shorten the prompt")]
    PromptTooLarge {
        /// Bytes of the request as it would be sent.
        bytes: u64,
        /// The most bytes that are sent.
        limit: u64,
    },
    /// The model was not trained to fill in the middle.
    #[error(
        "this model cannot fill a gap: its file names no tokens for prefix, suffix and middle; ask one that does, \
         or leave the suffix out"
    )]
    NoInfill,
    /// An answer that is larger than a worker may send.
    #[error("the answer would have {bytes} bytes, at most {limit} are sent; ask for a part at a time")]
    ReplyTooLarge {
        /// Bytes, as far as they were counted.
        bytes: u64,
        /// The most.
        limit: u64,
    },
    /// Nothing to continue.
    #[error("the prompt is empty; give at least one token")]
    PromptEmpty,
    /// The grammar or JSON schema cannot be used.
    #[error("{field}: {reason}")]
    Grammar {
        /// `grammar` or `json_schema`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A token id outside of the vocabulary.
    #[error("{place} has the token id {token}, the vocabulary ends at {last}")]
    UnknownToken {
        /// Where: the prompt or `logit_bias`.
        place: String,
        /// The id given.
        token: Token,
        /// The largest id there is.
        last: Token,
    },
    /// Instance after instance that served it was lost.
    #[error("the request was interrupted {interruptions} times and could not be continued: {reason}")]
    Lost {
        /// How often in a row, without a token in between.
        interruptions: u32,
        /// What happened the last time.
        reason: String,
    },
    /// It ended worker after worker, and nothing else can be the cause.
    #[error("the request ended {workers} workers and is not tried again: {reason}")]
    Poison {
        /// How many.
        workers: u32,
        /// What happened the last time.
        reason: String,
    },
    /// The client's own time was over before the answer was complete.
    #[error(
        "the answer was not complete within the request's timeout of {timeout_ms} ms; give it more time, or ask for less"
    )]
    Deadline {
        /// The time that it gave.
        timeout_ms: u64,
    },
    /// The client reads more slowly than the answer comes.
    #[error(
        "the answer was given up because more than {limit_bytes} bytes of it were not read; read faster, or ask for less"
    )]
    Unread {
        /// The most that is kept for it.
        limit_bytes: u64,
    },
    /// The server stopped before the generation ended.
    #[error("the server is shutting down and could not finish the answer in time")]
    Stopped,
}

impl GenerationError {
    /// Whether the prompt is at fault.
    #[must_use]
    pub fn is_about_the_prompt(&self) -> bool {
        match self {
            Self::PromptTooLong { .. }
            | Self::TextTooLong { .. }
            | Self::PromptTooLarge { .. }
            | Self::PromptEmpty => true,
            Self::UnknownToken { place, .. } => place != "logit_bias",
            _ => false,
        }
    }
}

/// How an instance lost a sequence that is not at an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// The instance never got it.
    Undelivered,
    /// The instance, or what it needs, failed.
    Interrupted {
        /// What happened, for the log and, if it stays that way, for the client.
        reason: String,
        /// Whether the sequence may be the cause.
        suspicion: Suspicion,
    },
}

/// Whether a sequence may have caused what ended its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suspicion {
    /// It cannot have.
    None,
    /// It or another one.
    Shared,
    /// It and no other.
    Alone,
}

/// Receives the events of one sequence; dropping it frees the slot. Dropped before an end was told, it counts as lost.
pub trait EventSink: Send {
    /// Takes the next event. Must not block: it runs in the engine's loop.
    fn emit(&mut self, event: Event);
    /// False when nobody listens any more; the sequence is then given up.
    fn wanted(&self) -> bool;
    /// Whether the sequence has yet to show, by a token, that it does not end the worker that serves it.
    fn on_trial(&self) -> bool {
        true
    }
    /// The sequence cannot go on in this instance, but could in another.
    fn lost(self: Box<Self>, loss: Loss);
}
