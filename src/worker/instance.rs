//! The thread of one instance: waits for commands while idle, runs the engine's loop while not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Instant;

use super::{CpuGate, EventSender, LoadFault, OnStep, WorkerEvent};
use crate::engine::{Context, ContextSpec, Engine, Weights, prepare};
use crate::generation::Event;
use crate::pool::{InstanceCommand, InstancePort};
use crate::units::InstanceId;

/// Decode calls that may fail in a row before the instance is given up.
const MAX_FAILURES_IN_A_ROW: u32 = 3;

/// The way to an instance's thread.
struct ThreadPort {
    commands: SyncSender<InstanceCommand>,
    progress: Arc<AtomicU64>,
}

impl InstancePort for ThreadPort {
    fn send(&self, command: InstanceCommand) -> Result<(), InstanceCommand> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) | TrySendError::Disconnected(command) => command,
        })
    }

    fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }
}

/// Makes the context, serves, and tells how it ended.
pub(super) fn run<W: Weights>(
    weights: &W,
    spec: ContextSpec,
    gate: Option<&CpuGate>,
    id: InstanceId,
    on_step: &OnStep,
    events: &EventSender,
) {
    // The fleet may be gone during a shutdown; its events then interest nobody.
    let tell = |event| drop(events.send(event));
    let context = match make_context(weights, spec) {
        Ok(context) => context,
        Err(fault) => return tell(WorkerEvent::InstanceFailed { id, fault }),
    };
    // One run per slot, and a few other commands.
    let (commands, inbox) = sync_channel(spec.slots as usize + 16);
    let progress = Arc::new(AtomicU64::new(0));
    let port = Arc::new(ThreadPort { commands, progress: Arc::clone(&progress) });
    tell(WorkerEvent::InstanceReady { id, port });
    let stepped = || {
        progress.fetch_add(1, Ordering::Relaxed);
        on_step(id);
    };
    // A broken invariant ends this instance, not the worker; dropped sinks let their requests go on elsewhere.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let engine = Engine::new(context, Arc::clone(weights.vocabulary()));
        let mut service = Service {
            engine,
            weights,
            spec,
            threads: spec.threads,
            gate,
            failures: 0,
            stepped: &stepped,
            unreported: false,
        };
        service.serve(&inbox)
    }));
    on_step(id);
    let failed = |reason| {
        let fault = LoadFault { reason, short_of_memory: false };
        tell(WorkerEvent::InstanceFailed { id, fault });
    };
    match ended {
        Ok(Ok(())) => tell(WorkerEvent::InstanceStopped { id }),
        Ok(Err(reason)) => failed(reason),
        Err(_) => failed("the instance panicked; see the log".into()),
    }
}

/// A context on the worker's weights, or why not.
fn make_context<W: Weights>(weights: &W, spec: ContextSpec) -> Result<W::Context<'_>, LoadFault> {
    match catch_unwind(AssertUnwindSafe(|| weights.context(spec))) {
        Ok(made) => made.map_err(|error| (&error).into()),
        Err(_) => Err(LoadFault { reason: "creating the context panicked".into(), short_of_memory: false }),
    }
}

struct Service<'a, W, C> {
    engine: Engine<C>,
    weights: &'a W,
    spec: ContextSpec,
    threads: u32,
    gate: Option<&'a CpuGate>,
    failures: u32,
    stepped: &'a dyn Fn(),
    /// Whether sequences have news that no step has reported.
    unreported: bool,
}

impl<W: Weights, C: Context> Service<'_, W, C> {
    /// Runs until told to stop, or until the pool has forgotten this instance.
    fn serve(&mut self, inbox: &Receiver<InstanceCommand>) -> Result<(), String> {
        loop {
            let next = if self.engine.is_idle() {
                if std::mem::take(&mut self.unreported) {
                    (self.stepped)();
                }
                inbox.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                inbox.try_recv()
            };
            match next {
                Ok(InstanceCommand::Run(spec, mut sink)) => {
                    match prepare(self.weights, self.spec, spec) {
                        Ok(prepared) => self.engine.admit(prepared, sink),
                        Err(error) => sink.emit(Event::Failed(error)),
                    }
                    self.unreported = true;
                }
                Ok(InstanceCommand::SetThreads(threads)) => self.set_threads(threads)?,
                Ok(InstanceCommand::Stop) | Err(TryRecvError::Disconnected) => {
                    self.engine.stop();
                    return Ok(());
                }
                // Only after the inbox is empty, so that all who arrived share the next decode call.
                Err(TryRecvError::Empty) => self.step()?,
            }
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let permits = self.gate.map(|gate| gate.enter(self.threads));
        let begun = Instant::now();
        let outcome = self.engine.step();
        drop(permits);
        match outcome {
            Ok(report) => {
                self.failures = 0;
                self.engine.pace(report, begun.elapsed());
            }
            Err(error) => {
                self.failures += 1;
                tracing::error!(%error, in_a_row = self.failures, "a decode call failed");
                if self.failures >= MAX_FAILURES_IN_A_ROW {
                    return Err(error.to_string());
                }
            }
        }
        self.unreported = false;
        (self.stepped)();
        Ok(())
    }

    fn set_threads(&mut self, threads: u32) -> Result<(), String> {
        // The new context warms its threads up.
        let _permits = self.gate.map(|gate| gate.enter(self.threads.max(threads)));
        self.engine.set_threads(threads).map_err(|error| error.to_string())?;
        self.threads = threads;
        (self.stepped)();
        Ok(())
    }
}
