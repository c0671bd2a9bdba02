//! Asks an instance what its weights alone can answer. A question takes no slot, so it never waits for answers that are
//! being generated; but where nothing is loaded, it waits in the queue like a request, so that the model is loaded.

use std::sync::Arc;

use super::{Admission, Arrival, ModelQueue, Rejection, Trail, Turn};
use crate::generation::{GenerationError, GenerationRequest, Prompt, Question, Reply};
use crate::pool::{Asked, Instance};
use crate::units::ModelName;

/// Instances that may end over a question before it is given up.
const MAX_LOST: u32 = 2;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no instance for it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It cannot be answered.
    #[error(transparent)]
    Failed(#[from] GenerationError),
}

impl Admission {
    /// Asks an instance of a model.
    ///
    /// # Errors
    ///
    /// [`AskError`] if there is no instance, or no answer.
    pub async fn ask(self: &Arc<Self>, model: &ModelName, question: Question) -> Result<Reply, AskError> {
        let queue = self.queue(model).ok_or_else(|| Rejection::Removed { model: model.clone() })?;
        let question = Arc::new(question);
        let mut lost = 0;
        while lost < MAX_LOST {
            let instance = self.any_instance(&queue).await?;
            let patience = queue.policy().queue.timeout;
            let Ok(asked) = tokio::time::timeout(patience, instance.ask(Arc::clone(&question))).await else {
                return Err(unanswered(0, format!("no answer within {} ms", patience.as_millis())));
            };
            match asked {
                Asked::Answered(reply) => return Ok(reply?),
                // It has ended and the controller does not know yet. Nobody shall ask it again.
                Asked::Refused => drop(instance.drain()),
                Asked::Lost => lost += 1,
            }
        }
        Err(unanswered(lost, "the instances that were asked have ended".into()))
    }

    /// How many tokens a prompt has for a model, those that are added to it included.
    ///
    /// # Errors
    ///
    /// As [`Admission::ask`].
    pub async fn count_tokens(self: &Arc<Self>, model: &ModelName, prompt: Prompt) -> Result<u32, AskError> {
        match self.ask(model, Question::Count(prompt)).await? {
            Reply::Count(tokens) => Ok(tokens),
            _ => Err(unanswered(0, "the worker answered another question".into())),
        }
    }

    /// The ready instance with the fewest questions; waits for one if there is none.
    async fn any_instance(&self, queue: &Arc<ModelQueue>) -> Result<Arc<Instance>, Rejection> {
        self.refuse_when_closed()?;
        let stands_for_it = GenerationRequest::new(Prompt::Text(String::new()));
        let (mut demand, trail) = (None, Arc::new(Trail::default()));
        let arrival = Arrival::from(std::time::Instant::now());
        let turn = self.acquire(queue, &mut demand, Turn::Arrival(&stands_for_it), &trail, &arrival);
        let mut turn = std::pin::pin!(turn);
        loop {
            let mut ready = std::pin::pin!(queue.ready.notified());
            // From here on, so that one that becomes ready now is not missed.
            ready.as_mut().enable();
            if let Some(found) = self.least_asked(queue) {
                return Ok(found);
            }
            tokio::select! {
                grant = &mut turn => return Ok(Arc::clone(grant?.lease.instance())),
                // Others came first and have its slots; it answers nevertheless.
                () = ready => {}
            }
        }
    }

    fn least_asked(&self, queue: &ModelQueue) -> Option<Arc<Instance>> {
        let snapshot = self.pool.load();
        let ready = snapshot.instances(&queue.name).iter().filter(|instance| instance.load().ready);
        ready.max_by_key(|instance| instance.free_questions()).cloned()
    }
}

fn unanswered(interruptions: u32, reason: String) -> AskError {
    GenerationError::Lost { interruptions, reason }.into()
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
