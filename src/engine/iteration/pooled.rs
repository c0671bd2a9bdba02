//! The iteration of an instance that makes embeddings: whole texts, as many as one decode call holds.
//!
//! A text's tokens are pooled into one vector, and llama.cpp pools what one call computes: texts are not divided, and
//! nothing of earlier ones is used again.

use super::{BatchToken, Context, EngineError, News, Share, StepReport, slot_number};
use crate::generation::normalize;
use crate::policy::Pooling;

impl<C: Context> super::Engine<C> {
    /// One iteration, with `pooling`.
    pub(super) fn step_pooled(&mut self, pooling: Pooling) -> Result<StepReport, EngineError> {
        let mut report = StepReport { released: self.release_over(), ..StepReport::default() };
        let shares = self.whole_texts();
        if shares.is_empty() {
            return Ok(report);
        }
        self.batch.clear();
        for share in &shares {
            self.context.truncate(slot_number(share.slot), 0);
            self.slots[share.slot].attach(0);
            let slot = &self.slots[share.slot];
            self.batch.extend((0..share.tokens).map(|position| BatchToken {
                token: slot.pending(position),
                position: u32::try_from(position).expect("a context has fewer than 2^32 tokens"),
                slot: slot_number(share.slot),
                wants_logits: true,
            }));
        }
        if let Err(error) = self.context.decode(&self.batch) {
            self.lose(&shares, &error);
            return Err(error);
        }
        for share in shares {
            report.load.prefill_tokens += share.tokens;
            let mut values = self.context.embedding(slot_number(share.slot)).to_vec();
            if pooling != Pooling::Rank {
                normalize(&mut values);
            }
            let number = self.sequence(share.slot).number;
            self.tell(number, News::Embedding(values));
            self.end(share.slot, News::Stop { token: false });
            self.context.truncate(slot_number(share.slot), 0);
            self.slots[share.slot].forget_all();
        }
        Ok(report)
    }

    /// The texts that came first, as long as they fit; ordered by slot. Only those as long as the first of them where
    /// llama.cpp would divide others: a vector is made of what one pass has of a text.
    fn whole_texts(&self) -> Vec<Share> {
        let mut room = self.context.spec().call_tokens() as usize;
        let mut shares: Vec<Share> = Vec::new();
        for at in self.in_order(|_| true) {
            let tokens = self.slots[at].sequence.as_ref().map_or(0, |sequence| sequence.tokens.len());
            let fits = |first: &Share| first.tokens == tokens || !self.context.divides_texts();
            if !shares.first().is_none_or(fits) {
                continue;
            }
            if tokens > room {
                break;
            }
            room -= tokens;
            shares.push(Share { slot: at, tokens, padding: 0, last: true });
        }
        shares.sort_unstable_by_key(|share| share.slot);
        shares
    }
}
