//! The server's end of the socket to a worker: what was sent there, and who waits for its answers.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::questions::Questions;
use crate::engine::ContextSpec;
use crate::generation::{Event, EventSink, GenerationError, Loss, Question, SequenceSpec, Suspicion};
use crate::ipc::{self, FromWorker, News, PROTOCOL, ProtocolError, SequenceId, ToWorker};
use crate::pool::{Answer, InstanceCommand, InstancePort};
use crate::units::{InstanceId, WorkerId};
use crate::worker::{EventSender, ExitReason, LoadFault, WorkerEnd, WorkerEvent};

/// Messages that may wait to be written. More than all slots of a worker; a worker that does not read is frozen.
const OUTBOX: usize = 16 << 10;

/// A sequence that the worker has.
struct InFlight {
    instance: InstanceId,
    sink: Box<dyn EventSink>,
    /// Whether it has yet to show, by a token, that it can go on in this worker.
    on_trial: bool,
    cancelled: bool,
}

#[derive(Default)]
struct Table {
    /// The worker has ended: nothing more goes in.
    closed: bool,
    in_flight: HashMap<SequenceId, InFlight>,
    questions: Questions,
    /// Instances that were ordered and did not report yet.
    ordered: HashSet<InstanceId>,
    /// Steps completed, by instance.
    progress: HashMap<InstanceId, Arc<AtomicU64>>,
    greeted: bool,
    loaded: bool,
    /// What the worker said of its own end.
    end: Option<WorkerEnd>,
}

/// One worker's connection.
pub(super) struct Connection {
    pub(super) worker: WorkerId,
    events: EventSender,
    outbox: mpsc::Sender<Vec<u8>>,
    next_sequence: AtomicU64,
    table: Mutex<Table>,
}

impl Connection {
    /// A connection, and what is to be written to its socket.
    pub(super) fn new(worker: WorkerId, events: EventSender) -> (Arc<Self>, mpsc::Receiver<Vec<u8>>) {
        let (outbox, written) = mpsc::channel(OUTBOX);
        let (next_sequence, table) = (AtomicU64::new(0), Mutex::default());
        (Arc::new(Self { worker, events, outbox, next_sequence, table }), written)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change is complete before anything that could panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message; false if the worker has ended or does not read.
    pub(super) fn send(&self, message: &ToWorker) -> bool {
        let mut frame = Vec::new();
        ipc::encode(message, ipc::MAX_BYTES_TO_WORKER, &mut frame).is_ok()
            && self.outbox.try_send(frame).is_ok()
    }

    /// Orders an instance; false if the worker has ended or does not read.
    pub(super) fn start_instance(&self, id: InstanceId, context: ContextSpec) -> bool {
        self.lock().ordered.insert(id);
        self.send(&ToWorker::StartInstance { id, context })
    }

    /// Tells the controller.
    pub(super) fn tell(&self, event: WorkerEvent) {
        // The fleet may be gone during a shutdown; its events then interest nobody.
        drop(self.events.send(event));
    }

    /// Takes one message of the worker.
    pub(super) fn receive(self: &Arc<Self>, message: FromWorker) -> Result<(), ProtocolError> {
        let greeted = std::mem::replace(&mut self.lock().greeted, true);
        if matches!(message, FromWorker::Hello { .. }) == greeted {
            return Err(unexpected("a greeting comes first, and once"));
        }
        match message {
            FromWorker::Hello { protocol, version } => {
                let own = env!("CARGO_PKG_VERSION");
                if protocol != PROTOCOL || version != own {
                    let reason = format!(
                        "it speaks protocol {protocol} of version {version}, the server {PROTOCOL} of {own}; \
                         restart the server after an update"
                    );
                    return Err(unexpected(&reason));
                }
            }
            FromWorker::Loaded { took_micros } => {
                if std::mem::replace(&mut self.lock().loaded, true) {
                    return Err(unexpected("it has loaded twice"));
                }
                let took = Duration::from_micros(took_micros);
                self.tell(WorkerEvent::Loaded { worker: self.worker, took });
            }
            FromWorker::LoadFailed { reason, short_of_memory } => {
                let fault = LoadFault { reason, short_of_memory };
                self.lock().end = Some(WorkerEnd::LoadFailed(fault));
            }
            FromWorker::InstanceReady { id } => {
                self.report(id)?;
                let progress = Arc::new(AtomicU64::new(0));
                self.lock().progress.insert(id, Arc::clone(&progress));
                let port = Arc::new(ProcessPort { connection: Arc::clone(self), instance: id, progress });
                self.tell(WorkerEvent::InstanceReady { id, port });
            }
            FromWorker::InstanceFailed { id, reason, short_of_memory } => {
                self.forget(id)?;
                let fault = LoadFault { reason, short_of_memory };
                self.tell(WorkerEvent::InstanceFailed { id, fault });
            }
            FromWorker::InstanceStopped { id } => {
                self.forget(id)?;
                self.tell(WorkerEvent::InstanceStopped { id });
            }
            FromWorker::Step { instance, news } => self.step(instance, news),
            FromWorker::Answer { question, answer } => {
                let asked = self.lock().questions.take(question);
                // Without an answer it is dropped, and asked elsewhere.
                if let (Some(asked), Some(answer)) = (asked, answer) {
                    asked.give(answer);
                }
            }
            FromWorker::Unloaded => self.lock().end = Some(WorkerEnd::Unloaded),
        }
        Ok(())
    }

    /// An instance reports for the first time: one that was ordered, and once.
    fn report(&self, id: InstanceId) -> Result<(), ProtocolError> {
        if self.lock().ordered.remove(&id) {
            Ok(())
        } else {
            Err(unexpected("an instance that nobody ordered"))
        }
    }

    /// An instance has ended, before or after it was ready.
    fn forget(&self, id: InstanceId) -> Result<(), ProtocolError> {
        let unanswered = self.lock().questions.take_of(id);
        drop(unanswered);
        if self.lock().progress.remove(&id).is_some() { Ok(()) } else { self.report(id) }
    }

    /// An instance completed a step. Sinks are dropped after the lock is: that frees slots, whose next requests come
    /// right here.
    fn step(&self, instance: InstanceId, news: Vec<(SequenceId, News)>) {
        let mut ended = Vec::new();
        let mut unwanted = Vec::new();
        {
            let mut table = self.lock();
            if let Some(progress) = table.progress.get(&instance) {
                progress.fetch_add(1, Ordering::Relaxed);
            }
            for (sequence, news) in news {
                // A sequence unknown here was cancelled while this was on its way.
                ended.extend(apply(&mut table, sequence, news));
            }
            for (sequence, flight) in &mut table.in_flight {
                if flight.instance == instance && !flight.cancelled && !flight.sink.wanted() {
                    flight.cancelled = true;
                    unwanted.push(*sequence);
                }
            }
        }
        for sequence in unwanted {
            self.send(&ToWorker::Cancel { instance, sequence });
        }
        for (sink, loss) in ended {
            match loss {
                Some(loss) => sink.lost(loss),
                None => drop(sink),
            }
        }
    }

    fn run(
        &self,
        instance: InstanceId,
        spec: SequenceSpec,
        mut sink: Box<dyn EventSink>,
    ) -> Result<(), InstanceCommand> {
        let sequence = self.next_sequence.fetch_add(1, Ordering::Relaxed);
        let message = ToWorker::Run { instance, sequence, spec };
        let mut frame = Vec::new();
        let encoded = ipc::encode(&message, ipc::MAX_BYTES_TO_WORKER, &mut frame);
        let ToWorker::Run { spec, .. } = message else { unreachable!("made above") };
        if let Err(ProtocolError::TooLong { bytes, limit }) = encoded {
            let (bytes, limit) = (bytes as u64, limit as u64);
            sink.emit(Event::Failed(GenerationError::PromptTooLarge { bytes, limit }));
            return Ok(());
        }
        // In one step, so that neither an answer nor the worker's end comes in between.
        let mut table = self.lock();
        if table.closed || self.outbox.try_send(frame).is_err() {
            return Err(InstanceCommand::Run(spec, sink));
        }
        let on_trial = sink.on_trial();
        table.in_flight.insert(sequence, InFlight { instance, sink, on_trial, cancelled: false });
        Ok(())
    }

    /// Asks an instance.
    fn ask(&self, instance: InstanceId, what: Arc<Question>, answer: Answer) -> Result<(), InstanceCommand> {
        let question = self.next_sequence.fetch_add(1, Ordering::Relaxed);
        let message = ToWorker::Ask { instance, question, what: Arc::clone(&what) };
        let mut frame = Vec::new();
        if let Err(ProtocolError::TooLong { bytes, limit }) =
            ipc::encode(&message, ipc::MAX_BYTES_TO_WORKER, &mut frame)
        {
            let (bytes, limit) = (bytes as u64, limit as u64);
            answer.give(Err(GenerationError::PromptTooLarge { bytes, limit }));
            return Ok(());
        }
        let mut table = self.lock();
        if table.closed || self.outbox.try_send(frame).is_err() {
            return Err(InstanceCommand::Ask(what, answer));
        }
        table.questions.add(question, instance, answer);
        Ok(())
    }

    /// Takes no sequence from now on, and gives what the worker said of its own end.
    pub(super) fn close(&self) -> Option<WorkerEnd> {
        let mut table = self.lock();
        table.closed = true;
        table.end.take()
    }

    /// Lets all sequences that the worker had go on elsewhere. `suspect` is the instance that did not answer, if
    /// it was one.
    pub(super) fn lose_all(&self, reason: &ExitReason, suspect: Option<InstanceId>) {
        let (mut lost, asked): (Vec<(SequenceId, InFlight)>, _) = {
            let mut table = self.lock();
            (table.in_flight.drain().collect(), table.questions.take_all())
        };
        if !lost.is_empty() {
            tracing::warn!(worker = %self.worker, requests = lost.len(), "its requests go on elsewhere");
        }
        // In the order in which they came, which is the order in which they continue.
        lost.sort_unstable_by_key(|(sequence, _)| *sequence);
        let is_present = |of: InstanceId| suspect.is_none_or(|instance| instance == of);
        let flights = lost.iter().map(|(_, flight)| (flight.instance, flight.on_trial));
        // A question can be the cause as well: nobody is alone under suspicion beside one.
        let questions = asked.iter().map(|(instance, _)| (*instance, true));
        let may_be: Vec<Standing> = flights
            .chain(questions)
            .map(|(instance, on_trial)| Standing { present: is_present(instance), on_trial })
            .collect();
        let suspicions = suspicions(&may_be, reason.blames_requests());
        for ((_, flight), suspicion) in lost.into_iter().zip(suspicions) {
            flight.sink.lost(Loss::Interrupted { reason: format!("the worker died: {reason}"), suspicion });
        }
    }
}

/// Passes news on; gives the sink if that was the last.
fn apply(table: &mut Table, sequence: SequenceId, news: News) -> Option<(Box<dyn EventSink>, Option<Loss>)> {
    let flight = table.in_flight.get_mut(&sequence)?;
    let loss = match news {
        News::Event(event) => {
            let last = matches!(event, Event::Finished { .. } | Event::Failed(_));
            flight.on_trial &= !matches!(event, Event::Token { .. });
            flight.sink.emit(event);
            if !last {
                return None;
            }
            None
        }
        News::Lost(loss) => Some(loss),
        News::Gone => None,
    };
    table.in_flight.remove(&sequence).map(|flight| (flight.sink, loss))
}

fn unexpected(reason: &str) -> ProtocolError {
    ProtocolError::Garbled { bytes: 0, reason: reason.to_owned() }
}

/// What is known of a sequence when its worker ends.
#[derive(Clone, Copy)]
struct Standing {
    /// Whether it ran where the fault was.
    present: bool,
    /// Whether it had yet to generate its first token here.
    on_trial: bool,
}

/// Who may have ended a worker: those whose first token was yet to come, because the others had shown that they can
/// go on; if there is none, all.
fn suspicions(sequences: &[Standing], blames_requests: bool) -> Vec<Suspicion> {
    let tried = sequences.iter().any(|sequence| sequence.present && sequence.on_trial);
    let suspected =
        |sequence: &Standing| blames_requests && sequence.present && (sequence.on_trial || !tried);
    let count = sequences.iter().filter(|sequence| suspected(sequence)).count();
    let suspicion = if count == 1 { Suspicion::Alone } else { Suspicion::Shared };
    sequences.iter().map(|sequence| if suspected(sequence) { suspicion } else { Suspicion::None }).collect()
}

/// The way to an instance in a worker's process.
struct ProcessPort {
    connection: Arc<Connection>,
    instance: InstanceId,
    progress: Arc<AtomicU64>,
}

impl InstancePort for ProcessPort {
    fn send(&self, command: InstanceCommand) -> Result<(), InstanceCommand> {
        let instance = self.instance;
        let message = match command {
            InstanceCommand::Run(spec, sink) => return self.connection.run(instance, spec, sink),
            InstanceCommand::Ask(question, answer) => return self.connection.ask(instance, question, answer),
            InstanceCommand::SetThreads(threads) => ToWorker::SetThreads { instance, threads },
            InstanceCommand::Stop => ToWorker::Stop { instance },
        };
        if self.connection.send(&message) { Ok(()) } else { Err(command) }
    }

    fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Suspicion::{Alone, None, Shared};

    const TRIED: Standing = Standing { present: true, on_trial: false };
    const ON_TRIAL: Standing = Standing { present: true, on_trial: true };
    const ELSEWHERE: Standing = Standing { present: false, on_trial: true };

    fn check(sequences: &[Standing], blames: bool, expected: &[Suspicion]) {
        assert_eq!(suspicions(sequences, blames), expected);
    }

    #[test]
    fn who_has_yet_to_show_that_it_can_go_on_is_suspected_first() {
        check(&[TRIED, ON_TRIAL, TRIED], true, &[None, Alone, None]);
        check(&[TRIED, ON_TRIAL, ON_TRIAL], true, &[None, Shared, Shared]);
        check(&[TRIED, TRIED], true, &[Shared, Shared]);
        check(&[TRIED], true, &[Alone]);
        check(&[TRIED, ELSEWHERE], true, &[Alone, None]);
        check(&[], true, &[]);
    }

    #[test]
    fn nobody_is_suspected_of_what_came_from_outside() {
        check(&[TRIED, ON_TRIAL], false, &[None, None]);
    }
}
