//! The lease word: free slots and the drain flag in one atomic, so that no lease can start after drain begins.
//!
//! Tested against all interleavings by `tests/lease_interleavings.rs`, which compiles this very file with
//! loom's atomics in place of the standard library's.

use super::atomic::{AtomicU32, Ordering};

/// Set once drain begins, never cleared.
const DRAINING: u32 = 1 << 31;

/// Counts leased slots and knows whether the instance drains. Lock-free.
#[derive(Debug)]
pub struct LeaseWord {
    /// Leased slots in the low 31 bits, [`DRAINING`] in the highest.
    word: AtomicU32,
    slots: u32,
}

impl LeaseWord {
    /// No slot is leased.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self { word: AtomicU32::new(0), slots: slots.min(DRAINING - 1) }
    }

    /// Takes one slot; false when all are taken or the instance drains.
    #[must_use]
    pub fn try_take(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & DRAINING != 0 || word >= self.slots {
                return false;
            }
            // Acquire pairs with the release in `give_back`: what the last holder did to the slot is visible.
            match self.word.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
    }

    /// Returns a slot that [`LeaseWord::try_take`] gave.
    pub fn give_back(&self) {
        let before = self.word.fetch_sub(1, Ordering::Release);
        debug_assert!(before & !DRAINING > 0, "a slot is returned once");
    }

    /// Begins to drain. No later [`LeaseWord::try_take`] succeeds. Returns the slots still leased.
    pub fn drain(&self) -> u32 {
        self.word.fetch_or(DRAINING, Ordering::AcqRel) & !DRAINING
    }

    /// Slots leased now, and whether the instance drains: both of one moment.
    #[must_use]
    pub fn read(&self) -> (u32, bool) {
        let word = self.word.load(Ordering::Acquire);
        (word & !DRAINING, word & DRAINING != 0)
    }
}
