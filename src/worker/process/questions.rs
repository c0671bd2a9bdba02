//! Questions that a worker's process has not answered yet.

use std::collections::HashMap;

use crate::ipc::QuestionId;
use crate::pool::Answer;
use crate::units::InstanceId;

/// Who waits for which answer. What is taken out is dropped or told by the caller, outside of its lock.
#[derive(Default)]
pub(super) struct Questions {
    waiting: HashMap<QuestionId, (InstanceId, Answer)>,
}

impl Questions {
    pub(super) fn add(&mut self, question: QuestionId, instance: InstanceId, answer: Answer) {
        self.waiting.insert(question, (instance, answer));
    }

    /// The one that is answered now; `None` if it is not known.
    pub(super) fn take(&mut self, question: QuestionId) -> Option<Answer> {
        self.waiting.remove(&question).map(|(_, answer)| answer)
    }

    /// Those of an instance that has ended.
    pub(super) fn take_of(&mut self, instance: InstanceId) -> Vec<Answer> {
        self.waiting.extract_if(|_, (of, _)| *of == instance).map(|(_, (_, answer))| answer).collect()
    }

    /// All, because the worker has ended; with the instance that each was for.
    pub(super) fn take_all(&mut self) -> Vec<(InstanceId, Answer)> {
        self.waiting.drain().map(|(_, question)| question).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::super::connection::Connection;
    use super::*;
    use crate::engine::ContextSpec;
    use crate::generation::{
        Event, EventSink, GenerationError, GenerationRequest, Loss, Prompt, Question, Reply, Suspicion,
    };
    use crate::ipc::{FromWorker, PROTOCOL};
    use crate::pool::{InstanceCommand, InstancePort};
    use crate::units::WorkerId;
    use crate::worker::{ExitReason, WorkerEvent};

    const INSTANCE: InstanceId = InstanceId(2);

    /// A worker's connection, and the way to its one instance.
    fn connected() -> (Arc<Connection>, Arc<dyn InstancePort>, impl Sized) {
        let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
        let (connection, outbox) = Connection::new(WorkerId(1), events);
        let version = env!("CARGO_PKG_VERSION").into();
        connection.receive(FromWorker::Hello { protocol: PROTOCOL, version }).unwrap();
        assert!(connection.start_instance(INSTANCE, ContextSpec::sized(1, 64, 1)));
        connection.receive(FromWorker::InstanceReady { id: INSTANCE }).unwrap();
        let Ok(WorkerEvent::InstanceReady { port, .. }) = told.try_recv() else { panic!("it is ready") };
        (connection, port, outbox)
    }

    type Outcome = Option<Result<Reply, GenerationError>>;

    fn question(sender: Sender<Outcome>) -> InstanceCommand {
        let answer = Answer::new(move |outcome| sender.send(outcome).unwrap());
        InstanceCommand::Ask(Arc::new(Question::Detokenize(vec![1])), answer)
    }

    fn ask(port: &Arc<dyn InstancePort>) -> Receiver<Outcome> {
        let (sender, outcome) = channel();
        assert!(port.send(question(sender)).is_ok());
        outcome
    }

    #[test]
    fn a_question_is_answered_once_and_lost_with_its_instance() {
        let (connection, port, _outbox) = connected();
        let (first, second) = (ask(&port), ask(&port));
        let reply = Reply::Text("x".into());
        for question in [0, 0, 99] {
            connection.receive(FromWorker::Answer { question, answer: Some(Ok(reply.clone())) }).unwrap();
        }
        assert_eq!(first.try_iter().collect::<Vec<_>>(), [Some(Ok(reply))]);
        connection.receive(FromWorker::InstanceStopped { id: INSTANCE }).unwrap();
        assert_eq!(second.try_iter().collect::<Vec<_>>(), [None]);
    }

    /// Notes how it was lost.
    struct Sink(Arc<Mutex<Option<Loss>>>);

    impl EventSink for Sink {
        fn emit(&mut self, _event: Event) {}
        fn wanted(&self) -> bool {
            true
        }
        fn lost(self: Box<Self>, loss: Loss) {
            *self.0.lock().unwrap() = Some(loss);
        }
    }

    #[test]
    fn a_question_shares_the_suspicion_when_its_worker_dies() {
        for asks in [false, true] {
            let (connection, port, _outbox) = connected();
            let loss = Arc::default();
            let request = GenerationRequest::new(Prompt::Text("a".into()));
            let run = InstanceCommand::Run(request.into(), Box::new(Sink(Arc::clone(&loss))));
            assert!(port.send(run).is_ok());
            let asked = asks.then(|| ask(&port));
            connection.close();
            connection.lose_all(&ExitReason::Crashed { signal: 11 }, None);
            let expected = if asks { Suspicion::Shared } else { Suspicion::Alone };
            let lost = loss.lock().unwrap().take();
            assert!(
                matches!(&lost, Some(Loss::Interrupted { suspicion, .. }) if *suspicion == expected),
                "{asks}: {lost:?}"
            );
            assert!(asked.is_none_or(|outcome| outcome.try_recv() == Ok(None)));
            let (sender, _outcome) = channel();
            assert!(port.send(question(sender)).is_err(), "nothing more goes in");
        }
    }
}
