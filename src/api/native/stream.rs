//! llama-server's own stream: an event for each piece of text, the last of which has what a whole answer has. There is no
//! `[DONE]` after it. One that breaks ends with an error event, and without one that says `"stop":true`.

use super::{Heading, Part, Probability};
use crate::admission::Pace;
use crate::api::answer::{Answer, Reader};
use crate::api::choices::Choices;
use crate::api::dialect::Dialect;
use crate::api::error::ApiError;
use crate::api::stream::{Outbox, Writer};
use crate::generation::{Event, Token, TokenLogprobs};

/// Writes such streams.
pub(super) struct NativeWriter {
    heading: Heading,
    dialect: Dialect,
    /// What the end of each answer tells of it.
    answers: Vec<Answer>,
}

impl NativeWriter {
    /// Writes the answers to these requests.
    pub(super) fn new(heading: Heading, dialect: Dialect) -> Self {
        let answers = vec![Answer::new(Reader::new(None)); heading.requests.len()];
        Self { heading, dialect, answers }
    }

    /// One more piece of an answer, and the token that made it certain.
    fn part(
        &self,
        index: usize,
        text: &str,
        token: Option<(Token, Option<&TokenLogprobs>)>,
        pace: Pace,
        out: &mut Outbox,
    ) {
        if !self.heading.predicts {
            return;
        }
        let logprobs = token.and_then(|(_, logprobs)| logprobs);
        let token = token.map(|(token, _)| token).filter(|_| self.heading.return_tokens);
        if text.is_empty() && token.is_none() && logprobs.is_none() {
            return;
        }
        out.data(&Part {
            index,
            content: text,
            tokens: token.as_slice(),
            stop: false,
            tokens_predicted: pace.usage.completion_tokens,
            tokens_evaluated: pace.usage.prompt_tokens,
            completion_probabilities: logprobs.map(|found| vec![Probability::from(found)]),
            timings: self.heading.timings_per_token.then(|| pace.into()),
        });
    }
}

impl Writer for NativeWriter {
    fn take(
        &mut self,
        choices: &Choices,
        index: usize,
        event: Event,
        out: &mut Outbox,
    ) -> Result<(), ApiError> {
        let pace = choices.pace(index);
        match event {
            Event::Started { .. } | Event::Cached { .. } | Event::Embedding(_) => {}
            Event::Token { token, text, logprobs } => {
                self.part(index, &text, Some((token, logprobs.as_deref())), pace, out);
            }
            Event::Finished { reason, text, usage } => {
                self.part(index, &text, None, pace, out);
                let answer = &mut self.answers[index];
                (answer.reason, answer.usage) = (Some(reason), usage);
                out.data(&self.heading.whole(index, &self.answers[index], pace));
            }
            Event::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Outbox) {}

    fn fail(&mut self, error: &ApiError, out: &mut Outbox) {
        out.frame(self.dialect.frame(error, 0));
    }
}
