//! Mirostat: holds the surprise of a text at a target.
//!
//! PURE. Basu et al., "Mirostat: a neural text decoding algorithm that directly controls perplexity",
//! <https://arxiv.org/abs/2007.14966>; as in llama.cpp.

use super::blocks::Blocks;
use super::filters::softmax;
use super::{Candidate, Scratch};
use crate::generation::{Mirostat, MirostatVersion, Token};

/// How many of the likeliest tokens the exponent of Zipf's law is estimated from; as in the paper.
const ZIPF_TOKENS: usize = 100;

/// The surprise that is allowed now. It depends on the probabilities of all tokens before, and so cannot be told
/// from the tokens alone: it starts anew where a request goes on in another instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surprise {
    settings: Mirostat,
    /// In bits.
    mu: f32,
    /// The token chosen last and its surprise in bits, until the text goes on with it.
    pending: Option<(Token, f32)>,
}

impl Surprise {
    pub(super) fn new(settings: Mirostat) -> Self {
        Self { settings, mu: 2.0 * settings.tau, pending: None }
    }

    /// Fills the scratch memory with the candidates and their probabilities, in any order.
    pub(super) fn candidates(&self, blocks: &Blocks<'_>, temperature: f32, scratch: &mut Scratch) {
        match self.settings.version {
            MirostatVersion::V1 => self.by_count(blocks, temperature, scratch),
            MirostatVersion::V2 => self.by_surprise(blocks, temperature, scratch),
        }
        softmax(&mut scratch.candidates, temperature);
    }

    /// Leaves as many tokens as have the target surprise on average if probabilities follow Zipf's law.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an estimate; the count saturates"
    )]
    fn by_count(&self, blocks: &Blocks<'_>, temperature: f32, scratch: &mut Scratch) {
        let Scratch { numbers, candidates, .. } = scratch;
        blocks.select(ZIPF_TOKENS, numbers, candidates);
        let (mut product, mut square) = (0.0, 0.0);
        for (index, pair) in candidates.windows(2).enumerate() {
            let t = ((index + 2) as f32 / (index + 1) as f32).ln();
            product += t * ((pair[0].logit - pair[1].logit) / temperature);
            square += t * t;
        }
        let exponent = product / square;
        let epsilon = exponent - 1.0;
        let tokens = blocks.tokens() as f32;
        let count = ((epsilon * self.mu.exp2()) / (1.0 - tokens.powf(-epsilon))).powf(exponent.recip());
        // Not a number if there is a single candidate.
        let count = (count as usize).max(1);
        if count > candidates.len() {
            blocks.select(count, numbers, candidates);
        } else {
            candidates.truncate(count);
        }
    }

    /// Leaves the tokens that surprise no more than allowed.
    #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
    fn by_surprise(&self, blocks: &Blocks<'_>, temperature: f32, scratch: &mut Scratch) {
        let most = f64::from(self.mu) * std::f64::consts::LN_2;
        // -ln p = ln sum - (logit - largest) / temperature
        let below = f64::from(temperature) * (blocks.sum(temperature).ln() - most);
        let least = (f64::from(blocks.max()) + below) as f32;
        blocks.at_least(least, &mut scratch.candidates);
        if scratch.candidates.is_empty() {
            scratch.candidates.extend(blocks.likeliest());
        }
    }

    /// Remembers what was chosen.
    pub(super) fn chosen(&mut self, chosen: Candidate) {
        self.pending = Some((chosen.token, -chosen.probability.log2()));
    }

    /// The text goes on with `token`: if it is the one chosen, moves the allowance towards the target.
    pub(super) fn accept(&mut self, token: Token) {
        if let Some((chosen, surprise)) = self.pending.take()
            && chosen == token
        {
            self.mu -= self.settings.eta * (surprise - self.settings.tau);
        }
    }
}
