//! Which instance has probably computed the beginning of a prompt already.
//!
//! Instances keep the KV cache of what they served, so a prompt that begins like an earlier one is answered sooner where
//! that one was: the next question of a chat, or the same system prompt. PURE: a bounded table from the beginnings of
//! prompts to the instance that had them last. It may be wrong, because instances forget; then a prompt is computed again.

use std::hash::{DefaultHasher, Hasher};

use lru::LruCache;

use crate::generation::{Prompt, Token};
use crate::units::InstanceId;

/// Bytes of a text, of about four to a token, after which the next beginning is noted. Engines do not copy fewer than 32
/// tokens from slot to slot.
const BLOCK_BYTES: usize = 128;
/// Beginnings of a prompt that are noted, which are 16 KiB of text; longer ones differ earlier or not at all.
const MAX_BLOCKS: usize = 128;
/// Beginnings in the table of a model: those of 512 prompts of 16 KiB, some 4 MiB of memory.
const MAX_BEGINNINGS: usize = 512 * MAX_BLOCKS;

/// The beginnings of a prompt, from the shortest to the longest, as hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail(Box<[u64]>);

impl Trail {
    /// Those of a prompt; none if it is too short to matter.
    #[must_use]
    pub fn of(prompt: &Prompt) -> Self {
        let mut hasher = DefaultHasher::new();
        let mut after = |block: &[u8]| {
            hasher.write(block);
            hasher.finish()
        };
        let text = match prompt {
            Prompt::Text(text) => text,
            // What stands before a gap grows as it is typed; other files come first, and stay the same.
            Prompt::Infill(infill) => infill.extra.first().map_or(&infill.prefix, |file| &file.text),
            Prompt::Tokens(tokens) => {
                let blocks = tokens.chunks_exact(BLOCK_BYTES / 4).take(MAX_BLOCKS);
                let bytes = |tokens: &[Token]| -> Vec<u8> {
                    tokens.iter().flat_map(|token| token.to_le_bytes()).collect()
                };
                return Self(blocks.map(|tokens| after(&bytes(tokens))).collect());
            }
            Prompt::Mixed(_) | Prompt::Pair { .. } => return Self::default(),
        };
        Self(text.as_bytes().chunks_exact(BLOCK_BYTES).take(MAX_BLOCKS).map(after).collect())
    }
}

/// Who holds what.
#[derive(Debug)]
pub struct Affinity(LruCache<u64, InstanceId>);

impl Default for Affinity {
    fn default() -> Self {
        // Takes no more memory than it has use for.
        Self(LruCache::unbounded())
    }
}

impl Affinity {
    /// The last of the instances `there` that served the longest known beginning of a prompt, and which share of the
    /// prompt that is.
    #[must_use]
    pub fn holder(&self, trail: &Trail, there: impl Fn(InstanceId) -> bool) -> Option<(InstanceId, f64)> {
        let blocks = trail.0.iter().enumerate().rev();
        let mut known = blocks.filter_map(|(at, hash)| Some((at + 1, *self.0.peek(hash)?)));
        let (blocks, holder) = known.find(|(_, holder)| there(*holder))?;
        Some((holder, share(blocks, trail.0.len())))
    }

    /// An instance serves a prompt.
    pub fn serves(&mut self, trail: &Trail, instance: InstanceId) {
        for hash in &trail.0 {
            self.0.put(*hash, instance);
        }
        while self.0.len() > MAX_BEGINNINGS {
            self.0.pop_lru();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "blocks are few")]
fn share(blocks: usize, all: usize) -> f64 {
    blocks as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(text: &str) -> Trail {
        Trail::of(&Prompt::Text(text.into()))
    }

    #[test]
    fn the_longest_beginning_that_an_instance_served_last_counts() {
        let system = "You answer questions about foxes. ".repeat(12); // 408 bytes, 3 blocks
        let (question, other) = (system.clone() + &"a".repeat(256), system.clone() + &"b".repeat(256));
        let (first, second) = (InstanceId(1), InstanceId(2));
        let mut affinity = Affinity::default();
        assert_eq!(affinity.holder(&trail(&question), |_| true), None);
        affinity.serves(&trail(&question), first);
        assert_eq!(affinity.holder(&trail(&question), |_| true), Some((first, 1.0)));
        assert_eq!(affinity.holder(&trail(&other), |_| true), Some((first, 0.6)));
        affinity.serves(&trail(&other), second);
        assert_eq!(affinity.holder(&trail(&question), |_| true), Some((first, 1.0)));
        assert_eq!(affinity.holder(&trail(&system), |_| true), Some((second, 1.0)));
        // What is gone holds nothing.
        assert_eq!(affinity.holder(&trail(&question), |id| id == second), Some((second, 0.6)));
        assert_eq!(affinity.holder(&trail(&question), |_| false), None);
        assert_eq!(affinity.holder(&trail("short"), |_| true), None);
    }

    #[test]
    fn the_table_forgets_what_was_served_longest_ago() {
        let text = |seed: u32| Trail::of(&Prompt::Tokens((0..4096).map(|at| at * 7919 + seed).collect()));
        let mut affinity = Affinity::default();
        (0..600).for_each(|seed| affinity.serves(&text(seed), InstanceId(1)));
        assert_eq!(affinity.0.len(), MAX_BEGINNINGS);
        assert_eq!(affinity.holder(&text(0), |_| true), None);
        assert_eq!(affinity.holder(&text(599), |_| true), Some((InstanceId(1), 1.0)));
    }

    #[test]
    fn trails_are_bounded_and_tokens_have_them_too() {
        assert_eq!(trail(&"x".repeat(1 << 20)).0.len(), MAX_BLOCKS);
        let tokens = |count: u32, last| Trail::of(&Prompt::Tokens((0..count).chain([last]).collect()));
        assert_eq!(tokens(95, 1).0.len(), 3);
        assert_eq!(tokens(95, 1).0[..2], tokens(95, 2).0[..2]);
        assert_ne!(tokens(95, 1), tokens(95, 2));
        // The same block elsewhere is another beginning.
        assert_ne!(trail(&"x".repeat(256)).0[1], trail(&"x".repeat(256)).0[0]);
    }
}
