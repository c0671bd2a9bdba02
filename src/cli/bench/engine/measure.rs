//! Times the decode calls of one context.
//!
//! A GPU computes while the program goes on; reading logits waits for it, so that each time ends with that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::{BatchToken, Context, EngineError};
use crate::generation::SamplingSettings;
use crate::random::Random;
use crate::sampling::Sampler;

/// Steps before each measurement that do not count: buffers grow and clocks rise in them.
const WARM_UP_STEPS: usize = 2;
/// Steps of one kind before those of the other, where two are compared. A server, too, computes a prompt in several
/// steps one after the other.
const STEPS_IN_A_ROW: usize = 4;
/// Sequences that decode grow by so many tokens before they are cut back, so that all steps are alike.
pub(super) const DEPTH_VARIES: u32 = 64;
/// Rows whose logits are sampled in turn.
const SAMPLED_ROWS: u32 = 8;

/// One context, and what its slots hold.
pub(super) struct Bench<'a, C> {
    context: C,
    /// Tokens in each slot.
    filled: Vec<u32>,
    batch: Vec<BatchToken>,
    random: Random,
    vocabulary_tokens: u32,
    /// How long each measurement lasts.
    time: Duration,
    /// Ends it early.
    stop: &'a AtomicBool,
}

/// Seconds of the steps without and with a prompt.
pub(super) type WithoutAndWith = (Vec<f64>, Vec<f64>);

impl<'a, C: Context> Bench<'a, C> {
    /// Each measurement takes `time`, at least for one step, unless it has to `stop`.
    pub(super) fn new(context: C, vocabulary_tokens: u32, time: Duration, stop: &'a AtomicBool) -> Self {
        let filled = vec![0; context.spec().slots as usize];
        Self { context, filled, batch: Vec::new(), random: Random::new(1), vocabulary_tokens, time, stop }
    }

    /// Threads that choose tokens between two decode calls.
    pub(super) fn sampling_threads(&self) -> usize {
        self.context.sampling_threads()
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Seconds of each prompt of `tokens`, alone.
    pub(super) fn prefill(&mut self, tokens: u32) -> Result<Vec<f64>, EngineError> {
        self.hold_only(0, 0)?;
        let mut seconds = Vec::new();
        let mut warm_up = true;
        let mut begun = Instant::now();
        while !self.is_over(begun, &seconds) {
            self.keep(0, 0);
            let took = self.timed(|bench| bench.fill(0, tokens))?;
            if std::mem::take(&mut warm_up) {
                begun = Instant::now();
            } else {
                seconds.push(took);
            }
        }
        Ok(seconds)
    }

    /// Seconds of each step in which `sequences` decode, which have `depth` tokens or a few more.
    pub(super) fn decode(&mut self, sequences: u32, depth: u32) -> Result<Vec<f64>, EngineError> {
        self.hold_only(sequences, depth)?;
        for _ in 0..WARM_UP_STEPS {
            self.step(sequences, depth, 0)?;
        }
        let (begun, mut seconds) = (Instant::now(), Vec::new());
        while !self.is_over(begun, &seconds) {
            seconds.push(self.step(sequences, depth, 0)?);
        }
        Ok(seconds)
    }

    /// Seconds of each such step, and of those that also compute `chunk` tokens of a prompt, some of the ones after
    /// some of the others, so that whatever else the machine does meets both. The prompt takes the next slot.
    pub(super) fn mixed(
        &mut self,
        sequences: u32,
        depth: u32,
        chunk: u32,
    ) -> Result<WithoutAndWith, EngineError> {
        self.hold_only(sequences, depth)?;
        for chunk in [0, chunk] {
            self.step(sequences, depth, chunk)?;
        }
        let (begun, mut without, mut with) = (Instant::now(), Vec::new(), Vec::new());
        while !self.is_over(begun, &with) {
            for _ in 0..STEPS_IN_A_ROW {
                without.push(self.step(sequences, depth, 0)?);
            }
            for _ in 0..STEPS_IN_A_ROW {
                with.push(self.step(sequences, depth, chunk)?);
            }
        }
        Ok((without, with))
    }

    /// Seconds of each choice of a token, from logits of this model.
    pub(super) fn sampling(&mut self, settings: &SamplingSettings) -> Result<Vec<f64>, EngineError> {
        let rows = SAMPLED_ROWS.min(self.context.spec().slots);
        self.hold_only(rows, 1)?;
        (0..rows).for_each(|slot| self.push(slot, 1, true));
        self.compute()?;
        let mut sampler = Sampler::new(settings.clone(), None, &[], Arc::default());
        let (begun, mut seconds) = (Instant::now(), Vec::new());
        while !self.is_over(begun, &seconds) {
            for (index, row) in (0..rows as usize).enumerate() {
                let logits = self.context.logits(row);
                let began = Instant::now();
                let index = u32::try_from(seconds.len() + index).unwrap_or(u32::MAX);
                std::hint::black_box(sampler.choose(logits, index, None));
                seconds.push(began.elapsed().as_secs_f64());
            }
        }
        Ok(seconds)
    }

    /// Whether a measurement has lasted long enough; each has a result, unless it was stopped.
    fn is_over(&self, begun: Instant, results: &[f64]) -> bool {
        self.stopped() || (!results.is_empty() && begun.elapsed() >= self.time)
    }

    /// Gives the first `sequences` slots `depth` tokens each, and the others none.
    fn hold_only(&mut self, sequences: u32, depth: u32) -> Result<(), EngineError> {
        for slot in 0..self.context.spec().slots {
            self.keep(slot, if slot < sequences { depth } else { 0 });
        }
        (0..sequences).try_for_each(|slot| self.fill(slot, depth))
    }

    /// One step, timed; what does not fit into the slots is forgotten before.
    fn step(&mut self, sequences: u32, depth: u32, chunk: u32) -> Result<f64, EngineError> {
        let most = self.context.spec().context_tokens;
        for slot in 0..sequences {
            if self.filled[slot as usize] == most.min(depth + DEPTH_VARIES) {
                self.keep(slot, depth);
                self.fill(slot, depth)?;
            }
        }
        if chunk > 0 && self.filled[sequences as usize] + chunk > most {
            self.keep(sequences, 0);
        }
        (0..sequences).for_each(|slot| self.push(slot, 1, true));
        if chunk > 0 {
            self.push(sequences, chunk, false);
        }
        self.timed(Self::compute)
    }

    fn timed(&mut self, work: impl FnOnce(&mut Self) -> Result<(), EngineError>) -> Result<f64, EngineError> {
        let begun = Instant::now();
        work(self)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Forgets what a slot has after `keep` tokens; or all, if the model cannot forget a part.
    fn keep(&mut self, slot: u32, keep: u32) {
        let filled = &mut self.filled[slot as usize];
        if *filled > keep {
            *filled = if self.context.truncate(slot, keep) { keep } else { 0 };
        }
    }

    /// Computes a prompt until the slot has `tokens`, in as few calls as possible.
    fn fill(&mut self, slot: u32, tokens: u32) -> Result<(), EngineError> {
        while self.filled[slot as usize] < tokens {
            let missing = tokens - self.filled[slot as usize];
            let share = missing.min(self.context.spec().call_tokens());
            self.push(slot, share, share == missing);
            self.compute()?;
        }
        Ok(())
    }

    /// Adds a slot's next tokens to the batch. Any tokens do: all take the same time.
    fn push(&mut self, slot: u32, count: u32, wants_last: bool) {
        let filled = &mut self.filled[slot as usize];
        for number in 1..=count {
            self.batch.push(BatchToken {
                token: self.random.below(self.vocabulary_tokens),
                position: *filled,
                slot,
                wants_logits: wants_last && number == count,
            });
            *filled += 1;
        }
    }

    /// Computes the batch, and waits for it.
    fn compute(&mut self) -> Result<(), EngineError> {
        self.context.decode(&self.batch)?;
        if let Some(row) = self.batch.iter().rposition(|token| token.wants_logits) {
            std::hint::black_box(self.context.logits(row));
        }
        self.batch.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ContextSpec;
    use crate::engine::Weights as _;
    use crate::engine::fake::{FakeContext, FakeWeights};

    /// The fake context panics if positions have gaps, slots overflow, or a batch is too large or out of order.
    fn bench(stop: &AtomicBool) -> Bench<'_, FakeContext> {
        Bench::new(
            FakeWeights::default().context(ContextSpec::sized(4, 40, 1)).expect("fakes never fail"),
            257,
            Duration::from_millis(20),
            stop,
        )
    }

    #[test]
    fn every_kind_of_step_is_legal_and_fits() {
        let stop = AtomicBool::new(false);
        let mut bench = bench(&stop);
        assert!(!bench.prefill(39).unwrap().is_empty());
        for sequences in [4, 1, 3] {
            assert!(bench.decode(sequences, 20).unwrap().len() > 1);
        }
        for (sequences, chunk) in [(1, 31), (3, 16), (2, 30)] {
            let (without, with) = bench.mixed(sequences, 20, chunk).unwrap();
            assert_eq!(without.len(), with.len());
            assert!(!with.is_empty());
        }
        assert!(!bench.sampling(&SamplingSettings::default()).unwrap().is_empty());
    }

    #[test]
    fn a_stopped_measurement_ends_and_a_failed_call_is_an_error() {
        let stop = AtomicBool::new(true);
        assert!(bench(&stop).decode(2, 4).unwrap().is_empty());
        stop.store(false, Ordering::Relaxed);
        let mut bench = bench(&stop);
        bench.context.controls().fail_all_decodes.store(true, Ordering::Relaxed);
        assert_eq!(bench.prefill(8), Err(EngineError::Decode("told to fail".into())));
    }
}
