//! Tests of the sampler as a whole. `tests/sampling.rs` compares it with llama.cpp.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::generation::{Dry, Mirostat, MirostatVersion, Penalties, Xtc};

fn all() -> SamplingSettings {
    SamplingSettings { seed: 7, ..SamplingSettings::default() }
}

fn sampler(settings: SamplingSettings) -> Sampler {
    Sampler::new(settings, None, &[], Arc::default())
}

fn chosen(logits: &[f32], settings: SamplingSettings) -> Option<Token> {
    sampler(settings).choose(logits, 0, None).map(|choice| choice.token)
}

fn kept(logits: &[f32], settings: SamplingSettings) -> Vec<Token> {
    let mut sampler = sampler(settings);
    let candidates = sampler.candidates(logits, 0);
    let sum: f32 = candidates.iter().map(|c| c.probability).sum();
    assert!((sum - 1.0).abs() < 1e-5, "probabilities sum to {sum}");
    candidates.iter().map(|c| c.token).collect()
}

/// Allows some tokens, and remembers how many it judged.
struct Only {
    tokens: HashSet<Token>,
    judged: usize,
}

impl Only {
    fn new(tokens: impl IntoIterator<Item = Token>) -> Self {
        Self { tokens: tokens.into_iter().collect(), judged: 0 }
    }
}

impl Constraint for Only {
    fn forbid(&mut self, candidates: &mut [Candidate]) {
        self.judged += candidates.len();
        for candidate in candidates {
            if !self.tokens.contains(&candidate.token) {
                candidate.logit = f32::NEG_INFINITY;
            }
        }
    }
    fn accept(&mut self, _token: Token) {}
}

/// Logits of a vocabulary that is no multiple of anything, with large ones in few places.
fn uneven(tokens: u16) -> Vec<f32> {
    (0..tokens).map(|token| f32::from(token.wrapping_mul(40_503) >> 6).sqrt() / 3.0).collect()
}

#[test]
fn zero_temperature_takes_the_likeliest_and_the_first_of_equals() {
    let greedy = SamplingSettings { temperature: 0.0, ..all() };
    assert_eq!(chosen(&[0.0, 3.0, 3.0, 1.0], greedy.clone()), Some(1));
    assert_eq!(chosen(&[f32::NAN, -2.0, -1.0], greedy.clone()), Some(2));
    let mut logits = vec![0.0; 1000];
    logits[700] = 1.0;
    logits[900] = 1.0;
    assert_eq!(chosen(&logits, greedy.clone()), Some(700));
    let biased = SamplingSettings { logit_bias: vec![(700, -0.5), (5, 1.5)], ..greedy };
    assert_eq!(chosen(&logits, biased), Some(5));
}

#[test]
fn filters_keep_the_likeliest_candidates() {
    let logits = [1.0, 4.0, 2.0, 3.0];
    let check = |settings: SamplingSettings, expected: &[Token]| {
        assert_eq!(kept(&logits, settings.clone()), expected, "{settings:?}");
    };
    check(all(), &[1, 3, 2, 0]);
    check(SamplingSettings { top_k: 2, ..all() }, &[1, 3]);
    // softmax(4, 3, 2, 1) = 0.644, 0.237, 0.087, 0.032
    check(SamplingSettings { top_p: 0.6, ..all() }, &[1]);
    check(SamplingSettings { top_p: 0.65, ..all() }, &[1, 3]);
    check(SamplingSettings { top_p: 0.9, ..all() }, &[1, 3, 2]);
    // Of the two that top_k leaves, the first has 0.731.
    check(SamplingSettings { top_p: 0.7, top_k: 2, ..all() }, &[1]);
    // top_p counts at temperature 1, as in llama.cpp's chain.
    check(SamplingSettings { top_p: 0.6, temperature: 2.0, ..all() }, &[1]);
    check(SamplingSettings { min_p: 0.3, ..all() }, &[1, 3]);
    check(SamplingSettings { min_p: 0.1, top_p: 0.6, ..all() }, &[1]);
    // The entropy is 0.948; information contents are 0.440, 1.440, 2.440, 3.440.
    check(SamplingSettings { typical_p: 0.2, ..all() }, &[3]);
    check(SamplingSettings { typical_p: 0.5, ..all() }, &[1, 3]);
    let xtc = |threshold| Xtc { probability: 1.0, threshold };
    check(SamplingSettings { xtc: xtc(0.2), ..all() }, &[3, 2, 0]);
    check(SamplingSettings { xtc: xtc(0.05), ..all() }, &[2, 0]);
    check(SamplingSettings { xtc: xtc(0.05), top_k: 2, ..all() }, &[3]);
    check(SamplingSettings { xtc: xtc(0.05), temperature: 0.0, ..all() }, &[2]);
    check(SamplingSettings { xtc: xtc(0.51), ..all() }, &[1, 3, 2, 0]);
    assert_eq!(kept(&[f32::NAN, 1.0], all()), [1]);
    assert_eq!(kept(&[2.0; 5], SamplingSettings { top_k: 3, ..all() }), [0, 1, 2]);
}

#[test]
fn a_token_with_a_bias_of_minus_infinity_is_never_chosen() {
    let bias: Vec<(Token, f32)> = (0..100).map(|token| (token, f32::NEG_INFINITY)).collect();
    let settings = SamplingSettings { logit_bias: bias, ..all() };
    assert_eq!(kept(&uneven(101), settings.clone()), [100]);
    assert_eq!(chosen(&uneven(100), settings.clone()), None);
    assert_eq!(chosen(&uneven(100), SamplingSettings { top_k: 4, ..settings.clone() }), None);
    assert_eq!(chosen(&uneven(100), SamplingSettings { temperature: 0.0, ..settings }), None);
    assert_eq!(chosen(&[], all()), None);
    let mut ignoring = Sampler::new(all(), None, &[1], Arc::default());
    assert!((0..100).all(|index| ignoring.choose(&[0.0, 9.0], index, None).unwrap().token == 0));
}

#[test]
fn draws_follow_the_probabilities() {
    let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
    for settings in [all(), SamplingSettings { top_k: 3, ..all() }, SamplingSettings { min_p: 0.1, ..all() }]
    {
        let mut sampler = sampler(settings.clone());
        let mut counts = [0u32; 3];
        // Longer than a block, so that the draw has to find the right one.
        let mut long = vec![f32::NEG_INFINITY; 1000];
        for (token, logit) in [(30, logits[0]), (31, logits[1]), (990, logits[2])] {
            long[token] = logit;
        }
        for index in 0..20_000 {
            let place = match sampler.choose(&long, index, None).unwrap().token {
                30 => 0,
                31 => 1,
                _ => 2,
            };
            counts[place] += 1;
        }
        // Three standard deviations of a binomial with n = 20,000 are at most 212.
        for (count, expected) in counts.iter().zip([10_000u32, 6_000, 4_000]) {
            assert!(count.abs_diff(expected) < 212, "{counts:?} with {settings:?}");
        }
    }
}

#[test]
fn a_token_that_may_not_follow_is_replaced_by_one_that_may_with_its_share_of_the_probability() {
    let logits = [0.4f32.ln(), 0.3f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
    for settings in [all(), SamplingSettings { top_k: 3, ..all() }] {
        let mut sampler = sampler(settings.clone());
        let mut counts = [0u32; 4];
        for index in 0..20_000 {
            let choice = sampler.choose(&logits, index, Some(&mut Only::new([1, 2])));
            counts[choice.unwrap().token as usize] += 1;
        }
        // Three standard deviations are 208.
        assert!(counts[1].abs_diff(12_000) < 208 && counts[1] + counts[2] == 20_000, "{counts:?}");
    }
}

#[test]
fn a_constraint_judges_one_token_or_as_few_as_it_takes() {
    let logits = uneven(60_000);
    let likeliest = kept(&logits, SamplingSettings { top_k: 40, ..all() });
    let check = |settings: SamplingSettings, allowed: Vec<Token>, judged: usize| {
        let mut only = Only::new(allowed.clone());
        let choice = sampler(settings.clone()).choose(&logits, 0, Some(&mut only));
        assert_eq!(choice.is_some(), !allowed.is_empty());
        assert!(choice.is_none_or(|choice| allowed.contains(&choice.token)));
        assert_eq!(only.judged, judged, "{settings:?}");
    };
    let greedy = SamplingSettings { temperature: 0.0, ..all() };
    check(greedy.clone(), vec![likeliest[0]], 1);
    check(greedy.clone(), vec![likeliest[39]], 1 + 256);
    check(greedy, Vec::new(), 1 + 256 + 60_000);
    check(all(), vec![likeliest[3]], 1 + 60_000);
    check(SamplingSettings { top_k: 10, ..all() }, likeliest[10..].to_vec(), 1 + 256);
}

#[test]
fn logprobs_are_those_of_the_model_whatever_the_settings() {
    let logits = [1.0, 4.0, 2.0, f32::NEG_INFINITY, 3.0];
    let settings = SamplingSettings { logit_bias: vec![(0, 50.0)], temperature: 0.1, top_k: 1, ..all() };
    let choice = Sampler::new(settings, Some(3), &[1], Arc::default()).choose(&logits, 0, None).unwrap();
    assert_eq!(choice.token, 0);
    let logprobs = choice.logprobs.unwrap();
    let check =
        |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
    check(logprobs.chosen, -3.440_189_7);
    assert_eq!(logprobs.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 4, 2]);
    for (found, expected) in logprobs.top.iter().zip([-0.440_189_7, -1.440_189_7, -2.440_189_7]) {
        check(found.1, expected);
    }
}

#[test]
fn mirostat_narrows_when_the_text_surprises_too_much() {
    let logits: Vec<f32> = (1..2000u16).map(|rank| -f32::from(rank).ln()).collect();
    for version in [MirostatVersion::V1, MirostatVersion::V2] {
        let mirostat = Mirostat { version, tau: 3.0, eta: 0.5 };
        let settings = SamplingSettings { mirostat: Some(mirostat), top_k: 1, ..all() };
        let mut sampler = sampler(settings);
        let mut surprises = Vec::new();
        for index in 0..400 {
            let choice = sampler.choose(&logits, index, None).unwrap();
            let candidates = sampler.candidates(&logits, index);
            let probability = candidates.iter().find(|c| c.token == choice.token).unwrap().probability;
            surprises.push(-probability.log2());
            sampler.accept(choice.token);
        }
        let mean = surprises[100..].iter().sum::<f32>() / 300.0;
        assert!((mean - 3.0).abs() < 0.3, "{version:?}: {mean} bits");
    }
}

#[test]
fn what_is_not_chosen_changes_nothing() {
    let mirostat = Mirostat { version: MirostatVersion::V2, tau: 3.0, eta: 0.5 };
    let settings = SamplingSettings { mirostat: Some(mirostat), ..all() };
    let logits = uneven(500);
    let mut sampler = sampler(settings);
    let before = sampler.candidates(&logits, 0).to_vec();
    sampler.choose(&logits, 0, None).unwrap();
    sampler.accept(499);
    assert_eq!(sampler.candidates(&logits, 0), before);
}

fn settings() -> impl Strategy<Value = SamplingSettings> {
    let single = (0u32..60, 0.1f32..1.2, 0.0f32..0.3, 0.1f32..1.2, 0.0f32..2.0);
    let bias = proptest::collection::vec((0u32..300, -4f32..4.0), 0..6);
    let xtc = (0.0f32..1.0, 0.01f32..0.6);
    (single, bias, xtc, any::<bool>(), any::<u64>()).prop_map(
        |(single, logit_bias, xtc, looks_back, seed)| {
            let (top_k, top_p, min_p, typical_p, temperature) = single;
            let frequency = if looks_back { 0.3 } else { 0.0 };
            SamplingSettings {
                temperature: if temperature < 0.3 { 0.0 } else { temperature },
                top_k: if top_k > 40 { 0 } else { top_k },
                top_p,
                min_p: (min_p - 0.1).max(0.0),
                typical_p,
                penalties: Penalties { last_tokens: 20, repeat: 1.1, frequency, presence: 0.0 },
                dry: Dry { multiplier: frequency, ..Dry::default() },
                xtc: Xtc { probability: xtc.0, threshold: xtc.1 },
                mirostat: None,
                logit_bias,
                seed,
            }
        },
    )
}

/// Few distinct values make many ties.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit =
        prop_oneof![8 => (-8i8..8).prop_map(f32::from), 1 => Just(f32::NEG_INFINITY), 1 => Just(f32::NAN)];
    proptest::collection::vec(logit, 1..300)
}

proptest! {
    #[test]
    fn one_pass_finds_what_a_full_sort_finds(logits in logits(), keep in 1u32..40) {
        let mut sorted: Vec<(Token, f32)> =
            (0..).zip(logits.iter().copied()).filter(|(_, logit)| *logit > f32::NEG_INFINITY).collect();
        sorted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        sorted.truncate(keep as usize);
        let mut sampler = sampler(SamplingSettings { top_k: keep, temperature: 2.0, ..all() });
        let found: Vec<_> = sampler.candidates(&logits, 0).iter().map(|c| (c.token, c.logit)).collect();
        prop_assert_eq!(found, if keep == 1 { sorted[..sorted.len().min(1)].to_vec() } else { sorted });
    }

    /// A sampler that began in another instance, and one that has served other tokens before: same token.
    #[test]
    fn a_choice_depends_on_the_text_and_its_number_alone(
        settings in settings(), logits in logits(), text in proptest::collection::vec(0u32..300, 0..60),
        index in any::<u32>(),
    ) {
        let mut fresh = sampler(settings.clone());
        text.iter().for_each(|token| fresh.accept(*token));
        let mut used = sampler(settings);
        for (at, token) in (0..).zip(&text) {
            used.choose(&logits, at, None);
            used.accept(*token);
        }
        prop_assert_eq!(fresh.choose(&logits, index, None), used.choose(&logits, index, None));
    }

    #[test]
    fn what_is_chosen_is_a_candidate_and_may_follow(
        settings in settings(), logits in logits(), index in any::<u32>(), allowed in 0u32..300,
    ) {
        let mut sampler = sampler(settings);
        let candidates: Vec<Token> = sampler.candidates(&logits, index).iter().map(|c| c.token).collect();
        let choice = sampler.choose(&logits, index, None);
        prop_assert_eq!(choice.is_some(), !candidates.is_empty());
        prop_assert!(choice.is_none_or(|choice| candidates.contains(&choice.token)));
        let possible = logits.get(allowed as usize).is_some_and(|logit| *logit > f32::NEG_INFINITY);
        let constrained = sampler.choose(&logits, index, Some(&mut Only::new([allowed])));
        prop_assert_eq!(constrained.map(|choice| choice.token), possible.then_some(allowed));
    }
}
