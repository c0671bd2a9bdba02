//! How many prompt tokens a step may compute, from the time that steps took.
//!
//! PURE. A step is what everybody in the instance waits for. Beside answers, a prompt is computed in one of two ways:
//!
//! - A **short** one, which one pass over the weights can hold and which takes no longer than a reader notices, is computed
//!   at once, in a group with others of its kind. Each pass has a fixed price, so that many small parts cost a GPU twice as
//!   much. Groups come only after the answers had as much time to themselves as the last one took. The more wait for their
//!   first token, and the fewer answer, the larger groups are and the sooner they come: prompts that arrive together are
//!   computed together, and nobody is held up again and again by the next one.
//! - A **long** one is computed in parts with every step, so small that a token comes at most [`STRETCH`] times as late
//!   as it would without them, or within the target that the policy names.
//!
//! Without answers, a step is only what the watchdog sees of the progress, and on a slow machine 512 prompt tokens can
//! take minutes: the budget begins small, doubles while full steps are quick, and halves when one is not.

use std::time::Duration;

/// How much longer than a step without prompts one with a part of a long prompt may take.
const STRETCH: f64 = 2.4;
/// Time for parts of prompts that nobody notices, however quick the steps are.
const UNNOTICED_SECONDS: f64 = 0.002;
/// The longest that a short prompt may hold up answers, or a group of them if no more wait than answer. Smaller parts cost
/// more in all: on a CPU, llama.cpp computes fewer than 64 tokens at a time many times slower.
const SHORT_SECONDS: f64 = 0.15;
/// The longest that a group of short prompts takes, however many wait.
const GROUP_SECONDS: f64 = 2.0;
/// A first token is waited for as impatiently as this many next ones.
const FIRST_TOKEN: f64 = 2.0;
/// Without answers: a step at the budget or below counts as quick; twice the tokens stay well below [`SLOW`].
const QUICK: Duration = Duration::from_millis(300);
/// Without answers: a step that took longer is too slow.
const SLOW: Duration = Duration::from_secs(1);
/// However slow the machine is, prompts move on.
const MIN_TOKENS: usize = 8;
/// After this many steps with parts of prompts, the time of one without is measured again.
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
    /// Those of them that belong to short prompts.
    pub short_tokens: usize,
}

/// Prompt tokens that a step may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Of short prompts.
    pub short_tokens: usize,
    /// Of others.
    pub part_tokens: usize,
}

/// Prompt tokens that the next step may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefillBudget {
    /// Tokens of a pass over the weights, and of a decode call.
    pass: usize,
    call: usize,
    target: Option<Duration>,
    /// Tokens of a step without answers.
    alone: usize,
    /// Steps without prompts: how many sequences, how many seconds.
    decode: Option<(usize, f64)>,
    /// Steps with parts of prompts since then.
    age: u32,
    /// Seconds for each token of a part beside answers.
    part_token: Option<f64>,
    /// The largest part that was tried beside answers.
    tried: usize,
    /// Seconds for each token of short prompts.
    short_token: Option<f64>,
    /// Seconds that the last short prompts took beside answers, and that answers had to themselves since.
    short_took: f64,
    since_short: f64,
}

impl PrefillBudget {
    /// Begins with at most `first` tokens. A pass over the weights has at most `pass` tokens, a decode call `call`.
    /// `target` is how long a step with answers may take; without one, that follows from how long such steps take without
    /// prompts.
    #[must_use]
    pub fn new(first: usize, pass: usize, call: usize, target: Option<Duration>) -> Self {
        Self {
            pass,
            call,
            target,
            alone: first.min(pass),
            decode: None,
            age: 0,
            part_token: None,
            tried: MIN_TOKENS,
            short_token: None,
            short_took: 0.0,
            since_short: 0.0,
        }
    }

    /// The longest prompt that counts as short.
    #[must_use]
    pub fn short(&self) -> usize {
        self.short_tokens_in(SHORT_SECONDS).map_or(self.alone, |tokens| tokens.min(self.pass))
    }

    /// Tokens of a group of short prompts, of which `prompts` wait while `decoding` sequences are held up.
    fn group(&self, decoding: usize, prompts: usize) -> usize {
        let crowd = (as_float(prompts) / as_float(decoding.max(1))).max(1.0);
        let tokens = self.short_tokens_in((SHORT_SECONDS * crowd).min(GROUP_SECONDS));
        tokens.map_or(self.alone, |tokens| tokens.min(self.call))
    }

    /// Tokens of short prompts that take so many seconds, or as long as the target leaves; if that was measured.
    fn short_tokens_in(&self, seconds: f64) -> Option<usize> {
        let decode = self.decode.map_or(0.0, |(_, seconds)| seconds);
        let most = self.target.map_or(seconds, |target| target.as_secs_f64() - decode);
        self.short_token.map(|each| as_count(most / each))
    }

    /// The allowance of the next step, in which `decoding` sequences get their next token while `prompts` wait.
    /// Nothing once in a while: that step shows how long one without prompts takes.
    #[must_use]
    pub fn allowance(&self, decoding: usize, prompts: usize) -> Allowance {
        if decoding == 0 {
            return Allowance {
                short_tokens: self.alone.max(self.group(0, prompts)),
                part_tokens: self.alone,
            };
        }
        let part_tokens = self.part_tokens(decoding);
        let crowd = (as_float(decoding) / (FIRST_TOKEN * as_float(prompts.max(1)))).min(1.0);
        let due = self.since_short >= self.short_took * crowd;
        Allowance { short_tokens: if due { self.group(decoding, prompts) } else { 0 }, part_tokens }
    }

    fn part_tokens(&self, decoding: usize) -> usize {
        let Some((measured_for, decode)) = self.decode else { return 0 };
        let drifted = !comparable(decoding, measured_for);
        if self.age >= FRESH_STEPS || (drifted && self.age > 0) {
            return 0;
        }
        let least = MIN_TOKENS.min(self.pass);
        let Some(each) = self.part_token else { return least };
        let seconds = match self.target {
            Some(target) => target.as_secs_f64() - decode,
            None => ((STRETCH - 1.0) * decode).max(UNNOTICED_SECONDS),
        };
        // A larger part is cheaper for each token: the next measurement shows by how much.
        as_count(seconds / each).min(2 * self.tried).clamp(least, self.pass)
    }

    /// Takes the measurement of a step.
    pub fn measured(&mut self, load: StepLoad, took: Duration) {
        let StepLoad { decoding, prefill_tokens, short_tokens } = load;
        let seconds = took.as_secs_f64();
        match (decoding, prefill_tokens) {
            (0, 0) => {}
            (0, tokens) => self.measured_alone(tokens, took),
            (_, 0) => self.measured_answers(decoding, seconds),
            (_, tokens) => {
                let decode = self.decode.map_or(0.0, |(_, decode)| decode);
                let prompts = (seconds - decode).max(0.0);
                if short_tokens > 0 {
                    self.short_took = prompts;
                    // The answers had their token in this step, too.
                    self.since_short = decode;
                    self.measured_short(tokens, prompts);
                } else {
                    self.measured_part(tokens, prompts);
                }
            }
        }
    }

    fn measured_answers(&mut self, decoding: usize, seconds: f64) {
        let same = self.decode.filter(|(measured_for, _)| comparable(decoding, *measured_for));
        self.decode = Some((decoding, mean(same.map(|(_, before)| before), seconds)));
        self.age = 0;
        self.since_short += seconds;
    }

    fn measured_short(&mut self, tokens: usize, seconds: f64) {
        // Few tokens say nothing about many.
        if tokens * 4 >= self.short() {
            self.short_token = Some(mean(self.short_token, seconds / as_float(tokens)).max(1e-7));
        }
    }

    fn measured_part(&mut self, tokens: usize, seconds: f64) {
        self.age += 1;
        // The rest of the step belonged to the answers.
        self.since_short += self.decode.map_or(0.0, |(_, decode)| decode);
        // A step with little of a prompt says nothing about more.
        if self.decode.is_some() && (tokens * 2 >= self.tried || tokens >= self.pass) {
            self.part_token = Some(mean(self.part_token, seconds / as_float(tokens)).max(1e-7));
            self.tried = tokens.max(MIN_TOKENS);
        }
    }

    fn measured_alone(&mut self, tokens: usize, took: Duration) {
        if took > SLOW && tokens * 2 >= self.alone {
            self.alone = (self.alone / 2).max(MIN_TOKENS.min(self.pass));
        } else if took < QUICK && tokens >= self.alone {
            self.alone = (self.alone * 2).min(self.pass);
        }
        self.measured_short(tokens, took.as_secs_f64());
    }
}

/// Whether steps with these numbers of answers take about as long.
fn comparable(decoding: usize, measured_for: usize) -> bool {
    decoding.abs_diff(measured_for) <= 2 + measured_for / 4
}

fn mean(before: Option<f64>, newest: f64) -> f64 {
    before.map_or(newest, |before| before + NEWEST * (newest - before))
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
    type Machine = (f64, f64, f64);
    /// A GPU with 16 and with 64 answers, a CPU with a small model, a slow one with a large model.
    const MACHINES: [(usize, Machine); 4] =
        [(16, (9.0, 9.0, 0.075)), (64, (14.4, 9.0, 0.075)), (16, (3.0, 0.2, 0.06)), (4, (200.0, 20.0, 30.0))];

    fn cost((decode, fixed, each): Machine, decoding: usize, prefill_tokens: usize) -> f64 {
        let prefill = if prefill_tokens == 0 { 0.0 } else { fixed + each * as_float(prefill_tokens) };
        (if decoding == 0 { 0.0 } else { decode }) + prefill
    }

    /// 200 steps beside answers, in which prompts have as many tokens as they are allowed; the milliseconds of each, and
    /// its prompt tokens.
    fn settle(
        budget: &mut PrefillBudget,
        decoding: usize,
        machine: Machine,
        wanted: impl Fn(Allowance) -> (usize, usize),
    ) -> Vec<(f64, usize)> {
        let step = |budget: &mut PrefillBudget| {
            let (short_tokens, part_tokens) = wanted(budget.allowance(decoding, 1));
            let prefill_tokens = short_tokens + part_tokens;
            let millis = cost(machine, decoding, prefill_tokens);
            let load = StepLoad { decoding, prefill_tokens, short_tokens };
            budget.measured(load, Duration::from_secs_f64(millis / 1000.0));
            (millis, prefill_tokens)
        };
        (0..200).map(|_| step(budget)).collect()
    }

    fn measured(target: Option<Duration>, machine: Machine) -> PrefillBudget {
        let mut budget = PrefillBudget::new(128, 512, 2048, target);
        for _ in 0..4 {
            let load = StepLoad { prefill_tokens: budget.alone, ..StepLoad::default() };
            budget.measured(load, Duration::from_secs_f64(cost(machine, 0, budget.alone) / 1000.0));
        }
        budget
    }

    #[test]
    fn alone_it_grows_while_full_steps_are_quick_and_shrinks_when_one_is_slow() {
        let check = |steps: &[(usize, u64)], expected| {
            let mut budget = PrefillBudget::new(128, 512, 2048, None);
            for &(prefill_tokens, millis) in steps {
                let load = StepLoad { prefill_tokens, ..StepLoad::default() };
                budget.measured(load, Duration::from_millis(millis));
            }
            assert_eq!(budget.allowance(0, 1).part_tokens, expected, "(tokens, ms): {steps:?}");
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
    fn a_long_prompt_stretches_steps_by_less_than_three_and_moves_on() {
        for (decoding, machine) in MACHINES {
            let mut budget = measured(None, machine);
            let steps = settle(&mut budget, decoding, machine, |allowed| (0, allowed.part_tokens));
            let longest = steps.iter().map(|(millis, _)| *millis).fold(0.0, f64::max);
            let least = cost(machine, decoding, MIN_TOKENS);
            assert!(longest < (3.0 * machine.0).max(least + 0.1), "{machine:?}: {longest} ms");
            let tokens: usize = steps[50..].iter().map(|(_, tokens)| tokens).sum();
            let share =
                as_float(tokens) * machine.2 / steps[50..].iter().map(|(millis, _)| millis).sum::<f64>();
            assert!(share > 0.12, "{machine:?}: prompts get {share} of the time");
        }
    }

    #[test]
    fn short_prompts_are_computed_at_once_but_no_more_than_half_of_the_time() {
        for (decoding, machine) in [MACHINES[0], MACHINES[1]] {
            let mut budget = measured(None, machine);
            assert!(budget.short() > 400);
            let wanted = |allowed: Allowance| (if allowed.short_tokens >= 262 { 262 } else { 0 }, 0);
            let steps = settle(&mut budget, decoding, machine, wanted);
            let count = steps.iter().filter(|(_, tokens)| *tokens > 0).count();
            let waits = cost(machine, 0, 262) / machine.0 - 1.0;
            let expected = 200.0 / (1.0 + waits.ceil());
            assert!((as_float(count) - expected).abs() < 3.0, "{count} short prompts, expected {expected}");
        }
        // Where one would take half a second, none is short.
        assert!(measured(None, MACHINES[3].1).short() < 8);
    }

    #[test]
    fn more_who_wait_for_their_first_token_wait_less() {
        let machine = MACHINES[0].1;
        let mut budget = measured(None, machine);
        budget.measured(StepLoad { decoding: 2, ..StepLoad::default() }, Duration::from_millis(5));
        let load = StepLoad { decoding: 2, prefill_tokens: 500, short_tokens: 500 };
        budget.measured(load, Duration::from_millis(50));
        budget.measured(StepLoad { decoding: 2, ..StepLoad::default() }, Duration::from_millis(5));
        assert_eq!(budget.allowance(2, 1).short_tokens, 0);
        assert!(budget.allowance(2, 20).short_tokens > 400);
    }

    #[test]
    fn a_target_bounds_both_ways() {
        let machine = MACHINES[1].1;
        let mut budget = measured(Some(Duration::from_millis(40)), machine);
        let steps = settle(&mut budget, 64, machine, |allowed| (0, allowed.part_tokens));
        let longest = steps.iter().map(|(millis, _)| *millis).fold(0.0, f64::max);
        assert!((35.0..41.0).contains(&longest), "{longest} ms");
        assert!((200..330).contains(&budget.short()), "{} tokens", budget.short());
    }

    #[test]
    fn steps_without_prompts_are_measured_again_now_and_then() {
        let mut budget = measured(None, MACHINES[0].1);
        let steps = settle(&mut budget, 16, MACHINES[0].1, |allowed| (0, allowed.part_tokens));
        let pauses = steps.iter().filter(|(_, tokens)| *tokens == 0).count();
        assert!((6..=8).contains(&pauses), "{pauses} of 200 steps");
        // More answers than it was measured for: first a step without prompts.
        assert_eq!(budget.allowance(40, 1).part_tokens, 0);
    }
}
