//! The measurements: what is decoded, how often, and how long it takes.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Row;
use crate::cli::bench::statistics::Percentiles;
use crate::engine::{BatchToken, Context, EngineError};
use crate::generation::{SamplingSettings, Token};
use crate::sampling::Sampler;

/// Steps before the first that counts: buffers are made, and a GPU wakes up.
const WARM_UP_STEPS: usize = 3;
/// A measurement has at least so many steps.
const MIN_STEPS: usize = 5;

/// A context in which things are measured.
pub(super) struct Bench<C> {
    context: C,
    vocab_tokens: u32,
    /// How long each measurement takes.
    time: Duration,
    /// Tokens in each slot.
    held: Vec<u32>,
}

impl<C: Context> Bench<C> {
    pub(super) fn new(context: C, vocab_tokens: u32, time: Duration) -> Self {
        let held = vec![0; context.spec().slots as usize];
        Self { context, vocab_tokens, time, held }
    }

    /// Prompts of `tokens` in one slot.
    pub(super) fn prompt(&mut self, tokens: u32) -> Result<Row, EngineError> {
        let most = u32::try_from(self.context.max_batch_tokens()).unwrap_or(u32::MAX);
        self.measure(format!("prompt of {tokens}"), tokens, |bench| {
            bench.clear(0);
            let mut left = tokens;
            while left > 0 {
                let part = left.min(most);
                left -= part;
                let batch = bench.batch(&[(0, part, left == 0)]);
                bench.decode(&batch)?;
            }
            Ok(())
        })
    }

    /// One token of each of so many answers.
    pub(super) fn answers(&mut self, answers: u32) -> Result<Row, EngineError> {
        self.clear_all();
        let parts: Vec<_> = (0..answers).map(|slot| (slot, 1, true)).collect();
        self.measure(format!("{answers} answers"), answers, |bench| {
            let batch = bench.batch(&parts);
            bench.decode(&batch)
        })
    }

    /// One token of each of so many answers, and a part of a prompt.
    pub(super) fn beside(&mut self, answers: u32, chunk: u32) -> Result<Row, EngineError> {
        self.clear_all();
        let parts: Vec<_> =
            (0..answers).map(|slot| (slot, 1, true)).chain([(answers, chunk, false)]).collect();
        self.measure(format!("{answers} answers and {chunk} of a prompt"), answers + chunk, |bench| {
            let batch = bench.batch(&parts);
            bench.decode(&batch)
        })
    }

    /// Choices among the logits of a real step, by one thread.
    pub(super) fn choices(&mut self) -> Result<Vec<Row>, EngineError> {
        self.clear_all();
        let batch = self.batch(&[(0, 1, true)]);
        self.decode(&batch)?;
        let logits = self.context.logits(0).to_vec();
        let usual =
            SamplingSettings { temperature: 0.8, top_k: 40, top_p: 0.95, ..SamplingSettings::default() };
        let all = SamplingSettings { top_k: 0, ..usual.clone() };
        let greedy = SamplingSettings { temperature: 0.0, ..SamplingSettings::default() };
        let kinds = [("greedy", greedy), ("top_k 40, top_p 0.95", usual), ("top_p 0.95 alone", all)];
        let measure = |(name, settings): (&str, SamplingSettings)| {
            let mut sampler = Sampler::new(settings, None, &[], Arc::default());
            let mut index = 0;
            self.measure(format!("choice, {name}"), 1, |_| {
                index += 1;
                black_box(sampler.choose(black_box(&logits), index, None));
                Ok(())
            })
        };
        kinds.into_iter().map(measure).collect()
    }

    /// Repeats `step` until the time is over.
    fn measure(
        &mut self,
        what: String,
        tokens: u32,
        mut step: impl FnMut(&mut Self) -> Result<(), EngineError>,
    ) -> Result<Row, EngineError> {
        for _ in 0..WARM_UP_STEPS {
            step(self)?;
        }
        let mut millis = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < self.time || millis.len() < MIN_STEPS {
            let before = Instant::now();
            step(self)?;
            millis.push(before.elapsed().as_secs_f64() * 1000.0);
        }
        let steps = millis.len();
        let total: f64 = millis.iter().sum();
        let computed = f64::from(tokens) * f64::from(u32::try_from(steps).unwrap_or(u32::MAX));
        let ms = Percentiles::of(millis).expect("there is a step");
        Ok(Row { what, tokens, steps, ms, tokens_per_second: computed / total * 1000.0 })
    }

    /// The next tokens of slots: how many, and whether logits are wanted after the last. A full slot begins again.
    fn batch(&mut self, parts: &[(u32, u32, bool)]) -> Vec<BatchToken> {
        let most = self.context.spec().context_tokens;
        let mut batch = Vec::new();
        for &(slot, tokens, wants_logits) in parts {
            if self.held[slot as usize] + tokens > most {
                self.clear(slot);
            }
            let held = &mut self.held[slot as usize];
            for position in *held..*held + tokens {
                let wants_logits = wants_logits && position + 1 == *held + tokens;
                let token = self.vocab_tokens.min(1000) / 2 + position % 7 as Token;
                batch.push(BatchToken { token: token % self.vocab_tokens, position, slot, wants_logits });
            }
            *held += tokens;
        }
        batch
    }

    /// Computes, and waits until it is done.
    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), EngineError> {
        self.context.decode(batch)?;
        if let Some(row) = batch.iter().rposition(|token| token.wants_logits) {
            black_box(self.context.logits(row)[0]);
        }
        Ok(())
    }

    fn clear(&mut self, slot: u32) {
        self.context.truncate(slot, 0);
        self.held[slot as usize] = 0;
    }

    fn clear_all(&mut self) {
        for slot in 0..self.context.spec().slots {
            self.clear(slot);
        }
    }
}
