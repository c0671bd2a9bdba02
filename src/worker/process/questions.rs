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
