//! How many prompt tokens a step may compute, from the time that steps took.
//!
//! PURE. A step is what everybody in the instance waits for, and what the watchdog sees of its progress. On a slow
//! machine a step of 512 prompt tokens can take minutes; so the budget begins small, doubles while full steps are
//! quick, and halves when one is not.

use std::time::Duration;

/// A step at this budget or below counts as quick: twice the tokens stay well below [`SLOW`].
const QUICK: Duration = Duration::from_millis(300);
/// A step that took longer is too slow.
const SLOW: Duration = Duration::from_secs(1);
/// However slow the machine is, prompts move on.
const MIN_TOKENS: usize = 16;

/// Prompt tokens that the next step may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefillBudget {
    tokens: usize,
    max: usize,
}

impl PrefillBudget {
    /// Begins with `first` tokens and never exceeds `max`.
    #[must_use]
    pub const fn new(first: usize, max: usize) -> Self {
        Self { tokens: first, max }
    }

    /// The budget now.
    #[must_use]
    pub const fn tokens(self) -> usize {
        self.tokens
    }

    /// Takes the measurement of a step with `prefill_tokens` of prompts. Steps without a prompt, or with little of
    /// one, say nothing about more.
    pub fn measured(&mut self, prefill_tokens: usize, took: Duration) {
        if took > SLOW && prefill_tokens * 2 >= self.tokens {
            self.tokens = (self.tokens / 2).max(MIN_TOKENS.min(self.max));
        } else if took < QUICK && prefill_tokens >= self.tokens {
            self.tokens = (self.tokens * 2).min(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[(usize, u64)], expected: usize) {
        let mut budget = PrefillBudget::new(128, 512);
        for &(tokens, millis) in steps {
            budget.measured(tokens, Duration::from_millis(millis));
        }
        assert_eq!(budget.tokens(), expected, "(tokens, ms): {steps:?}");
    }

    #[test]
    fn grows_while_full_steps_are_quick_and_shrinks_when_one_is_slow() {
        check(&[], 128);
        check(&[(128, 10)], 256);
        check(&[(128, 10), (256, 20), (512, 40)], 512);
        check(&[(128, 500)], 128);
        check(&[(128, 1500), (64, 1500)], 32);
        check(&[(128, 9000), (64, 9000), (32, 9000), (16, 9000), (16, 9000)], MIN_TOKENS);
    }

    #[test]
    fn steps_with_little_prompt_change_nothing() {
        check(&[(0, 5), (100, 5), (0, 5000), (10, 5000)], 128);
    }
}
