//! The host's instances, and what the controller sees of them.

use std::cmp::Reverse;
use std::time::Duration;

use super::engine::Engine;
use super::service::{Service, count};
use super::world::{Instance, World};
use crate::units::{ByteCount, DeviceId, DeviceSet, InstanceId};
use crate::view::{
    DeviceView, InstanceState, InstanceView, ModelObservation, Observation, QueueSignals, Takes, VariantView,
};

impl World<'_> {
    /// Bytes that instances hold, on one device or on all.
    pub(super) fn held(&self, device: Option<DeviceId>) -> ByteCount {
        let mut bytes = ByteCount::ZERO;
        for model in &self.models {
            let mut workers: Vec<(usize, DeviceSet)> = Vec::new();
            let here = |i: &&Instance| device.is_none_or(|device| i.view.devices.contains(device));
            for instance in model.instances.iter().filter(here) {
                let service = self.machine.service(instance.view.variant);
                bytes += service.instance_bytes;
                let worker = (instance.view.variant, instance.view.devices);
                if !workers.contains(&worker) {
                    workers.push(worker);
                    bytes += service.worker_bytes;
                }
            }
        }
        bytes
    }

    pub(super) fn observe(&mut self) -> Observation {
        let (machine, now) = (self.machine, self.now);
        let models = self.models.iter_mut().map(|model| {
            let demand = model.demand();
            let queue = QueueSignals {
                depth: count(model.queue.len()),
                oldest_wait: model.queue.oldest_wait(now),
                in_flight: model.in_flight,
                peak_demand: model.peak_demand.max(demand),
                flow: model.flow.take(now),
            };
            model.peak_demand = demand;
            let views = model.instances.iter().map(|i| InstanceView { age: now.since(i.born), ..i.view });
            let variant = |service: &Service| VariantView {
                takes: Takes { worker: service.worker_bytes, instance: service.instance_bytes },
                each: Takes::default(),
                max_threads: 1,
                load_time: service.start(false),
                start_time: service.start(true),
                failed: None,
                shortage: None,
            };
            ModelObservation {
                model: model.policy.name.clone(),
                queue,
                instances: views.collect(),
                variants: machine.services.iter().map(variant).collect(),
                spreads: Vec::new(),
            }
        });
        let models = models.collect();
        let devices = (0..self.machine.gpus).map(|number| {
            let device = DeviceId::Gpu(number);
            let free = self.machine.memory.map(|memory| memory.saturating_sub(self.held(Some(device))));
            DeviceView {
                device,
                free,
                available: free,
                capacity: self.machine.memory,
                deficit: ByteCount::ZERO,
            }
        });
        Observation {
            devices: devices.collect(),
            models,
            cpu_threads: 1,
            wall_clock: self.trace.wall_clock(now),
        }
    }

    pub(super) fn start(&mut self, at: usize, variant: usize, devices: DeviceSet) {
        let model = &mut self.models[at];
        let same = |i: &Instance| (i.view.variant, i.view.devices) == (variant, devices);
        let loaded =
            model.instances.iter().filter(|instance| same(instance)).map(|instance| instance.ready_at).min();
        let service = self.machine.service(variant);
        // Who comes while the weights load is ready with the first, at the earliest.
        let ready_at = match loaded {
            Some(loaded) => loaded.max(self.now + service.start(true)),
            None => self.now + service.start(false),
        };
        let policy = &model.policy;
        let view = InstanceView {
            id: InstanceId(self.next_id),
            variant,
            devices,
            state: InstanceState::Starting,
            slots: policy.slots,
            leased: 0,
            threads: 1,
            progress: 0,
            age: Duration::ZERO,
            stale: false,
        };
        self.next_id += 1;
        let engine = Engine::new(service, policy.slots, policy.engine.batch_tokens, policy.scale.target_itl);
        self.events.push(Reverse((ready_at, view.id, at)));
        model.instances.push(Instance { view, born: self.now, ready_at, engine });
    }

    pub(super) fn drain(&mut self, id: InstanceId) {
        for model in &mut self.models {
            let Some(index) = model.instances.iter().position(|instance| instance.view.id == id) else {
                continue;
            };
            let view = &mut model.instances[index].view;
            view.state = InstanceState::Draining;
            if view.leased == 0 {
                model.instances.remove(index);
            }
        }
    }

    /// Instances that have work.
    pub(super) fn busy(&self) -> u32 {
        let all = self.models.iter().flat_map(|model| &model.instances);
        count(all.filter(|instance| instance.view.leased > 0).count())
    }

    /// A stretch of the replay ends.
    pub(super) fn close_moment(&mut self) {
        let mut moment = self.filling.close();
        moment.ready = vec![0; self.machine.services.len()];
        for instance in self.models.iter().flat_map(|model| &model.instances) {
            match instance.view.state {
                InstanceState::Starting => moment.starting += 1,
                _ => moment.ready[instance.view.variant] += 1,
            }
        }
        moment.bytes = self.held(None).0;
        // Those who wait from one stretch to the next wait in both.
        self.filling.moment.waiting = self.models.iter().map(|model| count(model.queue.len())).sum();
        self.outcome.moments.push(moment);
    }
}
