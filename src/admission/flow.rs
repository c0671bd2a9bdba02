//! Measures what the controller scales by: how many requests come, how long they wait, and how long slots are held.
//!
//! PURE: told what happens and when; gives what happened since it was last asked.

use std::time::Duration;

use crate::units::Timestamp;
use crate::view::Flow;

/// Counts for one model.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowMeter {
    flow: Flow,
    /// Slots that are held, since when that is so.
    held: u32,
    since: Timestamp,
}

impl FlowMeter {
    /// A request came.
    pub fn arrived(&mut self) {
        self.flow.arrivals = self.flow.arrivals.saturating_add(1);
    }

    /// A request's first wait is over, with a slot or without one.
    pub fn waited(&mut self, wait: Duration, target: Duration) {
        self.flow.started = self.flow.started.saturating_add(1);
        self.flow.late = self.flow.late.saturating_add(u32::from(wait > target));
    }

    /// A slot is taken.
    pub fn taken(&mut self, now: Timestamp) {
        self.pass(now);
        self.held += 1;
    }

    /// A slot is given back; `completed`: by a request that ends.
    pub fn given_back(&mut self, completed: bool, now: Timestamp) {
        self.pass(now);
        self.held = self.held.saturating_sub(1);
        self.flow.completions = self.flow.completions.saturating_add(u32::from(completed));
    }

    /// What happened since the last call.
    pub fn take(&mut self, now: Timestamp) -> Flow {
        self.pass(now);
        std::mem::take(&mut self.flow)
    }

    fn pass(&mut self, now: Timestamp) {
        self.flow.slot_time += now.since(self.since).saturating_mul(self.held);
        self.since = self.since.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_measured_while_they_are_held_and_counts_begin_anew() {
        let at = Timestamp::from_millis;
        let ms = Duration::from_millis;
        let mut meter = FlowMeter::default();
        meter.arrived();
        meter.arrived();
        meter.waited(ms(0), ms(100));
        meter.taken(at(1000));
        meter.waited(ms(101), ms(100));
        meter.taken(at(1500));
        meter.given_back(true, at(2000));
        let expected = Flow { arrivals: 2, completions: 1, started: 2, late: 1, slot_time: ms(2500) };
        assert_eq!(meter.take(at(3000)), expected);
        // Another instance goes on with it: no request has ended.
        meter.given_back(false, at(3100));
        assert_eq!(meter.take(at(4000)), Flow { slot_time: ms(100), ..Flow::default() });
    }
}
