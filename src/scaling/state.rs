//! What a model's scaling remembers from decision to decision, and what it concludes from that.
//!
//! Bounded: about 12 KiB a model, nearly all of it the two rings of `season`.

use std::time::Duration;

use super::Signals;
use super::budget::Budget;
use super::calendar::Calendar;
use super::evenness::Evenness;
use super::keep::Gaps;
use super::need::Outlook;
use super::pace::Pace;
use super::rate::Arrivals;
use super::reason::Reason;
use super::season::{Promise, Season};
use super::service::Service;
use super::window::PeakWindow;
use crate::policy::ScalePolicy;
use crate::units::Timestamp;

/// Bins of the ring for patterns within hours: 5 s, two hours.
const HOURS: (Duration, usize) = (Duration::from_secs(5), 1440);
/// Bins of the ring for patterns of days: 10 minutes, eight days.
const DAYS: (Duration, usize) = (Duration::from_secs(600), 1152);
/// The shortest time over which a trend is measured: below, bursts look like trends.
const TREND_SECONDS: f64 = 60.0;
/// In addition, this many times what a load takes.
const TREND_LOADS: f64 = 2.0;
/// Part of the time that a trend was measured over for which it is expected to go on (a damped trend: Gardner,
/// McKenzie, *Management Science* 1985).
const TREND_LASTS: f64 = 0.5;
/// The longest a rate can lag behind a trend, in seconds: half of the longest window of fine bins.
const LAG_MAX: f64 = 64.0;

/// What a model's scaling remembers from decision to decision.
#[derive(Clone, Debug)]
pub struct ScalingState {
    arrivals: Arrivals,
    service: Service,
    /// From slot to first token.
    prefill: Service,
    pub(super) pace: Pace,
    calendar: Calendar,
    hours: Season,
    days: Season,
    pub(super) budget: Budget,
    pub(super) evenness: Evenness,
    /// Instances needed, over the hold time of a scale-down.
    pub(super) needed: PeakWindow,
    /// Times without any request.
    pub(super) gaps: Gaps,
    /// When somebody last asked for the model.
    last_demand: Option<Timestamp>,
    /// Whether nobody did at the last decision.
    was_idle: bool,
    /// When everything was last weighed.
    weighed: Option<Timestamp>,
}

/// Time to a first token before any came.
const PREFILL_PRIOR: Duration = Duration::from_millis(100);
/// The shortest wait that is aimed at where prompts alone take as long as a first token may.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// Least time between two looks at everything. More looks at the same noise would cross thresholds more often.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

impl Default for ScalingState {
    fn default() -> Self {
        Self {
            arrivals: Arrivals::default(),
            service: Service::default(),
            prefill: Service::guessed(PREFILL_PRIOR),
            pace: Pace::default(),
            calendar: Calendar::default(),
            hours: Season::new(HOURS.0, HOURS.1),
            days: Season::new(DAYS.0, DAYS.1),
            budget: Budget::default(),
            evenness: Evenness::default(),
            needed: PeakWindow::default(),
            gaps: Gaps::default(),
            last_demand: None,
            was_idle: false,
            weighed: None,
        }
    }
}

impl ScalingState {
    /// Time since somebody last asked for the model, or since the beginning.
    #[must_use]
    pub fn idle(&self, now: Timestamp) -> Duration {
        now.since(self.last_demand.unwrap_or_default())
    }

    /// The fewest instances now: those of the schedule, if it has an entry, or of the policy.
    #[must_use]
    pub fn least(&self, policy: &ScalePolicy) -> u32 {
        self.calendar.scheduled().unwrap_or(policy.min_instances)
    }

    /// Why there are that many at least.
    pub(super) fn below(&self, least: u32) -> Reason {
        match self.calendar.scheduled() {
            Some(min_instances) => Reason::Schedule { min_instances },
            None => Reason::BelowMinimum { min_instances: least },
        }
    }

    /// How long a request may wait for its slot: the policy's target, and what prompts leave of that for first tokens.
    pub(super) fn wait(&self, policy: &ScalePolicy) -> Duration {
        let Some(ttft) = policy.target_ttft else { return policy.target_queue_wait };
        let left = ttft.saturating_sub(Duration::from_secs_f64(self.prefill.mean()));
        policy.target_queue_wait.min(left.max(LEAST_WAIT))
    }

    /// Sequences that can share an instance, by how far apart their tokens may come.
    pub(super) fn usable_slots(&self, policy: &ScalePolicy, slots: u32) -> f64 {
        policy.target_itl.map_or(slots.into(), |target| self.pace.slots(target, slots))
    }

    /// Whether it is time to weigh everything again; then it is done now.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        let due = self.weighed.is_none_or(|last| now.since(last) >= LOOK_INTERVAL);
        if due {
            self.weighed = Some(now);
        }
        due
    }

    /// Takes in what happened since the last decision.
    pub(super) fn observe(&mut self, policy: &ScalePolicy, signals: &Signals, now: Timestamp) {
        let flow = &signals.queue.flow;
        self.calendar.turn_to(policy, signals.wall_clock);
        self.prefill.push(flow.prefill_time, flow.first_tokens);
        let batch = f64::from(signals.queue.in_flight) / f64::from(signals.ready.max(1));
        self.pace.push(flow.gaps, flow.decode_time, batch.max(1.0));
        self.arrivals.push(now, flow.arrivals);
        let per_second = self.arrivals.rate(now).per_second;
        self.evenness.push(now, flow.arrivals, per_second);
        self.service.push(flow.slot_time, flow.completions);
        self.budget.push(flow.started, flow.late, policy.late_share);
        if policy.forecast {
            self.hours.push(now, flow.arrivals, signals.load.further);
            self.days.push(now, flow.arrivals, signals.load.further);
        }
        if signals.demand() > 0 || signals.queue.peak_demand > 0 {
            if let Some(last) = self.last_demand.filter(|_| self.was_idle) {
                self.gaps.push(now.since(last));
            }
            self.last_demand = Some(now);
        }
        self.was_idle = signals.demand() == 0;
    }

    /// What the next load time will bring.
    pub(super) fn outlook(&self, policy: &ScalePolicy, signals: &Signals, now: Timestamp) -> Outlook {
        let load = if signals.live() == 0 { signals.load.first } else { signals.load.further };
        let load_time = load.as_secs_f64();
        let mut rate = self.arrivals.rate(now);
        if policy.forecast {
            let trend = self.arrivals.trend(now, (TREND_LOADS * load_time).max(TREND_SECONDS));
            // A rate over a window is that of half of it ago. Falls are not anticipated: to be late with them is cheap.
            let ahead = load_time + (rate.window / 2.0).min(LAG_MAX);
            let lasts = TREND_LASTS * trend.measured_over;
            let rise = trend.slope.max(0.0) * lasts * (1.0 - (-ahead / lasts).exp());
            rate.per_second += rise;
        }
        Outlook {
            rate,
            service: self.service.mean(),
            completions: self.service.seen(),
            load_time,
            wait: self.wait(policy).as_secs_f64(),
        }
    }

    /// What repeating patterns promise for the time that a load takes. Where loads are faster than requests may wait, they
    /// are not needed.
    pub(super) fn promise(
        &self,
        policy: &ScalePolicy,
        signals: &Signals,
        outlook: &Outlook,
    ) -> Option<Promise> {
        if !policy.forecast || signals.load.further <= self.wait(policy) {
            return None;
        }
        let promise = |season: &Season| season.promise(signals.load.further, outlook.rate.per_second);
        let both = [promise(&self.hours), promise(&self.days)];
        both.into_iter().flatten().max_by(|a, b| a.per_second.total_cmp(&b.per_second))
    }
}
