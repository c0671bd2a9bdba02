//! The threads of one instance.
//!
//! One runs the engine's loop, and waits for commands while there is nothing to compute. One makes requests computable
//! before they get there, one turns what the loop tells into text and sends it: neither a long prompt, a large grammar
//! nor a slow reader holds up a decode call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Instant;

use super::{CpuGate, EventSender, LoadFault, OnStep, WorkerEvent};
use crate::engine::{Context, ContextSpec, Emission, Emitter, Engine, Prepared, Weights, answer, prepare};
use crate::generation::{Event, EventSink, Loss};
use crate::pool::{InstanceCommand, InstancePort, MAX_QUESTIONS};
use crate::units::InstanceId;

/// Decode calls that may fail in a row before the instance is given up.
const MAX_FAILURES_IN_A_ROW: u32 = 3;
/// Steps that the emitter may be behind before the loop waits for it.
const STEPS_BEHIND: usize = 64;

/// The way to an instance's threads.
struct ThreadPort {
    commands: Arc<SyncSender<InstanceCommand>>,
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

/// What the loop is told.
enum Order {
    Admit(Box<Prepared>, Box<dyn EventSink>),
    SetThreads(u32),
    Stop,
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
    // One run per slot, questions, and a few other commands.
    let (commands, inbox) = sync_channel(spec.slots as usize + MAX_QUESTIONS + 16);
    let commands = Arc::new(commands);
    // The loop ends the intake with it; but while it runs, the pool alone decides how long commands can come.
    let last_command = Arc::downgrade(&commands);
    let progress = Arc::new(AtomicU64::new(0));
    let port = Arc::new(ThreadPort { commands, progress: Arc::clone(&progress) });
    tell(WorkerEvent::InstanceReady { id, port });
    let stepped = || {
        progress.fetch_add(1, Ordering::Relaxed);
        on_step(id);
    };
    let ended = thread::scope(|scope| {
        let (orders, order_inbox) = sync_channel(spec.slots as usize + 16);
        let (told, told_inbox) = sync_channel(STEPS_BEHIND);
        let emitter = Emitter::new(Arc::clone(weights.vocabulary()));
        let name = |role| thread::Builder::new().name(format!("{role}-{id}"));
        let begun = name("intake")
            .spawn_scoped(scope, move || take_in(weights, spec, &inbox, &orders, &|| on_step(id)))
            .and_then(|_| {
                name("emitter").spawn_scoped(scope, move || send_out(emitter, &told_inbox, &stepped))
            });
        let ended = match begun {
            Err(error) => Ok(Err(format!("cannot start a thread: {error}"))),
            // A broken invariant ends this instance, not the worker; dropped sinks let their requests go on elsewhere.
            Ok(_) => catch_unwind(AssertUnwindSafe(|| {
                let engine = Engine::new(context, Arc::clone(weights.vocabulary()));
                Service { engine, threads: spec.threads, gate, failures: 0, told }.serve(&order_inbox)
            })),
        };
        if let Some(commands) = last_command.upgrade() {
            // If there is no room, the intake has work and will find that nobody takes it.
            drop(commands.try_send(InstanceCommand::Stop));
        }
        ended
    });
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

/// The intake's thread: makes requests computable, in order, until told to stop or until the pool has forgotten this
/// instance.
fn take_in<W: Weights>(
    weights: &W,
    spec: ContextSpec,
    inbox: &Receiver<InstanceCommand>,
    orders: &SyncSender<Order>,
    on_news: &dyn Fn(),
) {
    while let Ok(command) = inbox.recv() {
        let order = match command {
            InstanceCommand::Run(sequence, mut sink) => match prepare(weights, spec, sequence) {
                Ok(prepared) => Order::Admit(Box::new(prepared), sink),
                Err(error) => {
                    sink.emit(Event::Failed(error));
                    drop(sink);
                    on_news();
                    continue;
                }
            },
            InstanceCommand::Ask(question, to) => {
                to.give(answer(weights, &question, spec.pooling.is_some()));
                continue;
            }
            InstanceCommand::SetThreads(threads) => Order::SetThreads(threads),
            InstanceCommand::Stop => {
                // The loop may have ended by itself.
                drop(orders.send(Order::Stop));
                break;
            }
        };
        if let Err(refused) = orders.send(order) {
            if let Order::Admit(_, sink) = refused.0 {
                sink.lost(Loss::Undelivered);
                on_news();
            }
            break;
        }
    }
    // Who comes too late goes on elsewhere: sinks that are dropped count as lost, these were never begun.
    for command in inbox.try_iter() {
        if let InstanceCommand::Run(_, sink) = command {
            sink.lost(Loss::Undelivered);
        }
    }
    on_news();
}

/// The emitter's thread: passes on what the loop tells, until the loop has ended.
fn send_out(mut emitter: Emitter, told: &Receiver<Vec<Emission>>, stepped: &dyn Fn()) {
    while let Ok(emissions) = told.recv() {
        emitter.emit(emissions);
        stepped();
    }
}

struct Service<'a, C> {
    engine: Engine<C>,
    threads: u32,
    gate: Option<&'a CpuGate>,
    failures: u32,
    told: SyncSender<Vec<Emission>>,
}

impl<C: Context> Service<'_, C> {
    /// Runs until told to stop, or until the intake has ended.
    fn serve(&mut self, inbox: &Receiver<Order>) -> Result<(), String> {
        loop {
            let next = if self.engine.is_idle() {
                self.tell(false)?;
                inbox.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                inbox.try_recv()
            };
            match next {
                Ok(Order::Admit(prepared, sink)) => self.engine.admit(*prepared, sink),
                Ok(Order::SetThreads(threads)) => self.set_threads(threads)?,
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                    self.engine.stop();
                    return self.tell(false);
                }
                // Only after the inbox is empty, so that all who arrived share the next decode call.
                Err(TryRecvError::Empty) => self.step()?,
            }
        }
    }

    /// Hands what the engine told to the emitter; with `always` also if it told nothing, as a sign of life.
    fn tell(&mut self, always: bool) -> Result<(), String> {
        let emissions = self.engine.take_emissions();
        if emissions.is_empty() && !always {
            return Ok(());
        }
        self.told.send(emissions).map_err(|_| "the thread that sends what is generated has ended".into())
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
                    self.tell(true)?;
                    return Err(error.to_string());
                }
            }
        }
        self.tell(true)
    }

    fn set_threads(&mut self, threads: u32) -> Result<(), String> {
        // The new context warms its threads up.
        let _permits = self.gate.map(|gate| gate.enter(self.threads.max(threads)));
        let outcome = self.engine.set_threads(threads).map_err(|error| error.to_string());
        self.threads = threads;
        self.tell(true).and(outcome)
    }
}
