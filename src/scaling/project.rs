//! What demand will be when an instance that is asked for now is ready.
//!
//! Input: demand, rate, service time, slots. Output: demand later. Pure.
//! Caller: `need` only.
//!
//! A fluid: requests come at `rate`, and each of the slots in use ends one in `service` seconds:
//! dD/dt = rate − min(D, slots) / service (Kleinrock, *Queueing Systems II*, ch. 2).

/// The state that is projected.
#[derive(Clone, Copy, Debug)]
pub struct Fluid {
    /// Requests at once, waiting or in flight.
    pub demand: f64,
    /// Requests a second.
    pub rate: f64,
    /// Seconds a request holds a slot.
    pub service: f64,
    /// Slots that serve.
    pub slots: f64,
}

impl Fluid {
    /// The state after `seconds`.
    #[must_use]
    pub fn after(mut self, mut seconds: f64) -> Self {
        let load = self.rate * self.service;
        // With more requests than slots, the demand changes evenly, until the slots suffice.
        if self.demand > self.slots {
            let slope = self.rate - self.slots / self.service;
            let until = if slope < 0.0 { (self.demand - self.slots) / -slope } else { f64::INFINITY };
            let part = seconds.min(until);
            self.demand += slope * part;
            seconds -= part;
        }
        if seconds <= 0.0 {
            return self;
        }
        // Then it relaxes towards the offered load, until the slots no longer suffice.
        let relaxed = load + (self.demand - load) * (-seconds / self.service).exp();
        if relaxed <= self.slots {
            return Self { demand: relaxed, ..self };
        }
        let reached = self.service * ((load - self.demand) / (load - self.slots)).max(1.0).ln();
        let over = (self.rate - self.slots / self.service) * (seconds - reached).max(0.0);
        Self { demand: self.slots + over, ..self }
    }
}
