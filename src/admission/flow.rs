//! Measures what the controller scales by: how many requests come, how long they wait, and how long slots are held.
//!
//! PURE: told what happens and when; gives what happened since it was last asked.

use std::time::Duration;

use crate::policy::ScalePolicy;
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

    /// A request's first wait is over, with a slot or without one. If the policy has a target for first tokens, one with a
    /// slot is in time or late by that.
    pub fn waited(&mut self, wait: Duration, has_slot: bool, scale: &ScalePolicy) {
        if !(has_slot && scale.target_ttft.is_some()) {
            self.judge(wait > scale.target_queue_wait);
        }
    }

    /// A request's first token came: this long after the request, and after it got its slot.
    pub fn first_token(&mut self, ttft: Duration, prefill: Duration, scale: &ScalePolicy) {
        self.flow.first_tokens = self.flow.first_tokens.saturating_add(1);
        self.flow.prefill_time += prefill;
        if let Some(target) = scale.target_ttft {
            self.judge(ttft > target);
        }
    }

    /// The tokens of an answer that has ended had so many gaps between them, which took so long.
    pub fn decoded(&mut self, gaps: u32, time: Duration) {
        self.flow.gaps = self.flow.gaps.saturating_add(gaps);
        self.flow.decode_time += time;
    }

    fn judge(&mut self, late: bool) {
        self.flow.started = self.flow.started.saturating_add(1);
        self.flow.late = self.flow.late.saturating_add(u32::from(late));
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
    use crate::policy::Policy;

    fn scale(ttft_ms: Option<u64>) -> ScalePolicy {
        let target_ttft = ttft_ms.map_or("null".to_owned(), |ms| ms.to_string());
        let text = format!(
            "models: [{{name: m, variants: [{{path: m.gguf}}], scale: {{target_queue_wait_ms: 100, target_ttft_ms: {target_ttft}}}}}]"
        );
        Policy::parse(&text, "test", std::path::Path::new(".")).unwrap().models[0].scale.clone()
    }

    #[test]
    fn slots_are_measured_while_they_are_held_and_counts_begin_anew() {
        let at = Timestamp::from_millis;
        let ms = Duration::from_millis;
        let (mut meter, scale) = (FlowMeter::default(), scale(None));
        meter.arrived();
        meter.arrived();
        meter.waited(ms(0), true, &scale);
        meter.taken(at(1000));
        meter.waited(ms(101), true, &scale);
        meter.taken(at(1500));
        meter.first_token(ms(700), ms(400), &scale);
        meter.decoded(7, ms(350));
        meter.given_back(true, at(2000));
        let expected = Flow {
            arrivals: 2,
            completions: 1,
            started: 2,
            late: 1,
            slot_time: ms(2500),
            first_tokens: 1,
            prefill_time: ms(400),
            gaps: 7,
            decode_time: ms(350),
        };
        assert_eq!(meter.take(at(3000)), expected);
        // Another instance goes on with it: no request has ended.
        meter.given_back(false, at(3100));
        assert_eq!(meter.take(at(4000)), Flow { slot_time: ms(100), ..Flow::default() });
    }

    #[test]
    fn with_a_target_for_first_tokens_these_say_who_is_late() {
        let ms = Duration::from_millis;
        let (mut meter, scale) = (FlowMeter::default(), scale(Some(500)));
        meter.waited(ms(400), true, &scale);
        meter.waited(ms(100), true, &scale);
        assert_eq!(meter.take(Timestamp::default()).started, 0);
        meter.first_token(ms(501), ms(101), &scale);
        meter.first_token(ms(200), ms(100), &scale);
        meter.waited(ms(9000), false, &scale);
        let flow = meter.take(Timestamp::default());
        assert_eq!((flow.started, flow.late, flow.first_tokens), (3, 2, 2));
    }
}
