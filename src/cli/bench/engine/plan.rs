//! What is measured, in which order. PURE.

use std::fmt;
use std::num::NonZeroU32;

use super::arguments::Kind;
use crate::cli::bench::table::counted;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measurement {
    /// Of single steps, on a bare context.
    Step(Step),
    /// Answers to so many questions at a time, in the loop that servers run.
    Answers(u32),
}

/// What single steps compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A prompt of so many tokens.
    Prefill(u32),
    /// So many sequences.
    Decode(u32),
    /// So many sequences with so many tokens of a prompt.
    Mixed(u32, u32),
    /// Nothing; tokens are chosen.
    Sampling(Chain),
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// As the policy says.
    Policy,
    /// The likeliest.
    Greedy,
}

impl Chain {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Greedy => "greedy",
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sequences = |count| counted(count, "sequence");
        match *self {
            Self::Step(Step::Prefill(tokens)) => write!(f, "prefill of {}", counted(tokens, "token")),
            Self::Step(Step::Decode(count)) => write!(f, "decode of {}", sequences(count)),
            Self::Step(Step::Mixed(count, tokens)) => {
                write!(f, "decode of {} beside a prompt's {tokens}", sequences(count))
            }
            Self::Step(Step::Sampling(chain)) => write!(f, "sampling, {}", chain.name()),
            Self::Answers(count) => write!(f, "answers, {} at a time", sequences(count)),
        }
    }
}

/// The size of a context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub slots: u32,
    /// Of each slot.
    pub context_tokens: u32,
    pub max_batch_tokens: u32,
}

/// All measurements of the kinds that are `wanted`; `chunk_tokens`: parts of prompts to compute beside sequences
/// that decode.
pub(super) fn measurements(
    wanted: impl Fn(Kind) -> bool,
    chunk_tokens: &[NonZeroU32],
    sizes: Sizes,
) -> Vec<Measurement> {
    let slots = sizes.slots;
    let prefill = prompt_lengths(sizes.context_tokens).into_iter().map(Step::Prefill);
    let decode = batch_sizes(slots).into_iter().map(Step::Decode);
    // The prompt needs a slot, too.
    let beside = batch_sizes(slots).into_iter().filter(|sequences| *sequences < slots);
    let mixed = beside.flat_map(|sequences| {
        let chunks = chunks(chunk_tokens, sequences, sizes);
        chunks.into_iter().map(move |chunk| Step::Mixed(sequences, chunk))
    });
    let sampling = [Chain::Policy, Chain::Greedy].into_iter().map(Step::Sampling);
    let answers = answer_sizes(slots).into_iter().map(Measurement::Answers);
    let steps = prefill.chain(decode).chain(mixed).chain(sampling).map(Measurement::Step);
    let all = steps.chain(answers);
    all.filter(|measurement| wanted(measurement.kind())).collect()
}

impl Measurement {
    fn kind(self) -> Kind {
        match self {
            Self::Step(Step::Prefill(_)) => Kind::Prefill,
            Self::Step(Step::Decode(_)) => Kind::Decode,
            Self::Step(Step::Mixed(..)) => Kind::Mixed,
            Self::Step(Step::Sampling(_)) => Kind::Sampling,
            Self::Answers(_) => Kind::Answers,
        }
    }
}

/// Lengths of prompts: from 128 tokens on, each four times the one before, as far as a slot holds them and one more.
fn prompt_lengths(context_tokens: u32) -> Vec<u32> {
    let most = context_tokens.saturating_sub(1).max(1);
    let lengths = std::iter::successors(Some(128u32), |length| length.checked_mul(4));
    let fitting: Vec<u32> = lengths.take_while(|length| *length <= most).collect();
    if fitting.is_empty() { vec![most] } else { fitting }
}

/// Numbers of sequences: powers of two up to all slots, and these.
fn batch_sizes(slots: u32) -> Vec<u32> {
    powers_up_to(slots)
}

/// Numbers of questions at a time: one, eight and all slots, as far as there are so many.
fn answer_sizes(slots: u32) -> Vec<u32> {
    [1, 8].into_iter().filter(|size| *size < slots).chain([slots]).collect()
}

/// Tokens of a prompt beside `sequences` that decode, `wanted` as far as a batch has room for them, and a slot.
fn chunks(wanted: &[NonZeroU32], sequences: u32, sizes: Sizes) -> Vec<u32> {
    let most = sizes.max_batch_tokens.saturating_sub(sequences).min(sizes.context_tokens);
    let mut chunks: Vec<u32> = wanted.iter().map(|chunk| chunk.get().min(most)).collect();
    chunks.dedup();
    chunks.retain(|chunk| *chunk > 0);
    chunks
}

/// How many tokens sequences have before they decode: as many as wanted, but a slot must hold as many again.
pub(super) fn depth(wanted: u32, context_tokens: u32) -> u32 {
    wanted.min(context_tokens / 2).max(1)
}

/// What a calibration measures while sequences have a common number of tokens: prompts, decode steps, the choice of a token.
pub(super) fn calibration(sizes: Sizes) -> Vec<Measurement> {
    let prefill = powers_up_to(sizes.context_tokens.saturating_sub(1).min(sizes.max_batch_tokens));
    let prefill = prefill.into_iter().filter(|tokens| *tokens >= SHORTEST_PROMPT).map(Step::Prefill);
    let decode = batch_sizes(sizes.slots).into_iter().map(Step::Decode);
    let steps = prefill.chain(decode).chain([Step::Sampling(Chain::Policy)]);
    steps.map(Measurement::Step).collect()
}

/// What it measures once more while they have more, which shows what a token costs that a sequence holds.
pub(super) fn calibration_deep(sizes: Sizes) -> [Measurement; 1] {
    [Measurement::Step(Step::Decode(sizes.slots))]
}

/// Shorter prompts take as long as steps that decode.
const SHORTEST_PROMPT: u32 = 16;

/// Powers of two up to a number, and that.
fn powers_up_to(most: u32) -> Vec<u32> {
    let powers = std::iter::successors(Some(1u32), |size| size.checked_mul(2));
    powers.take_while(|size| *size < most).chain([most]).collect()
}

/// Tokens of prompts and of answers: as many as wanted, as far as a slot holds both and prompts vary.
pub(super) fn lengths(prompt: NonZeroU32, answer: NonZeroU32, context_tokens: u32) -> (u32, u32) {
    (prompt.get().min(context_tokens / 2).max(1), answer.get().min(context_tokens / 4).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Measurement::Answers;
    use super::Step::{Decode, Mixed, Prefill, Sampling};
    use super::*;

    const CHUNKS: [u32; 4] = [64, 128, 256, 512];

    fn of(chunks: &[u32]) -> Vec<NonZeroU32> {
        chunks.iter().map(|chunk| NonZeroU32::new(*chunk).unwrap()).collect()
    }

    fn sizes(slots: u32, max_batch_tokens: u32, context_tokens: u32) -> Sizes {
        Sizes { slots, context_tokens, max_batch_tokens }
    }

    #[test]
    fn sizes_grow_as_far_as_they_fit() {
        for (context_tokens, lengths) in
            [(64, &[63][..]), (128, &[127]), (129, &[128]), (1024, &[128, 512]), (8192, &[128, 512, 2048])]
        {
            assert_eq!(prompt_lengths(context_tokens), lengths, "{context_tokens}");
        }
        for (slots, sizes) in [(1, &[1][..]), (4, &[1, 2, 4]), (6, &[1, 2, 4, 6])] {
            assert_eq!(batch_sizes(slots), sizes, "{slots}");
        }
        for (slots, sizes) in [(1, &[1][..]), (4, &[1, 4]), (64, &[1, 8, 64])] {
            assert_eq!(answer_sizes(slots), sizes, "{slots}");
        }
        for (sequences, batch, context, expected) in [
            (1, 1024, 4096, &[64, 128, 256, 512][..]),
            (8, 512, 4096, &[64, 128, 256, 504]),
            (8, 512, 100, &[64, 100]),
            (30, 32, 100, &[2]),
            (32, 32, 100, &[]),
        ] {
            assert_eq!(
                chunks(&of(&CHUNKS), sequences, sizes(256, batch, context)),
                expected,
                "{sequences} {batch} {context}"
            );
        }
    }

    #[test]
    fn a_calibration_covers_a_context() {
        let all: Vec<String> = calibration(sizes(6, 2048, 100)).iter().map(ToString::to_string).collect();
        let expected = [
            "prefill of 16 tokens",
            "prefill of 32 tokens",
            "prefill of 64 tokens",
            "prefill of 99 tokens",
            "decode of 1 sequence",
            "decode of 2 sequences",
            "decode of 4 sequences",
            "decode of 6 sequences",
            "sampling, policy",
        ];
        assert_eq!(all, expected);
        assert_eq!(calibration(sizes(1, 512, 4096)).len(), 6 + 1 + 1);
    }

    fn steps<const N: usize>(steps: [Step; N]) -> [Measurement; N] {
        steps.map(Measurement::Step)
    }

    #[test]
    fn only_what_is_wanted_is_measured() {
        let plan =
            |wanted: &[Kind]| measurements(|kind| wanted.contains(&kind), &of(&CHUNKS), sizes(2, 512, 200));
        assert_eq!(plan(&[Kind::Prefill, Kind::Decode]), steps([Prefill(128), Decode(1), Decode(2)]));
        assert_eq!(plan(&[Kind::Mixed]), steps([Mixed(1, 64), Mixed(1, 128), Mixed(1, 200)]));
        assert_eq!(plan(&[Kind::Sampling]), steps([Sampling(Chain::Policy), Sampling(Chain::Greedy)]));
        assert_eq!(plan(&[Kind::Answers]), [Answers(1), Answers(2)]);
        let alone = measurements(|kind| kind == Kind::Mixed, &of(&CHUNKS), sizes(1, 512, 200));
        assert_eq!(alone, [], "the prompt has no slot");
    }

    proptest! {
        #[test]
        fn nothing_exceeds_slots_batch_or_context(slots in 1u32..300, batch in 1u32..3000, context in 2u32..100_000) {
            let batch = batch.max(slots);
            prop_assert!(prompt_lengths(context).iter().all(|length| (1..context).contains(length)));
            prop_assert!(depth(128, context) < context);
            for sequences in batch_sizes(slots) {
                prop_assert!((1..=slots).contains(&sequences));
                for chunk in chunks(&of(&CHUNKS), sequences, sizes(slots, batch, context)) {
                    prop_assert!(chunk > 0 && chunk <= context && sequences + chunk <= batch);
                }
            }
        }
    }
}
