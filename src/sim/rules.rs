//! Other ways to decide how many instances there should be, for comparison.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::Timestamp;
use crate::view::QueueSignals;

/// What a rule sees of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub queue: QueueSignals,
    pub ready: u32,
    pub starting: u32,
    pub slots: u32,
}

/// How many instances, from what is seen.
pub(super) trait Rule {
    fn target(&mut self, seen: &Seen, now: Timestamp) -> u32;
}

/// Always the same number.
pub(super) struct Static(pub u32);

impl Rule for Static {
    fn target(&mut self, _: &Seen, _: Timestamp) -> u32 {
        self.0
    }
}

/// What starts models on demand do (llama-swap's `ttl`, Ollama's `OLLAMA_KEEP_ALIVE`), with several instances: one more
/// when requests wait for which none is coming, and one less that nobody used for `ttl`.
pub(super) struct IdleTtl {
    ttl: Duration,
    /// When the instance of each number was last needed.
    used: Vec<Timestamp>,
}

impl IdleTtl {
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, used: Vec::new() }
    }
}

impl Rule for IdleTtl {
    fn target(&mut self, seen: &Seen, now: Timestamp) -> u32 {
        let queue = &seen.queue;
        let needed = (queue.depth + queue.in_flight).div_ceil(seen.slots);
        let wanted =
            (seen.ready + seen.starting).max((seen.ready + queue.depth.div_ceil(seen.slots)).min(needed));
        self.used.resize(wanted as usize, now);
        let busy = queue.peak_demand.div_ceil(seen.slots) as usize;
        self.used.iter_mut().take(busy).for_each(|used| *used = now);
        let idle = self.used.iter().filter(|used| now.since(**used) > self.ttl).count();
        wanted - u32::try_from(idle).unwrap_or(0).min(seen.ready)
    }
}

/// Knative's pod autoscaler with its defaults, of `pkg/autoscaler/scaling/autoscaler.go` and `config-autoscaler`.
pub(super) struct Knative {
    /// Requests at once, at each look of the last stable window.
    seen: VecDeque<(Timestamp, f64)>,
    panics_since: Option<Timestamp>,
    most_in_panic: f64,
    decided: Option<Timestamp>,
    busy: Timestamp,
    target: u32,
}

const STABLE_WINDOW: Duration = Duration::from_secs(60);
const PANIC_WINDOW: Duration = Duration::from_secs(6);
const PANIC_THRESHOLD: f64 = 2.0;
const TARGET_UTILIZATION: f64 = 0.7;
const MAX_SCALE_UP: f64 = 1000.0;
const MAX_SCALE_DOWN: f64 = 2.0;
const TICK: Duration = Duration::from_secs(2);
const SCALE_TO_ZERO_GRACE: Duration = Duration::from_secs(30);

impl Knative {
    pub fn new() -> Self {
        Self {
            seen: VecDeque::new(),
            panics_since: None,
            most_in_panic: 0.0,
            decided: None,
            busy: Timestamp::default(),
            target: 0,
        }
    }

    fn mean(&self, window: Duration, now: Timestamp) -> f64 {
        let inside = self.seen.iter().rev().take_while(|(at, _)| now.since(*at) <= window);
        let (count, sum) = inside.fold((0.0, 0.0), |(count, sum), (_, value)| (count + 1.0, sum + value));
        if count > 0.0 { sum / count } else { 0.0 }
    }

    fn decide(&mut self, seen: &Seen, now: Timestamp) -> f64 {
        let ready = f64::from(seen.ready.max(1));
        let (stable, panic) = (self.mean(STABLE_WINDOW, now), self.mean(PANIC_WINDOW, now));
        let of_pod = TARGET_UTILIZATION * f64::from(seen.slots);
        let wanted = |load: f64| {
            (load / of_pod).ceil().min((ready * MAX_SCALE_UP).ceil()).max((ready / MAX_SCALE_DOWN).floor())
        };
        let (by_stable, by_panic) = (wanted(stable), wanted(panic));
        if by_panic / ready >= PANIC_THRESHOLD {
            self.panics_since = Some(now);
        } else if self.panics_since.is_some_and(|since| now.since(since) > STABLE_WINDOW) {
            self.panics_since = None;
            self.most_in_panic = 0.0;
        }
        if self.panics_since.is_some() {
            self.most_in_panic = self.most_in_panic.max(by_panic).max(by_stable);
            return self.most_in_panic;
        }
        let idle = now.since(self.busy) > STABLE_WINDOW + SCALE_TO_ZERO_GRACE;
        if idle { 0.0 } else { by_stable.max(f64::from(u8::from(seen.ready + seen.starting > 0))) }
    }
}

impl Rule for Knative {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    fn target(&mut self, seen: &Seen, now: Timestamp) -> u32 {
        let queue = &seen.queue;
        let demand = f64::from(queue.depth + queue.in_flight);
        self.seen.push_back((now, demand));
        while self.seen.front().is_some_and(|(at, _)| now.since(*at) > STABLE_WINDOW) {
            self.seen.pop_front();
        }
        if demand > 0.0 {
            self.busy = now;
        }
        // The activator asks at once for the first one.
        let is_cold = seen.ready + seen.starting == 0 && queue.depth > 0;
        if is_cold || self.decided.is_none_or(|decided| now.since(decided) >= TICK) {
            self.decided = Some(now);
            self.target = (self.decide(seen, now) as u32).max(u32::from(is_cold));
        }
        self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(waiting: u32, in_flight: u32, ready: u32) -> Seen {
        let queue = QueueSignals {
            depth: waiting,
            in_flight,
            peak_demand: waiting + in_flight,
            ..QueueSignals::default()
        };
        Seen { queue, ready, starting: 0, slots: 8 }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn knative_runs_at_seven_tenths_panics_and_goes_to_zero() {
        let mut rule = Knative::new();
        assert_eq!(rule.target(&seen(1, 0, 0), at(0)), 1, "the activator");
        for second in 1..100 {
            rule.target(&seen(0, 28, 5), at(second));
        }
        assert_eq!(rule.target(&seen(0, 28, 5), at(100)), 5, "28 of 5.6 each");
        for second in 101..112 {
            rule.target(&seen(0, 120, 5), at(second));
        }
        assert_eq!(rule.target(&seen(0, 120, 5), at(112)), 22, "six seconds of 120");
        for second in 113..172 {
            assert!(rule.target(&seen(0, 0, 22), at(second)) >= 22, "nothing goes in a panic");
        }
        for second in 172..400 {
            let ready = rule.target(&seen(0, 0, 1), at(second));
            assert!(second < 300 || ready == 0, "second {second}");
        }
    }

    #[test]
    fn on_demand_instances_go_after_their_time() {
        let mut rule = IdleTtl::new(Duration::from_secs(60));
        assert_eq!(rule.target(&seen(9, 0, 0), at(0)), 2);
        assert_eq!(rule.target(&seen(0, 9, 2), at(5)), 2);
        assert_eq!(rule.target(&seen(0, 3, 2), at(60)), 2);
        assert_eq!(rule.target(&seen(0, 3, 2), at(66)), 1);
        assert_eq!(rule.target(&seen(0, 0, 1), at(126)), 1);
        assert_eq!(rule.target(&seen(0, 0, 1), at(127)), 0);
    }
}
