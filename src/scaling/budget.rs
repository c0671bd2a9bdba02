//! How much lateness may still be afforded: feedback from measured waits.
//!
//! Input: requests that got a slot, and how many of them late. Output: a factor for the share that may be late. Pure.
//! Caller: `decide` only.
//!
//! An error budget (Beyer et al., *Site Reliability Engineering*, ch. 3): each request earns a share, each late one
//! spends one. Formulas err where arrivals are not Poisson or service times not exponential; the budget does not.

/// Requests over which the budget forgets.
const MEMORY: f64 = 4000.0;
/// Part of the allowed share that is aimed at; the rest is left for what nobody can foresee.
const AIM: f64 = 0.7;
/// What may be planned late, in allowed shares, when nothing was earned or spent. Instances come whole, so a pool that is
/// sized for at most this much usually has far less.
const PLANNED: f64 = 4.0;
/// How much more a full budget allows.
const GAIN: f64 = 24.0;
/// How fast an overdrawn budget allows less, and the least it does, in planned shares: then as much as the policy allows.
/// Less would make a pool large for late requests that no size prevents.
const STRICTNESS: f64 = 2.0;
const LEAST: f64 = 1.0 / PLANNED;
/// The most that is ever planned late.
const PLANNED_MAX: f64 = 0.25;

/// What was earned and not spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// 1: nobody was late for long; 0: as many as are aimed at; below: more.
    balance: f64,
}

impl Budget {
    /// Adds what happened since the last call; `late_share` is what the policy allows.
    pub fn push(&mut self, started: u32, late: u32, late_share: f64) {
        let started = f64::from(started);
        let earned = AIM * late_share * started - f64::from(late);
        self.balance = self.balance * (-started / MEMORY).exp() + earned / (late_share * MEMORY);
    }

    /// The share of requests that may be planned to be late.
    #[must_use]
    pub fn planned(self, late_share: f64) -> f64 {
        let factor = if self.balance > 0.0 {
            1.0 + GAIN * self.balance
        } else {
            (STRICTNESS * self.balance).exp().max(LEAST)
        };
        (late_share * PLANNED * factor).min(PLANNED_MAX)
    }
}
