//! The fleet for operators: each instance, in any state.

use super::Fleet;
use super::report::millis;
use crate::operator::InstanceReport;
use crate::units::Timestamp;

impl Fleet {
    /// All instances, oldest first.
    #[must_use]
    pub fn overview(&self, now: Timestamp) -> Vec<InstanceReport> {
        let reports = self.members.values().filter_map(|member| {
            let worker = self.workers.get(&member.identity.worker)?;
            let (identity, view) = (&member.identity, self.view(member));
            let takes = self.takes(&worker.model, worker.variant, worker.devices);
            Some(InstanceReport {
                id: identity.id.to_string(),
                worker: identity.worker.to_string(),
                process: worker.handle.process_id(),
                model: identity.model.to_string(),
                variant: identity.variant_name.to_string(),
                devices: identity.devices.to_string(),
                state: view.state.name(),
                stale: view.stale,
                slots: view.slots,
                slots_busy: view.leased,
                threads: view.threads,
                age_ms: millis(now.since(member.decided)),
                memory_bytes: takes.instance.0,
                worker_memory_bytes: takes.worker.0,
            })
        });
        reports.collect()
    }
}
