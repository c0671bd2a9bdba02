//! The instances that requests can go to, swapped atomically.
//!
//! One [`PoolSnapshot`] behind one `ArcSwap`: readers load it once per request and never block; the controller's
//! driver is the only writer. A [`SlotLease`] is the right to use one slot; dropping it frees the slot.

mod ask;
pub mod word;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::catalog::Catalog;
use crate::generation::{EventSink, Question, SequenceSpec};
use crate::units::{DeviceSet, InstanceId, ModelName, WorkerId};
use crate::view::{InstanceLoad, InstanceState, InstanceView};
use ask::Questions;
pub use ask::{Answer, Asked, MAX_QUESTIONS};
use word::LeaseWord;

/// The atomics of [`word`]; the interleaving test puts loom's in their place.
mod atomic {
    pub use std::sync::atomic::{AtomicU32, Ordering};
}

/// What an instance is told.
pub enum InstanceCommand {
    /// Run this sequence and tell its sink.
    Run(SequenceSpec, Box<dyn EventSink>),
    /// Answer a question, whatever runs.
    Ask(Arc<Question>, Answer),
    /// Compute with this many CPU threads from now on.
    SetThreads(u32),
    /// Fail what still runs and end.
    Stop,
}

/// The way to an instance, wherever it runs. Bounded: each run needs a lease, [`MAX_QUESTIONS`] are asked at a time, other
/// commands are few.
pub trait InstancePort: Send + Sync {
    /// Sends a command without blocking.
    ///
    /// # Errors
    ///
    /// The command, if the instance has ended or does not read.
    fn send(&self, command: InstanceCommand) -> Result<(), InstanceCommand>;

    /// Counts what the instance has achieved: grows with every step that completed. An instance that has work and
    /// whose progress stands still is frozen.
    fn progress(&self) -> u64;
}

/// What an instance is and where it runs.
#[derive(Clone, Debug)]
pub struct InstanceIdentity {
    /// Its number.
    pub id: InstanceId,
    /// The worker that holds its weights.
    pub worker: WorkerId,
    /// The model it serves.
    pub model: ModelName,
    /// Index of its variant in the policy's list.
    pub variant: usize,
    /// Name of its variant.
    pub variant_name: Arc<str>,
    /// Where its memory is.
    pub devices: DeviceSet,
    /// Tells the model's files from others; see [`crate::catalog::CatalogModel::files`].
    pub files: u64,
}

/// One instance that is ready or draining.
pub struct Instance {
    identity: InstanceIdentity,
    slots: u32,
    word: LeaseWord,
    port: Arc<dyn InstancePort>,
    questions: Questions,
    /// Called after a slot became free, in the thread that freed it.
    on_free: Box<dyn Fn() + Send + Sync>,
}

impl Instance {
    /// An instance with all its slots free. `on_free` must not block for long.
    #[must_use]
    pub fn new(
        identity: InstanceIdentity,
        slots: u32,
        port: Arc<dyn InstancePort>,
        on_free: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let (word, questions) = (LeaseWord::new(slots), Questions::default());
        Self { identity, slots, word, port, questions, on_free }
    }

    /// What it is and where it runs.
    #[must_use]
    pub fn identity(&self) -> &InstanceIdentity {
        &self.identity
    }

    /// Leases one slot; `None` when full or draining.
    #[must_use]
    pub fn try_lease(self: &Arc<Self>) -> Option<SlotLease> {
        self.word.try_take().then(|| SlotLease { instance: Arc::clone(self) })
    }

    /// Begins to drain; returns the slots still leased. `on_free` is called when they come back.
    pub fn drain(&self) -> u32 {
        self.word.drain()
    }

    /// Slots leased now.
    #[must_use]
    pub fn leased(&self) -> u32 {
        self.word.read().0
    }

    /// What dispatch needs to know; see [`crate::dispatch`].
    #[must_use]
    pub fn load(&self) -> InstanceLoad {
        let (leased, draining) = self.word.read();
        InstanceLoad { variant: self.identity.variant, ready: !draining, slots: self.slots, leased }
    }

    /// What the controller needs to know, as far as the pool knows it; see [`crate::control::step`].
    #[must_use]
    pub fn view(&self, threads: u32) -> InstanceView {
        let (leased, draining) = self.word.read();
        InstanceView {
            id: self.identity.id,
            variant: self.identity.variant,
            devices: self.identity.devices,
            state: if draining { InstanceState::Draining } else { InstanceState::Ready },
            slots: self.slots,
            leased,
            threads,
            progress: self.port.progress(),
            age: Duration::ZERO,
            stale: false,
        }
    }

    /// See [`InstancePort::send`].
    ///
    /// # Errors
    ///
    /// The command, if the instance has ended or does not read.
    pub fn send(&self, command: InstanceCommand) -> Result<(), InstanceCommand> {
        self.port.send(command)
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("identity", &self.identity)
            .field("slots", &self.slots)
            .field("word", &self.word)
            .finish_non_exhaustive()
    }
}

/// The right to use one slot of an instance. Dropping it frees the slot.
#[derive(Debug)]
pub struct SlotLease {
    instance: Arc<Instance>,
}

impl SlotLease {
    /// The instance whose slot this is.
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        self.instance.word.give_back();
        (self.instance.on_free)();
    }
}

/// The instances of one model that can be leased.
#[derive(Clone, Debug)]
pub struct ModelInstances {
    /// The model.
    pub model: ModelName,
    /// Ready instances, in the order in which they became ready.
    pub instances: Vec<Arc<Instance>>,
}

/// What can be served at one moment: the models, and all instances that can be leased.
#[derive(Clone, Debug, Default)]
pub struct PoolSnapshot {
    /// The models on offer.
    pub catalog: Arc<Catalog>,
    /// Instances by model; also of models that are no longer on offer, while requests for them run or wait.
    pub models: Vec<ModelInstances>,
}

impl PoolSnapshot {
    /// The ready instances of a model; empty if there are none.
    #[must_use]
    pub fn instances(&self, model: &ModelName) -> &[Arc<Instance>] {
        self.models.iter().find(|entry| entry.model == *model).map_or(&[], |entry| &entry.instances)
    }
}

/// The pool: one atomically swapped snapshot.
#[derive(Debug, Default)]
pub struct Pool {
    snapshot: ArcSwap<PoolSnapshot>,
}

impl Pool {
    /// A pool without instances.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { snapshot: ArcSwap::from_pointee(PoolSnapshot { catalog, models: Vec::new() }) }
    }

    /// The present snapshot. Load it once per request; hold no guard across `.await`.
    pub fn load(&self) -> arc_swap::Guard<Arc<PoolSnapshot>> {
        self.snapshot.load()
    }

    /// Replaces the snapshot. Only the controller's driver calls this.
    pub fn store(&self, snapshot: PoolSnapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Deaf;

    impl InstancePort for Deaf {
        fn send(&self, command: InstanceCommand) -> Result<(), InstanceCommand> {
            Err(command)
        }
        fn progress(&self) -> u64 {
            0
        }
    }

    fn instance(slots: u32, freed: &Arc<AtomicU32>) -> Arc<Instance> {
        let identity = InstanceIdentity {
            id: InstanceId(1),
            worker: WorkerId(1),
            model: ModelName::new("m"),
            variant: 0,
            variant_name: "f16".into(),
            devices: DeviceSet::HOST,
            files: 0,
        };
        let freed = Arc::clone(freed);
        let on_free = Box::new(move || {
            freed.fetch_add(1, Ordering::Relaxed);
        });
        Arc::new(Instance::new(identity, slots, Arc::new(Deaf), on_free))
    }

    #[test]
    fn leases_never_exceed_slots_and_freeing_one_tells() {
        let freed = Arc::default();
        let instance = instance(2, &freed);
        let first = instance.try_lease();
        let second = instance.try_lease();
        assert!(first.is_some() && second.is_some() && instance.try_lease().is_none());
        drop(first);
        assert_eq!((instance.leased(), freed.load(Ordering::Relaxed)), (1, 1));
        assert!(instance.try_lease().is_some());
    }

    #[test]
    fn draining_instance_grants_no_lease() {
        let freed = Arc::default();
        let instance = instance(2, &freed);
        let lease = instance.try_lease();
        assert_eq!(instance.drain(), 1);
        assert!(instance.try_lease().is_none());
        drop(lease);
        assert_eq!((instance.leased(), freed.load(Ordering::Relaxed)), (0, 1));
        assert!(instance.try_lease().is_none());
    }

    /// Threads lease and return while another drains: at no time more leases than slots, none after drain.
    #[test]
    fn leases_hold_their_bounds_under_contention() {
        const SLOTS: u32 = 3;
        for _ in 0..50 {
            let freed = Arc::default();
            let instance = instance(SLOTS, &freed);
            let held = AtomicU32::new(0);
            let granted = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            if let Some(lease) = instance.try_lease() {
                                assert!(held.fetch_add(1, Ordering::SeqCst) < SLOTS);
                                granted.fetch_add(1, Ordering::SeqCst);
                                held.fetch_sub(1, Ordering::SeqCst);
                                drop(lease);
                            }
                        }
                    });
                }
                scope.spawn(|| {
                    std::thread::yield_now();
                    instance.drain();
                    assert!(instance.try_lease().is_none());
                });
            });
            assert_eq!(instance.leased(), 0);
            assert_eq!(freed.load(Ordering::Relaxed), granted.load(Ordering::Relaxed));
        }
    }
}
