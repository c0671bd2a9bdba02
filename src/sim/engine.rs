//! An instance at work, in virtual time.
//!
//! Where sequences do not slow each other, a request's end is known when it begins. Otherwise decode calls follow each
//! other, planned by [`crate::batching`] as in the server; between two changes all are alike, and are taken at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::service::{Service, count, seconds};
use crate::batching::padding::{self, Terms};
use crate::batching::{self, Limits, Need, PrefillBudget, Share, StepLoad};
use crate::units::Timestamp;

/// A request's index in the trace.
pub(super) type Number = u32;

/// What an instance tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The first token of a request is there.
    First(Number),
    /// A request is answered.
    Done(Number),
}

/// A request that an instance is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub number: Number,
    pub prompt_tokens: u32,
    pub answer_tokens: u32,
}

/// What the requests of one instance do.
#[derive(Clone, Debug)]
pub(super) enum Engine {
    /// Each by itself: what will be told, and when.
    Apart(BinaryHeap<Reverse<(Timestamp, bool, Number)>>),
    /// All in the same decode calls.
    Together(Box<Batch>),
}

impl Engine {
    pub fn new(service: &Service, slots: u32, batch_tokens: u32, target_itl: Option<Duration>) -> Self {
        if service.is_batched() {
            Self::Together(Box::new(Batch::new(slots, batch_tokens, target_itl)))
        } else {
            Self::Apart(BinaryHeap::new())
        }
    }

    /// Begins a request, as soon as it has come through. `slowdown`: how many times longer all
    /// takes because other instances compute.
    pub fn admit(&mut self, job: Job, service: &Service, slowdown: f64, now: Timestamp) {
        let now = now + seconds(service.request_seconds);
        match self {
            Self::Apart(told) => {
                let first = now + service.prefill(job.prompt_tokens).mul_f64(slowdown);
                let hold = service.hold(job.prompt_tokens, job.answer_tokens, 1);
                let done = now + hold.mul_f64(slowdown);
                told.push(Reverse((first, false, job.number)));
                told.push(Reverse((done, true, job.number)));
            }
            Self::Together(batch) => batch.admit(job, service, slowdown, now),
        }
    }

    /// When it will tell something next.
    pub fn next(&self) -> Option<Timestamp> {
        match self {
            Self::Apart(told) => told.peek().map(|Reverse((at, ..))| *at),
            Self::Together(batch) => batch.call.map(|call| call.ends),
        }
    }

    /// What it tells at its next time.
    pub fn advance(&mut self, service: &Service, slowdown: f64, told: &mut Vec<Told>) {
        match self {
            Self::Apart(coming) => {
                if let Some(Reverse((_, is_done, number))) = coming.pop() {
                    told.push(if is_done { Told::Done(number) } else { Told::First(number) });
                }
            }
            Self::Together(batch) => batch.advance(service, slowdown, told),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Sequence {
    number: Number,
    /// Tokens in its slot.
    held: u32,
    prompt_left: u32,
    answer_left: u32,
}

/// Decode calls that are under way: several alike, if nothing changes in between.
#[derive(Clone, Copy, Debug)]
struct Call {
    began: Timestamp,
    /// Seconds of the first, and by how much each is longer than the one before, because sequences grow.
    first: f64,
    growth: f64,
    count: u32,
    ends: Timestamp,
    /// What each of them computes.
    load: StepLoad,
}

impl Call {
    /// When the first `count` of them have ended.
    fn ended(&self, count: u32) -> Timestamp {
        let count = f64::from(count);
        self.began + seconds(count * self.first + self.growth * count * (count - 1.0) / 2.0)
    }

    /// No more of them begin after `now`.
    fn cut(&mut self, now: Timestamp) {
        let (mut low, mut high) = (1, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.ended(middle) < now { low = middle + 1 } else { high = middle }
        }
        self.count = low;
        self.ends = self.ended(low);
    }
}

/// Sequences that share decode calls.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pass_tokens: u32,
    max_batch_tokens: usize,
    sequences: Vec<Sequence>,
    budget: PrefillBudget,
    call: Option<Call>,
    /// What each sequence computes in the call that is under way.
    shares: Vec<Share>,
}

/// Decode calls that are taken at once where instances slow each other.
const ALIKE_BESIDE_OTHERS: u32 = 8;
/// Prompt tokens of the first call, before anything is measured; as in the server's engine.
const FIRST_PREFILL_TOKENS: usize = 128;
/// Passes of a decode call; as [`crate::engine::ContextSpec::call_tokens`] has it.
const PASSES_PER_CALL: u32 = 4;

impl Batch {
    fn new(slots: u32, batch_tokens: u32, target_itl: Option<Duration>) -> Self {
        let pass = batch_tokens.max(slots);
        let call = pass.saturating_mul(PASSES_PER_CALL) as usize;
        Self {
            pass_tokens: pass,
            max_batch_tokens: call,
            sequences: Vec::new(),
            budget: PrefillBudget::new(FIRST_PREFILL_TOKENS, pass as usize, call, target_itl),
            call: None,
            shares: Vec::new(),
        }
    }

    fn admit(&mut self, job: Job, service: &Service, slowdown: f64, now: Timestamp) {
        let Job { number, prompt_tokens, answer_tokens } = job;
        self.sequences.push(Sequence {
            number,
            held: 0,
            prompt_left: prompt_tokens.max(1),
            answer_left: answer_tokens.max(1),
        });
        match &mut self.call {
            // The call that is under way ends; the next one has the newcomer in it.
            Some(call) => call.cut(now),
            None => self.begin(service, slowdown, now),
        }
    }

    /// Plans the next call, or the next calls that are all alike.
    fn begin(&mut self, service: &Service, slowdown: f64, now: Timestamp) {
        let short = self.budget.short();
        let need = |(slot, sequence): (usize, &Sequence)| {
            let prefill = sequence.prompt_left > 0;
            let pending_tokens = if prefill { sequence.prompt_left as usize } else { 1 };
            Need { slot, pending_tokens, prefill, short: prefill && pending_tokens <= short }
        };
        let needs: Vec<Need> = self.sequences.iter().enumerate().map(need).collect();
        let prompts = needs.iter().filter(|need| need.prefill).count();
        let decoding = needs.len() - prompts;
        let prefill = self.budget.allowance(decoding, prompts);
        let mut shares = batching::plan(&needs, Limits { max_batch_tokens: self.max_batch_tokens, prefill });
        self.pad(&mut shares, service);
        let mut load = StepLoad { decoding, ..StepLoad::default() };
        for share in shares.iter().filter(|share| self.sequences[share.slot].prompt_left > 0) {
            load.prefill_tokens += share.tokens;
            load.short_tokens += if needs[share.slot].short { share.tokens } else { 0 };
        }
        let first = self.takes(&shares, service) * slowdown;
        let least = self.sequences.iter().map(|sequence| sequence.answer_left).min().unwrap_or(1);
        // Where prompts wait, each call is planned by itself.
        let alike = if prompts == 0 { least } else { 1 };
        // Others begin and end to compute in between.
        let alike = if service.parallel_instances.is_some() { alike.min(ALIKE_BESIDE_OTHERS) } else { alike };
        let growth = service.context_token_seconds * f64::from(count(decoding)) * slowdown;
        self.call = (!shares.is_empty()).then(|| {
            let call = Call { began: now, first, growth, count: alike, ends: now, load };
            Call { ends: call.ended(alike), ..call }
        });
        self.shares = shares;
    }

    /// Makes prompts equally long where that saves passes, as the server's engine does.
    fn pad(&self, shares: &mut [Share], service: &Service) {
        let used: usize = shares.iter().map(|share| share.tokens).sum();
        let terms = Terms {
            price: whole(service.pass_in_tokens()),
            pass_tokens: self.pass_tokens as usize,
            room: self.max_batch_tokens.saturating_sub(used),
        };
        padding::pad(shares, terms, |_| usize::MAX);
    }

    /// Seconds of a call with these shares, pass by pass, as llama.cpp divides it.
    fn takes(&self, shares: &[Share], service: &Service) -> f64 {
        let left = |share: &Share| (self.sequences[share.slot].held, count(share.all_tokens()));
        let mut left: Vec<(u32, u32)> = shares.iter().map(left).collect();
        let mut seconds = 0.0;
        left.retain(|(_, tokens)| *tokens > 0);
        while let Some(shortest) = left.iter().map(|(_, tokens)| *tokens).min() {
            let together = count(left.len());
            let each = shortest.min((self.pass_tokens / together).max(1));
            seconds += if each == 1 {
                let held: f64 = left.iter().map(|(held, _)| f64::from(*held)).sum();
                service.decode(together) + service.context_token_seconds * held
            } else {
                let part = |(held, _): &(u32, u32)| service.part(*held, held + each, self.pass_tokens);
                service.pass() + left.iter().map(part).sum::<f64>()
            };
            for (held, tokens) in &mut left {
                *held += each;
                *tokens -= each;
            }
            left.retain(|(_, tokens)| *tokens > 0);
        }
        seconds
    }

    fn advance(&mut self, service: &Service, slowdown: f64, told: &mut Vec<Told>) {
        let Some(call) = self.call.take() else { return };
        for number in 0..call.count {
            let took = call.first + call.growth * f64::from(number);
            self.budget.measured(call.load, seconds(took));
        }
        for share in std::mem::take(&mut self.shares) {
            let sequence = &mut self.sequences[share.slot];
            sequence.held += count(share.tokens).max(call.count);
            if sequence.prompt_left > 0 {
                sequence.prompt_left = sequence.prompt_left.saturating_sub(count(share.tokens));
                if sequence.prompt_left > 0 {
                    continue;
                }
                told.push(Told::First(sequence.number));
                sequence.answer_left -= 1;
            } else {
                sequence.answer_left = sequence.answer_left.saturating_sub(call.count);
            }
            if sequence.answer_left == 0 {
                told.push(Told::Done(sequence.number));
            }
        }
        self.sequences.retain(|sequence| sequence.answer_left > 0);
        if !self.sequences.is_empty() {
            self.begin(service, slowdown, call.ends);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a saturating cast of a number that is not below zero"
)]
fn whole(tokens: f64) -> usize {
    tokens as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs an engine until nothing is left; jobs come at their times.
    fn run(service: &Service, jobs: &[(u64, u32, u32)]) -> Vec<(u64, Told)> {
        let mut engine = Engine::new(service, 8, 512, None);
        let (mut said, mut jobs) = (Vec::new(), jobs.iter().zip(0..).peekable());
        loop {
            let arrival = jobs.peek().map(|((at, ..), _)| Timestamp::from_millis(*at));
            match (engine.next(), arrival) {
                (Some(next), arrival) if arrival.is_none_or(|arrival| next <= arrival) => {
                    let mut told = Vec::new();
                    engine.advance(service, 1.0, &mut told);
                    said.extend(told.into_iter().map(|told| (ms(next), told)));
                }
                (_, Some(arrival)) => {
                    let ((_, prompt_tokens, answer_tokens), number) = jobs.next().unwrap();
                    let (prompt_tokens, answer_tokens) = (*prompt_tokens, *answer_tokens);
                    engine.admit(Job { number, prompt_tokens, answer_tokens }, service, 1.0, arrival);
                }
                _ => return said,
            }
        }
    }

    fn ms(at: Timestamp) -> u64 {
        u64::try_from(at.since_start().as_millis()).unwrap()
    }

    #[test]
    fn sequences_apart_take_their_own_time() {
        let said = run(&Service::default(), &[(0, 800, 50), (100, 80, 10)]);
        let expected =
            [(100, Told::First(0)), (110, Told::First(1)), (310, Told::Done(1)), (1100, Told::Done(0))];
        assert_eq!(said, expected);
    }

    #[test]
    fn sequences_together_share_calls_whose_time_their_number_decides() {
        let service = Service {
            prefill_tokens_per_second: 1000.0,
            decode_seconds: vec![(1, 0.010), (2, 0.020)],
            ..Service::default()
        };
        // A prompt of 100 tokens, then 10 calls of 10 ms.
        assert_eq!(run(&service, &[(0, 100, 11)]), [(100, Told::First(0)), (200, Told::Done(0))]);
        // At 125 ms another one comes: the third call ends at 130. Little of a prompt is tried first beside answers.
        let said = run(&service, &[(0, 100, 11), (125, 8, 5)]);
        assert_eq!(said[0], (100, Told::First(0)));
        let first = said.iter().find(|(_, told)| *told == Told::First(1)).unwrap().0;
        let done = said.iter().find(|(_, told)| *told == Told::Done(0)).unwrap().0;
        assert!((138..=160).contains(&first), "{said:?}");
        assert!((230..=290).contains(&done), "{said:?}");
    }

    #[test]
    fn calls_that_are_alike_are_taken_at_once_without_a_difference() {
        let service = Service { decode_seconds: vec![(1, 0.004), (8, 0.008)], ..Service::default() };
        let jobs: Vec<_> =
            (0..40).map(|n| (u64::from(n) * 37, 50 + n * 13 % 300, 1 + n * 29 % 200)).collect();
        let said = run(&service, &jobs[..8]);
        assert_eq!(said.iter().filter(|(_, told)| matches!(told, Told::Done(_))).count(), 8);
        assert!(said.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
}
