//! Chooses the next token from logits.
//!
//! Input: logits, settings, the number of the token. Output: a token. PURE: no clock, no I/O, no state between
//! calls; the random draw depends on the seed and the token's number alone, so that a request gives the same text
//! on any instance and in any batch, as far as the logits are the same.
//! The order of the filters is that of llama.cpp's default chain: `top_k`, `top_p`, temperature, draw.

use std::cmp::Ordering;

use crate::generation::{SamplingSettings, Token};

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: Token,
    /// Its logit.
    pub logit: f32,
    /// Its probability among the candidates, once [`candidates`] has filled it in.
    pub probability: f32,
}

/// Shim
pub mod dry {
    #[derive(Debug, Default)]
    /// Shim
    pub struct Breakers;
}
/// Shim
pub struct Sampler {
    settings: SamplingSettings,
    scratch: Vec<Candidate>,
}
/// Shim
pub struct Choice {
    /// t
    pub token: Token,
    /// l
    pub logprobs: Option<Logprobs>,
}
/// Shim
pub struct Logprobs {
    /// c
    pub chosen: f32,
    /// t
    pub top: Vec<(Token, f32)>,
}
impl Sampler {
    /// Shim
    pub fn new(
        settings: SamplingSettings,
        _logprobs: Option<u32>,
        _never: &[Token],
        _breakers: std::sync::Arc<dry::Breakers>,
    ) -> Self {
        Self { settings, scratch: Vec::new() }
    }
    /// Shim
    pub fn accept(&mut self, _token: Token) {}
    /// Shim
    pub fn choose(
        &mut self,
        logits: &[f32],
        index: u32,
        _constraint: Option<&mut (dyn Constraint + 'static)>,
    ) -> Option<Choice> {
        Some(Choice { token: sample(logits, &self.settings, index, &mut self.scratch), logprobs: None })
    }
}

/// What may follow the text so far: a grammar.
pub trait Constraint: Send {
    /// Sets the logit of each candidate that may not follow to negative infinity.
    fn forbid(&mut self, candidates: &mut [Candidate]);
    /// The text goes on with `token`, which may follow.
    fn accept(&mut self, token: Token);
}

/// Chooses the token number `index` (from 0) of a generation.
///
/// `logits`: `[n_vocab]`, not empty. `scratch` is reused between calls.
/// NaN logits count as impossible.
///
/// # Panics
///
/// If `logits` is empty.
pub fn sample(
    logits: &[f32],
    settings: &SamplingSettings,
    index: u32,
    scratch: &mut Vec<Candidate>,
) -> Token {
    if settings.temperature <= 0.0 || settings.top_k == 1 {
        return likeliest(logits);
    }
    candidates(logits, settings, scratch);
    let draw = uniform(settings.seed, index);
    let mut cumulative = 0.0;
    for candidate in scratch.iter() {
        cumulative += candidate.probability;
        if draw < cumulative {
            return candidate.token;
        }
    }
    // Rounding can leave the sum a little below 1.
    scratch.last().map_or_else(|| likeliest(logits), |last| last.token)
}

/// The token with the largest logit; the smallest id where several are equal.
fn likeliest(logits: &[f32]) -> Token {
    assert!(!logits.is_empty(), "logits are never empty");
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > logits[best] || logits[best].is_nan() {
            best = index;
        }
    }
    token(best)
}

/// Fills `out` with the tokens that may be chosen, likeliest first, and their probabilities.
///
/// `logits`: `[n_vocab]`. Equal logits are ordered by token id, so that the outcome does not depend on the
/// selection algorithm.
pub fn candidates(logits: &[f32], settings: &SamplingSettings, out: &mut Vec<Candidate>) {
    out.clear();
    let keep = settings.top_k as usize;
    if keep > 0 && keep < logits.len() {
        select(logits, keep, out);
    } else {
        out.extend(possible(logits));
    }
    out.sort_unstable_by(likelier);
    if settings.top_p < 1.0 {
        softmax(out, 1.0);
        let mut cumulative = 0.0;
        let kept = out.iter().position(|candidate| {
            cumulative += candidate.probability;
            cumulative >= settings.top_p
        });
        out.truncate(kept.map_or(out.len(), |last| last + 1));
    }
    softmax(out, settings.temperature);
}

/// Fills `out` with the `keep` likeliest tokens in any order, in one pass over the logits.
///
/// `out` collects what exceeds a threshold; whenever it holds twice as many as wanted, the better half stays and
/// its worst becomes the threshold. Nearly all of a vocabulary of 128k then costs one comparison each, where
/// building and partitioning a list of it for every token would cost more than decoding on a GPU.
fn select(logits: &[f32], keep: usize, out: &mut Vec<Candidate>) {
    let mut threshold = f32::NEG_INFINITY;
    for candidate in possible(logits) {
        // An equal one has a larger id than those already there, and comes after them.
        if candidate.logit > threshold {
            out.push(candidate);
            if out.len() == 2 * keep {
                out.select_nth_unstable_by(keep - 1, likelier);
                out.truncate(keep);
                threshold = out[keep - 1].logit;
            }
        }
    }
    if out.len() > keep {
        out.select_nth_unstable_by(keep - 1, likelier);
        out.truncate(keep);
    }
}

/// All tokens that have a logit.
fn possible(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan()).map(|(index, logit)| Candidate {
        token: token(index),
        logit: *logit,
        probability: 0.0,
    })
}

fn likelier(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.token.cmp(&b.token))
}

/// Turns the logits of candidates (likeliest first) into probabilities at `temperature` > 0.
fn softmax(candidates: &mut [Candidate], temperature: f32) {
    let Some(largest) = candidates.first().map(|first| first.logit) else { return };
    let mut sum = 0.0;
    for candidate in candidates.iter_mut() {
        candidate.probability = ((candidate.logit - largest) / temperature).exp();
        sum += candidate.probability;
    }
    for candidate in candidates {
        candidate.probability /= sum;
    }
}

/// A number in [0, 1) that depends on its arguments alone.
///
/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
/// 2014) over the seed and the index; its top 24 bits fill an `f32`'s mantissa.
#[expect(clippy::cast_precision_loss, reason = "24 bits are exact in an f32")]
fn uniform(seed: u64, index: u32) -> f32 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = mix(seed).wrapping_add(GAMMA.wrapping_mul(u64::from(index) + 1));
    z = mix(z);
    (z >> 40) as f32 / (1u32 << 24) as f32
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn token(index: usize) -> Token {
    Token::try_from(index).expect("a vocabulary has fewer than 2^32 tokens")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> SamplingSettings {
        SamplingSettings { seed: 7, ..SamplingSettings::default() }
    }

    fn kept(logits: &[f32], settings: SamplingSettings) -> Vec<Token> {
        let mut out = Vec::new();
        candidates(logits, &settings, &mut out);
        let sum: f32 = out.iter().map(|c| c.probability).sum();
        assert!((sum - 1.0).abs() < 1e-5, "probabilities sum to {sum}");
        out.iter().map(|c| c.token).collect()
    }

    #[test]
    fn zero_temperature_takes_the_likeliest_and_the_first_of_equals() {
        let greedy = SamplingSettings { temperature: 0.0, ..all() };
        assert_eq!(sample(&[0.0, 3.0, 3.0, 1.0], &greedy, 0, &mut Vec::new()), 1);
        assert_eq!(sample(&[f32::NAN, -2.0, -1.0], &greedy, 0, &mut Vec::new()), 2);
    }

    #[test]
    fn filters_keep_the_likeliest_candidates() {
        let logits = [1.0, 4.0, 2.0, 3.0];
        assert_eq!(kept(&logits, all()), [1, 3, 2, 0]);
        assert_eq!(kept(&logits, SamplingSettings { top_k: 2, ..all() }), [1, 3]);
        // softmax(4, 3, 2, 1) = 0.644, 0.237, 0.087, 0.032
        assert_eq!(kept(&logits, SamplingSettings { top_p: 0.6, ..all() }), [1]);
        assert_eq!(kept(&logits, SamplingSettings { top_p: 0.65, ..all() }), [1, 3]);
        assert_eq!(kept(&logits, SamplingSettings { top_p: 0.9, ..all() }), [1, 3, 2]);
        // top_p counts at temperature 1, as in llama.cpp's chain.
        assert_eq!(kept(&logits, SamplingSettings { top_p: 0.6, temperature: 2.0, ..all() }), [1]);
        assert_eq!(kept(&[f32::NAN, 1.0], all()), [1]);
        assert_eq!(kept(&[2.0; 5], SamplingSettings { top_k: 3, ..all() }), [0, 1, 2]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut counts = [0u32; 3];
        for index in 0..20_000 {
            counts[sample(&logits, &all(), index, &mut Vec::new()) as usize] += 1;
        }
        // Three standard deviations of a binomial with n = 20,000 are at most 212.
        for (count, expected) in counts.iter().zip([10_000u32, 6_000, 4_000]) {
            assert!(count.abs_diff(expected) < 212, "{counts:?}");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_and_index_alone() {
        assert_eq!(uniform(1, 5).to_bits(), uniform(1, 5).to_bits());
        assert_ne!(uniform(1, 5).to_bits(), uniform(1, 6).to_bits());
        assert_ne!(uniform(1, 5).to_bits(), uniform(2, 5).to_bits());
        assert!((0..10_000).map(|i| uniform(3, i)).all(|u| (0.0..1.0).contains(&u)));
    }

    proptest! {
        /// Few distinct values make many ties.
        #[test]
        fn one_pass_finds_what_a_full_sort_finds(
            logits in proptest::collection::vec(-4i8..4, 1..400), keep in 1u32..40,
        ) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let mut sorted: Vec<Candidate> = possible(&logits).collect();
            sorted.sort_by(likelier);
            sorted.truncate(keep as usize);
            let expected: Vec<Token> = sorted.iter().map(|candidate| candidate.token).collect();
            prop_assert_eq!(kept(&logits, SamplingSettings { top_k: keep, ..all() }), expected);
        }
    }
}
