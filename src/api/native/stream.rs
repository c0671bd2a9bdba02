//! llama-server's own stream: an event for each piece of text, the last of which has what a whole answer has. There is no
//! `[DONE]` after it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;

use super::{Heading, Part, Probability};
use crate::api::answer::{Answer, Reader};
use crate::api::choices::Choices;
use crate::api::error::ApiError;
use crate::api::stream::frame;
use crate::generation::{Event, Token, TokenLogprobs};

/// The body of a streaming answer. One that breaks ends with an error event, and without one that says `"stop":true`.
pub(super) struct NativeStream {
    /// `None` after the end.
    choices: Option<Choices>,
    heading: Heading,
    prompt_field: &'static str,
    /// What the end of each answer tells of it.
    answers: Vec<Answer>,
    /// Frames not sent yet.
    frames: VecDeque<Bytes>,
}

impl NativeStream {
    /// The stream of answers that have started.
    pub(super) fn new(choices: Choices, heading: Heading, prompt_field: &'static str) -> Self {
        let answers = vec![Answer::new(Reader::new(None)); choices.count()];
        Self { choices: Some(choices), heading, prompt_field, answers, frames: VecDeque::new() }
    }

    fn push(&mut self, event: &impl Serialize) {
        self.frames
            .push_back(frame(&serde_json::to_vec(event).expect("strings and numbers always serialize")));
    }

    fn push_part(
        &mut self,
        index: usize,
        text: &str,
        token: Option<Token>,
        logprobs: Option<&TokenLogprobs>,
    ) {
        if !self.heading.predicts {
            return;
        }
        let token = token.filter(|_| self.heading.return_tokens);
        if text.is_empty() && token.is_none() && logprobs.is_none() {
            return;
        }
        let Some(pace) = self.choices.as_ref().map(|choices| choices.pace(index)) else { return };
        let part = Part {
            index,
            content: text,
            tokens: token.as_slice(),
            stop: false,
            tokens_predicted: pace.usage.completion_tokens,
            tokens_evaluated: pace.usage.prompt_tokens,
            completion_probabilities: logprobs.map(|found| vec![Probability::from(found)]),
            timings: self.heading.timings_per_token.then(|| pace.into()),
        };
        self.push(&part);
    }

    fn take(&mut self, index: usize, event: Event) {
        match event {
            Event::Started { .. } | Event::Cached { .. } | Event::Embedding(_) => {}
            Event::Token { token, text, logprobs } => {
                self.push_part(index, &text, Some(token), logprobs.as_deref());
            }
            Event::Finished { reason, text, usage } => {
                self.push_part(index, &text, None, None);
                let Some(pace) = self.choices.as_ref().map(|choices| choices.pace(index)) else { return };
                let answer = &mut self.answers[index];
                (answer.reason, answer.usage) = (Some(reason), usage);
                let whole = self.heading.whole(index, &self.answers[index], pace);
                let json = serde_json::to_vec(&whole).expect("strings and numbers always serialize");
                self.frames.push_back(frame(&json));
            }
            Event::Failed(error) => {
                self.push(&ApiError::from(error).body(self.prompt_field));
                self.choices = None;
            }
        }
    }
}

impl Stream for NativeStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some(choices) = &mut self.choices else { return Poll::Ready(None) };
            match ready!(choices.poll_next(context)) {
                Some((index, event)) => self.take(index, event),
                None => self.choices = None,
            }
        }
    }
}
