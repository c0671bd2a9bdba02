//! Questions to an instance, which take no slot: a few at a time, so that they never fill the way that requests take.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use super::{Instance, InstanceCommand};
use crate::generation::{GenerationError, Question, Reply};

/// Questions that an instance has at a time; others wait their turn.
pub const MAX_QUESTIONS: usize = 8;

/// What becomes of a question: the answer or why there is none; `None` if the instance ended before.
type Outcome = Option<Result<Reply, GenerationError>>;

/// Takes the answer to a question. Dropped without one, it tells that the instance ended before.
pub struct Answer {
    take: Option<Box<dyn FnOnce(Outcome) + Send>>,
}

impl Answer {
    /// Tells `take`, which must not block: it may run in the thread that prepares requests.
    #[must_use]
    pub fn new(take: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self { take: Some(Box::new(take)) }
    }

    /// Gives the answer.
    pub fn give(mut self, reply: Result<Reply, GenerationError>) {
        if let Some(take) = self.take.take() {
            take(Some(reply));
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(take) = self.take.take() {
            take(None);
        }
    }
}

/// The places for questions to one instance.
pub(super) struct Questions(Arc<Semaphore>);

impl Default for Questions {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_QUESTIONS)))
    }
}

/// What became of a question to one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was answered: the reply, or why there is none, here or elsewhere.
    Answered(Result<Reply, GenerationError>),
    /// The instance takes nothing any more.
    Refused,
    /// The instance ended before it answered.
    Lost,
}

impl Instance {
    /// Questions that can be asked now without waiting.
    #[must_use]
    pub fn free_questions(&self) -> usize {
        self.questions.0.available_permits()
    }

    /// Asks, once fewer than [`MAX_QUESTIONS`] others are being answered.
    pub async fn ask(&self, question: Arc<Question>) -> Asked {
        // Never closed.
        let Ok(place) = Arc::clone(&self.questions.0).acquire_owned().await else { return Asked::Refused };
        let (sender, receiver) = oneshot::channel();
        let answer = Answer::new(move |outcome| {
            // Held until now, also by a question that nobody waits for any more.
            drop(place);
            drop(sender.send(outcome));
        });
        if self.send(InstanceCommand::Ask(question, answer)).is_err() {
            return Asked::Refused;
        }
        match receiver.await {
            Ok(Some(reply)) => Asked::Answered(reply),
            Ok(None) | Err(_) => Asked::Lost,
        }
    }
}
