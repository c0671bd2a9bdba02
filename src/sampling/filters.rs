//! The filters that leave only some of the candidates.
//!
//! PURE. As in llama.cpp (`llama-sampler.cpp`), which the tests compare with. Each takes candidates ordered from the
//! likeliest on, leaves at least one, and leaves them in that order. Their formulas are in docs/sampling.md.

use std::cmp::Ordering;

use super::Candidate;
use super::blocks::likelier;
use super::exp::exp;

/// How many candidates are put in order at first where it is not known how many it takes.
const FIRST: usize = 256;
/// How many times as many the next time.
pub(super) const GROWTH: usize = 16;

/// Turns the logits of candidates, the largest of which is `max`, into probabilities at a temperature above 0.
pub(super) fn softmax(candidates: &mut [Candidate], max: f32, temperature: f32) {
    let weight = weigh(candidates, max, temperature);
    normalize(candidates, weight);
}

/// Turns the logits of candidates, likeliest first, into probabilities at a temperature above 0.
pub(super) fn softmax_ordered(candidates: &mut [Candidate], temperature: f32) {
    let max = candidates.first().map_or(0.0, |first| first.logit);
    softmax(candidates, max, temperature);
}

/// Sets each probability to e^((logit - max) / temperature), and gives their sum.
pub(super) fn weigh(candidates: &mut [Candidate], max: f32, temperature: f32) -> f64 {
    let scale = temperature.recip();
    for candidate in candidates.iter_mut() {
        candidate.probability = exp((candidate.logit - max) * scale);
    }
    candidates.iter().map(|candidate| f64::from(candidate.probability)).sum()
}

/// Divides the probabilities by `weight`.
#[expect(clippy::cast_possible_truncation, reason = "probabilities are told as f32")]
pub(super) fn normalize(candidates: &mut [Candidate], weight: f64) {
    let share = weight.recip();
    for candidate in candidates {
        candidate.probability = (f64::from(candidate.probability) * share) as f32;
    }
}

/// Leaves the likeliest candidates whose probabilities sum to `top_p` (nucleus sampling); false, and all of them, if
/// they do not sum to as much.
pub(super) fn top_p(candidates: &mut Vec<Candidate>, top_p: f32) -> bool {
    let mut sum = 0.0;
    let last = candidates.iter().position(|candidate| {
        sum += f64::from(candidate.probability);
        sum >= f64::from(top_p)
    });
    if let Some(last) = last {
        candidates.truncate(last + 1);
    }
    last.is_some()
}

/// A logit that no token with at least `probability` is below, if `max` is the largest and `sum` the sum of all weights.
#[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
pub(super) fn least_logit(max: f32, sum: f64, probability: f32) -> f32 {
    // Probabilities are rounded.
    const MARGIN: f64 = 1e-4;
    (f64::from(max) + sum.ln() + f64::from(probability).ln() - MARGIN) as f32
}

/// The smallest logit that `min_p` leaves if this is the largest.
pub(super) fn min_p_logit(max: f32, min_p: f32) -> f32 {
    (max + min_p.ln()).min(max)
}

/// Leaves the candidates that have at least the share `min_p` of the likeliest one's probability.
pub(super) fn min_p(candidates: &mut Vec<Candidate>, min_p: f32) {
    let Some(first) = candidates.first() else { return };
    let least = min_p_logit(first.logit, min_p);
    candidates.truncate(candidates.partition_point(|candidate| candidate.logit >= least));
}

/// Leaves the candidates whose information content is nearest to the entropy, until their probabilities exceed
/// `typical_p` (locally typical sampling). Takes them in any order, if the largest logit is given.
pub(super) fn typical_p(candidates: &mut Vec<Candidate>, max: f32, typical_p: f32) {
    let mut sum = 0.0;
    let mut product = 0.0;
    for candidate in candidates.iter_mut() {
        let below = candidate.logit - max;
        candidate.probability = exp(below);
        sum += f64::from(candidate.probability);
        product += f64::from(candidate.probability) * f64::from(below);
    }
    normalize(candidates, sum);
    // The information content of a candidate, -ln p, is ln sum - below; the entropy is ln sum - product / sum.
    let typical = product / sum;
    let distance = |candidate: &Candidate| (f64::from(candidate.logit - max) - typical).abs();
    let order =
        |a: &Candidate, b: &Candidate| distance(a).total_cmp(&distance(b)).then_with(|| likelier(a, b));
    keep_mass(candidates, typical_p, order);
    candidates.sort_unstable_by(likelier);
}

/// Leaves the first candidates in `order` until their probabilities exceed `mass`. Puts no more in order than it takes.
fn keep_mass(candidates: &mut Vec<Candidate>, mass: f32, order: impl Fn(&Candidate, &Candidate) -> Ordering) {
    let (mut done, mut step, mut sum) = (0, FIRST, 0.0);
    while done < candidates.len() {
        let rest = &mut candidates[done..];
        let count = step.min(rest.len());
        if count < rest.len() {
            rest.select_nth_unstable_by(count - 1, &order);
        }
        rest[..count].sort_unstable_by(&order);
        let last = rest[..count].iter().position(|candidate| {
            sum += f64::from(candidate.probability);
            sum > f64::from(mass)
        });
        if let Some(last) = last {
            candidates.truncate(done + last + 1);
            return;
        }
        done += count;
        step *= GROWTH;
    }
}

/// How many of the likeliest candidates XTC excludes: all whose probability is at least `threshold` but the last of
/// them.
pub(super) fn top_choices(candidates: &[Candidate], threshold: f32) -> usize {
    candidates.iter().take_while(|candidate| candidate.probability >= threshold).count().saturating_sub(1)
}

/// The candidate at which the probabilities, summed up, exceed `draw`; `None` if there is none.
pub(super) fn draw(candidates: &[Candidate], draw: f64) -> Option<Candidate> {
    let mut sum = 0.0;
    let found = candidates.iter().find(|candidate| {
        sum += f64::from(candidate.probability);
        draw < sum
    });
    // Rounding can leave the sum a little below 1.
    found.or_else(|| candidates.iter().rfind(|candidate| candidate.probability > 0.0)).copied()
}
