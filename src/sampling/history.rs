//! What the settings look back on: the latest tokens, and how often each occurred.
//!
//! PURE. A token is added by appending it; everything else is done when a token is chosen, from what was added since.

use crate::generation::{Penalties, Token};

/// The latest tokens of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    tokens: Vec<Token>,
    /// Tokens before those, which nobody looks back on.
    forgotten: usize,
    /// How many tokens back somebody looks.
    reach: usize,
}

impl History {
    /// Keeps at least `reach` tokens.
    pub(super) fn new(reach: usize) -> Self {
        Self { reach, ..Self::default() }
    }

    /// Whether anybody looks back.
    pub(super) fn matters(&self) -> bool {
        self.reach > 0
    }

    pub(super) fn push(&mut self, token: Token) {
        if self.tokens.len() >= self.reach.saturating_mul(2) {
            let excess = self.tokens.len() - self.reach;
            self.tokens.drain(..excess);
            self.forgotten += excess;
        }
        self.tokens.push(token);
    }

    /// The latest tokens, at most `count`, oldest first.
    pub(super) fn latest(&self, count: usize) -> &[Token] {
        &self.tokens[self.tokens.len().saturating_sub(count)..]
    }

    /// Tokens added so far.
    fn total(&self) -> usize {
        self.forgotten + self.tokens.len()
    }

    /// Token number `index` of the text.
    fn at(&self, index: usize) -> Token {
        self.tokens[index - self.forgotten]
    }
}

/// How often each token occurs among the latest ones.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// How many tokens back they are counted.
    window: usize,
    /// How many tokens of the text are counted, those that left the window included.
    counted: usize,
    /// Ordered by token.
    counts: Vec<(Token, u32)>,
    scratch: Vec<Token>,
}

impl Counts {
    /// With more new tokens than this, counting anew is quicker than following each.
    const FOLLOWED: usize = 16;

    pub(super) fn new(window: usize) -> Self {
        Self { window, counted: 0, counts: Vec::new(), scratch: Vec::new() }
    }

    /// How many tokens back a history must reach for a window of `window` tokens.
    pub(super) fn reach(window: usize) -> usize {
        window.saturating_add(Self::FOLLOWED)
    }

    /// How often each token occurs now, ordered by token.
    pub(super) fn of(&mut self, history: &History) -> &[(Token, u32)] {
        let total = history.total();
        if total - self.counted > Self::FOLLOWED {
            self.count(history.latest(self.window));
        } else {
            for index in self.counted..total {
                self.add(history.at(index));
                if index >= self.window {
                    self.remove(history.at(index - self.window));
                }
            }
        }
        self.counted = total;
        &self.counts
    }

    fn count(&mut self, tokens: &[Token]) {
        self.scratch.clear();
        self.scratch.extend_from_slice(tokens);
        self.scratch.sort_unstable();
        self.counts.clear();
        for equal in self.scratch.chunk_by(|a, b| a == b) {
            self.counts.push((equal[0], u32::try_from(equal.len()).unwrap_or(u32::MAX)));
        }
    }

    fn add(&mut self, token: Token) {
        match self.counts.binary_search_by_key(&token, |(token, _)| *token) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (token, 1)),
        }
    }

    fn remove(&mut self, token: Token) {
        let at = self.counts.binary_search_by_key(&token, |(token, _)| *token);
        let at = at.expect("what leaves the window was counted");
        self.counts[at].1 -= 1;
        if self.counts[at].1 == 0 {
            self.counts.remove(at);
        }
    }
}

/// The logit of a token that occurred `count` times.
///
/// The repeat penalty is CTRL's (Keskar et al., <https://arxiv.org/abs/1909.05858>) with llama.cpp's correction for
/// negative logits; frequency and presence penalty are OpenAI's.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(super) fn penalized(logit: f32, count: u32, penalties: &Penalties) -> f32 {
    let repeated = if logit <= 0.0 { logit * penalties.repeat } else { logit / penalties.repeat };
    repeated - (count as f32 * penalties.frequency + penalties.presence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn penalties_push_logits_down_whatever_their_sign() {
        let penalties = Penalties { last_tokens: 64, repeat: 2.0, frequency: 0.5, presence: 0.25 };
        let check = |logit: f32, count, expected: f32| {
            assert_eq!(penalized(logit, count, &penalties).to_bits(), expected.to_bits(), "{logit}, {count}");
        };
        check(4.0, 1, 1.25);
        check(4.0, 3, 0.25);
        check(-4.0, 1, -8.75);
        check(0.0, 2, -1.25);
    }

    proptest! {
        /// Tokens are counted in portions of any size, so that both ways of counting take turns.
        #[test]
        fn counts_are_those_of_the_window(
            portions in proptest::collection::vec(proptest::collection::vec(0u32..6, 0..40), 1..12),
            window in 1usize..50,
        ) {
            let mut history = History::new(Counts::reach(window));
            let mut counts = Counts::new(window);
            let mut all = Vec::new();
            for portion in portions {
                portion.iter().for_each(|token| history.push(*token));
                all.extend(portion);
                let latest = &all[all.len().saturating_sub(window)..];
                let occurrences = |token| u32::try_from(latest.iter().filter(|t| **t == token).count()).unwrap();
                let expected: Vec<(Token, u32)> =
                    (0..6).map(|token| (token, occurrences(token))).filter(|(_, count)| *count > 0).collect();
                prop_assert_eq!(counts.of(&history), expected.as_slice());
                prop_assert_eq!(history.latest(window), latest);
            }
        }
    }
}
