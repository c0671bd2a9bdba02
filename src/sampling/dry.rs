//! DRY: makes tokens that would continue a repetition less likely.
//!
//! PURE. By p-e-w (<https://github.com/oobabooga/text-generation-webui/pull/5677>), with the linear search for
//! repetitions of `KoboldCpp` and llama.cpp (<https://github.com/LostRuins/koboldcpp/pull/982>).

use std::collections::BTreeMap;

use crate::generation::{Dry, Token};

/// Bytes of a breaker that count; as in llama.cpp.
const MAX_BREAKER_BYTES: usize = 40;
/// Tokens of a breaker that count after its first; as in llama.cpp.
const MAX_TAIL_TOKENS: usize = 20;
/// ln of the largest `f32`.
const MAX_LN: f32 = 88.722_84;

/// Strings over which no repetition extends, in a model's tokens: each token with which one can begin, and the tokens
/// that must follow to complete it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakers {
    tails: BTreeMap<Token, Vec<Vec<Token>>>,
    /// A bit for each token: whether `tails` has it. Most tokens are asked for in vain.
    heads: Vec<u64>,
}

impl Breakers {
    /// Finds the tokens in which one of `strings` can begin. Looks at the whole vocabulary: once a request.
    ///
    /// `pieces`: the bytes of all tokens, in the order of their numbers. `tokenize`: the tokens of a text, without
    /// special tokens and without a token for its beginning.
    ///
    /// A token that ends within a character of a string does not begin it: the rest cannot be tokenized.
    pub fn new<S: AsRef<str>, B: AsRef<[u8]>>(
        strings: &[S],
        pieces: impl IntoIterator<Item = B>,
        mut tokenize: impl FnMut(&str) -> Vec<Token>,
    ) -> Self {
        let strings: Vec<&[u8]> = strings
            .iter()
            .map(|string| string.as_ref().as_bytes())
            .map(|bytes| &bytes[..bytes.len().min(MAX_BREAKER_BYTES)])
            .filter(|bytes| !bytes.is_empty())
            .collect();
        let mut beginnings = [false; 256];
        strings.iter().for_each(|string| beginnings[usize::from(string[0])] = true);
        let mut breakers = Self::default();
        for (token, piece) in (0..).zip(pieces) {
            let piece = piece.as_ref();
            if !piece.iter().any(|byte| beginnings[usize::from(*byte)]) {
                continue;
            }
            for string in &strings {
                for rest in rests(piece, string) {
                    let mut tail = if rest.is_empty() { Vec::new() } else { tokenize(rest) };
                    tail.truncate(MAX_TAIL_TOKENS);
                    breakers.add(token, tail);
                }
            }
        }
        breakers
    }

    fn add(&mut self, head: Token, tail: Vec<Token>) {
        let word = head as usize / 64;
        self.heads.resize(self.heads.len().max(word + 1), 0);
        self.heads[word] |= 1 << (head % 64);
        let tails = self.tails.entry(head).or_default();
        if !tails.contains(&tail) {
            tails.push(tail);
        }
    }

    fn tails(&self, head: Token) -> Option<&[Vec<Token>]> {
        let word = self.heads.get(head as usize / 64)?;
        if word & (1 << (head % 64)) == 0 {
            return None;
        }
        self.tails.get(&head).map(Vec::as_slice)
    }

    /// Whether `token` alone contains a breaker.
    fn breaks(&self, token: Token) -> bool {
        self.tails(token).is_some_and(|tails| tails.iter().any(Vec::is_empty))
    }

    /// How many tokens at the end of `text` are behind the last breaker.
    fn distance(&self, text: &[Token]) -> usize {
        for (after, head) in text.iter().rev().enumerate() {
            let Some(tails) = self.tails(*head) else { continue };
            let follows = &text[text.len() - after..];
            if let Some(longest) = tails.iter().filter(|tail| follows.starts_with(tail)).map(Vec::len).max() {
                return after - longest;
            }
        }
        text.len()
    }
}

/// What is left of `string` after each place in `piece` at which it can begin: nothing, if the piece contains it.
fn rests<'s>(piece: &[u8], string: &'s [u8]) -> Vec<&'s str> {
    if piece.windows(string.len()).any(|window| window == string) {
        return vec![""];
    }
    let ends = (1..string.len().min(piece.len() + 1)).filter(|length| piece.ends_with(&string[..*length]));
    // From the longest on: in the order of the places.
    ends.rev().filter_map(|length| std::str::from_utf8(&string[length..]).ok()).collect()
}

/// Finds repetitions, in memory that is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Repetitions {
    /// For each number of tokens back, how many tokens before it equal the text's last ones.
    lengths: Vec<usize>,
    /// Tokens that would continue a repetition, ordered by token, and its length.
    continued: Vec<(Token, usize)>,
}

impl Repetitions {
    /// The tokens that would continue a repetition of `allowed` tokens or more at the end of `text`, ordered by token,
    /// and the length of the longest one.
    pub(super) fn of(&mut self, text: &[Token], allowed: usize, breakers: &Breakers) -> &[(Token, usize)] {
        self.continued.clear();
        if text.len() <= allowed {
            return &self.continued;
        }
        let limit = breakers.distance(text);
        if limit < allowed {
            return &self.continued;
        }
        self.measure(text, limit);
        for (back, length) in self.lengths.iter().enumerate().skip(1) {
            if *length >= allowed {
                let next = text[text.len() - back];
                if !breakers.breaks(next) {
                    self.continued.push((next, *length));
                }
            }
        }
        self.continued.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        self.continued.dedup_by_key(|(token, _)| *token);
        &self.continued
    }

    /// Fills `lengths`, none above `limit`: the Z-algorithm over the reversed text (Gusfield, "Algorithms on Strings,
    /// Trees, and Sequences", 1.4), which compares each token once.
    fn measure(&mut self, text: &[Token], limit: usize) {
        let count = text.len();
        let back = |index: usize| text[count - 1 - index];
        self.lengths.clear();
        self.lengths.resize(count, 0);
        // The stretch that is known to equal the end of the text, and reaches furthest: from `left` until `right`.
        let (mut left, mut right) = (0, 0usize);
        for index in 1..count {
            let known = right.saturating_sub(index);
            let paired = if known == 0 { 0 } else { self.lengths[index - left] };
            if paired < known {
                self.lengths[index] = paired;
                continue;
            }
            let mut end = index + known;
            while end < count && back(end) == back(end - index) {
                end += 1;
            }
            self.lengths[index] = (end - index).min(limit);
            (left, right) = (index, end);
        }
    }
}

/// What is subtracted from the logit of a token that would continue a repetition of `length` tokens.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "exponents are small; the penalty may become infinite"
)]
pub(super) fn penalty(length: usize, dry: &Dry) -> f32 {
    let mut exponent = length - dry.allowed_length as usize;
    if dry.base > 1.000_001 {
        // An infinite power would make every long repetition impossible.
        exponent = exponent.min((MAX_LN / dry.base.ln()) as usize);
    }
    let exponent = i32::try_from(exponent).unwrap_or(i32::MAX);
    (f64::from(dry.multiplier) * f64::from(dry.base).powi(exponent)) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A text of letters, and which letters would continue a repetition.
    fn check(text: &str, breakers: &Breakers, expected: &[(char, usize)]) {
        let text_tokens: Vec<Token> = text.bytes().map(Token::from).collect();
        let mut repetitions = Repetitions::default();
        let found = repetitions.of(&text_tokens, 2, breakers);
        let expected: Vec<(Token, usize)> = expected.iter().map(|(c, n)| (Token::from(*c), *n)).collect();
        assert_eq!(found, expected, "{text}");
    }

    fn breakers(strings: &[&str]) -> Breakers {
        Breakers::new(strings, (0..128u8).map(|byte| [byte]), |rest| rest.bytes().map(Token::from).collect())
    }

    #[test]
    fn what_continues_a_repetition_is_found_with_its_length() {
        let none = Breakers::default();
        check("", &none, &[]);
        check("abcd", &none, &[]);
        // The example of llama.cpp's source: c would repeat three tokens, y two.
        check("abccbcyabc", &none, &[('c', 3), ('y', 2)]);
        check("aaaaa", &none, &[('a', 4)]);
        check("xabyzab", &none, &[('y', 2)]);
    }

    #[test]
    fn no_repetition_extends_over_a_breaker() {
        let newline = breakers(&["\n"]);
        check("ab\ncdab\ncd", &newline, &[('a', 2)]);
        check("ab\ncab\nc", &newline, &[]);
        check("abcabc", &newline, &[('a', 3)]);
        // A breaker itself is never made less likely.
        check("ab\nab", &newline, &[]);
        // One of several tokens: what follows its last token counts.
        let word = breakers(&["END"]);
        check("xyENDabcxyENDab", &word, &[('c', 2)]);
        check("xyENabcxyENab", &word, &[('c', 6)]);
    }

    #[test]
    fn breakers_begin_within_tokens() {
        let pieces = ["a", "x\n\ny", "a\n", "\n", "-", "b-", "->"];
        let rest = |rest: &str| rest.bytes().map(Token::from).collect();
        let found = Breakers::new(&["\n\n", "->", ""], pieces, rest);
        let tail = |text: &str| text.bytes().map(Token::from).collect::<Vec<_>>();
        let expected = [
            (1, vec![tail("")]),
            (2, vec![tail("\n")]),
            (3, vec![tail("\n")]),
            (4, vec![tail(">")]),
            (5, vec![tail(">")]),
            (6, vec![tail("")]),
        ];
        assert_eq!(found.tails, expected.into());
        let nested = Breakers::new(&["aab"], ["aa"], rest);
        assert_eq!(nested.tails, [(0, vec![tail("b"), tail("ab")])].into());
    }

    #[test]
    fn penalties_grow_with_the_length_but_stay_finite() {
        let dry = Dry { multiplier: 0.5, base: 2.0, allowed_length: 2, ..Dry::default() };
        let penalties: Vec<f32> = [2, 3, 5].map(|length| penalty(length, &dry)).into();
        assert_eq!(penalties, [0.5, 1.0, 4.0]);
        assert!(penalty(100_000, &dry).is_finite());
    }

    proptest! {
        #[test]
        fn the_linear_search_finds_what_comparing_everything_finds(
            text in proptest::collection::vec(0u32..3, 1..60), limit in 1usize..20,
        ) {
            let mut repetitions = Repetitions::default();
            repetitions.measure(&text, limit);
            for back in 1..text.len() {
                let equal = |length: &usize| text[..text.len() - back].ends_with(&text[text.len() - length..]);
                let longest = (1..=text.len() - back).take_while(equal).last().unwrap_or(0);
                prop_assert_eq!(repetitions.lengths[back], longest.min(limit), "{} back", back);
            }
        }
    }
}
