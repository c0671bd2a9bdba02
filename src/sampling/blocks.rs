//! Passes over the logits of a whole vocabulary.
//!
//! PURE. A vocabulary of 128k is half a megabyte of logits, for each token of each sequence: what costs one
//! instruction a logit already costs more than decoding on a GPU. So the vocabulary is cut into blocks, one pass in
//! vector instructions finds the largest logit of each, and everything else looks only into the few blocks that can
//! hold what it looks for. Settings that change single logits do so in copies of their blocks.

use std::cmp::Ordering;

use super::Candidate;
use super::exp::exp;
use crate::generation::Token;

/// Logits of a block: few enough that looking into one is cheap, many enough that there are few blocks.
const BLOCK: usize = 64;
/// Numbers that are computed side by side: a vector register, or two.
const LANES: usize = 16;

type Block = [f32; BLOCK];

/// The logits of a vocabulary, some of them replaced. NaN and negative infinity are logits of impossible tokens.
pub(super) struct Blocks<'a> {
    logits: &'a [f32],
    /// What replaces a token's logit, ordered by token; every one is in `logits`.
    replaced: &'a [(Token, f32)],
    /// The largest logit of each block, negative infinity if all its tokens are impossible.
    maxima: &'a [f32],
}

impl<'a> Blocks<'a> {
    /// Looks through `logits` once. `maxima` is scratch memory.
    pub(super) fn new(logits: &'a [f32], replaced: &'a [(Token, f32)], maxima: &'a mut Vec<f32>) -> Self {
        maxima.clear();
        each(logits, replaced, |block| maxima.push(largest(block)));
        Self { logits, replaced, maxima }
    }

    /// Tokens of the vocabulary.
    pub(super) fn tokens(&self) -> usize {
        self.logits.len()
    }

    /// The largest logit; negative infinity if all tokens are impossible.
    pub(super) fn max(&self) -> f32 {
        self.maxima.iter().copied().fold(f32::NEG_INFINITY, larger)
    }

    /// The token with the largest logit, the first where several are equal; `None` if all are impossible.
    pub(super) fn likeliest(&self) -> Option<Candidate> {
        let max = self.max();
        if max == f32::NEG_INFINITY {
            return None;
        }
        let block = self.maxima.iter().position(|largest| *largest >= max)?;
        let within = self.block(block, &mut [0.0; BLOCK]).iter().position(|logit| *logit >= max)?;
        Some(Candidate { token: token(block * BLOCK + within), logit: max, probability: 1.0 })
    }

    /// Fills `out` with the `keep` likeliest tokens, likeliest first; fewer if fewer are possible. `scratch` is
    /// reused between calls.
    ///
    /// At least `keep` blocks have a maximum as large as the `keep` largest maxima, so no token below those is wanted.
    /// `out` collects the others; whenever it holds twice as many as wanted, the better half stays, and from then on
    /// only what is better than its worst is wanted.
    pub(super) fn select(&self, keep: usize, scratch: &mut Vec<f32>, out: &mut Vec<Candidate>) {
        out.clear();
        if keep == 0 {
            return;
        }
        let mut above = self.bound(keep, scratch);
        self.visit(above, |first, block| {
            for (index, logit) in block.iter().enumerate() {
                // An equal one has a larger number than those already there, and comes after them.
                if *logit > above {
                    out.push(candidate(first + index, *logit));
                    if out.len() == keep.saturating_mul(2) {
                        cut(out, keep);
                        above = out[keep - 1].logit;
                    }
                }
            }
            above
        });
        cut(out, keep);
        out.sort_unstable_by(likelier);
    }

    /// What the `keep` likeliest tokens are larger than.
    fn bound(&self, keep: usize, scratch: &mut Vec<f32>) -> f32 {
        if keep > self.maxima.len() {
            return f32::NEG_INFINITY;
        }
        scratch.clear();
        scratch.extend_from_slice(self.maxima);
        let (_, bound, _) = scratch.select_nth_unstable_by(keep - 1, |a, b| b.total_cmp(a));
        bound.next_down()
    }

    /// Fills `out` with all possible tokens whose logits are at least `least`, in the order of their numbers.
    pub(super) fn at_least(&self, least: f32, out: &mut Vec<Candidate>) {
        out.clear();
        let above = least.next_down();
        self.visit(above, |first, block| {
            let found = block.iter().enumerate().filter(|(_, logit)| **logit > above);
            out.extend(found.map(|(index, logit)| candidate(first + index, *logit)));
            above
        });
    }

    /// Fills `out` with all possible tokens in the order of their numbers.
    pub(super) fn all(&self, out: &mut Vec<Candidate>) {
        out.clear();
        let mut first = 0;
        each(self.logits, self.replaced, |block| {
            let possible = block.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
            out.extend(possible.map(|(index, logit)| candidate(first + index, *logit)));
            first += BLOCK;
        });
    }

    /// The sum of e^((logit - largest logit) / temperature) over the vocabulary.
    pub(super) fn sum(&self, temperature: f32) -> f64 {
        let mut sum = 0.0;
        self.weigh(temperature, |weight| sum += f64::from(weight));
        sum
    }

    /// The token at which the weights e^((logit - largest logit) / temperature), summed in the order of tokens, exceed
    /// the share `draw` of them all; `None` if all are impossible. `scratch` is reused between calls.
    #[expect(clippy::cast_possible_truncation, reason = "probabilities are told as f32")]
    pub(super) fn draw(&self, temperature: f32, draw: f64, scratch: &mut Vec<f32>) -> Option<Candidate> {
        scratch.clear();
        self.weigh(temperature, |weight| scratch.push(weight));
        let sum: f64 = scratch.iter().copied().map(f64::from).sum();
        let mut rest = draw * sum;
        let mut drawn = None;
        for (block, weight) in scratch.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            drawn = Some(block);
            if rest < f64::from(*weight) {
                break;
            }
            rest -= f64::from(*weight);
        }
        let (block, max, scale) = (drawn?, self.max(), temperature.recip());
        // Rounding can leave a little after the last one.
        let mut last = None;
        for (index, logit) in self.block(block, &mut [0.0; BLOCK]).iter().enumerate() {
            let weight = f64::from(exp((logit - max) * scale));
            if weight > 0.0 {
                let probability = (weight / sum) as f32;
                last = Some(Candidate { token: token(block * BLOCK + index), logit: *logit, probability });
                rest -= weight;
                if rest < 0.0 {
                    break;
                }
            }
        }
        last
    }

    /// Calls `take` with the weight of each block.
    fn weigh(&self, temperature: f32, mut take: impl FnMut(f32)) {
        let (max, scale) = (self.max(), temperature.recip());
        each(self.logits, self.replaced, |block| {
            let mut sums = [0.0; LANES];
            for lanes in block.as_chunks::<LANES>().0 {
                for (sum, logit) in sums.iter_mut().zip(lanes) {
                    *sum += exp((logit - max) * scale);
                }
            }
            take(sums.iter().sum());
        });
    }

    /// Calls `look` with the first token and the logits of each block that has a logit above a threshold, which `look`
    /// may raise.
    fn visit(&self, mut above: f32, mut look: impl FnMut(usize, &Block) -> f32) {
        let mut copy = [0.0; BLOCK];
        for (block, max) in self.maxima.iter().enumerate() {
            if *max > above {
                above = look(block * BLOCK, self.block(block, &mut copy));
            }
        }
    }

    /// One block.
    fn block<'b>(&'b self, block: usize, copy: &'b mut Block) -> &'b Block {
        let first = block * BLOCK;
        let from = self.replaced.partition_point(|(token, _)| (*token as usize) < first);
        let (whole, _) = self.logits.as_chunks::<BLOCK>();
        let untouched = self.replaced.get(from).is_none_or(|(token, _)| *token as usize >= first + BLOCK);
        match whole.get(block) {
            Some(whole) if untouched => whole,
            _ => {
                patch(&self.logits[first..], first, &self.replaced[from..], copy);
                copy
            }
        }
    }
}

/// Calls `look` with all blocks in order. Where the vocabulary ends within one, the rest of it is impossible.
fn each(logits: &[f32], mut replaced: &[(Token, f32)], mut look: impl FnMut(&Block)) {
    let mut copy = [0.0; BLOCK];
    let (whole, rest) = logits.as_chunks::<BLOCK>();
    for (number, block) in whole.iter().enumerate() {
        let first = number * BLOCK;
        if replaced.first().is_none_or(|(token, _)| *token as usize >= first + BLOCK) {
            look(block);
        } else {
            replaced = patch(block, first, replaced, &mut copy);
            look(&copy);
        }
    }
    if !rest.is_empty() {
        patch(rest, whole.len() * BLOCK, replaced, &mut copy);
        look(&copy);
    }
}

/// Copies the block that begins `logits`, with its logits replaced; gives what is left to replace.
fn patch<'r>(
    logits: &[f32],
    first: usize,
    replaced: &'r [(Token, f32)],
    copy: &mut Block,
) -> &'r [(Token, f32)] {
    let length = logits.len().min(BLOCK);
    copy[..length].copy_from_slice(&logits[..length]);
    copy[length..].fill(f32::NEG_INFINITY);
    let count = replaced.iter().take_while(|(token, _)| (*token as usize) < first + BLOCK).count();
    let (here, later) = replaced.split_at(count);
    for (token, logit) in here {
        copy[*token as usize - first] = *logit;
    }
    later
}

fn largest(block: &Block) -> f32 {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for lanes in block.as_chunks::<LANES>().0 {
        for (max, logit) in maxima.iter_mut().zip(lanes) {
            *max = larger(*max, *logit);
        }
    }
    maxima.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// `f32::max` as one instruction; `max` if `logit` is NaN.
#[inline]
fn larger(max: f32, logit: f32) -> f32 {
    if logit > max { logit } else { max }
}

/// Leaves the `keep` likeliest, in any order but with the least likely of them last.
fn cut(out: &mut Vec<Candidate>, keep: usize) {
    if out.len() > keep {
        out.select_nth_unstable_by(keep - 1, likelier);
        out.truncate(keep);
    }
}

/// Likeliest first. Equal logits are ordered by token, so that the outcome does not depend on how candidates are found.
pub(super) fn likelier(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.token.cmp(&b.token))
}

fn candidate(index: usize, logit: f32) -> Candidate {
    Candidate { token: token(index), logit, probability: 0.0 }
}

fn token(index: usize) -> Token {
    Token::try_from(index).expect("a vocabulary has fewer than 2^32 tokens")
}
