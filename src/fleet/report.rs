//! What others may know of the fleet: figures for decisions, metrics and operators.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::gauge;

use super::{Fleet, Member, StartKind, Trouble, Worker, WorkerState};
use crate::gpu::DeviceMemory;
use crate::policy::DevicesPolicy;
use crate::telemetry as names;
use crate::units::{ByteCount, DeviceId, DeviceSet, ModelName, Timestamp};
use crate::view::{InstanceState, InstanceView, LoadFailure, Spread};

/// Predicted bytes on one device; measured ones where they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PredictedBytes {
    /// Of everything.
    pub total: ByteCount,
    /// Of what is being loaded or made, and may not show in measurements yet.
    pub coming: ByteCount,
}

impl PredictedBytes {
    fn add(&mut self, bytes: ByteCount, coming: bool) {
        self.total += bytes;
        if coming {
            self.coming += bytes;
        }
    }

    /// What may still be taken of a device: free memory less headroom and what is on its way; on the host also no more
    /// than the policy's limit for all models together.
    #[must_use]
    pub fn leaves(self, memory: &DeviceMemory, policy: &DevicesPolicy) -> ByteCount {
        let headroom = policy.headroom(memory.total);
        let available = memory.free.saturating_sub(headroom).saturating_sub(self.coming);
        if memory.device != DeviceId::Host {
            return available;
        }
        let limit = policy.host_memory_limit.of(memory.total);
        available.min(limit.saturating_sub(self.total))
    }
}

impl Fleet {
    /// The instances of a model in any state, oldest first.
    #[must_use]
    pub fn views(&self, model: &ModelName, now: Timestamp) -> Vec<InstanceView> {
        let members = self.members.values().filter(|member| member.identity.model == *model);
        members.map(|member| InstanceView { age: now.since(member.decided), ..self.view(member) }).collect()
    }

    /// How those of a model's workers that lie on several devices are divided between them.
    #[must_use]
    pub fn spreads(&self, model: &ModelName) -> Vec<Spread> {
        let own = self.workers.values().filter(|worker| worker.model.policy.name == *model && !worker.stale);
        own.filter(|worker| worker.devices.len() > 1).map(|worker| worker.spread.clone()).collect()
    }

    /// Whether a model has instances, in any state.
    #[must_use]
    pub fn has(&self, model: &ModelName) -> bool {
        self.members.values().any(|member| member.identity.model == *model)
    }

    pub(super) fn view(&self, member: &Member) -> InstanceView {
        let identity = &member.identity;
        let instance = member.instance.as_ref().map(|instance| instance.view(member.threads));
        InstanceView {
            id: identity.id,
            variant: identity.variant,
            devices: identity.devices,
            state: member.life.state(),
            slots: member.slots,
            leased: instance.map_or(0, |view| view.leased),
            threads: member.threads,
            progress: instance.map_or(0, |view| view.progress),
            age: Duration::ZERO,
            stale: self.workers.get(&identity.worker).is_none_or(|worker| worker.stale),
        }
    }

    /// What failed with a variant and was not overcome since.
    #[must_use]
    pub fn failure(&self, model: &ModelName, variant: usize, now: Timestamp) -> Option<LoadFailure> {
        self.setbacks.failure(model, variant, now)
    }

    /// The memory that did not suffice for a variant, if that was found out lately.
    #[must_use]
    pub fn shortage(&self, model: &ModelName, variant: usize) -> Option<(DeviceSet, ByteCount)> {
        self.setbacks.shortage(model, variant)
    }

    /// How long an instance of a variant took the last time from the decision until it was ready.
    #[must_use]
    pub fn start_time(&self, model: &ModelName, variant: usize, kind: StartKind) -> Option<Duration> {
        self.start_times.get(&(model.clone(), variant, kind)).copied()
    }

    /// What goes wrong with a model; `None` if nothing does.
    #[must_use]
    pub fn trouble(&self, model: &ModelName) -> Option<Trouble> {
        let variants = self.catalog.model(model.as_str()).map_or(1, |model| model.variants.len());
        self.setbacks.trouble(model, variants)
    }

    /// Predicted bytes on a device: of all weights and instances, and of those that are not there yet.
    #[must_use]
    pub fn predicted_bytes(&self, device: DeviceId) -> PredictedBytes {
        let mut predicted = PredictedBytes::default();
        let part = |worker: &Worker| {
            let each = worker.model.variants[worker.variant].footprint(worker.devices).each;
            self.takes(&worker.model, worker.variant, worker.devices).part(each, worker.spread.share(device))
        };
        for worker in self.workers.values().filter(|worker| worker.devices.contains(device)) {
            let takes = part(worker);
            predicted.add(takes.worker, worker.state == WorkerState::Loading);
        }
        for member in self.members.values().filter(|member| member.identity.devices.contains(device)) {
            let Some(worker) = self.workers.get(&member.identity.worker) else { continue };
            let takes = part(worker);
            predicted.add(takes.instance, member.life.state() == InstanceState::Starting);
        }
        predicted
    }

    /// Publishes instances by state, and slots.
    pub fn report(&mut self) {
        for model in &self.catalog.models {
            for variant in &model.variants {
                self.reported.insert((model.policy.name.clone(), variant.name.clone()));
            }
        }
        let mut counts = BTreeMap::new();
        let mut slots: BTreeMap<&ModelName, (u32, u32)> = BTreeMap::new();
        for (model, _) in &self.reported {
            slots.insert(model, (0, 0));
        }
        for member in self.members.values() {
            let identity = &member.identity;
            let view = self.view(member);
            *counts.entry((&identity.model, &identity.variant_name, view.state.name())).or_insert(0u32) += 1;
            let (ready, busy) = slots.entry(&identity.model).or_default();
            *ready += if view.state == InstanceState::Ready { view.slots } else { 0 };
            *busy += view.leased;
        }
        for (model, variant) in &self.reported {
            for state in InstanceState::ALL {
                let count = counts.get(&(model, variant, state.name())).copied().unwrap_or(0);
                gauge!(names::INSTANCES, "model" => model.to_string(), "variant" => variant.to_string(),
                    "state" => state.name())
                .set(f64::from(count));
            }
        }
        for model in &self.catalog.models {
            let name = &model.policy.name;
            let crash_loop = self.trouble(name).is_some_and(|trouble| trouble.crash_loop);
            gauge!(names::CRASH_LOOP, "model" => name.to_string()).set(f64::from(u8::from(crash_loop)));
        }
        for (model, (ready, busy)) in slots {
            gauge!(names::SLOTS, "model" => model.to_string()).set(f64::from(ready));
            gauge!(names::SLOTS_BUSY, "model" => model.to_string()).set(f64::from(busy));
        }
    }
}

/// Milliseconds for the log.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
