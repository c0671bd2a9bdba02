//! One request as demand for a model: counted from its first wait to its end.

use std::sync::Arc;

use super::ModelQueue;
use super::queue::Ticket;
use crate::clock::Clock;

/// Counts one request as demand until it is dropped, and its slot as held while it has one.
pub(super) struct Demand {
    pub queue: Arc<ModelQueue>,
    pub clock: Clock,
    /// Under which number it waits or holds a slot.
    pub ticket: Ticket,
    pub holds: bool,
}

impl Demand {
    /// The request has a slot.
    pub fn hold(&mut self) {
        self.holds = true;
        self.queue.lock().flow.taken(self.clock.now());
    }

    /// The request has lost its slot, and asks for another one.
    pub fn lose(&mut self) {
        if std::mem::take(&mut self.holds) {
            let now = self.clock.now();
            let mut state = self.queue.lock();
            state.flow.given_back(false, now);
            state.waiting.end(self.ticket, now);
        }
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        let now = self.clock.now();
        let mut state = self.queue.lock();
        state.demand -= 1;
        if self.holds {
            state.flow.given_back(true, now);
            state.waiting.end(self.ticket, now);
        } else {
            // It may have been given a slot that it never took.
            state.waiting.decline(self.ticket);
        }
    }
}
