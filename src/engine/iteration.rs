//! The iteration loop: admit, plan, decode, sample, emit.
//!
//! A failed decode call loses the sequences that were in it, and no others; a prompt that cannot be served ends
//! its own sequence before it takes part. A sequence that another instance began goes on where that one stopped:
//! what it generated is computed again as prefill, and its text and its random draws continue.

use std::sync::Arc;
use std::time::Duration;

use super::text::{Piece, TextAssembler};
use super::{BatchToken, Context, EngineError, Prepared, Vocabulary, intake};
use crate::batching::{self, Limits, Need, PrefillBudget, Share};
use crate::generation::{Event, EventSink, FinishReason, GenerationError, Loss, Suspicion, Token, Usage};
use crate::sampling::Sampler;

/// Most prompt tokens of one step. 512 is llama.cpp's physical batch (`n_ubatch`): more would only run one after the
/// other inside the same call, while the decoding sequences wait.
const MAX_PREFILL_TOKENS: usize = 512;
/// Prompt tokens of the first step, before anything is measured.
const FIRST_PREFILL_TOKENS: usize = 128;

/// One sequence in a slot.
struct Sequence {
    sink: Box<dyn EventSink>,
    /// Prompt and generated tokens.
    tokens: Vec<Token>,
    /// How many of them are in the KV cache.
    computed: usize,
    usage: Usage,
    /// Whether the next token is the first one here: all before it is prefill, also what others generated.
    prefill: bool,
    max_tokens: u32,
    sampler: Sampler,
    text: TextAssembler,
    /// Order of arrival.
    number: u64,
}

impl Sequence {
    /// The text still held back.
    fn take_text(&mut self) -> String {
        std::mem::replace(&mut self.text, TextAssembler::new(Vec::new())).finish()
    }

    fn need(&self, slot: usize) -> Need {
        Need { slot, pending_tokens: self.tokens.len() - self.computed, prefill: self.prefill }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Prompt tokens computed.
    pub prefill_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Sequences given up because nobody listened any more.
    pub abandoned: usize,
}

/// Runs the sequences of one instance.
pub struct Engine<C> {
    context: C,
    vocabulary: Arc<Vocabulary>,
    /// Each slot's sequence.
    slots: Vec<Option<Sequence>>,
    arrivals: u64,
    prefill: PrefillBudget,
    batch: Vec<BatchToken>,
}

impl<C: Context> Engine<C> {
    /// An engine without sequences.
    #[must_use]
    pub fn new(context: C, vocabulary: Arc<Vocabulary>) -> Self {
        let slots = context.spec().slots as usize;
        Self {
            context,
            vocabulary,
            slots: std::iter::repeat_with(|| None).take(slots).collect(),
            arrivals: 0,
            prefill: PrefillBudget::new(FIRST_PREFILL_TOKENS, MAX_PREFILL_TOKENS),
            batch: Vec::new(),
        }
    }

    /// Whether there is nothing to compute.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// See [`Context::set_threads`]; the sequences are lost if the context is.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the context is lost.
    pub fn set_threads(&mut self, threads: u32) -> Result<(), EngineError> {
        self.context.set_threads(threads).inspect_err(|error| self.lose_all(error))
    }

    /// Puts a request into a free slot, or tells its sink why not.
    pub fn admit(&mut self, prepared: Prepared, mut sink: Box<dyn EventSink>) {
        let Prepared { request, tokens, prompt_tokens, generated, .. } = prepared;
        let Some(slot) = self.slots.iter().position(Option::is_none) else {
            // The pool leases no more slots than there are; should it ever, the request finds another one.
            return sink.lost(Loss::Undelivered);
        };
        let prompt_tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        let room = self.context.spec().context_tokens - prompt_tokens;
        sink.emit(Event::Started { prompt_tokens });
        let mut text = TextAssembler::new(request.stop.clone());
        for &token in &generated {
            // What it makes certain was sent by the instance that generated it.
            text.push(self.vocabulary.piece(token));
        }
        let usage =
            Usage { prompt_tokens, cached_tokens: 0, completion_tokens: intake::token_count(&generated) };
        self.arrivals += 1;
        let mut sampler = Sampler::new(request.sampling.clone(), None, &[], Arc::default());
        tokens.iter().for_each(|token| sampler.accept(*token));
        let sequence = Sequence {
            sink,
            tokens,
            computed: 0,
            usage,
            prefill: true,
            max_tokens: request.max_tokens.map_or(room, |limit| limit.min(room)),
            sampler,
            text,
            number: self.arrivals,
        };
        let complete = usage.completion_tokens >= sequence.max_tokens;
        self.slots[slot] = Some(sequence);
        if complete {
            self.finish(slot, FinishReason::Length);
        }
    }

    /// One iteration: gives up abandoned sequences, then computes and emits one token of each sequence that is
    /// past its prompt.
    ///
    /// # Errors
    ///
    /// [`EngineError::Decode`]; the sequences of that call have been failed, the engine can go on.
    pub fn step(&mut self) -> Result<StepReport, EngineError> {
        let mut report = StepReport { abandoned: self.drop_abandoned(), ..StepReport::default() };
        let mut shares = batching::plan(&self.needs(), self.limits());
        shares.sort_unstable_by_key(|share| share.slot);
        if shares.is_empty() {
            return Ok(report);
        }
        let rows = self.fill_batch(&shares);
        if let Err(error) = self.context.decode(&self.batch) {
            let suspicion = if shares.len() == 1 { Suspicion::Alone } else { Suspicion::Shared };
            for share in &shares {
                self.lose(share.slot, &error, suspicion);
            }
            return Err(error);
        }
        for (share, row) in shares.iter().zip(rows) {
            let sequence = self.slots[share.slot].as_mut().expect("planned slots hold sequences");
            sequence.computed += share.tokens;
            if sequence.prefill {
                report.prefill_tokens += share.tokens;
            }
            if share.last {
                report.generated_tokens += 1;
                self.advance(share.slot, row);
            }
        }
        Ok(report)
    }

    /// Ends every sequence, because the instance stops.
    pub fn stop(&mut self) {
        for slot in 0..self.slots.len() {
            if let Some(mut sequence) = self.release(slot) {
                sequence.sink.emit(Event::Failed(GenerationError::Stopped));
            }
        }
    }

    fn limits(&self) -> Limits {
        let max_batch_tokens = self.context.max_batch_tokens();
        Limits { max_batch_tokens, max_prefill_tokens: self.prefill.tokens() }
    }

    /// Learns from the time that a step took how much prompt the next ones may have.
    pub fn pace(&mut self, report: StepReport, took: Duration) {
        self.prefill.measured(report.prefill_tokens, took);
    }

    fn drop_abandoned(&mut self) -> usize {
        let abandoned: Vec<usize> = (0..self.slots.len())
            .filter(|slot| self.slots[*slot].as_ref().is_some_and(|sequence| !sequence.sink.wanted()))
            .collect();
        for slot in &abandoned {
            drop(self.release(*slot));
        }
        abandoned.len()
    }

    /// What each sequence needs, in order of arrival.
    fn needs(&self) -> Vec<Need> {
        let mut sequences: Vec<(u64, Need)> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, sequence)| sequence.as_ref().map(|s| (s.number, s.need(slot))))
            .collect();
        sequences.sort_unstable_by_key(|(number, _)| *number);
        sequences.into_iter().map(|(_, need)| need).collect()
    }

    /// Fills the batch and returns, for each share, the row of its last token.
    fn fill_batch(&mut self, shares: &[Share]) -> Vec<usize> {
        self.batch.clear();
        let mut rows = Vec::with_capacity(shares.len());
        for share in shares {
            let sequence = self.slots[share.slot].as_ref().expect("planned slots hold sequences");
            let range = sequence.computed..sequence.computed + share.tokens;
            for position in range.clone() {
                self.batch.push(BatchToken {
                    token: sequence.tokens[position],
                    position: u32::try_from(position).expect("a context has fewer than 2^32 tokens"),
                    slot: u32::try_from(share.slot).expect("slots are few"),
                    wants_logits: share.last && position + 1 == range.end,
                });
            }
            rows.push(self.batch.len() - 1);
        }
        rows
    }

    /// Samples the next token of a slot and emits what it makes certain.
    fn advance(&mut self, slot: usize, row: usize) {
        let sequence = self.slots[slot].as_mut().expect("planned slots hold sequences");
        let index = sequence.usage.completion_tokens;
        let Some(choice) = sequence.sampler.choose(self.context.logits(row), index, None) else {
            return self.finish(slot, FinishReason::Stop);
        };
        let token = choice.token;
        sequence.sampler.accept(token);
        sequence.usage.completion_tokens += 1;
        sequence.prefill = false;
        if self.vocabulary.ends_generation(token) {
            return self.finish(slot, FinishReason::Stop);
        }
        let text = match sequence.text.push(self.vocabulary.piece(token)) {
            Piece::Text(text) => text,
            Piece::Stopped(text) => return self.end(slot, FinishReason::Stop, text),
        };
        if sequence.usage.completion_tokens >= sequence.max_tokens {
            let rest = sequence.take_text();
            return self.end(slot, FinishReason::Length, text + &rest);
        }
        sequence.sink.emit(Event::Token { token, text, logprobs: None });
        sequence.tokens.push(token);
    }

    /// Ends a sequence with the text still held back.
    fn finish(&mut self, slot: usize, reason: FinishReason) {
        let sequence = self.slots[slot].as_mut().expect("only sequences finish");
        let rest = sequence.take_text();
        self.end(slot, reason, rest);
    }

    /// Ends a sequence with its last text.
    fn end(&mut self, slot: usize, reason: FinishReason, text: String) {
        let sequence = self.slots[slot].as_mut().expect("only sequences end");
        let usage = sequence.usage;
        sequence.sink.emit(Event::Finished { reason, text, usage });
        drop(self.release(slot));
    }

    /// Lets another instance go on with a sequence.
    fn lose(&mut self, slot: usize, error: &EngineError, suspicion: Suspicion) {
        if let Some(sequence) = self.release(slot) {
            sequence.sink.lost(Loss::Interrupted { reason: error.to_string(), suspicion });
        }
    }

    /// Forgets a sequence. Its sink frees the lease when it is dropped: the slot must be usable by then.
    fn release(&mut self, slot: usize) -> Option<Sequence> {
        let sequence = self.slots[slot].take();
        self.context.truncate(u32::try_from(slot).expect("slots are few"), 0);
        sequence
    }

    /// Loses every sequence of a context that is lost, without touching it.
    fn lose_all(&mut self, error: &EngineError) {
        for sequence in self.slots.iter_mut().filter_map(Option::take) {
            let loss = Loss::Interrupted { reason: error.to_string(), suspicion: Suspicion::None };
            sequence.sink.lost(loss);
        }
    }
}

#[cfg(any())]
#[path = "iteration_tests.rs"]
mod tests;
