//! A worker: holds the weights of one variant on one device and runs any number of instances on them.
//!
//! The worker's thread owns the weights; each instance has a thread of its own inside the worker's scope, because
//! its context borrows the weights. Commands come in and events go out through channels, so that nothing outside
//! touches llama.cpp.

mod gate;
mod instance;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

pub use gate::CpuGate;

use crate::engine::{ContextSpec, Loader, Weights, WeightsSpec};
use crate::pool::InstancePort;
use crate::units::{DeviceId, InstanceId, WorkerId};

/// Commands that may wait for a worker. More than the instances a worker can have, so that the fleet never blocks.
const COMMAND_INBOX: usize = 4096;

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCommand {
    /// Make one more instance.
    StartInstance {
        /// Its number.
        id: InstanceId,
        /// Its size.
        context: ContextSpec,
    },
    /// Wait for the instances to end, then free the weights.
    Unload,
}

/// What a worker tells.
#[derive(Debug)]
pub enum WorkerEvent {
    /// The weights are loaded.
    Loaded {
        /// Which worker.
        worker: WorkerId,
        /// How long it took.
        took: Duration,
    },
    /// The weights could not be loaded; the worker has ended.
    LoadFailed {
        /// Which worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// An instance takes requests through its port.
    InstanceReady {
        /// Which.
        id: InstanceId,
        /// The way to it.
        port: InstancePort,
    },
    /// An instance could not be made, or its context is lost; its thread has ended.
    InstanceFailed {
        /// Which.
        id: InstanceId,
        /// Why.
        reason: String,
    },
    /// An instance ended because it was told to.
    InstanceStopped {
        /// Which.
        id: InstanceId,
    },
    /// The weights are freed, the worker has ended.
    Unloaded {
        /// Which worker.
        worker: WorkerId,
    },
}

/// Where a worker's events go. Unbounded for the sender's sake, bounded by its use: each command causes at most
/// two events.
pub type EventSender = tokio::sync::mpsc::UnboundedSender<WorkerEvent>;

/// What a worker shall hold.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// Its number.
    pub id: WorkerId,
    /// The weights.
    pub weights: WeightsSpec,
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    commands: SyncSender<WorkerCommand>,
    thread: thread::JoinHandle<()>,
}

impl WorkerHandle {
    /// Sends a command; false if the worker has ended.
    pub fn send(&self, command: WorkerCommand) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// Waits until the worker's thread has ended. Blocks: call it only when it was told to unload or has ended.
    pub fn join(self) {
        drop(self.commands);
        // A panic was already reported as an event.
        drop(self.thread.join());
    }
}

/// Starts workers. The server is given one and does not know what is behind it.
pub trait WorkerSpawner: Send + Sync {
    /// Starts a worker that loads its weights at once.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    fn spawn(&self, spec: WorkerSpec, events: EventSender) -> std::io::Result<WorkerHandle>;
}

/// Runs workers as threads of this process.
#[derive(Debug)]
pub struct ThreadSpawner<L> {
    loader: Arc<L>,
    gate: Arc<CpuGate>,
}

impl<L: Loader> ThreadSpawner<L> {
    /// All workers of this spawner share `cpu_threads`.
    pub fn new(loader: L, cpu_threads: u32) -> Self {
        Self { loader: Arc::new(loader), gate: Arc::new(CpuGate::new(cpu_threads)) }
    }
}

impl<L: Loader> WorkerSpawner for ThreadSpawner<L> {
    fn spawn(&self, spec: WorkerSpec, events: EventSender) -> std::io::Result<WorkerHandle> {
        let (commands, inbox) = sync_channel(COMMAND_INBOX);
        let (loader, gate) = (Arc::clone(&self.loader), Arc::clone(&self.gate));
        let thread = thread::Builder::new()
            .name(format!("worker-{}", spec.id))
            .spawn(move || run(&*loader, &gate, &spec, &inbox, &events))?;
        Ok(WorkerHandle { commands, thread })
    }
}

/// The worker's thread: load, serve commands, unload.
fn run<L: Loader>(
    loader: &L,
    gate: &CpuGate,
    spec: &WorkerSpec,
    inbox: &Receiver<WorkerCommand>,
    events: &EventSender,
) {
    // The fleet may be gone during a shutdown; its events then interest nobody.
    let tell = |event| drop(events.send(event));
    let worker = spec.id;
    let begun = Instant::now();
    let loaded = catch_unwind(AssertUnwindSafe(|| loader.load(&spec.weights)));
    let weights = match loaded {
        Ok(Ok(weights)) => weights,
        Ok(Err(error)) => return tell(WorkerEvent::LoadFailed { worker, reason: error.to_string() }),
        Err(_) => return tell(WorkerEvent::LoadFailed { worker, reason: "the load panicked".into() }),
    };
    tell(WorkerEvent::Loaded { worker, took: begun.elapsed() });
    // Only the CPU's users wait for the CPU.
    let gate = (spec.weights.device == DeviceId::Host).then_some(gate);
    thread::scope(|scope| {
        // Ends with `Unload`, or when the fleet is gone; the scope then waits for the instances.
        while let Ok(WorkerCommand::StartInstance { id, context }) = inbox.recv() {
            let weights = &weights;
            let started = thread::Builder::new()
                .name(format!("instance-{id}"))
                .spawn_scoped(scope, move || instance::run(weights, context, gate, id, events));
            if let Err(error) = started {
                tell(WorkerEvent::InstanceFailed { id, reason: format!("cannot start a thread: {error}") });
            }
        }
    });
    drop(weights);
    tell(WorkerEvent::Unloaded { worker });
}

/// The inbox of an instance: one run per slot, and a few other commands.
fn instance_inbox(context: ContextSpec) -> usize {
    context.slots as usize + 16
}

/// A context on the worker's weights, or why not.
fn make_context<W: Weights>(weights: &W, spec: ContextSpec) -> Result<W::Context<'_>, String> {
    match catch_unwind(AssertUnwindSafe(|| weights.context(spec))) {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(_) => Err("creating the context panicked".into()),
    }
}
