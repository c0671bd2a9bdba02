//! What the server and a worker's process say to each other, and how it is written.
//!
//! Frames over a socket pair: the length of the message as four bytes, little-endian, then the message in postcard's
//! format. The worker's first message says which protocol it speaks; the server ends whoever speaks another one. PURE:
//! who reads and writes the socket is the caller.

mod codec;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use codec::{FrameReader, ProtocolError, encode};

use crate::engine::{ContextSpec, WeightsSpec};
use crate::generation::{Event, Loss, SequenceSpec};
use crate::policy::Split;
use crate::units::{DeviceSet, InstanceId, WorkerId};

/// Changes with every change of a message.
pub const PROTOCOL: u32 = 4;

/// The largest message to a worker: a prompt and what belongs to it.
pub const MAX_BYTES_TO_WORKER: usize = 64 << 20;
/// The largest message of a worker: the events of one step.
pub const MAX_BYTES_FROM_WORKER: usize = 4 << 20;

/// The number of a sequence in its worker; never reused.
pub type SequenceId = u64;

/// What a worker is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Confine yourself and load. The first message.
    Load(LoadOrder),
    /// Make an instance.
    StartInstance {
        /// Its number.
        id: InstanceId,
        /// Its size.
        context: ContextSpec,
    },
    /// Run a sequence in an instance.
    Run {
        /// The instance.
        instance: InstanceId,
        /// The sequence's number.
        sequence: SequenceId,
        /// What to run.
        spec: SequenceSpec,
    },
    /// Nobody listens to a sequence any more.
    Cancel {
        /// The instance.
        instance: InstanceId,
        /// The sequence's number.
        sequence: SequenceId,
    },
    /// Compute with this many CPU threads.
    SetThreads {
        /// The instance.
        instance: InstanceId,
        /// How many.
        threads: u32,
    },
    /// End an instance.
    Stop {
        /// The instance.
        instance: InstanceId,
    },
    /// Wait for the instances to end, then end.
    Unload,
}

/// What a worker shall load, and within which limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadOrder {
    /// The worker's number.
    pub worker: WorkerId,
    /// The GGUF file. Bytes, because paths need not be UTF-8.
    path: Vec<u8>,
    /// Where the weights go.
    pub devices: DeviceSet,
    /// Layers whose weights go to GPUs; `None` is all.
    pub gpu_layers: Option<u32>,
    /// How they are divided between several.
    pub split: Split,
    /// CPU threads that all instances of this worker may compute with at the same time.
    pub cpu_threads: u32,
    /// The most memory that it may take for itself; only for workers on the host.
    pub memory_limit_bytes: Option<u64>,
}

impl LoadOrder {
    /// An order to load `weights`.
    #[must_use]
    pub fn new(
        worker: WorkerId,
        weights: &WeightsSpec,
        cpu_threads: u32,
        memory_limit_bytes: Option<u64>,
    ) -> Self {
        let path = weights.path.as_os_str().as_encoded_bytes().to_vec();
        Self {
            worker,
            path,
            devices: weights.devices,
            gpu_layers: weights.gpu_layers,
            split: weights.split,
            cpu_threads,
            memory_limit_bytes,
        }
    }

    /// What to load.
    #[must_use]
    pub fn weights(&self) -> WeightsSpec {
        use std::os::unix::ffi::OsStringExt;
        let path = PathBuf::from(std::ffi::OsString::from_vec(self.path.clone()));
        WeightsSpec { path, devices: self.devices, gpu_layers: self.gpu_layers, split: self.split }
    }
}

/// What a worker tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The first message.
    Hello {
        /// [`PROTOCOL`] of its build.
        protocol: u32,
        /// Version of its build.
        version: String,
    },
    /// The weights are loaded.
    Loaded {
        /// Microseconds that it took.
        took_micros: u64,
    },
    /// The weights could not be loaded; the worker ends.
    LoadFailed {
        /// Why.
        reason: String,
        /// Whether memory is what was missing.
        short_of_memory: bool,
    },
    /// An instance takes sequences.
    InstanceReady {
        /// Which.
        id: InstanceId,
    },
    /// An instance could not be made, or ended by itself.
    InstanceFailed {
        /// Which.
        id: InstanceId,
        /// Why.
        reason: String,
        /// Whether memory is what was missing.
        short_of_memory: bool,
    },
    /// An instance ended because it was told to.
    InstanceStopped {
        /// Which.
        id: InstanceId,
    },
    /// An instance completed a step: that is progress, even where no sequence has news.
    Step {
        /// Which.
        instance: InstanceId,
        /// News of its sequences, in order.
        news: Vec<(SequenceId, News)>,
    },
    /// The instances have ended and so does the worker.
    Unloaded,
}

/// News of one sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// What the engine told.
    Event(Event),
    /// The instance lost it.
    Lost(Loss),
    /// It was given up as told; its slot is free.
    Gone,
}
