//! A world in words, for tests that fail.

use std::fmt;

use super::World;

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "devices {:?}, outside {:?}, clients {:?}", self.devices, self.outside, self.clients)?;
        for (policy, variants) in self.policies.iter().zip(&self.variants) {
            let sizes: Vec<_> = variants.iter().map(|v| (v.takes.worker.0, v.takes.instance.0)).collect();
            let (scale, slots) = (&policy.scale, policy.slots);
            writeln!(f, "{} slots {slots} priority {} {sizes:?} {scale:?}", policy.name, policy.priority)?;
        }
        for instance in self.instances.iter().flatten() {
            writeln!(f, "{:?}", instance.view)?;
        }
        writeln!(
            f,
            "longest wait {} of model {}, until {}",
            self.longest_wait, self.waited.0, self.waited.1
        )?;
        writeln!(f, "starts {:?}\nreasons {:?} {:?}", self.starts, self.reasons, self.last_reasons)
    }
}
