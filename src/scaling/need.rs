//! How many slots are needed when an instance that is asked for now is ready.
//!
//! Input: what is measured. Output: slots. Pure.
//! Caller: `decide` only.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^52, and casts of positive numbers saturate"
)]

use super::Signals;
use super::erlang::slots_for;
use super::project::Fluid;
use super::rate::Rate;

/// Standard errors of the offered load that are added to it: while little is known, a little more is held.
const DOUBT: f64 = 0.5;
/// A rate that has just changed is believed to last for this many times as long as it has been there; then the usual
/// one is expected again. (Where nothing is known of how long things last, they are halfway through, in the median:
/// Gott, *Nature* 1993.)
const PERSISTENCE: f64 = 2.0;
/// Where the search for slots ends, in offered loads, and in addition.
const MOST_LOADS: f64 = 4.0;
const MOST_MORE: f64 = 64.0;

/// What is needed, and what for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Slots for the demand as it will be.
    pub slots: f64,
    /// Of these, slots that the load alone needs, without what waits.
    pub steady: f64,
}

/// What slots are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    /// Requests a second, as expected when a load ends.
    pub rate: Rate,
    /// Seconds that a request holds a slot.
    pub service: f64,
    /// Completions that `service` rests on.
    pub completions: f64,
    /// Seconds that a load takes.
    pub load_time: f64,
    /// Seconds that a request may wait.
    pub wait: f64,
}

impl Outlook {
    /// Requests in slots on average, if none waits (Little 1961), and a little more for doubt.
    #[must_use]
    pub fn offered(&self) -> f64 {
        self.rate.per_second * self.service * (1.0 + DOUBT * self.error())
    }

    /// Relative standard error of the offered load: those of Poisson counts.
    #[must_use]
    pub fn error(&self) -> f64 {
        let arrivals = (self.rate.per_second * self.rate.window).max(1.0);
        (1.0 / arrivals + 1.0 / self.completions).sqrt()
    }

    /// Slots for requests that come at `per_second` for long, `late_share` of which may wait too long.
    #[must_use]
    pub fn steady(&self, per_second: f64, late_share: f64) -> f64 {
        self.slots_of(per_second * self.service, late_share)
    }

    fn slots_of(&self, offered: f64, late_share: f64) -> f64 {
        let most = (offered * MOST_LOADS + MOST_MORE) as u32;
        f64::from(slots_for(offered, self.wait / self.service, late_share, most))
    }

    /// Slots that are needed when a load that begins now has ended.
    ///
    /// Demand D is projected. What exceeds the mean may wait for up to w: emptied by c slots within w, so
    /// c ≥ (D + w · rate) / (1 + w / service). To that comes what chance adds until then: the margin of a steady load,
    /// c\* − a, times √(1 − e^(−2 · load time / service)), the share of the spread of M/M/∞ that arises in this time (its
    /// autocovariance is e^(−t / service)): for fast loads it suffices to follow the demand.
    #[must_use]
    pub fn need(&self, signals: &Signals, late_share: f64) -> Need {
        let offered = self.offered();
        let steady = self.slots_of(offered, late_share);
        let demand = self.projected(signals);
        let drained = (demand + self.wait * self.rate.per_second) / (1.0 + self.wait / self.service);
        let spread = (1.0 - (-2.0 * self.load_time / self.service).exp()).sqrt();
        Need { slots: drained + (steady - offered) * spread, steady }
    }

    /// Demand when a load that begins now has ended. Instances that start serve from when they are ready.
    fn projected(&self, signals: &Signals) -> f64 {
        let slots = f64::from(signals.slots);
        let ready_in = match signals.starting {
            0 => self.load_time,
            _ => (self.load_time - signals.starting_age.as_secs_f64()).clamp(0.0, self.load_time),
        };
        let lasts = (self.rate.window * PERSISTENCE).max(1.0);
        let fluid = Fluid {
            demand: f64::from(signals.demand()),
            rate: self.rate.per_second,
            service: self.service,
            slots: f64::from(signals.ready) * slots,
        };
        let mut ready = self.passes(fluid, 0.0, ready_in, lasts);
        ready.slots += f64::from(signals.starting) * slots;
        self.passes(ready, ready_in, self.load_time, lasts).demand
    }

    /// `fluid` goes on from `from` to `to` seconds; after `lasts` the usual rate is back.
    fn passes(&self, fluid: Fluid, from: f64, to: f64, lasts: f64) -> Fluid {
        let change = lasts.clamp(from, to);
        let fluid = fluid.after(change - from);
        let usual = Fluid { rate: self.rate.per_second.min(self.rate.usual), ..fluid };
        Fluid { rate: self.rate.per_second, ..usual.after(to - change) }
    }
}
