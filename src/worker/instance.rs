//! The thread of one instance: waits for commands while idle, runs the engine's loop while not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use super::{CpuGate, EventSender, WorkerEvent, instance_inbox, make_context};
use crate::engine::{Context, ContextSpec, Engine, Weights};
use crate::pool::InstanceCommand;
use crate::units::InstanceId;

/// Decode calls that may fail in a row before the instance is given up.
const MAX_FAILURES_IN_A_ROW: u32 = 3;

/// Makes the context, serves, and tells how it ended.
pub(super) fn run<W: Weights>(
    weights: &W,
    spec: ContextSpec,
    gate: Option<&CpuGate>,
    id: InstanceId,
    events: &EventSender,
) {
    let tell = |event| drop(events.send(event));
    let context = match make_context(weights, spec) {
        Ok(context) => context,
        Err(reason) => return tell(WorkerEvent::InstanceFailed { id, reason }),
    };
    let (port, inbox) = sync_channel(instance_inbox(spec));
    tell(WorkerEvent::InstanceReady { id, port });
    // A broken invariant ends this instance, not the server; dropped sinks tell their clients.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut service = Service { engine: Engine::new(context), threads: spec.threads, gate, failures: 0 };
        service.serve(&inbox)
    }));
    match ended {
        Ok(Ok(())) => tell(WorkerEvent::InstanceStopped { id }),
        Ok(Err(reason)) => tell(WorkerEvent::InstanceFailed { id, reason }),
        Err(_) => {
            let reason = "the instance panicked; see the log".into();
            tell(WorkerEvent::InstanceFailed { id, reason });
        }
    }
}

struct Service<'gate, C> {
    engine: Engine<C>,
    threads: u32,
    gate: Option<&'gate CpuGate>,
    failures: u32,
}

impl<C: Context> Service<'_, C> {
    /// Runs until told to stop, or until the pool has forgotten this instance.
    fn serve(&mut self, inbox: &Receiver<InstanceCommand>) -> Result<(), String> {
        loop {
            let next = if self.engine.is_idle() {
                inbox.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                inbox.try_recv()
            };
            match next {
                Ok(InstanceCommand::Run(request, sink)) => self.engine.admit(request, sink),
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
        let outcome = self.engine.step();
        drop(permits);
        match outcome {
            Ok(_) => self.failures = 0,
            Err(error) => {
                self.failures += 1;
                tracing::error!(%error, in_a_row = self.failures, "a decode call failed");
                if self.failures >= MAX_FAILURES_IN_A_ROW {
                    self.engine.stop();
                    return Err(error.to_string());
                }
            }
        }
        Ok(())
    }

    fn set_threads(&mut self, threads: u32) -> Result<(), String> {
        // The new context warms its threads up.
        let _permits = self.gate.map(|gate| gate.enter(self.threads.max(threads)));
        self.engine.set_threads(threads).map_err(|error| error.to_string())?;
        self.threads = threads;
        Ok(())
    }
}
