//! The filters one after the other, and the draw.
//!
//! PURE. Nowhere is the whole vocabulary put in order, and only where filters leave all of it, or nearly, is there a list
//! of as many candidates.

use super::blocks::{Blocks, likelier};
use super::filters;
use super::mirostat::Surprise;
use super::random::{Purpose, uniform};
use super::{Candidate, Constraint, Scratch};
use crate::generation::SamplingSettings;

/// How many of the likeliest tokens a grammar judges at once, at least.
const JUDGED: usize = 256;
/// How many times as many the next time.
const GROWTH: usize = 16;
/// How far from the center tokens are looked for at first, in logits.
const REACH: f32 = 4.0;
/// How many times as far the next time: with a little more reach, many more tokens come into it.
const FURTHER: f32 = 1.5;
/// From here on all are looked at.
const FAR: f32 = 64.0;

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
        let Scratch { numbers, candidates, more } = scratch;
        candidates.clear();
        let mut judged = top_k.saturating_mul(4).max(JUDGED);
        while candidates.len() < top_k && judged < blocks.tokens() / GROWTH {
            blocks.select(judged, numbers, candidates);
            retain_allowed(constraint, candidates);
            judged *= GROWTH;
        }
        if candidates.len() < top_k {
            blocks.all(candidates);
            retain_allowed(constraint, candidates);
            candidates.sort_unstable_by(likelier);
        }
        candidates.truncate(top_k);
        self.after_top_k(candidates, more);
        filters::draw(candidates, uniform(self.settings.seed, Purpose::SecondToken, self.index))
    }

    /// Fills the scratch memory with the tokens that the filters leave, and their probabilities, likeliest first.
    pub(super) fn candidates(&self, blocks: &Blocks<'_>, scratch: &mut Scratch) {
        if self.takes_the_likeliest() {
            scratch.candidates.clear();
            scratch.candidates.extend(blocks.likeliest());
        } else if !self.filters(blocks, scratch) {
            blocks.all(&mut scratch.candidates);
            filters::softmax(&mut scratch.candidates, self.temperature());
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
            self.after_top_k(&mut scratch.candidates, &mut scratch.more);
        } else if settings.typical_p < 1.0 {
            nearest_of_all(blocks, blocks.mean(), more_than(settings.typical_p), scratch);
            self.after_typical_p(&mut scratch.candidates, &mut scratch.more);
        } else if settings.min_p > 0.0 {
            // min_p and top_p both leave the first in the order of logits: it does not matter which comes first, as
            // long as probabilities are those over all tokens.
            let candidates = &mut scratch.candidates;
            blocks.at_least(filters::min_p_logit(blocks.max(), settings.min_p), candidates);
            if settings.top_p < 1.0 {
                filters::weigh(candidates, blocks.max(), 1.0);
                filters::normalize(candidates, blocks.sum(1.0));
                filters::nearest(candidates, blocks.max(), settings.top_p.into(), &mut scratch.more);
            }
            self.after_min_p(candidates);
        } else if settings.top_p < 1.0 {
            nearest_of_all(blocks, blocks.max(), settings.top_p.into(), scratch);
            self.after_min_p(&mut scratch.candidates);
        } else if self.excludes() {
            blocks.all(&mut scratch.candidates);
            self.after_min_p(&mut scratch.candidates);
        } else {
            return false;
        }
        true
    }

    fn after_top_k(&self, candidates: &mut Vec<Candidate>, more: &mut Vec<Candidate>) {
        if self.settings.typical_p < 1.0 {
            let mean = filters::mean(candidates);
            filters::nearest(candidates, mean, more_than(self.settings.typical_p), more);
        }
        self.after_typical_p(candidates, more);
    }

    fn after_typical_p(&self, candidates: &mut Vec<Candidate>, more: &mut Vec<Candidate>) {
        if self.settings.top_p < 1.0 {
            filters::softmax(candidates, 1.0);
            let max = filters::likeliest(candidates).map_or(0.0, |first| first.logit);
            filters::nearest(candidates, max, self.settings.top_p.into(), more);
        }
        if self.settings.min_p > 0.0 {
            filters::min_p(candidates, self.settings.min_p);
        }
        self.after_min_p(candidates);
    }

    /// XTC, and the probabilities at the temperature.
    fn after_min_p(&self, candidates: &mut Vec<Candidate>) {
        if self.excludes() {
            filters::softmax(candidates, 1.0);
            filters::exclude_top_choices(candidates, self.settings.xtc.threshold);
        }
        if self.settings.temperature <= 0.0 {
            let likeliest = filters::likeliest(candidates);
            candidates.clear();
            candidates.extend(likeliest);
        }
        filters::softmax(candidates, self.temperature());
    }
}

/// What [`filters::nearest`] leaves of the whole vocabulary. Looks further and further from the center until the tokens
/// found suffice.
fn nearest_of_all(blocks: &Blocks<'_>, center: f32, mass: f64, scratch: &mut Scratch) {
    let Scratch { candidates, more, .. } = scratch;
    let sum = blocks.sum(1.0);
    let mut reach = REACH;
    loop {
        blocks.at_least(center - reach, candidates);
        candidates.retain(|candidate| candidate.logit <= center + reach);
        filters::weigh(candidates, blocks.max(), 1.0);
        filters::normalize(candidates, sum);
        if filters::nearest(candidates, center, mass, more) || reach == f32::INFINITY {
            break;
        }
        reach = if reach < FAR { reach * FURTHER } else { f32::INFINITY };
    }
}

/// The least mass that exceeds this one: `typical_p` stops above it, where `top_p` stops at it.
fn more_than(mass: f32) -> f64 {
    f64::from(mass).next_up()
}

/// Leaves the candidates that may follow.
fn retain_allowed(constraint: &mut (dyn Constraint + 'static), candidates: &mut Vec<Candidate>) {
    constraint.forbid(candidates);
    candidates.retain(|candidate| candidate.logit > f32::NEG_INFINITY);
}
