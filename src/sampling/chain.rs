//! The filters one after the other, and the draw.
//!
//! PURE. All filters but two leave a beginning of the tokens in the order of their logits, so that only as many are
//! looked for and put in order as it takes.

use super::blocks::{Blocks, likelier};
use super::filters::{self, GROWTH};
use super::mirostat::Surprise;
use super::random::{Purpose, uniform};
use super::{Candidate, Constraint, Scratch};
use crate::generation::SamplingSettings;

/// How many tokens are looked at first where it is not known how many it takes.
const FIRST: usize = 256;

/// Logits of a vocabulary in memory of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Copied {
    logits: Vec<f32>,
    pub(super) maxima: Vec<f32>,
}

impl Copied {
    /// A vocabulary of which only these tokens are possible.
    fn blocks(&mut self, tokens: usize, possible: &[Candidate]) -> Blocks<'_> {
        self.logits.clear();
        self.logits.resize(tokens, f32::NEG_INFINITY);
        for candidate in possible {
            self.logits[candidate.token as usize] = candidate.logit;
        }
        Blocks::new(&self.logits, &[], &mut self.maxima)
    }
}

/// The filters for one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain<'a> {
    pub(super) settings: &'a SamplingSettings,
    /// Mirostat's state, if it is on.
    pub(super) surprise: Option<&'a Surprise>,
    /// The number of the token.
    pub(super) index: u32,
}

impl Chain<'_> {
    /// Draws one of the tokens that the filters leave; `None` if none is possible.
    pub(super) fn draw(
        &self,
        blocks: &Blocks<'_>,
        purpose: Purpose,
        scratch: &mut Scratch,
    ) -> Option<Candidate> {
        if self.takes_the_likeliest() {
            return blocks.likeliest();
        }
        let draw = uniform(self.settings.seed, purpose, self.index);
        if self.filters(blocks, scratch) {
            filters::draw(&scratch.candidates, draw)
        } else {
            blocks.draw(self.temperature(), draw, &mut scratch.numbers)
        }
    }

    /// Draws one of the tokens that the filters leave of those that the constraint allows; `None` if it allows none.
    ///
    /// A grammar takes long to judge a whole vocabulary. Where only the likeliest tokens matter, they are judged from
    /// the likeliest on until as many are allowed as matter.
    pub(super) fn draw_allowed(
        &self,
        blocks: &Blocks<'_>,
        constraint: &mut (dyn Constraint + 'static),
        copied: &mut Copied,
        scratch: &mut Scratch,
    ) -> Option<Candidate> {
        let top_k = if self.takes_the_likeliest() { 1 } else { self.settings.top_k as usize };
        if top_k == 0 || self.surprise.is_some() {
            blocks.all(&mut scratch.candidates);
            retain_allowed(constraint, &mut scratch.candidates);
            let allowed = copied.blocks(blocks.tokens(), &scratch.candidates);
            return self.draw(&allowed, Purpose::SecondToken, scratch);
        }
        let Scratch { numbers, candidates } = scratch;
        candidates.clear();
        let mut judged = top_k.saturating_mul(4).max(FIRST);
        while judged < blocks.tokens() / GROWTH {
            blocks.select(judged, numbers, candidates);
            retain_allowed(constraint, candidates);
            if candidates.len() >= top_k {
                break;
            }
            judged *= GROWTH;
            candidates.clear();
        }
        if candidates.len() < top_k {
            blocks.all(candidates);
            retain_allowed(constraint, candidates);
            candidates.sort_unstable_by(likelier);
        }
        candidates.truncate(top_k);
        self.filter(candidates);
        filters::draw(candidates, uniform(self.settings.seed, Purpose::SecondToken, self.index))
    }

    /// Fills the scratch memory with the tokens that the filters leave, and their probabilities, likeliest first.
    pub(super) fn candidates(&self, blocks: &Blocks<'_>, scratch: &mut Scratch) {
        if self.takes_the_likeliest() {
            scratch.candidates.clear();
            scratch.candidates.extend(blocks.likeliest());
        } else if !self.filters(blocks, scratch) {
            blocks.all(&mut scratch.candidates);
            filters::softmax(&mut scratch.candidates, blocks.max(), self.temperature());
        }
        scratch.candidates.sort_unstable_by(likelier);
    }

    /// Whether nothing can keep the likeliest token from being chosen.
    fn takes_the_likeliest(&self) -> bool {
        let settings = self.settings;
        let single = settings.top_k == 1 && settings.mirostat.is_none();
        let stays = settings.typical_p >= 1.0 && !self.excludes();
        single || (settings.temperature <= 0.0 && (stays || settings.mirostat.is_some()))
    }

    /// The temperature, if it is above 0; its reciprocal is finite.
    fn temperature(&self) -> f32 {
        self.settings.temperature.max(f32::MIN_POSITIVE)
    }

    /// Whether XTC acts on this token.
    fn excludes(&self) -> bool {
        let xtc = self.settings.xtc;
        xtc.probability > 0.0
            && xtc.threshold <= 0.5
            && uniform(self.settings.seed, Purpose::Xtc, self.index) <= f64::from(xtc.probability)
    }

    /// Fills the scratch memory with the tokens that the filters leave, and their probabilities; false, and nothing, if
    /// they leave all tokens.
    fn filters(&self, blocks: &Blocks<'_>, scratch: &mut Scratch) -> bool {
        let settings = self.settings;
        if let Some(surprise) = self.surprise {
            surprise.candidates(blocks, self.temperature(), scratch);
            return true;
        }
        let top_k = settings.top_k as usize;
        if top_k > 0 && top_k < blocks.tokens() {
            blocks.select(top_k, &mut scratch.numbers, &mut scratch.candidates);
            self.filter(&mut scratch.candidates);
        } else if settings.typical_p < 1.0 {
            blocks.all(&mut scratch.candidates);
            filters::typical_p(&mut scratch.candidates, blocks.max(), settings.typical_p);
            self.filter_typical(&mut scratch.candidates);
        } else if settings.min_p > 0.0 {
            self.at_least_min_p(blocks, &mut scratch.candidates);
        } else if settings.top_p < 1.0 {
            self.nucleus(blocks, scratch);
        } else if self.excludes() {
            self.all_but_top_choices(blocks, &mut scratch.candidates);
        } else {
            return false;
        }
        true
    }

    /// The filters after `top_k`. `candidates` are ordered.
    fn filter(&self, candidates: &mut Vec<Candidate>) {
        if self.settings.typical_p < 1.0 {
            let max = candidates.first().map_or(0.0, |first| first.logit);
            filters::typical_p(candidates, max, self.settings.typical_p);
        }
        self.filter_typical(candidates);
    }

    /// The filters after `typical_p`. `candidates` are ordered.
    fn filter_typical(&self, candidates: &mut Vec<Candidate>) {
        if self.settings.top_p < 1.0 {
            filters::softmax_ordered(candidates, 1.0);
            filters::top_p(candidates, self.settings.top_p);
        }
        if self.settings.min_p > 0.0 {
            filters::min_p(candidates, self.settings.min_p);
        }
        self.exclude(candidates);
    }

    /// XTC, and the probabilities at the temperature. `candidates` are ordered.
    fn exclude(&self, candidates: &mut Vec<Candidate>) {
        if self.excludes() {
            filters::softmax_ordered(candidates, 1.0);
            candidates.drain(..filters::top_choices(candidates, self.settings.xtc.threshold));
        }
        if self.settings.temperature <= 0.0 {
            candidates.truncate(1);
        }
        filters::softmax_ordered(candidates, self.temperature());
    }

    /// What `min_p` leaves of the whole vocabulary, then `top_p` and XTC. Both leave a beginning of the same order: it
    /// does not matter which comes first, as long as probabilities are those over all tokens.
    fn at_least_min_p(&self, blocks: &Blocks<'_>, candidates: &mut Vec<Candidate>) {
        let max = blocks.max();
        blocks.at_least(filters::min_p_logit(max, self.settings.min_p), candidates);
        if self.settings.top_p >= 1.0 && !self.excludes() && self.settings.temperature > 0.0 {
            return filters::softmax(candidates, max, self.temperature());
        }
        candidates.sort_unstable_by(likelier);
        if self.settings.top_p < 1.0 {
            filters::weigh(candidates, max, 1.0);
            filters::normalize(candidates, blocks.sum(1.0));
            filters::top_p(candidates, self.settings.top_p);
        }
        self.exclude(candidates);
    }

    /// What `top_p` leaves of the whole vocabulary, then XTC. Looks at more and more tokens until they suffice.
    fn nucleus(&self, blocks: &Blocks<'_>, scratch: &mut Scratch) {
        let Scratch { numbers, candidates } = scratch;
        let sum = blocks.sum(1.0);
        let mut looked_at = FIRST;
        loop {
            blocks.select(looked_at, numbers, candidates);
            filters::weigh(candidates, blocks.max(), 1.0);
            filters::normalize(candidates, sum);
            if filters::top_p(candidates, self.settings.top_p) || looked_at >= blocks.tokens() {
                break;
            }
            looked_at *= GROWTH;
        }
        self.exclude(candidates);
    }

    /// What XTC leaves of the whole vocabulary, in the order of tokens.
    fn all_but_top_choices(&self, blocks: &Blocks<'_>, candidates: &mut Vec<Candidate>) {
        let sum = blocks.sum(1.0);
        let threshold = self.settings.xtc.threshold;
        blocks.at_least(filters::least_logit(blocks.max(), sum, threshold), candidates);
        candidates.sort_unstable_by(likelier);
        filters::weigh(candidates, blocks.max(), 1.0);
        filters::normalize(candidates, sum);
        let last = candidates.get(filters::top_choices(candidates, threshold)).copied();
        let Some(likeliest) = last.or_else(|| blocks.likeliest()) else { return candidates.clear() };
        blocks.all(candidates);
        candidates.retain(|candidate| likelier(candidate, &likeliest).is_ge());
        if self.settings.temperature <= 0.0 {
            candidates.retain(|candidate| candidate.token == likeliest.token);
        }
        filters::softmax(candidates, likeliest.logit, self.temperature());
    }
}

/// Leaves the candidates that may follow.
fn retain_allowed(constraint: &mut (dyn Constraint + 'static), candidates: &mut Vec<Candidate>) {
    constraint.forbid(candidates);
    candidates.retain(|candidate| candidate.logit > f32::NEG_INFINITY);
}
