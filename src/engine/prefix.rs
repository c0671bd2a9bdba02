//! Where a new prompt goes, and what of it the KV cache has already.
//!
//! PURE. Slots keep the tokens of what they last served. A prompt that begins like them need not be computed from
//! there: its slot keeps the common beginning, or gets a copy from the slot that has it, also while that one still
//! answers.

use crate::batching::gaps;
use crate::generation::Token;

/// Fewer common tokens are not worth a copy, which moves a slot's whole KV cache; nor is less than this share of it.
const MIN_COPY_TOKENS: usize = 32;
const MIN_COPY_SHARE: usize = 256;
/// Prompts with this many more tokens in common with one that is being computed wait for it: it is before them anyway.
const MIN_AWAITED_TOKENS: usize = 16;

/// Free slots between two that serve, where fillers are worth it at all: more would make every step longer.
const MAX_SLACK: usize = 1;

/// What a slot holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding<'a> {
    /// Tokens in its KV cache.
    pub held: &'a [Token],
    /// Tokens that it will hold when its prompt is computed, those held included; empty if it serves none.
    pub coming: &'a [Token],
    /// Whether it serves nobody.
    pub free: bool,
    /// When it was last used; grows.
    pub used: u64,
}

/// The slot for a new prompt; `None` if all serve. `max_gap`: how many slots between two others may be filled.
pub(super) fn choose_slot(slots: &[Holding<'_>], prompt: &[Token], max_gap: usize) -> Option<usize> {
    let serving = || slots.iter().enumerate().filter(|(_, slot)| !slot.free).map(|(at, _)| at);
    let window = gaps::window(serving().min(), serving().max(), max_gap.min(MAX_SLACK), slots.len());
    let inner = serving().min().unwrap_or(0)..=serving().max().unwrap_or(slots.len());
    let free = slots.iter().enumerate().filter(|(_, slot)| slot.free);
    free.min_by_key(|(at, slot)| {
        let common = common_prefix(slot.held, prompt);
        // A few tokens in common, such as a template's, decide nothing.
        let common = if common >= MIN_COPY_TOKENS || common == slot.held.len() { common } else { 0 };
        (
            !window.contains(at),
            std::cmp::Reverse(common),
            !inner.contains(at),
            !slot.held.is_empty(),
            slot.used,
            *at,
        )
    })
    .map(|(at, _)| at)
}

/// Where the beginning of a prompt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its own slot holds this many of its tokens, maybe none.
    Own(usize),
    /// Another slot holds this many.
    Other(usize, usize),
    /// One that is being computed will soon hold much more.
    Awaited,
}

/// Finds the beginning of `prompt`, which is to be computed in slot `own`. At least its last token is always computed,
/// because what follows it is the answer.
pub(super) fn origin(slots: &[Holding<'_>], own: usize, prompt: &[Token], context_tokens: usize) -> Origin {
    let usable = |tokens: &[Token]| common_prefix(tokens, prompt).min(prompt.len() - 1);
    let here = usable(slots[own].held);
    let others = slots.iter().enumerate().filter(|(at, _)| *at != own);
    let there = others.clone().map(|(at, slot)| (usable(slot.held), at)).max().unwrap_or((0, own));
    let awaited = others.map(|(_, slot)| usable(slot.coming)).max().unwrap_or(0);
    if awaited >= here.max(there.0) + MIN_AWAITED_TOKENS {
        return Origin::Awaited;
    }
    let worth_a_copy = MIN_COPY_TOKENS.max(context_tokens / MIN_COPY_SHARE);
    if there.0 >= here + worth_a_copy { Origin::Other(there.1, there.0) } else { Origin::Own(here) }
}

/// How many tokens must be kept elsewhere to be taken instead of `cached` that are at hand.
pub(super) fn worth_restoring(cached: usize) -> usize {
    cached + MIN_COPY_TOKENS
}

/// How many tokens two texts have in common at their beginnings.
pub(super) fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(held: &[Token], free: bool, used: u64) -> Holding<'_> {
        Holding { held, coming: &[], free, used }
    }

    fn text(length: usize, seed: Token) -> Vec<Token> {
        (0..length).map(|at| Token::try_from(at).unwrap() * 31 + seed).collect()
    }

    #[test]
    fn a_prompt_goes_where_its_beginning_is_then_to_an_empty_slot_then_to_the_oldest() {
        let (a, b) = (text(50, 1), text(50, 2));
        let check = |slots: &[Holding<'_>], prompt: &[Token], expected| {
            assert_eq!(choose_slot(slots, prompt, 1), expected);
        };
        let longer = [a.clone(), vec![5]].concat();
        check(&[slot(&[], true, 0), slot(&b, true, 1), slot(&a, true, 2)], &longer, Some(2));
        check(&[slot(&b, true, 1), slot(&[], true, 0)], &longer, Some(1));
        check(&[slot(&b, true, 2), slot(&b, true, 1)], &longer, Some(1));
        check(&[slot(&b, false, 2), slot(&b, false, 1)], &longer, None);
    }

    #[test]
    fn serving_slots_stay_close_together() {
        let a = text(50, 1);
        let busy = || slot(&[], false, 0);
        let empty = || slot(&[], true, 0);
        // A hole between serving slots is filled first; then the window beside them, even if an old text goes.
        assert_eq!(choose_slot(&[empty(), busy(), empty(), busy()], &a, 1), Some(2));
        let full = slot(&a, true, 1);
        let other = text(9, 7);
        assert_eq!(choose_slot(&[busy(), full, full, empty(), empty()], &other, 1), Some(1));
        assert_eq!(choose_slot(&[busy(), full, empty(), empty(), full], &other, 1), Some(2));
    }

    #[test]
    fn the_longest_beginning_wins_if_it_is_worth_a_copy() {
        let (long, short) = (text(100, 1), text(100, 1)[..20].to_vec());
        let prompt = [text(100, 1), vec![9, 9]].concat();
        let check = |slots: &[Holding<'_>], context_tokens, expected| {
            assert_eq!(origin(slots, 0, &prompt, context_tokens), expected);
        };
        check(&[slot(&short, false, 0), slot(&long, true, 0)], 1024, Origin::Other(1, 100));
        check(&[slot(&short, false, 0), slot(&long, true, 0)], 1 << 16, Origin::Own(20));
        check(&[slot(&long, false, 0), slot(&short, true, 0)], 1024, Origin::Own(100));
        check(&[slot(&prompt, false, 0)], 1024, Origin::Own(101));
        check(&[slot(&[], false, 0), slot(&short, true, 0)], 1024, Origin::Own(0));
        let coming = Holding { held: &short, coming: &long, free: false, used: 0 };
        check(&[slot(&[], false, 0), coming], 1024, Origin::Awaited);
    }
}
