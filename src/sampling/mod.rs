//! Chooses the next token from logits.
//!
//! Input: logits, settings, the number of the token, and the text so far. Output: a token. PURE: no clock, no I/O; the
//! random draw depends on the seed and the token's number alone, so that a request gives the same text on any instance
//! and in any batch, as far as the logits are the same.
//!
//! The filters and their order are those of llama.cpp's default chain: `logit_bias`, penalties, DRY, `top_k`,
//! `typical_p`, `top_p`, `min_p`, XTC, temperature, draw. Mirostat replaces all but `logit_bias` and temperature.
//! docs/sampling.md has the formulas; `tests/sampling.rs` compares with llama.cpp.

mod adjust;
mod blocks;
mod chain;
pub mod dry;
mod exp;
mod filters;
mod history;
mod mirostat;
mod random;

use std::sync::Arc;

use crate::generation::{GenerationError, SamplingSettings, Token};
use adjust::Adjustments;
use blocks::Blocks;
use chain::{Chain, Copied};
use mirostat::Surprise;
use random::Purpose;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: Token,
    /// Its logit, with everything that changes the logits of single tokens.
    pub logit: f32,
    /// Its probability among the candidates.
    pub probability: f32,
}

/// What may follow the text so far: a grammar.
pub trait Constraint: Send {
    /// Sets the logit of each candidate that may not follow to negative infinity.
    fn forbid(&mut self, candidates: &mut [Candidate]);
    /// The text goes on with `token`, which may follow.
    fn accept(&mut self, token: Token);
    /// Why it cannot say any more what may follow, if it cannot; it then allows nothing.
    fn fault(&self) -> Option<GenerationError> {
        None
    }
}

/// A token that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: Token,
    /// Probabilities at its place, if they are wanted.
    pub logprobs: Option<Logprobs>,
}

/// How likely the model found tokens, over the whole vocabulary, before any of the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Natural logarithm of the probability of the token that was chosen.
    pub chosen: f32,
    /// The likeliest tokens with the logarithms of their probabilities, likeliest first; as many as are wanted.
    pub top: Vec<(Token, f32)>,
}

/// Memory that is used again for each token.
#[derive(Clone, Debug, Default)]
struct Scratch {
    numbers: Vec<f32>,
    candidates: Vec<Candidate>,
    more: Vec<Candidate>,
}

/// Chooses the tokens of one sequence.
///
/// It remembers what the settings look back on, and nothing else of what it chose, with one exception: the allowance of
/// Mirostat follows from the probabilities of all tokens so far. It starts anew where a request goes on in another
/// instance, and the text from there on is another one than without the interruption.
#[derive(Clone, Debug)]
pub struct Sampler {
    settings: SamplingSettings,
    logprobs: Option<u32>,
    adjustments: Adjustments,
    surprise: Option<Surprise>,
    /// See [`Blocks`].
    maxima: Vec<f32>,
    copied: Copied,
    scratch: Scratch,
}

impl Sampler {
    /// A sampler for a text that is still empty.
    ///
    /// `logprobs`: for how many of the likeliest tokens probabilities are wanted; `None` for none, not even the chosen
    /// one's. `never`: tokens that are never chosen. `breakers`: those of the DRY settings; empty ones will do if DRY is
    /// off.
    #[must_use]
    pub fn new(
        settings: SamplingSettings,
        logprobs: Option<u32>,
        never: &[Token],
        breakers: Arc<dry::Breakers>,
    ) -> Self {
        Self {
            logprobs,
            adjustments: Adjustments::new(&settings, never, breakers),
            surprise: settings.mirostat.map(Surprise::new),
            settings,
            maxima: Vec::new(),
            copied: Copied::default(),
            scratch: Scratch::default(),
        }
    }

    /// The text goes on with `token`, of the prompt or generated. Penalties, DRY and Mirostat look back on it.
    pub fn accept(&mut self, token: Token) {
        self.adjustments.accept(token);
        if let Some(surprise) = &mut self.surprise {
            surprise.accept(token);
        }
    }

    /// Chooses token number `index` (from 0) of the generation, but does not accept it. `None` if no token is possible:
    /// the constraint allows none, or all logits are negative infinity.
    ///
    /// `logits`: `[n_vocab]`. NaN counts as negative infinity.
    ///
    /// As in llama.cpp's server, a token is first chosen without the constraint. Only if it may not follow, the others
    /// are judged, and one of those that may is chosen through the same filters.
    pub fn choose(
        &mut self,
        logits: &[f32],
        index: u32,
        constraint: Option<&mut (dyn Constraint + 'static)>,
    ) -> Option<Choice> {
        let Self { settings, adjustments, surprise, maxima, copied, scratch, .. } = self;
        let chain = Chain { settings, surprise: surprise.as_ref(), index };
        let blocks = Blocks::new(logits, adjustments.of(logits), maxima);
        let mut chosen = chain.draw(&blocks, Purpose::Token, scratch)?;
        if let Some(constraint) = constraint
            && !allows(constraint, chosen.token)
        {
            chosen = chain.draw_allowed(&blocks, constraint, copied, scratch)?;
        }
        if let Some(surprise) = surprise {
            surprise.chosen(chosen);
        }
        let logprobs = self.logprobs.map(|count| self.logprobs(logits, chosen.token, count as usize));
        Some(Choice { token: chosen.token, logprobs })
    }

    /// The tokens among which [`Sampler::choose`] draws without a constraint, likeliest first.
    pub fn candidates(&mut self, logits: &[f32], index: u32) -> &[Candidate] {
        let Self { settings, adjustments, surprise, maxima, scratch, .. } = self;
        let chain = Chain { settings, surprise: surprise.as_ref(), index };
        chain.candidates(&Blocks::new(logits, adjustments.of(logits), maxima), scratch);
        &scratch.candidates
    }

    #[expect(clippy::cast_possible_truncation, reason = "logarithms are told as f32")]
    fn logprobs(&mut self, logits: &[f32], chosen: Token, count: usize) -> Logprobs {
        let blocks = Blocks::new(logits, &[], &mut self.copied.maxima);
        let total = f64::from(blocks.max()) + blocks.sum(1.0).ln();
        let logprob = |logit: f32| (f64::from(logit) - total) as f32;
        let Scratch { numbers, candidates, .. } = &mut self.scratch;
        blocks.select(count, numbers, candidates);
        Logprobs {
            chosen: logprob(logits[chosen as usize]),
            top: candidates.iter().map(|candidate| (candidate.token, logprob(candidate.logit))).collect(),
        }
    }
}

/// Whether the text may go on with `token`. Its logit does not matter.
fn allows(constraint: &mut (dyn Constraint + 'static), token: Token) -> bool {
    let mut judged = [Candidate { token, logit: 1.0, probability: 0.0 }];
    constraint.forbid(&mut judged);
    judged[0].logit > f32::NEG_INFINITY
}

#[cfg(test)]
mod tests;
