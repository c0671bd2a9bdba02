//! The plan of somebody who knows the future.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::service::{Service, whole};
use super::trace::Trace;

/// What a pool would cost that starts every request on arrival, with instances that are ready in the moment in which they
/// are needed.
///
/// An instance number *k* is needed while more than `slots · (k − 1)` requests are under way. It stays through gaps that
/// are shorter than a load, and each start costs a load: no plan that serves every request on arrival is cheaper.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clairvoyant {
    /// Seconds that instances exist, loads included.
    pub instance_seconds: f64,
    /// Loads.
    pub starts: u64,
    /// The most instances at once.
    pub peak_instances: u32,
    /// Instances that the mean number of requests under way needs, at least one.
    pub mean_instances: u32,
    /// Seconds that the first of them exists, and with it a worker.
    pub worker_seconds: f64,
    from: f64,
}

/// One instance, by its number.
#[derive(Clone, Copy)]
struct Level {
    busy_since: f64,
    idle_since: f64,
}

impl Clairvoyant {
    /// The plan for a trace, with instances of so many slots. Only what it costs after `from` counts.
    #[must_use]
    pub fn of(trace: &Trace, service: &Service, slots: u32, from: Duration) -> Self {
        let horizon = trace.length.as_secs_f64();
        let mut plan = Self { from: from.as_secs_f64(), ..Self::default() };
        let mut ends: BinaryHeap<Reverse<Duration>> = BinaryHeap::new();
        let mut levels: Vec<Level> = Vec::new();
        let (mut under_way, mut slot_seconds) = (0u32, 0.0);
        let leave = |end: Duration, under_way: &mut u32, levels: &mut Vec<Level>, plan: &mut Self| {
            let before = under_way.div_ceil(slots);
            *under_way -= 1;
            if under_way.div_ceil(slots) < before {
                let level = &mut levels[before as usize - 1];
                let end = end.as_secs_f64().min(horizon);
                plan.add(before as usize - 1, level.busy_since, end);
                level.idle_since = end;
            }
        };
        for request in &trace.requests {
            while let Some(Reverse(end)) = ends.peek().copied().filter(|Reverse(end)| *end <= request.at) {
                ends.pop();
                leave(end, &mut under_way, &mut levels, &mut plan);
            }
            let hold = service.hold(request.prompt_tokens, request.answer_tokens, slots);
            slot_seconds += hold.as_secs_f64();
            ends.push(Reverse(request.at + hold));
            let before = under_way.div_ceil(slots);
            under_way += 1;
            if under_way.div_ceil(slots) > before {
                plan.enter(&mut levels, before as usize, request.at.as_secs_f64(), service);
            }
        }
        while let Some(Reverse(end)) = ends.pop() {
            leave(end, &mut under_way, &mut levels, &mut plan);
        }
        plan.peak_instances = u32::try_from(levels.len()).unwrap_or(u32::MAX);
        // A trace of a single request has no length over which there could be a mean.
        let mean = whole(slot_seconds / horizon.max(1e-9) / f64::from(slots)).max(1);
        plan.mean_instances = mean.min(plan.peak_instances.max(1));
        plan
    }

    fn add(&mut self, number: usize, begin: f64, end: f64) {
        // A load that ends at the very beginning lies before it.
        let begin = if self.from > 0.0 { begin.max(self.from) } else { begin };
        let seconds = (end - begin).max(0.0);
        self.instance_seconds += seconds;
        self.worker_seconds += if number == 0 { seconds } else { 0.0 };
    }

    /// The instance with this number is needed from `at` on.
    fn enter(&mut self, levels: &mut Vec<Level>, number: usize, at: f64, service: &Service) {
        let load = if number == 0 { service.load_seconds } else { service.instance_seconds };
        let gap = levels.get(number).map_or(f64::INFINITY, |level| at - level.idle_since);
        self.add(number, at - gap.min(load), at);
        self.starts += u64::from(gap >= load && at >= self.from);
        let level = Level { busy_since: at, idle_since: at };
        match levels.get_mut(number) {
            Some(known) => *known = level,
            None => levels.push(level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Request;

    fn trace(arrivals: &[u64]) -> Trace {
        let request = |at: &u64| Request {
            at: Duration::from_secs(*at),
            model: 0,
            prompt_tokens: 8000,
            answer_tokens: 50,
        };
        Trace::new("t", arrivals.iter().map(request).collect(), Duration::from_secs(1000))
    }

    /// Requests of 2 s, instances of 2 slots, loads of 8 s.
    fn check(arrivals: &[u64], seconds: f64, starts: u64, peak: u32) {
        let plan = Clairvoyant::of(&trace(arrivals), &Service::default(), 2, Duration::ZERO);
        assert!((plan.instance_seconds - seconds).abs() < 1e-6, "{arrivals:?}: {plan:?}");
        assert_eq!((plan.starts, plan.peak_instances), (starts, peak), "{arrivals:?}");
    }

    #[test]
    fn a_single_request_needs_a_single_instance() {
        let single = Trace { length: Duration::ZERO, ..trace(&[0]) };
        assert_eq!(Clairvoyant::of(&single, &Service::default(), 2, Duration::ZERO).mean_instances, 1);
    }

    #[test]
    fn gaps_shorter_than_a_load_are_bridged() {
        check(&[0], 10.0, 1, 1);
        check(&[0, 1], 11.0, 1, 1);
        check(&[0, 9], 19.0, 1, 1);
        check(&[0, 10], 20.0, 2, 1);
        check(&[0, 500], 20.0, 2, 1);
        check(&[0, 0, 0], 20.0, 2, 2);
        check(&[0, 0, 0, 4, 4, 4], 28.0, 2, 2);
    }
}
