//! The iteration loop: admit, plan, decode, sample, tell.
//!
//! A failed decode call loses the sequences that were in it, and no others. A sequence that another instance began
//! goes on where that one stopped: what it generated is computed again as prefill, and its text and its random draws
//! continue. What the loop tells becomes text and events in an [`Emitter`](super::Emitter).

mod attach;
mod pooled;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::crew::{Crew, Draw};
use super::emission::{Begun, Emission, News, Number, Over};
use super::intake::SINK_TOKENS;
use super::prefix;
use super::slot::{Sequence, Slot};
use super::{BatchToken, Context, EngineError, Prepared, Vocabulary};
use crate::batching::padding::{self, Terms};
use crate::batching::{self, Limits, Need, PrefillBudget, Share, StepLoad, gaps};
use crate::generation::{EventSink, GenerationError, Loss, Suspicion};
use crate::policy::ContextOverflow;
use crate::sampling::Choice;

/// Prompt tokens of the first step, before anything is measured.
const FIRST_PREFILL_TOKENS: usize = 128;

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// What it computed.
    pub load: StepLoad,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Sequences that ended because a stop string was reached or nobody listened any more.
    pub released: usize,
}

/// Runs the sequences of one instance.
pub struct Engine<C> {
    context: C,
    vocabulary: Arc<Vocabulary>,
    slots: Vec<Slot>,
    /// Sequences so far; also the time of which slots remember when they were used.
    arrivals: Number,
    prefill: PrefillBudget,
    batch: Vec<BatchToken>,
    told: Vec<Emission>,
    crew: Crew,
}

impl<C: Context> Engine<C> {
    /// An engine without sequences.
    #[must_use]
    pub fn new(context: C, vocabulary: Arc<Vocabulary>) -> Self {
        let spec = context.spec();
        let (pass, call) = (spec.pass_tokens() as usize, spec.call_tokens() as usize);
        Self {
            vocabulary,
            slots: std::iter::repeat_with(Slot::default).take(spec.slots as usize).collect(),
            arrivals: 0,
            prefill: PrefillBudget::new(FIRST_PREFILL_TOKENS, pass, call, spec.target_itl),
            batch: Vec::new(),
            told: Vec::new(),
            crew: Crew::new(context.sampling_threads()),
            context,
        }
    }

    /// Whether there is nothing to compute.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| slot.sequence.is_none())
    }

    /// What was told since the last call; to be given to an [`Emitter`](super::Emitter) in this order.
    pub fn take_emissions(&mut self) -> Vec<Emission> {
        std::mem::take(&mut self.told)
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
    pub fn admit(&mut self, prepared: Prepared, sink: Box<dyn EventSink>) {
        let holdings: Vec<_> = self.slots.iter().map(Slot::holding).collect();
        let Some(at) = prefix::choose_slot(&holdings, &prepared.tokens, self.context.max_gap()) else {
            // The pool leases no more slots than there are; should it ever, the request finds another one.
            return sink.lost(Loss::Undelivered);
        };
        self.arrivals += 1;
        let number = self.arrivals;
        let over = Over::default();
        let spec = self.context.spec();
        let (sequence, generated) = Sequence::new(prepared, number, Arc::clone(&over), &spec);
        self.tell(
            number,
            News::Begun(Begun {
                sink,
                over,
                stop: sequence.request.stop.clone(),
                shown: sequence.request.shown.clone(),
                prompt_tokens: u32::try_from(sequence.prompt_tokens).unwrap_or(u32::MAX),
                generated,
            }),
        );
        let complete = sequence.is_complete();
        self.slots[at].sequence = Some(sequence);
        self.slots[at].used = number;
        if complete {
            self.end(at, News::Length);
        }
    }

    /// One iteration: frees the slots of sequences that are over, then computes and tells one token of each sequence
    /// that is past its prompt.
    ///
    /// # Errors
    ///
    /// [`EngineError::Decode`]; the sequences of that call are lost, the engine can go on.
    pub fn step(&mut self) -> Result<StepReport, EngineError> {
        if let Some(pooling) = self.context.spec().pooling {
            return self.step_pooled(pooling);
        }
        let mut report = StepReport { released: self.release_over(), ..StepReport::default() };
        self.attach();
        self.make_room();
        let shares = self.plan();
        if shares.is_empty() {
            return Ok(report);
        }
        let rows = self.fill_batch(&shares);
        if let Err(error) = self.context.decode(&self.batch) {
            self.lose(&shares, &error);
            return Err(error);
        }
        for share in &shares {
            self.computed(share, &mut report.load);
        }
        let chosen = self.choose(&rows);
        report.generated_tokens = chosen.len();
        for (at, choice) in chosen {
            report.load.decoding += usize::from(!self.sequence(at).prefill);
            self.advance(at, choice);
        }
        Ok(report)
    }

    /// Learns from the time that a step took how much prompt the next ones may have.
    pub fn pace(&mut self, report: StepReport, took: Duration) {
        self.prefill.measured(report.load, took);
    }

    /// Ends every sequence, because the instance stops, and keeps what the KV cache holds for instances to come.
    pub fn stop(&mut self) {
        for at in 0..self.slots.len() {
            if self.slots[at].sequence.is_some() {
                self.end(at, News::Failed(GenerationError::Stopped));
            }
        }
        let mut slots: Vec<(usize, &Slot)> = self.slots.iter().enumerate().collect();
        slots.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.used));
        for (at, slot) in slots {
            self.context.keep(slot_number(at), &slot.kept);
        }
    }

    fn tell(&mut self, number: Number, news: News) {
        self.told.push(Emission { number, news });
    }

    fn sequence(&mut self, at: usize) -> &mut Sequence {
        self.slots[at].sequence.as_mut().expect("planned slots hold sequences")
    }

    /// Frees the slots of which the emitter said that their sequences are over.
    fn release_over(&mut self) -> usize {
        let over = |slot: &Slot| slot.sequence.as_ref().is_some_and(|s| s.over.load(Ordering::Relaxed));
        let over: Vec<usize> = (0..self.slots.len()).filter(|at| over(&self.slots[*at])).collect();
        for at in &over {
            self.end(*at, News::Released);
        }
        over.len()
    }

    /// Slots with sequences, in order of arrival.
    fn in_order(&self, wanted: impl Fn(&Sequence) -> bool) -> Vec<usize> {
        let number = |at: &usize| self.slots[*at].sequence.as_ref().map(|sequence| sequence.number);
        let wanted = |at: &usize| self.slots[*at].sequence.as_ref().is_some_and(&wanted);
        let mut found: Vec<usize> = (0..self.slots.len()).filter(wanted).collect();
        found.sort_unstable_by_key(number);
        found
    }

    /// Lets answers that fill their context forget the oldest part of the text, if the policy wants that.
    fn make_room(&mut self) {
        let spec = self.context.spec();
        if spec.overflow != ContextOverflow::Shift {
            return;
        }
        for at in self.in_order(|sequence| sequence.tokens.len() > spec.context_tokens as usize) {
            let keep = SINK_TOKENS.min(spec.context_tokens as usize / 4);
            let count = (spec.context_tokens as usize - keep) / 2;
            let number = |count: usize| u32::try_from(count).expect("a context has fewer than 2^32 tokens");
            if self.context.shift(slot_number(at), number(keep), number(count)) {
                self.sequence(at).forget(keep, count);
            } else {
                self.end(at, News::Length);
            }
        }
    }

    /// Which slots compute how many tokens.
    fn plan(&self) -> Vec<Share> {
        let computing = self.in_order(|sequence| sequence.attached);
        let sequences = computing.iter().map(|&at| (at, self.slots[at].sequence.as_ref()));
        let short = self.prefill.short();
        let needs: Vec<Need> = sequences
            .filter_map(|(at, sequence)| sequence.map(|sequence| sequence.need(at, short)))
            .collect();
        let prompts = needs.iter().filter(|need| need.prefill).count();
        let spec = self.context.spec();
        let max_batch_tokens = spec.call_tokens() as usize;
        let prefill = self.prefill.allowance(needs.len() - prompts, prompts);
        let mut shares = batching::plan(&needs, Limits { max_batch_tokens, prefill });
        let room = |shares: &[Share]| max_batch_tokens - shares.iter().map(Share::all_tokens).sum::<usize>();
        let holds = |at: usize| spec.context_tokens as usize - self.slots[at].held();
        let free = room(&shares);
        gaps::fill(&mut shares, self.context.max_gap(), free, |at| holds(at) > 0);
        let terms = Terms {
            price: self.context.padding_price(),
            pass_tokens: spec.pass_tokens() as usize,
            room: room(&shares),
        };
        padding::pad(&mut shares, terms, holds);
        shares
    }

    /// Fills the batch and returns the rows after which tokens are chosen, with their slots.
    fn fill_batch(&mut self, shares: &[Share]) -> Vec<(usize, usize)> {
        self.batch.clear();
        let mut rows = Vec::with_capacity(shares.len());
        for share in shares {
            let slot = &self.slots[share.slot];
            let held = slot.held();
            let end = held + share.tokens;
            for position in held..end + share.padding {
                self.batch.push(BatchToken {
                    token: if position < end { slot.pending(position) } else { 0 },
                    position: token_position(position),
                    slot: slot_number(share.slot),
                    wants_logits: share.last && position + 1 == end,
                });
            }
            if share.last {
                rows.push((share.slot, self.batch.len() - 1 - share.padding));
            }
        }
        rows
    }

    /// Notes what a share has computed.
    fn computed(&mut self, share: &Share, load: &mut StepLoad) {
        let short = self.prefill.short();
        if share.tokens > 0 {
            let sequence = self.sequence(share.slot);
            if sequence.prefill {
                load.prefill_tokens += share.tokens;
                load.short_tokens += if sequence.is_short(short) { share.tokens } else { 0 };
            }
            sequence.computed += share.tokens;
        }
        let keep = token_position(self.slots[share.slot].held());
        if share.padding > 0 && !self.context.truncate(slot_number(share.slot), keep) {
            self.slots[share.slot].forget_all();
        }
    }

    /// Chooses the next tokens.
    fn choose(&mut self, rows: &[(usize, usize)]) -> Vec<(usize, Option<Choice>)> {
        let mut row_of = vec![None; self.slots.len()];
        for &(at, row) in rows {
            row_of[at] = Some(row);
        }
        let context = &self.context;
        let draws = self.slots.iter_mut().zip(row_of).enumerate().filter_map(|(slot, (holder, row))| {
            let sequence = holder.sequence.as_mut()?;
            Some(Draw {
                logits: context.logits(row?),
                sampler: &mut sequence.sampler,
                constraint: sequence.constraint.as_deref_mut(),
                index: sequence.generated,
                slot,
            })
        });
        self.crew.choose(draws.collect())
    }

    /// Goes on with a token, or ends.
    fn advance(&mut self, at: usize, choice: Option<Choice>) {
        let Some(Choice { token, logprobs }) = choice else {
            let fault = self.sequence(at).constraint.as_ref().and_then(|constraint| constraint.fault());
            return self.end(at, fault.map_or(News::Stop { token: false }, News::Failed));
        };
        if self.vocabulary.ends_generation(token) {
            return self.end(at, News::Stop { token: true });
        }
        let sequence = self.sequence(at);
        sequence.accept(token);
        let (number, complete) = (sequence.number, sequence.is_complete());
        self.tell(number, News::Token(token, logprobs));
        if complete {
            self.end(at, News::Length);
        }
    }

    /// Frees a slot, then tells so: the emitter drops the sink, and that frees the lease.
    fn end(&mut self, at: usize, news: News) {
        let keeps = self.context.spec().prefix_cache.enabled;
        let Some(sequence) = self.slots[at].release(self.arrivals) else { return };
        if !keeps {
            self.context.truncate(slot_number(at), 0);
            self.slots[at].forget_all();
        }
        self.tell(sequence.number, news);
    }

    /// A decode call failed: what it was about is lost, here.
    fn lose(&mut self, shares: &[Share], error: &EngineError) {
        let suspects = shares.iter().filter(|share| share.tokens > 0).count();
        let suspicion = if suspects == 1 { Suspicion::Alone } else { Suspicion::Shared };
        for share in shares {
            self.context.truncate(slot_number(share.slot), 0);
            if share.tokens > 0 {
                self.end(share.slot, News::Lost(Loss::Interrupted { reason: error.to_string(), suspicion }));
            }
            self.slots[share.slot].forget_all();
        }
    }

    /// Loses every sequence of a context that is lost, without touching it.
    fn lose_all(&mut self, error: &EngineError) {
        for at in 0..self.slots.len() {
            self.slots[at].forget_all();
            if let Some(sequence) = self.slots[at].release(self.arrivals) {
                let loss = Loss::Interrupted { reason: error.to_string(), suspicion: Suspicion::None };
                self.tell(sequence.number, News::Lost(loss));
            }
        }
    }
}

fn token_position(at: usize) -> u32 {
    u32::try_from(at).expect("a context has fewer than 2^32 tokens")
}

fn slot_number(at: usize) -> u32 {
    u32::try_from(at).expect("slots are few")
}

#[cfg(test)]
mod tests;
