//! Plans one decode call: which sequence computes how many tokens.
//!
//! Input: what each sequence still has to compute, and the limits. Output: tokens per sequence. PURE.
//! Every decoding sequence gets its one token in every step; prompts share what is left, bounded, first come
//! first served, short ones whole and long ones in parts: see [`PrefillBudget`].

mod budget;
pub mod gaps;
pub mod padding;

pub use budget::{Allowance, PrefillBudget, StepLoad};

/// What one sequence needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The sequence's slot.
    pub slot: usize,
    /// Tokens not yet in the KV cache: one while decoding, the rest of the prompt before.
    pub pending_tokens: usize,
    /// Whether these are prompt tokens.
    pub prefill: bool,
    /// Whether the prompt is short; see [`PrefillBudget::short`].
    pub short: bool,
}

/// What a step may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of one decode call; at least the number of slots.
    pub max_batch_tokens: usize,
    /// Prompt tokens of one decode call.
    pub prefill: Allowance,
}

/// The share of one sequence in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The sequence's slot.
    pub slot: usize,
    /// Tokens to compute now.
    pub tokens: usize,
    /// Tokens after them that are forgotten afterwards; see [`gaps`] and [`padding`].
    pub padding: usize,
    /// Whether nothing remains after its tokens, so that logits are wanted.
    pub last: bool,
}

impl Share {
    /// One token that is forgotten afterwards, and nothing else.
    #[must_use]
    pub const fn filler(slot: usize) -> Self {
        Self { slot, tokens: 0, padding: 1, last: false }
    }

    /// All tokens that are computed for it.
    #[must_use]
    pub const fn all_tokens(&self) -> usize {
        self.tokens + self.padding
    }
}

/// Plans the next step. `needs` come in order of arrival, and prompts are served in it; shares come out ordered by slot,
/// without empty ones.
#[must_use]
pub fn plan(needs: &[Need], limits: Limits) -> Vec<Share> {
    let decoding = needs.iter().filter(|need| !need.prefill).count();
    let mut left = limits.max_batch_tokens.saturating_sub(decoding);
    let (mut short_left, mut part_left) = (limits.prefill.short_tokens, limits.prefill.part_tokens);
    let mut short_begun = false;
    let mut shares = Vec::with_capacity(needs.len());
    for need in needs {
        let mut tokens = need.pending_tokens;
        if need.prefill {
            let allowed = if need.short { &mut short_left } else { &mut part_left };
            if need.short && tokens > (*allowed).min(left) && short_begun {
                // The next step has it whole; what comes later does not overtake it.
                *allowed = 0;
            }
            tokens = tokens.min(*allowed).min(left);
            short_begun |= need.short;
            *allowed -= tokens;
            left -= tokens;
        }
        if tokens > 0 {
            let last = tokens == need.pending_tokens;
            shares.push(Share { slot: need.slot, tokens, padding: 0, last });
        }
    }
    shares.sort_unstable_by_key(|share| share.slot);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(slot: usize) -> Need {
        Need { slot, pending_tokens: 1, prefill: false, short: false }
    }

    fn prompt(slot: usize, pending_tokens: usize) -> Need {
        Need { slot, pending_tokens, prefill: true, short: false }
    }

    fn short(slot: usize, pending_tokens: usize) -> Need {
        Need { short: true, ..prompt(slot, pending_tokens) }
    }

    fn check(needs: &[Need], expected: &[(usize, usize, bool)]) {
        let prefill = Allowance { short_tokens: 12, part_tokens: 10 };
        let limits = Limits { max_batch_tokens: 16, prefill };
        let shares: Vec<_> = plan(needs, limits).iter().map(|s| (s.slot, s.tokens, s.last)).collect();
        assert_eq!(shares, expected, "{needs:?}");
    }

    #[test]
    fn decoding_goes_first_and_prompts_share_the_rest() {
        check(&[], &[]);
        check(&[decode(2)], &[(2, 1, true)]);
        check(&[prompt(0, 4)], &[(0, 4, true)]);
        check(&[prompt(0, 40)], &[(0, 10, false)]);
        check(&[prompt(0, 7), prompt(1, 7)], &[(0, 7, true), (1, 3, false)]);
        check(&[prompt(0, 40), decode(1), prompt(2, 3)], &[(0, 10, false), (1, 1, true)]);
    }

    #[test]
    fn short_prompts_have_an_allowance_of_their_own() {
        check(&[short(0, 12)], &[(0, 12, true)]);
        check(&[short(0, 13)], &[(0, 12, false)]);
        check(&[short(0, 8), short(1, 5), short(2, 1)], &[(0, 8, true)]);
        check(&[short(0, 8), short(1, 4)], &[(0, 8, true), (1, 4, true)]);
        check(&[short(0, 8), prompt(1, 20)], &[(0, 8, true), (1, 8, false)]);
        check(&[prompt(0, 20), decode(1), short(2, 6)], &[(0, 10, false), (1, 1, true), (2, 5, false)]);
    }

    proptest! {
        #[test]
        fn no_step_exceeds_its_limits_and_none_starves_a_decoding_sequence(
            prompts in proptest::collection::vec(1usize..5000, 0..64),
            decoding in 0usize..64,
            max_prefill_tokens in 1usize..600,
        ) {
            let prefill = Allowance { short_tokens: 0, part_tokens: max_prefill_tokens };
            let limits = Limits { max_batch_tokens: 512, prefill };
            let mut needs: Vec<Need> = (0..decoding).map(decode).collect();
            needs.extend(prompts.iter().enumerate().map(|(i, n)| prompt(decoding + i, *n)));
            let shares = plan(&needs, limits);
            prop_assert!(shares.iter().map(|s| s.tokens).sum::<usize>() <= limits.max_batch_tokens);
            prop_assert_eq!(shares.iter().filter(|s| s.slot < decoding).count(), decoding);
            let prefill: usize = shares.iter().filter(|s| s.slot >= decoding).map(|s| s.tokens).sum();
            prop_assert!(prefill <= max_prefill_tokens);
            // Work is never refused while there is room for it.
            let wanted: usize = prompts.iter().sum();
            prop_assert_eq!(prefill, wanted.min(max_prefill_tokens).min(512 - decoding));
        }
    }
}
