//! Runs a worker in threads: of the server, or of a worker's own process.
//!
//! The worker's thread owns the weights; each instance has a thread of its own inside the worker's scope, because
//! its context borrows the weights. Commands come in and events go out through channels, so that nothing outside
//! touches llama.cpp.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use super::{
    CpuGate, EventSender, Kill, LoadFault, OnStep, WorkerCommand, WorkerEnd, WorkerEvent, WorkerHandle,
    WorkerSpawner, WorkerSpec, instance,
};
use crate::engine::Loader;
use crate::units::{DeviceSet, InstanceId};

/// Commands that may wait for a worker. More than the instances a worker can have, so that the fleet never blocks.
const COMMAND_INBOX: usize = 4096;

/// Runs workers as threads of this process.
pub struct ThreadSpawner<L> {
    loader: Arc<L>,
    gate: Arc<CpuGate>,
    on_step: OnStep,
}

impl<L: Loader> ThreadSpawner<L> {
    /// All workers of this spawner share `cpu_threads`.
    pub fn new(loader: L, cpu_threads: u32) -> Self {
        Self::with_on_step(loader, cpu_threads, Arc::new(|_| {}))
    }

    /// As [`ThreadSpawner::new`]; `on_step` is called after each step of an instance, in its thread.
    pub fn with_on_step(loader: L, cpu_threads: u32, on_step: OnStep) -> Self {
        Self { loader: Arc::new(loader), gate: Arc::new(CpuGate::new(cpu_threads)), on_step }
    }
}

impl<L: Loader> WorkerSpawner for ThreadSpawner<L> {
    fn spawn(&self, spec: WorkerSpec, events: EventSender) -> std::io::Result<Box<dyn WorkerHandle>> {
        let (commands, inbox) = sync_channel(COMMAND_INBOX);
        let (loader, gate, on_step) =
            (Arc::clone(&self.loader), Arc::clone(&self.gate), Arc::clone(&self.on_step));
        thread::Builder::new().name(format!("worker-{}", spec.id)).spawn(move || {
            let end = run(&*loader, &gate, &on_step, &spec, &inbox, &events);
            // The fleet may be gone during a shutdown; its events then interest nobody.
            drop(events.send(WorkerEvent::Ended { worker: spec.id, end }));
        })?;
        Ok(Box::new(ThreadHandle { commands }))
    }
}

struct ThreadHandle {
    commands: SyncSender<WorkerCommand>,
}

impl WorkerHandle for ThreadHandle {
    fn send(&self, command: WorkerCommand) -> bool {
        self.commands.try_send(command).is_ok()
    }

    fn kill(&self, _why: Kill, _suspect: Option<InstanceId>) -> bool {
        // A thread cannot be ended from outside.
        false
    }

    fn process_id(&self) -> Option<u32> {
        None
    }
}

/// The worker's thread: load, serve commands, unload.
fn run<L: Loader>(
    loader: &L,
    gate: &CpuGate,
    on_step: &OnStep,
    spec: &WorkerSpec,
    inbox: &Receiver<WorkerCommand>,
    events: &EventSender,
) -> WorkerEnd {
    let tell = |event| drop(events.send(event));
    let begun = Instant::now();
    let weights = match catch_unwind(AssertUnwindSafe(|| loader.load(&spec.weights))) {
        Ok(Ok(weights)) => weights,
        Ok(Err(error)) => return WorkerEnd::LoadFailed((&error).into()),
        Err(_) => {
            let reason = "the load panicked; see the log".into();
            return WorkerEnd::LoadFailed(LoadFault { reason, short_of_memory: false });
        }
    };
    tell(WorkerEvent::Loaded { worker: spec.id, took: begun.elapsed() });
    // Only the CPU's users wait for the CPU.
    let gate = (spec.weights.devices == DeviceSet::HOST).then_some(gate);
    thread::scope(|scope| {
        // Ends with `Unload`, or when the fleet is gone; the scope then waits for the instances.
        while let Ok(WorkerCommand::StartInstance { id, context }) = inbox.recv() {
            let weights = &weights;
            let started = thread::Builder::new()
                .name(format!("instance-{id}"))
                .spawn_scoped(scope, move || instance::run(weights, context, gate, id, on_step, events));
            if let Err(error) = started {
                let reason = format!("cannot start a thread: {error}");
                let fault = LoadFault { reason, short_of_memory: true };
                tell(WorkerEvent::InstanceFailed { id, fault });
            }
        }
    });
    drop(weights);
    WorkerEnd::Unloaded
}
