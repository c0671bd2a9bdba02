//! Workers in virtual time: they load, generate, freeze and die when the seed says so.
//!
//! What they generate is known beforehand: token number `n` has the text `n,`. So a client sees from its text alone
//! whether a token is missing or was repeated.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modelpool::generation::{Event, EventSink, FinishReason, Loss, Prompt, SequenceSpec, Suspicion, Usage};
use modelpool::pool::{InstanceCommand, InstancePort};
use modelpool::units::InstanceId;
use modelpool::worker::{
    EventSender, ExitReason, Kill, LoadFault, WorkerCommand, WorkerEnd, WorkerEvent, WorkerHandle,
    WorkerSpawner, WorkerSpec,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::random::Random;

/// Virtual time of one decode step.
const STEP: Duration = Duration::from_millis(5);
/// A prompt that ends every worker that serves it.
pub const POISON: &str = "poison";

/// What workers do of themselves, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Odds {
    pub dies_loading: u32,
    pub hangs_loading: u32,
    pub short_of_memory: u32,
    pub instance_fails: u32,
    /// In each hundred milliseconds of its life.
    pub dies: u32,
    pub freezes: u32,
}

/// What all workers of a run share.
pub struct Shared {
    pub random: Mutex<Random>,
    pub odds: Odds,
    /// Sequences that some worker holds; zero when all is over.
    pub sequences: AtomicI64,
    /// Workers that live.
    pub workers: AtomicI64,
    /// Deaths and freezes, for the run's digest.
    pub faults: AtomicU64,
}

impl Shared {
    pub fn below(&self, limit: u64) -> u64 {
        lock(&self.random).below(limit)
    }

    fn happens(&self, percent: u32) -> bool {
        self.below(100) < u64::from(percent)
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct SimulatedSpawner(pub Arc<Shared>);

impl WorkerSpawner for SimulatedSpawner {
    fn spawn(&self, spec: WorkerSpec, events: EventSender) -> io::Result<Box<dyn WorkerHandle>> {
        if self.0.happens(1) {
            return Err(io::Error::other("told to fail"));
        }
        let (commands, inbox) = mpsc::unbounded_channel();
        let (kill, kills) = mpsc::unbounded_channel();
        let worker = Worker {
            spec,
            shared: Arc::clone(&self.0),
            events,
            state: Arc::default(),
            told_to_unload: false,
            coming: Vec::new(),
            frozen: false,
        };
        self.0.workers.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(worker.live(inbox, kills));
        Ok(Box::new(Handle { commands, kill }))
    }
}

struct Handle {
    commands: mpsc::UnboundedSender<WorkerCommand>,
    kill: mpsc::UnboundedSender<Kill>,
}

impl WorkerHandle for Handle {
    fn send(&self, command: WorkerCommand) -> bool {
        self.commands.send(command).is_ok()
    }
    fn kill(&self, why: Kill, _suspect: Option<InstanceId>) -> bool {
        self.kill.send(why).is_ok()
    }
    fn process_id(&self) -> Option<u32> {
        None
    }
}

struct Sequence {
    spec: SequenceSpec,
    sink: Box<dyn EventSink>,
    on_trial: bool,
    started: bool,
}

#[derive(Default)]
struct Instance {
    slots: usize,
    sequences: Vec<Sequence>,
    progress: u64,
    told_to_stop: bool,
}

/// What a port reaches: the instances of one worker.
#[derive(Default)]
struct State {
    dead: bool,
    instances: BTreeMap<InstanceId, Instance>,
}

struct Port {
    id: InstanceId,
    state: Arc<Mutex<State>>,
    shared: Arc<Shared>,
}

impl InstancePort for Port {
    fn send(&self, command: InstanceCommand) -> Result<(), InstanceCommand> {
        let mut state = lock(&self.state);
        let State { dead, instances } = &mut *state;
        let Some(instance) = instances.get_mut(&self.id).filter(|_| !*dead) else { return Err(command) };
        match command {
            InstanceCommand::Run(spec, sink) => {
                assert!(instance.sequences.len() < instance.slots, "more sequences than slots");
                let on_trial = sink.on_trial();
                self.shared.sequences.fetch_add(1, Ordering::Relaxed);
                instance.sequences.push(Sequence { spec, sink, on_trial, started: false });
            }
            InstanceCommand::Stop => {
                assert!(instance.sequences.is_empty(), "an instance is stopped only when it has drained");
                instance.told_to_stop = true;
            }
            // Dropped: nobody asks here.
            InstanceCommand::Ask(..) | InstanceCommand::SetThreads(_) => {}
        }
        Ok(())
    }

    fn progress(&self) -> u64 {
        lock(&self.state).instances.get(&self.id).map_or(0, |instance| instance.progress)
    }
}

struct Worker {
    spec: WorkerSpec,
    shared: Arc<Shared>,
    events: EventSender,
    state: Arc<Mutex<State>>,
    told_to_unload: bool,
    /// Instances that are being made.
    coming: Vec<(Instant, InstanceId, usize)>,
    frozen: bool,
}

impl Worker {
    async fn live(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<WorkerCommand>,
        mut kills: mpsc::UnboundedReceiver<Kill>,
    ) {
        let end = tokio::select! {
            biased;
            Some(kill) = kills.recv() => WorkerEnd::Died(ExitReason::EndedByServer(kill)),
            end = self.run(&mut inbox) => end,
        };
        self.shared.faults.fetch_add(u64::from(matches!(end, WorkerEnd::Died(_))), Ordering::Relaxed);
        self.shared.workers.fetch_sub(1, Ordering::Relaxed);
        let blames = matches!(&end, WorkerEnd::Died(reason) if reason.blames_requests());
        let poisoned = matches!(&end, WorkerEnd::Died(ExitReason::Aborted { .. }));
        drop(self.events.send(WorkerEvent::Ended { worker: self.spec.id, end }));
        self.lose_all(blames, poisoned);
    }

    /// Deaths that are nobody's fault cast suspicion, too, but never on one alone: chance would condemn the innocent
    /// here, where workers die a thousand times as often as anywhere else.
    fn lose_all(&self, blames: bool, poisoned: bool) {
        let instances = {
            let mut state = lock(&self.state);
            state.dead = true;
            std::mem::take(&mut state.instances)
        };
        let lost: Vec<Sequence> = instances.into_values().flat_map(|instance| instance.sequences).collect();
        let tried = lost.iter().any(|sequence| sequence.on_trial);
        let suspected = |sequence: &Sequence| blames && (sequence.on_trial || !tried);
        let count = lost.iter().filter(|sequence| suspected(sequence)).count();
        for sequence in lost {
            let suspicion = match (suspected(&sequence), count) {
                (false, _) => Suspicion::None,
                (true, 1) if poisoned => Suspicion::Alone,
                (true, _) => Suspicion::Shared,
            };
            self.shared.sequences.fetch_sub(1, Ordering::Relaxed);
            sequence.sink.lost(Loss::Interrupted { reason: "simulated".into(), suspicion });
        }
    }

    async fn run(&mut self, inbox: &mut mpsc::UnboundedReceiver<WorkerCommand>) -> WorkerEnd {
        let begun = Instant::now();
        sleep(Duration::from_millis(1 + self.shared.below(200))).await;
        if self.shared.happens(self.shared.odds.hangs_loading) {
            std::future::pending::<()>().await;
        }
        if self.shared.happens(self.shared.odds.dies_loading) {
            return WorkerEnd::Died(ExitReason::Crashed { signal: 11 });
        }
        if self.shared.happens(self.shared.odds.short_of_memory) {
            return WorkerEnd::LoadFailed(LoadFault {
                reason: "out of memory".into(),
                short_of_memory: true,
            });
        }
        drop(self.events.send(WorkerEvent::Loaded { worker: self.spec.id, took: begun.elapsed() }));
        let mut steps = 0u64;
        loop {
            sleep(STEP).await;
            steps += 1;
            while let Ok(command) = inbox.try_recv() {
                self.obey(command);
            }
            if self.frozen {
                continue;
            }
            if steps.is_multiple_of(20) {
                if self.shared.happens(self.shared.odds.dies) {
                    let outside = self.shared.happens(50);
                    let crash = ExitReason::Crashed { signal: 11 };
                    return WorkerEnd::Died(if outside {
                        ExitReason::KilledFromOutside { signal: 9 }
                    } else {
                        crash
                    });
                }
                self.frozen = self.shared.happens(self.shared.odds.freezes);
            }
            self.make_instances();
            if self.step() {
                return WorkerEnd::Died(ExitReason::Aborted {
                    message: "poison".into(),
                    short_of_memory: false,
                });
            }
            if self.told_to_unload && self.coming.is_empty() && lock(&self.state).instances.is_empty() {
                return WorkerEnd::Unloaded;
            }
        }
    }

    fn obey(&mut self, command: WorkerCommand) {
        match command {
            WorkerCommand::StartInstance { id, context } => {
                let ready = Instant::now() + Duration::from_millis(self.shared.below(50));
                self.coming.push((ready, id, context.slots as usize));
            }
            WorkerCommand::Unload => self.told_to_unload = true,
        }
    }

    fn make_instances(&mut self) {
        let now = Instant::now();
        let (ready, coming) = std::mem::take(&mut self.coming).into_iter().partition(|(at, ..)| *at <= now);
        self.coming = coming;
        let ready: Vec<(Instant, InstanceId, usize)> = ready;
        for (_, id, slots) in ready {
            let event = if self.shared.happens(self.shared.odds.instance_fails) {
                let fault = LoadFault { reason: "told to fail".into(), short_of_memory: false };
                WorkerEvent::InstanceFailed { id, fault }
            } else {
                lock(&self.state).instances.insert(id, Instance { slots, ..Instance::default() });
                let (state, shared) = (Arc::clone(&self.state), Arc::clone(&self.shared));
                WorkerEvent::InstanceReady { id, port: Arc::new(Port { id, state, shared }) }
            };
            drop(self.events.send(event));
        }
    }

    /// One token for each sequence; true if one of them ends the worker. Sinks are dropped outside of the lock: that
    /// frees slots, whose next requests come right here.
    fn step(&mut self) -> bool {
        let mut ended = Vec::new();
        let mut stopped = Vec::new();
        {
            let mut state = lock(&self.state);
            let mut sequences = state.instances.values().flat_map(|instance| &instance.sequences);
            if sequences.any(|sequence| sequence.spec.request.prompt == Prompt::Text(POISON.into())) {
                return true;
            }
            for (id, instance) in &mut state.instances {
                instance.sequences.iter_mut().for_each(advance);
                if !instance.sequences.is_empty() {
                    instance.progress += 1;
                }
                let done = |sequence: &Sequence| !sequence.sink.wanted() || is_complete(&sequence.spec);
                ended.extend(instance.sequences.extract_if(.., |sequence| done(sequence)));
                if instance.told_to_stop {
                    stopped.push(*id);
                }
            }
            for id in &stopped {
                state.instances.remove(id);
            }
        }
        self.shared.sequences.fetch_sub(i64::try_from(ended.len()).unwrap(), Ordering::Relaxed);
        for id in stopped {
            drop(self.events.send(WorkerEvent::InstanceStopped { id }));
        }
        false
    }
}

fn target(spec: &SequenceSpec) -> usize {
    spec.request.max_tokens.expect("admission fixes it") as usize
}

fn is_complete(spec: &SequenceSpec) -> bool {
    spec.generated.len() >= target(spec)
}

/// Generates the next token.
fn advance(sequence: &mut Sequence) {
    if !std::mem::replace(&mut sequence.started, true) {
        sequence.sink.emit(Event::Started { prompt_tokens: 1 });
    }
    let number = u32::try_from(sequence.spec.generated.len()).unwrap();
    let in_order = sequence.spec.generated.iter().zip(0..).all(|(token, expected)| *token == expected);
    assert!(in_order, "a sequence comes back with other tokens: {:?}", sequence.spec.generated);
    sequence.spec.generated.push(number);
    sequence.on_trial = false;
    let text = format!("{number},");
    sequence.sink.emit(if is_complete(&sequence.spec) {
        let usage = Usage { prompt_tokens: 1, cached_tokens: 0, completion_tokens: number + 1 };
        Event::Finished { reason: FinishReason::Length, text, usage }
    } else {
        Event::Token { token: number, text, logprobs: None }
    });
}
