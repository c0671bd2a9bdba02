//! What the controller sees: models, instances, memory, as plain values.

use std::time::Duration;

use super::Controller;
use crate::catalog::{CatalogModel, CatalogVariant};
use crate::control::threads;
use crate::fleet::StartKind;
use crate::units::{ByteCount, DeviceId, DeviceSet, Timestamp};
use crate::view::{DeviceView, ModelObservation, Observation, Takes, VariantView};

/// Before there was a second instance: as long as a context takes on a GPU.
const GUESSED_START_TIME: Duration = Duration::from_millis(50);

/// Before a variant was ever loaded: a gigabyte a second, as from a fast disk.
fn guessed_load_time(variant: &CatalogVariant) -> Duration {
    Duration::from_millis(variant.weights_bytes.0 / 1_000_000)
}

impl Controller {
    pub(super) fn observe(&self, now: Timestamp) -> Observation {
        let models = self.models.iter().map(|model| {
            let name = &model.policy.name;
            let start_time = |index, kind| self.fleet.start_time(name, index, kind);
            let variants = model.variants.iter().enumerate().map(|(index, variant)| VariantView {
                takes: self.takes(model, index),
                each: variant.on_gpu.each,
                load_time: start_time(index, StartKind::Load).unwrap_or_else(|| guessed_load_time(variant)),
                start_time: start_time(index, StartKind::Context).unwrap_or(GUESSED_START_TIME),
                max_threads: threads::most_useful(model.policy.engine.threads, variant.weights_bytes),
                failed: self.fleet.failure(name, index, now),
                shortage: self.fleet.shortage(name, index),
            });
            ModelObservation {
                model: name.clone(),
                queue: self.setup.admission.observe(name),
                instances: self.fleet.views(name, now),
                variants: variants.collect(),
                spreads: self.fleet.spreads(name),
            }
        });
        Observation {
            models: models.collect(),
            devices: self.setup.devices.iter().map(|device| self.device_view(*device)).collect(),
            cpu_threads: self.setup.cpu_threads,
            wall_clock: jiff::Timestamp::now(),
        }
    }

    /// What a variant takes of a device that its model may use, the most where they differ. If it fits on none of them, it
    /// is known from where it was divided.
    fn takes(&self, model: &CatalogModel, variant: usize) -> Takes {
        let gpus = self.setup.devices.iter().any(|device| *device != DeviceId::Host);
        let default = |device: &DeviceId| !gpus || *device != DeviceId::Host;
        let allowed = |device: &&DeviceId| match &model.policy.devices {
            Some(devices) => devices.contains(device),
            None => default(device),
        };
        let devices: Vec<DeviceId> = self.setup.devices.iter().filter(allowed).copied().collect();
        let takes = devices.iter().map(|device| self.fleet.takes(model, variant, *device));
        let takes = takes.fold(Takes::default(), Takes::max);
        let too_large = |device: &DeviceId| {
            self.device_view(*device)
                .capacity
                .is_some_and(|capacity| takes.worker + takes.instance > capacity)
        };
        let divided = devices.len() > 1 && devices.iter().all(too_large);
        let measured = || self.fleet.measured(model, variant, devices.iter().copied().collect::<DeviceSet>());
        if divided { measured().unwrap_or(takes) } else { takes }
    }

    /// What may still be taken on a device. One that could be read once and cannot now is not there: nothing fits. One
    /// that never could is not known, and everything fits.
    fn device_view(&self, device: DeviceId) -> DeviceView {
        let Some(memory) = self.memory.iter().find(|memory| memory.device == device) else {
            let lost = self.fleet.known_devices().any(|known| known == device);
            let available = lost.then_some(ByteCount::ZERO);
            return DeviceView {
                device,
                free: available,
                available,
                capacity: None,
                deficit: ByteCount::ZERO,
            };
        };
        let policy = &self.setup.devices_policy;
        let available = self.fleet.predicted_bytes(device).leaves(memory, policy);
        let headroom = policy.headroom(memory.total);
        let mut capacity = memory.total.saturating_sub(headroom);
        if device == DeviceId::Host {
            capacity = capacity.min(policy.host_memory_limit.of(memory.total));
        }
        // Predictions err a little: only when half of the headroom is gone, somebody else must have taken it.
        let missing = headroom.saturating_sub(memory.free);
        let deficit = if missing > headroom.fraction(0.5) { missing } else { ByteCount::ZERO };
        let (free, available, capacity) = (Some(memory.free), Some(available), Some(capacity));
        DeviceView { device, free, available, capacity, deficit }
    }
}
