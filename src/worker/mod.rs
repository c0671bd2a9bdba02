//! A worker: holds the weights of one variant on one device and runs any number of instances on them.
//!
//! The server talks to workers through [`WorkerHandle`], [`InstancePort`] and
//! [`WorkerEvent`], and does not know where they run: [`thread`] runs them inside the server, [`process`] in a process
//! of their own, whose inside is [`child`].

pub mod child;
mod exit;
mod gate;
mod instance;
mod oom;
pub mod process;
pub mod sandbox;
pub mod thread;

use std::sync::Arc;
use std::time::Duration;

pub use exit::{ExitReason, Kill, describe};
pub use gate::CpuGate;

use crate::engine::{ContextSpec, EngineError, WeightsSpec};
use crate::policy::Isolation;
use crate::pool::InstancePort;
use crate::units::{InstanceId, WorkerId};

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

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// It was told to.
    Unloaded,
    /// It could not load its weights, and said why.
    LoadFailed(LoadFault),
    /// It ended by itself or was killed; its instances are gone.
    Died(ExitReason),
}

/// Why something could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFault {
    /// What the engine said.
    pub reason: String,
    /// Whether memory is what was missing.
    pub short_of_memory: bool,
}

impl From<&EngineError> for LoadFault {
    fn from(error: &EngineError) -> Self {
        Self { reason: error.to_string(), short_of_memory: error.short_of_memory() }
    }
}

/// Called by an instance's thread after each of its steps.
pub type OnStep = Arc<dyn Fn(InstanceId) + Send + Sync>;

/// What a worker tells.
pub enum WorkerEvent {
    /// The weights are loaded.
    Loaded {
        /// Which worker.
        worker: WorkerId,
        /// How long it took.
        took: Duration,
    },
    /// An instance takes requests through its port.
    InstanceReady {
        /// Which.
        id: InstanceId,
        /// The way to it.
        port: Arc<dyn InstancePort>,
    },
    /// An instance could not be made, or its context is lost; it has ended.
    InstanceFailed {
        /// Which.
        id: InstanceId,
        /// Why.
        fault: LoadFault,
    },
    /// An instance ended because it was told to.
    InstanceStopped {
        /// Which.
        id: InstanceId,
    },
    /// The worker has ended, with all its instances.
    Ended {
        /// Which worker.
        worker: WorkerId,
        /// How.
        end: WorkerEnd,
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
    /// Where it runs.
    pub isolation: Isolation,
}

/// A worker that was started.
pub trait WorkerHandle: Send {
    /// Sends a command without blocking; false if the worker has ended.
    fn send(&self, command: WorkerCommand) -> bool;

    /// Ends the worker at once, whatever it does; its end is reported as any other. False if that is impossible.
    /// `suspect` is the instance whose sequences may be the cause, if it is known.
    fn kill(&self, why: Kill, suspect: Option<InstanceId>) -> bool;

    /// Its process, if it has one of its own.
    fn process_id(&self) -> Option<u32>;
}

/// Starts workers. The server is given one and does not know what is behind it.
pub trait WorkerSpawner: Send + Sync {
    /// Starts a worker that loads its weights at once.
    ///
    /// # Errors
    ///
    /// If the system gives no thread or process.
    fn spawn(&self, spec: WorkerSpec, events: EventSender) -> std::io::Result<Box<dyn WorkerHandle>>;
}

/// Starts each worker where its model's policy wants it.
pub struct ByIsolation {
    /// Starts those in processes.
    pub process: Box<dyn WorkerSpawner>,
    /// Starts those in threads.
    pub thread: Box<dyn WorkerSpawner>,
}

impl WorkerSpawner for ByIsolation {
    fn spawn(&self, spec: WorkerSpec, events: EventSender) -> std::io::Result<Box<dyn WorkerHandle>> {
        match spec.isolation {
            Isolation::Process => self.process.spawn(spec, events),
            Isolation::Thread => self.thread.spawn(spec, events),
        }
    }
}
