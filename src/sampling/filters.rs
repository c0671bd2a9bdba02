//! The filters that leave only some of the candidates.
//!
//! PURE. As in llama.cpp (`llama-sampler.cpp`), which the tests compare with; the formulas are in docs/sampling.md. Each
//! leaves at least one candidate, and leaves candidates in the order in which they are: draws must not depend on how
//! candidates are found, nor change more than they have to where logits are rounded a little differently.

use std::cmp::Ordering;

use super::Candidate;
use super::blocks::likelier;
use super::exp::exp;

/// So few candidates are put in order rather than divided further.
const FEW: usize = 64;

/// Turns the logits of candidates into probabilities at a temperature above 0.
pub(super) fn softmax(candidates: &mut [Candidate], temperature: f32) {
    let max = candidates.iter().map(|candidate| candidate.logit).fold(f32::NEG_INFINITY, f32::max);
    let weight = weigh(candidates, max, temperature);
    normalize(candidates, weight);
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

/// Leaves the candidates whose logits are nearest to `center`, as many as it takes until their probabilities sum to
/// `mass`; false, and all of them, if they do not sum to as much. `scratch` is reused between calls.
///
/// With the largest logit this is nucleus sampling (`top_p`). With the mean one it is locally typical sampling
/// (`typical_p`): the information content -ln p of a token is as far from its mean, the entropy, as the token's logit is
/// from the mean logit.
pub(super) fn nearest(
    candidates: &mut Vec<Candidate>,
    center: f32,
    mass: f64,
    scratch: &mut Vec<Candidate>,
) -> bool {
    let distance = |candidate: &Candidate| (f64::from(candidate.logit) - f64::from(center)).abs();
    let order =
        |a: &Candidate, b: &Candidate| distance(a).total_cmp(&distance(b)).then_with(|| likelier(a, b));
    scratch.clear();
    scratch.extend_from_slice(candidates);
    let last = last_of(scratch, mass, order);
    if let Some(last) = last {
        candidates.retain(|candidate| order(candidate, &last).is_le());
    }
    last.is_some()
}

/// The candidate with which the probabilities, summed in `order`, reach `mass`; `None` if they never do. Divides the
/// candidates into halves instead of putting all of them in order.
fn last_of(
    candidates: &mut [Candidate],
    mass: f64,
    order: impl Fn(&Candidate, &Candidate) -> Ordering,
) -> Option<Candidate> {
    let (mut rest, mut sum, mut suffices) = (candidates, 0.0, false);
    while rest.len() > FEW {
        let middle = rest.len() / 2;
        rest.select_nth_unstable_by(middle, &order);
        let (first, second) = rest.split_at_mut(middle);
        let half: f64 = first.iter().map(|candidate| f64::from(candidate.probability)).sum();
        if sum + half >= mass {
            (rest, suffices) = (first, true);
        } else {
            sum += half;
            rest = second;
        }
    }
    rest.sort_unstable_by(&order);
    let last = rest.iter().find(|candidate| {
        sum += f64::from(candidate.probability);
        sum >= mass
    });
    // What sufficed can be a rounding error short of it when it is summed again.
    last.or_else(|| rest.last().filter(|_| suffices)).copied()
}

/// Sets the probabilities at temperature 1, and gives the mean logit.
#[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
pub(super) fn mean(candidates: &mut [Candidate]) -> f32 {
    softmax(candidates, 1.0);
    let products =
        candidates.iter().map(|candidate| f64::from(candidate.logit) * f64::from(candidate.probability));
    products.sum::<f64>() as f32
}

/// The smallest logit that `min_p` leaves if this is the largest.
pub(super) fn min_p_logit(max: f32, min_p: f32) -> f32 {
    (max + min_p.ln()).min(max)
}

/// Leaves the candidates that have at least the share `min_p` of the likeliest one's probability.
pub(super) fn min_p(candidates: &mut Vec<Candidate>, min_p: f32) {
    let Some(first) = likeliest(candidates) else { return };
    let least = min_p_logit(first.logit, min_p);
    candidates.retain(|candidate| candidate.logit >= least);
}

/// Excludes the candidates whose probability is at least `threshold`, but the least likely of them (XTC).
pub(super) fn exclude_top_choices(candidates: &mut Vec<Candidate>, threshold: f32) {
    let top = candidates.iter().filter(|candidate| candidate.probability >= threshold);
    if let Some(last) = top.copied().max_by(likelier) {
        candidates.retain(|candidate| likelier(candidate, &last).is_ge());
    }
}

/// The likeliest candidate.
pub(super) fn likeliest(candidates: &[Candidate]) -> Option<Candidate> {
    candidates.iter().copied().min_by(likelier)
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
