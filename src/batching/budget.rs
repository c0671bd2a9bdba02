//! How many prompt tokens a step may compute, from the time that steps took.
//!
//! PURE. A step is what everybody in the instance waits for. Beside answers, prompts get so much of it that a token
//! comes at most [`STRETCH`] times as late as it would without them, or within the target that the policy names; where
//! several prompts wait, more is asked of those who read. Without answers, a step is only what the watchdog sees
//! of the progress, and on a slow machine 512 prompt tokens can take minutes: the budget begins small, doubles while
//! full steps are quick, and halves when one is not.

use std::time::Duration;

/// How much longer than a step without prompts one with a single prompt may take.
const STRETCH: f64 = 2.7;
/// Time for prompts that nobody notices, however quick the steps are.
const UNNOTICED_SECONDS: f64 = 0.005;
/// With several prompts waiting, steps may be so much longer still.
const CROWD: f64 = 1.5;
/// Without answers: a step at the budget or below counts as quick; twice the tokens stay well below [`SLOW`].
const QUICK: Duration = Duration::from_millis(300);
/// Without answers: a step that took longer is too slow.
const SLOW: Duration = Duration::from_secs(1);
/// However slow the machine is, prompts move on.
const MIN_TOKENS: usize = 8;
/// After this many steps with prompts, the time of one without is measured again.
const FRESH_STEPS: u32 = 32;
/// Weight of the newest measurement in the running means.
const NEWEST: f64 = 0.3;

/// What a step computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepLoad {
    /// Sequences that got their next token.
    pub decoding: usize,
    /// Prompt tokens.
    pub prefill_tokens: usize,
}

/// Prompt tokens that the next step may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefillBudget {
    max: usize,
    target: Option<Duration>,
    /// Tokens of a step without answers.
    alone: usize,
    /// Steps without prompts: how many sequences, how many seconds.
    decode: Option<(usize, f64)>,
    /// Steps with prompts since then.
    age: u32,
    /// Seconds for each prompt token beside answers.
    per_token: Option<f64>,
    /// The most that was tried beside answers.
    tried: usize,
}

impl PrefillBudget {
    /// Begins with `first` tokens and never exceeds `max`. `target` is how long a step with answers may take; without
    /// one, that follows from how long such steps take without prompts.
    #[must_use]
    pub const fn new(first: usize, max: usize, target: Option<Duration>) -> Self {
        Self { max, target, alone: first, decode: None, age: 0, per_token: None, tried: MIN_TOKENS }
    }

    /// The budget of the next step, in which `decoding` sequences get their next token while `prompts` wait. 0 once
    /// in a while: that step shows how long one without prompts takes.
    #[must_use]
    pub fn tokens(&self, decoding: usize, prompts: usize) -> usize {
        if decoding == 0 {
            return self.alone;
        }
        let Some((measured_for, decode)) = self.decode else { return 0 };
        let drifted = decoding.abs_diff(measured_for) > 2 + measured_for / 4;
        if self.age >= FRESH_STEPS || (drifted && self.age > 0) {
            return 0;
        }
        let Some(per_token) = self.per_token else { return MIN_TOKENS.min(self.max) };
        let tokens = self.allowance(decode, prompts) / per_token;
        // A larger share is cheaper for each token: the next measurement shows by how much.
        as_count(tokens).min(2 * self.tried).clamp(MIN_TOKENS.min(self.max), self.max)
    }

    /// Seconds that prompts may take beside answers that alone take `decode` seconds.
    fn allowance(&self, decode: f64, prompts: usize) -> f64 {
        if let Some(target) = self.target {
            return target.as_secs_f64() - decode;
        }
        let crowd = if prompts > 1 { CROWD } else { 1.0 };
        ((STRETCH - 1.0) * decode * crowd).max(UNNOTICED_SECONDS)
    }

    /// Takes the measurement of a step.
    pub fn measured(&mut self, load: StepLoad, took: Duration) {
        let StepLoad { decoding, prefill_tokens } = load;
        let seconds = took.as_secs_f64();
        match (decoding, prefill_tokens) {
            (0, 0) => {}
            (0, tokens) => self.measured_alone(tokens, took),
            (decoding, 0) => {
                let same = self.decode.filter(|(for_, _)| decoding.abs_diff(*for_) <= 2 + for_ / 4);
                let mean = same.map_or(seconds, |(_, before)| before + NEWEST * (seconds - before));
                self.decode = Some((decoding, mean));
                self.age = 0;
            }
            (_, tokens) => {
                self.age += 1;
                let Some((_, decode)) = self.decode else { return };
                // Steps with little of a prompt say nothing about more, unless they were too slow.
                if tokens * 2 >= self.tried || tokens >= self.max {
                    let each = (seconds - decode).max(0.0) / as_float(tokens);
                    let mean = self.per_token.map_or(each, |before| before + NEWEST * (each - before));
                    self.per_token = Some(mean.max(1e-7));
                    self.tried = tokens.max(MIN_TOKENS);
                }
            }
        }
    }

    fn measured_alone(&mut self, tokens: usize, took: Duration) {
        if took > SLOW && tokens * 2 >= self.alone {
            self.alone = (self.alone / 2).max(MIN_TOKENS.min(self.max));
        } else if took < QUICK && tokens >= self.alone {
            self.alone = (self.alone * 2).min(self.max);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tokens are small")]
fn as_float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn as_count(number: f64) -> usize {
    number.clamp(0.0, 1e9) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which a step takes `decode` for answers and `fixed + each * tokens` for prompts, in milliseconds.
    fn settle(
        budget: &mut PrefillBudget,
        decoding: usize,
        prompts: usize,
        cost: (f64, f64, f64),
    ) -> Vec<usize> {
        let (decode, fixed, each) = cost;
        let step = |budget: &mut PrefillBudget| {
            let prefill_tokens = budget.tokens(decoding, prompts);
            let prefill = if prefill_tokens == 0 { 0.0 } else { fixed + each * as_float(prefill_tokens) };
            let answers = if decoding == 0 { 0.0 } else { decode };
            let took = Duration::from_secs_f64((answers + prefill) / 1000.0);
            budget.measured(StepLoad { decoding, prefill_tokens }, took);
            prefill_tokens
        };
        (0..200).map(|_| step(budget)).collect()
    }

    #[test]
    fn alone_it_grows_while_full_steps_are_quick_and_shrinks_when_one_is_slow() {
        let check = |steps: &[(usize, u64)], expected| {
            let mut budget = PrefillBudget::new(128, 512, None);
            for &(prefill_tokens, millis) in steps {
                budget.measured(StepLoad { decoding: 0, prefill_tokens }, Duration::from_millis(millis));
            }
            assert_eq!(budget.tokens(0, 1), expected, "(tokens, ms): {steps:?}");
        };
        check(&[], 128);
        check(&[(128, 10)], 256);
        check(&[(128, 10), (256, 20), (512, 40)], 512);
        check(&[(128, 500)], 128);
        check(&[(128, 1500), (64, 1500)], 32);
        check(&[(128, 9000), (64, 9000), (32, 9000), (16, 9000), (8, 9000)], MIN_TOKENS);
        check(&[(0, 5), (100, 5), (0, 5000), (10, 5000)], 128);
    }

    #[test]
    fn one_prompt_stretches_a_step_by_less_than_three() {
        // A GPU with 16 and with 64 answers, a CPU with a small model, a slow one with a large model.
        for (decoding, decode, fixed, each) in
            [(16, 9.0, 3.0, 0.08), (64, 13.3, 4.0, 0.08), (16, 3.0, 0.2, 0.12), (4, 200.0, 20.0, 30.0)]
        {
            let mut budget = PrefillBudget::new(128, 512, None);
            let tokens = settle(&mut budget, decoding, 1, (decode, fixed, each));
            let longest =
                tokens.iter().max().map(|&tokens| decode + fixed + each * as_float(tokens)).unwrap();
            let minimum = decode + fixed + each * as_float(MIN_TOKENS);
            assert!(
                longest < (3.0 * decode).max(minimum + 0.1),
                "{decode} ms became {longest} ms: {tokens:?}"
            );
            let used = tokens[50..].iter().sum::<usize>() as f64 / 150.0;
            assert!(used * each > decode.min(3.0) * 0.3, "prompts crawl at {used} tokens a step");
        }
    }

    #[test]
    fn many_prompts_or_a_target_may_take_longer() {
        let settled = |target, prompts| {
            let mut budget = PrefillBudget::new(128, 512, target);
            *settle(&mut budget, 64, prompts, (13.3, 4.0, 0.08)).iter().max().unwrap()
        };
        assert!(settled(None, 1) < 300);
        assert!((350..=450).contains(&settled(None, 8)), "{} tokens", settled(None, 8));
        let within = settled(Some(Duration::from_millis(40)), 8);
        assert!((200..=290).contains(&within), "{within} tokens");
    }

    #[test]
    fn steps_without_prompts_are_measured_again_now_and_then() {
        let mut budget = PrefillBudget::new(128, 512, None);
        let tokens = settle(&mut budget, 16, 1, (9.0, 3.0, 0.08));
        let pauses = tokens.iter().filter(|tokens| **tokens == 0).count();
        assert!((6..=8).contains(&pauses), "{pauses} of 200 steps");
        // More answers than it was measured for: first a step without prompts.
        assert_eq!(budget.tokens(40, 1), 0);
    }
}
