//! What workers take of their devices: predicted before, measured after.

use super::{Fleet, Worker, WorkerState};
use crate::catalog::CatalogModel;
use crate::gpu::DeviceMemory;
use crate::measured::{Key, Sighting};
use crate::units::{ByteCount, DeviceId, DeviceSet, WorkerId};
use crate::view::{InstanceState, Takes};

impl Fleet {
    /// What a variant takes of these devices, less what all but one of them take in full: as measured, or else as
    /// predicted.
    #[must_use]
    pub fn takes(&self, model: &CatalogModel, variant: usize, devices: impl Into<DeviceSet>) -> Takes {
        let devices = devices.into();
        self.measured(model, variant, devices)
            .unwrap_or_else(|| model.variants[variant].footprint(devices).takes(devices))
    }

    /// The same, if it was measured in this size.
    #[must_use]
    pub fn measured(
        &self,
        model: &CatalogModel,
        variant: usize,
        devices: impl Into<DeviceSet>,
    ) -> Option<Takes> {
        let devices = devices.into();
        let predicted = model.variants[variant].footprint(devices).takes(devices);
        self.remembered.takes(&self.key(model, variant, devices)?, predicted)
    }

    /// Devices that could be read once, and so are not there when they cannot be read.
    pub fn known_devices(&self) -> impl Iterator<Item = DeviceId> {
        self.device_names.keys().copied()
    }

    /// Learns from a reading of all devices what workers really take.
    pub fn learn(&mut self, memory: &[DeviceMemory]) {
        for device in memory {
            self.device_names.entry(device.device).or_insert_with(|| device.name.clone());
        }
        let sightings = self.workers.iter().filter_map(|(id, worker)| self.sighting(*id, worker, memory));
        let sightings = sightings.collect();
        self.remembered.see(sightings);
        for worker in self.workers.values_mut().filter(|worker| worker.state == WorkerState::Loaded) {
            if worker.devices.len() > 1
                && let Some(used) = used_by(worker, memory)
            {
                let each = worker.model.variants[worker.variant].footprint(worker.devices).each.worker.0;
                let shared = used.into_iter().map(|(device, bytes)| (device, bytes.saturating_sub(each)));
                worker.spread.weights = shared.collect();
            }
        }
    }

    /// What a reading shows of a worker, if it shows all of it.
    fn sighting(&self, id: WorkerId, worker: &Worker, memory: &[DeviceMemory]) -> Option<Sighting> {
        let used = used_by(worker, memory)?;
        let instances = self.settled_instances(id, worker)?;
        let key = self.key(&worker.model, worker.variant, worker.devices)?;
        let each = worker.model.variants[worker.variant].footprint(worker.devices).each;
        let each_bytes = each.worker.0.saturating_add(each.instance.0.saturating_mul(instances.into()));
        let again = each_bytes.saturating_mul(u64::from(worker.devices.len()) - 1);
        let bytes = used.iter().map(|(_, bytes)| ByteCount(*bytes)).sum::<ByteCount>();
        Some(Sighting { worker: id, key, instances, bytes: bytes.saturating_sub(ByteCount(again)) })
    }

    /// A worker's instances, if all of them are ready: what is being made or freed shows only in part.
    fn settled_instances(&self, id: WorkerId, worker: &Worker) -> Option<u32> {
        let mut own = self.members.values().filter(|member| member.identity.worker == id).peekable();
        own.peek()?;
        let settled = worker.state == WorkerState::Loaded
            && own.clone().all(|member| member.life.state() == InstanceState::Ready);
        settled.then(|| u32::try_from(own.count()).unwrap_or(u32::MAX))
    }

    /// `None` on the host, where nothing is measured, and on a device that was never read.
    fn key(&self, model: &CatalogModel, variant: usize, devices: DeviceSet) -> Option<Key> {
        let name = self.device_names.get(&devices.iter().next()?)?;
        Key::new(&model.variants[variant], &model.policy, (devices, name))
    }
}

/// Bytes that a worker's process uses of each of its devices, if a reading shows all of them.
fn used_by(worker: &Worker, memory: &[DeviceMemory]) -> Option<Vec<(DeviceId, u64)>> {
    let pid = worker.handle.process_id()?;
    let used = worker.devices.iter().map(|device| {
        let reading = memory.iter().find(|memory| memory.device == device)?;
        let (_, bytes) = *reading.by_process.iter().find(|(listed, _)| *listed == pid)?;
        Some((device, bytes.0))
    });
    used.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::super::Start;
    use super::*;
    use crate::catalog::Catalog;
    use crate::gpu::{FakeMemory, MemoryReader};
    use crate::measured::Remembered;
    use crate::policy::Policy;
    use crate::pool::{InstanceCommand, InstancePort};
    use crate::units::{InstanceId, Timestamp};
    use crate::view::Spread;
    use crate::worker::{
        EventSender, Kill, WorkerCommand, WorkerEvent, WorkerHandle, WorkerSpawner, WorkerSpec,
    };

    const GPU: DeviceId = DeviceId::Gpu(0);
    const PID: u32 = 77;
    const NOW: Timestamp = Timestamp::from_millis(0);

    /// Workers in processes that all have one number, and instances that do nothing.
    struct Silent;

    impl WorkerSpawner for Silent {
        fn spawn(&self, _: WorkerSpec, _: EventSender) -> std::io::Result<Box<dyn WorkerHandle>> {
            Ok(Box::new(Silent))
        }
    }

    impl WorkerHandle for Silent {
        fn send(&self, _: WorkerCommand) -> bool {
            true
        }
        fn kill(&self, _: Kill, _: Option<InstanceId>) -> bool {
            true
        }
        fn process_id(&self) -> Option<u32> {
            Some(PID)
        }
    }

    impl InstancePort for Silent {
        fn send(&self, _: InstanceCommand) -> Result<(), InstanceCommand> {
            Ok(())
        }
        fn progress(&self) -> u64 {
            0
        }
    }

    struct World {
        fleet: Fleet,
        model: Arc<CatalogModel>,
        memory: FakeMemory,
    }

    impl World {
        fn new() -> Self {
            let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
            let text =
                "models:\n- name: m\n  context_tokens: 1024\n  variants: [{path: tidepool-3m-f16.gguf}]\n";
            let policy = Policy::parse(text, "p", &files).unwrap_or_else(|error| panic!("{error}"));
            let catalog = Arc::new(Catalog::read(&policy.models, &files));
            let model = Arc::clone(&catalog.models[0]);
            let (events, _inbox) = mpsc::unbounded_channel();
            let fleet =
                Fleet::new(catalog, Arc::new(Silent), events, Arc::new(|_| {}), Remembered::default());
            let totals = [DeviceId::Host, GPU].map(|device| (device, ByteCount::from_mib(1 << 14)));
            Self { fleet, model, memory: FakeMemory::new(&totals) }
        }

        fn start(&mut self, device: DeviceId) {
            let name = self.model.policy.name.clone();
            let spread = Spread { devices: device.into(), weights: vec![(device, 1)] };
            let start = Start {
                model: &name,
                variant: 0,
                devices: device.into(),
                threads: 1,
                available: None,
                spread: &spread,
                reason: "cold_start",
            };
            self.fleet.start(&Arc::clone(&self.model), start, NOW);
        }

        /// The instance with this number is ready, and its worker has loaded.
        fn ready(&mut self, worker: u64, instance: u64) {
            let loaded = WorkerEvent::Loaded { worker: WorkerId(worker), took: Duration::ZERO };
            let ready = WorkerEvent::InstanceReady { id: InstanceId(instance), port: Arc::new(Silent) };
            self.fleet.handle(loaded, NOW);
            self.fleet.handle(ready, NOW);
        }

        /// Two readings, in which the worker uses so many MiB.
        fn read(&mut self, device: DeviceId, mib: u64) {
            self.memory.set_by_process(device, &[(1, ByteCount(5)), (PID, ByteCount::from_mib(mib))]);
            for _ in 0..2 {
                let reading = self.memory.read(&[PID]);
                self.fleet.learn(&reading);
            }
        }

        fn takes_mib(&self, device: DeviceId) -> (u64, u64) {
            let takes = self.fleet.takes(&self.model, 0, device);
            (takes.worker.0 >> 20, takes.instance.0 >> 20)
        }
    }

    #[test]
    fn what_a_worker_took_replaces_what_was_predicted() {
        let mut world = World::new();
        let predicted = world.model.variants[0].on_gpu.takes(GPU);
        world.start(GPU);
        world.read(GPU, 700);
        assert_eq!(world.fleet.takes(&world.model, 0, GPU), predicted, "it is still loading");
        assert_eq!(world.fleet.predicted_bytes(GPU).coming, predicted.worker + predicted.instance);

        world.ready(1, 2);
        world.read(GPU, 800);
        let first = world.fleet.takes(&world.model, 0, GPU);
        assert_eq!(first.worker + first.instance, ByteCount::from_mib(800));

        world.start(GPU);
        world.read(GPU, 815);
        assert_eq!(world.fleet.takes(&world.model, 0, GPU), first, "the second is on its way");
        assert_eq!(world.fleet.predicted_bytes(GPU).coming, first.instance);
        world.ready(1, 3);
        world.read(GPU, 830);
        assert_eq!(world.takes_mib(GPU), (770, 30));
        let predicted = world.fleet.predicted_bytes(GPU);
        assert_eq!((predicted.total, predicted.coming), (ByteCount::from_mib(830), ByteCount::ZERO));
    }

    #[test]
    fn nothing_is_learned_of_the_host() {
        let mut world = World::new();
        let predicted = world.takes_mib(DeviceId::Host);
        world.start(DeviceId::Host);
        world.ready(1, 2);
        world.read(DeviceId::Host, 800);
        assert_eq!(world.takes_mib(DeviceId::Host), predicted);
        assert_eq!(world.fleet.measured(&world.model, 0, DeviceId::Host), None);
    }

    #[test]
    fn an_instance_that_drains_hides_what_its_worker_takes() {
        let mut world = World::new();
        world.start(GPU);
        world.ready(1, 2);
        world.fleet.drain(InstanceId(2), "idle");
        world.read(GPU, 800);
        assert_eq!(world.fleet.measured(&world.model, 0, GPU), None);
    }
}
