//! How many slots a steady load needs so that few requests wait long.
//!
//! Input: offered load, allowed wait, allowed share. Output: slots. Pure.
//! Caller: `decide` only.
//!
//! Erlang's delay formula (1917; Gross, Harris, *Fundamentals of Queueing Theory*, M/M/c): of requests that come at
//! random to c slots with an offered load of a = rate · service time, the share that waits longer than w is
//! C(c, a) · exp(−(c − a) · w / service time).

/// Slots so that no more than `late_share` of the requests wait longer than `wait_services` service times.
///
/// The recursion B(c) = a·B(c−1) / (c + a·B(c−1)) of the loss formula goes through all c; C = B / (1 − (a/c)(1 − B)).
#[must_use]
pub fn slots_for(load: f64, wait_services: f64, late_share: f64, most: u32) -> u32 {
    if load <= 0.0 {
        return 0;
    }
    let mut loss = 1.0;
    for slots in 1..=most {
        let c = f64::from(slots);
        loss = load * loss / (c + load * loss);
        if c <= load {
            continue;
        }
        let waits = loss / (1.0 - load / c * (1.0 - loss));
        if waits * (-(c - load) * wait_services).exp() <= late_share {
            return slots;
        }
    }
    most
}
