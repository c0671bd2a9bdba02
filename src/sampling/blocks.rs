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
/// Numbers that are summed side by side: a vector register, or two.
const LANES: usize = 16;
/// Blocks whose weights are summed as one: more cost precision, fewer cost time.
const SPAN: usize = 16;

type Block = [f32; BLOCK];

/// The logits of a vocabulary, some of them replaced. NaN and negative infinity are logits of impossible tokens.
pub(super) struct Blocks<'a> {
    logits: &'a [f32],
    /// What replaces a token's logit, ordered by token; every one is in `logits`.
    replaced: &'a [(Token, f32)],
    /// The largest logit of each block, negative infinity if all its tokens are impossible.
    maxima: &'a [f32],
    max: f32,
}

impl<'a> Blocks<'a> {
    /// Looks through `logits` once. `maxima` is scratch memory.
    pub(super) fn new(logits: &'a [f32], replaced: &'a [(Token, f32)], maxima: &'a mut Vec<f32>) -> Self {
        maxima.clear();
        let mut max = order(f32::NEG_INFINITY);
        each(logits, replaced, |block| {
            let largest = largest(block);
            max = max.max(largest);
            maxima.push(unorder(largest));
        });
        Self { logits, replaced, maxima, max: unorder(max) }
    }

    /// Tokens of the vocabulary.
    pub(super) fn tokens(&self) -> usize {
        self.logits.len()
    }

    /// The largest logit; negative infinity if all tokens are impossible.
    pub(super) fn max(&self) -> f32 {
        self.max
    }

    /// The token with the largest logit, the first where several are equal; `None` if all are impossible.
    pub(super) fn likeliest(&self) -> Option<Candidate> {
        if self.max == f32::NEG_INFINITY {
            return None;
        }
        let block = self.maxima.iter().position(|largest| *largest >= self.max)?;
        let within = self.block(block, &mut [0.0; BLOCK]).iter().position(|logit| *logit >= self.max)?;
        Some(Candidate { token: token(block * BLOCK + within), logit: self.max, probability: 1.0 })
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

    /// The sum of all weights, e^((logit - largest logit) / temperature).
    pub(super) fn sum(&self, temperature: f32) -> f64 {
        let mut sum = 0.0;
        self.weigh(temperature, |weight| sum += f64::from(weight));
        sum
    }

    /// What the logits are on average, each counted with its probability.
    #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
    pub(super) fn mean(&self) -> f32 {
        let (mut sum, mut product) = (0.0, 0.0);
        each(self.logits, self.replaced, |block| {
            let mut sums = [[0.0; LANES]; 2];
            for lanes in block.as_chunks::<LANES>().0 {
                for (lane, logit) in lanes.iter().enumerate() {
                    let below = logit - self.max;
                    let weight = exp(below);
                    sums[0][lane] += weight;
                    sums[1][lane] += if weight > 0.0 { weight * below } else { 0.0 };
                }
            }
            sum += f64::from(sums[0].iter().sum::<f32>());
            product += f64::from(sums[1].iter().sum::<f32>());
        });
        (f64::from(self.max) + product / sum) as f32
    }

    /// The token at which the weights, summed in the order of tokens, exceed the share `draw` of their sum; `None` if all
    /// tokens are impossible. `scratch` is reused between calls.
    #[expect(clippy::cast_possible_truncation, reason = "probabilities are told as f32")]
    pub(super) fn draw(&self, temperature: f32, draw: f64, scratch: &mut Vec<f32>) -> Option<Candidate> {
        scratch.clear();
        self.weigh(temperature, |weight| scratch.push(weight));
        let sum: f64 = scratch.iter().copied().map(f64::from).sum();
        let mut rest = draw * sum;
        let mut drawn = None;
        for (span, weight) in scratch.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            drawn = Some(span);
            if rest < f64::from(*weight) {
                break;
            }
            rest -= f64::from(*weight);
        }
        let (first, max, scale) = (drawn? * SPAN, self.max, temperature.recip());
        // Rounding can leave a little after the last one.
        let mut last = None;
        for block in first..self.maxima.len().min(first + SPAN) {
            for (index, logit) in self.block(block, &mut [0.0; BLOCK]).iter().enumerate() {
                let weight = f64::from(exp((logit - max) * scale));
                if weight > 0.0 {
                    let (token, probability) = (token(block * BLOCK + index), (weight / sum) as f32);
                    last = Some(Candidate { token, logit: *logit, probability });
                    rest -= weight;
                    if rest < 0.0 {
                        return last;
                    }
                }
            }
        }
        last
    }

    /// Calls `take` with the weight of each span.
    fn weigh(&self, temperature: f32, mut take: impl FnMut(f32)) {
        let (max, scale) = (self.max, temperature.recip());
        let mut sums = [0.0; LANES];
        let mut blocks = 0;
        each(self.logits, self.replaced, |block| {
            for lanes in block.as_chunks::<LANES>().0 {
                for (sum, logit) in sums.iter_mut().zip(lanes) {
                    *sum += exp((logit - max) * scale);
                }
            }
            blocks += 1;
            if blocks % SPAN == 0 {
                take(sums.iter().sum());
                sums = [0.0; LANES];
            }
        });
        take(sums.iter().sum());
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

/// The largest logit of a block, as an integer in the order of floats: the compiler may rearrange comparisons of those,
/// and so compares many at once.
fn largest(block: &Block) -> i32 {
    let least = order(f32::NEG_INFINITY);
    let keys = block.iter().map(|logit| if logit.is_nan() { least } else { order(*logit) });
    keys.fold(least, i32::max)
}

/// An integer for each float, in the same order; see `f32::total_cmp`.
#[inline]
fn order(float: f32) -> i32 {
    let bits = float.to_bits().cast_signed();
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

/// The float of an integer.
fn unorder(key: i32) -> f32 {
    f32::from_bits((key ^ ((key >> 31).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
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
