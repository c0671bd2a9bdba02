//! The beginning of a new sequence: what of its prompt a KV cache has already.

use super::{Context, News, slot_number};
use crate::engine::prefix::{self, Origin};
use crate::engine::slot::Slot;

impl<C: Context> super::Engine<C> {
    /// Decides for new sequences where the beginning of their prompts comes from.
    pub(super) fn attach(&mut self) {
        for at in self.in_order(|sequence| !sequence.attached) {
            let context_tokens = self.context.spec().context_tokens as usize;
            let sequence = self.slots[at].sequence.as_ref().expect("found above");
            let found = if sequence.request.reuse_prefix {
                let holdings: Vec<_> = self.slots.iter().map(Slot::holding).collect();
                prefix::origin(&holdings, at, &sequence.tokens, context_tokens)
            } else {
                Origin::Own(0)
            };
            let number = sequence.number;
            if let Some(cached) = self.take_prefix(at, found) {
                self.slots[at].attach(cached);
                if cached > 0 {
                    self.tell(number, News::Cached(u32::try_from(cached).unwrap_or(u32::MAX)));
                }
            }
        }
    }

    /// Brings the beginning of a prompt into its slot; how many tokens, or `None` if it is worth waiting for.
    fn take_prefix(&mut self, at: usize, found: Origin) -> Option<usize> {
        let slot = slot_number(at);
        let sequence = self.slots[at].sequence.as_ref().expect("only sequences are attached");
        let (cached, taken) = match found {
            Origin::Awaited => return None,
            Origin::Own(cached) | Origin::Other(_, cached) => {
                let reusable = &sequence.tokens[..sequence.tokens.len() - 1];
                let kept = if sequence.request.reuse_prefix {
                    self.context.restore(slot, reusable, prefix::worth_restoring(cached))
                } else {
                    0
                };
                if kept > 0 { (kept as usize, true) } else { (cached, false) }
            }
        };
        let keep = u32::try_from(cached).expect("a context has fewer than 2^32 tokens");
        let held = match found {
            _ if taken => true,
            Origin::Other(from, _) => self.context.copy(slot_number(from), slot, keep),
            _ => self.context.truncate(slot, keep),
        };
        Some(if held { cached } else { 0 })
    }
}
