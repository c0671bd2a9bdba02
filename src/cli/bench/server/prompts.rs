//! Prompts of a wanted length that share nothing with each other, or a beginning of a wanted length. PURE.

use crate::random::Random;

const WORD_COUNT: u32 = 96;
/// Common words, which nearly all tokenizers know as one token each.
const WORDS: [&str; WORD_COUNT as usize] = [
    "the", "and", "that", "with", "from", "this", "have", "they", "were", "which", "there", "their", "would",
    "about", "other", "into", "more", "some", "could", "them", "time", "these", "then", "like", "only",
    "over", "after", "also", "back", "work", "first", "well", "even", "want", "because", "any", "give",
    "day", "most", "house", "water", "tree", "light", "night", "river", "stone", "small", "large", "green",
    "white", "black", "long", "short", "old", "new", "good", "near", "far", "high", "low", "hand", "head",
    "eyes", "door", "road", "fire", "wind", "rain", "snow", "bird", "fish", "horse", "fox", "bear", "king",
    "queen", "child", "mother", "father", "friend", "walk", "run", "sing", "play", "read", "write", "look",
    "find", "take", "make", "come", "go", "see", "hear", "know", "think",
];

const CONSONANTS: &[u8; 16] = b"bcdfghjklmnprstv";
const VOWELS: &[u8; 4] = b"aeio";
/// Each has six bits.
const SYLLABLES: u32 = 4;

/// Makes prompts by number.
#[derive(Clone, Debug)]
pub(super) struct Prompts {
    seed: u64,
    /// What all prompts begin with.
    shared: String,
}

impl Prompts {
    /// `shared_words`: how many words all prompts begin with.
    pub(super) fn new(seed: u64, shared_words: u32) -> Self {
        let mut shared = String::new();
        append_words(&mut shared, &mut Random::new(seed), shared_words);
        Self { seed, shared }
    }

    /// Prompt number `number` with `words` words besides the shared ones. The first of these occurs in no other
    /// prompt of this seed (of 16 million), so that no server can use an earlier prompt's KV cache from there on.
    pub(super) fn prompt(&self, number: u64, words: u32) -> String {
        let mut prompt = self.shared.clone();
        if !prompt.is_empty() {
            prompt.push(' ');
        }
        prompt.push_str(&unique_word(self.seed, number));
        let mut random = Random::new(self.seed.wrapping_add(1) ^ number.rotate_left(32));
        append_words(&mut prompt, &mut random, words.saturating_sub(1));
        prompt
    }
}

fn append_words(text: &mut String, random: &mut Random, count: u32) {
    for _ in 0..count {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(WORDS[random.below(WORD_COUNT) as usize]);
    }
}

/// A word that can be spoken and stands for `number` alone. Numbers that follow each other differ from the first
/// syllable on.
fn unique_word(seed: u64, number: u64) -> String {
    const BITS: u32 = 6 * SYLLABLES;
    // An odd factor permutes the numbers of so many bits; the golden ratio's spreads neighbours widely.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(Random::new(seed).bits());
    let mut word = String::new();
    for syllable in (0..SYLLABLES).rev() {
        let bits = (mixed & ((1 << BITS) - 1)) >> (6 * syllable) & 63;
        let bits = usize::try_from(bits).expect("six bits");
        word.push(CONSONANTS[bits >> 2].into());
        word.push(VOWELS[bits & 3].into());
    }
    word
}

/// How many tokens prompts have, by their words: a line through two prompts that a server counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Length {
    /// Tokens of a prompt without words: the chat template's.
    base: f64,
    per_word: f64,
}

impl Length {
    /// A token a word: where the server does not count.
    pub(super) const UNKNOWN: Self = Self { base: 0.0, per_word: 1.0 };

    /// From two prompts' (words, tokens), the second one longer.
    pub(super) fn measured(short: (u32, u64), long: (u32, u64)) -> Self {
        let (low, high) = (tokens(short.1), tokens(long.1));
        let per_word = (high - low) / f64::from(long.0 - short.0);
        // What counts fewer tokens for more words, counts something else.
        if per_word < 0.1 {
            return Self::UNKNOWN;
        }
        Self { base: (low - per_word * f64::from(short.0)).max(0.0), per_word }
    }

    /// The words of a prompt with about so many tokens; at least one.
    pub(super) fn words(self, tokens: u32) -> u32 {
        whole((f64::from(tokens) - self.base) / self.per_word).max(1)
    }

    /// The words of a part of a prompt.
    pub(super) fn part(self, tokens: u32) -> u32 {
        whole(f64::from(tokens) / self.per_word)
    }
}

#[expect(clippy::cast_precision_loss, reason = "prompts have far fewer than 2^53 tokens")]
fn tokens(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn whole(number: f64) -> u32 {
    number.round() as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prompts_differ_from_the_first_word_on() {
        let prompts = Prompts::new(7, 0);
        let firsts: HashSet<String> = (0..100_000).map(|number| unique_word(7, number)).collect();
        assert_eq!(firsts.len(), 100_000);
        let (first, second) = (prompts.prompt(0, 20), prompts.prompt(1, 20));
        assert_ne!(first.split(' ').next(), second.split(' ').next());
        assert_eq!(first, Prompts::new(7, 0).prompt(0, 20), "a seed decides everything");
        assert_ne!(first, Prompts::new(8, 0).prompt(0, 20));
    }

    #[test]
    fn prompts_share_as_many_words_as_wanted() {
        let prompts = Prompts::new(7, 5);
        let (first, second) = (prompts.prompt(0, 3), prompts.prompt(1, 3));
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (first, second) = (words(&first), words(&second));
        assert_eq!(first[..5], second[..5]);
        assert_ne!(first[5], second[5]);
    }

    #[test]
    fn a_line_through_two_prompts_tells_the_length() {
        // A template of 12 tokens, 1.5 tokens a word.
        let length = Length::measured((16, 36), (64, 108));
        assert_eq!(length, Length { base: 12.0, per_word: 1.5 });
        for (tokens, words) in [(1, 1), (12, 1), (108, 64), (1000, 659)] {
            assert_eq!(length.words(tokens), words);
        }
        assert_eq!(length.part(30), 20);
        assert_eq!(Length::measured((16, 36), (64, 36)), Length::UNKNOWN);
    }

    proptest! {
        #[test]
        fn a_prompt_has_its_words(seed: u64, number: u64, shared in 0u32..50, words in 1u32..200) {
            let prompt = Prompts::new(seed, shared).prompt(number, words);
            prop_assert_eq!(prompt.split(' ').count(), (shared + words) as usize);
            prop_assert!(prompt.split(' ').all(|word| !word.is_empty()));
        }
    }
}
