//! What one request came to, from the events of its stream and when they came. PURE.
//!
//! The words TTFT, ITL and TPOT mean what docs/glossary.md says, seen by the client.

use std::fmt;
use std::time::Duration;

use super::stream::{Event, Usage};

/// A complete answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// When it was asked for, since the measurements began.
    pub asked: Duration,
    /// From the request to the first text; `None` if there was none.
    pub ttft: Option<Duration>,
    /// From the request to the end of the answer.
    pub e2e: Duration,
    /// Between two pieces of text.
    pub gaps: Vec<Duration>,
    /// As the server counted; `None` if it did not.
    pub prompt_tokens: Option<u64>,
    /// As the server counted, or else the pieces of text.
    pub output_tokens: u64,
}

impl Answer {
    /// Time per output token after the first.
    pub(super) fn tpot(&self) -> Option<Duration> {
        let others = u32::try_from(self.output_tokens.checked_sub(1)?).ok()?;
        self.e2e.checked_sub(self.ttft?)?.checked_div(others)
    }
}

/// Why there is no complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub kind: FailureKind,
    /// More about this one.
    pub detail: String,
}

/// A closed set, to count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FailureKind {
    /// No connection.
    Connect,
    /// Refused with this status.
    Status(u16),
    /// The connection ended within the answer.
    CutOff,
    /// The stream ended without `[DONE]`.
    NoDone,
    /// The server sent an error within the stream.
    ErrorEvent,
    /// The server sent something that is no stream of chunks.
    NotUnderstood,
    /// It took too long.
    Timeout,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::CutOff => f.write_str("cut off"),
            Self::NoDone => f.write_str("ended without [DONE]"),
            Self::ErrorEvent => f.write_str("error in the stream"),
            Self::NotUnderstood => f.write_str("not understood"),
            Self::Timeout => f.write_str("timeout"),
        }
    }
}

impl FailureKind {
    pub(super) fn with(self, detail: impl Into<String>) -> Failure {
        Failure { kind: self, detail: detail.into() }
    }
}

/// What has come of an answer.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    answer: Answer,
    last_text: Option<Duration>,
    pieces: u64,
    usage: Option<Usage>,
    done: Option<Duration>,
    failure: Option<Failure>,
}

impl Timeline {
    /// An event came, `at` after the request. After a failure nothing counts.
    pub(super) fn note(&mut self, at: Duration, event: Event) {
        match event {
            Event::Chunk(chunk) => {
                self.usage = chunk.usage.or(self.usage);
                if chunk.text {
                    self.text(at);
                }
            }
            Event::Done => self.done = self.done.or(Some(at)),
            Event::Error(said) => self.fail(FailureKind::ErrorEvent.with(said)),
            Event::NotUnderstood(why) => self.fail(FailureKind::NotUnderstood.with(why)),
        }
    }

    /// The first failure is the cause of those that follow.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    fn text(&mut self, at: Duration) {
        self.pieces += 1;
        match self.last_text.replace(at) {
            Some(before) => self.answer.gaps.push(at.saturating_sub(before)),
            None => self.answer.ttft = Some(at),
        }
    }

    /// The stream is over.
    pub(super) fn end(self) -> Result<Answer, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let came = || format!("after {} pieces of text", self.pieces);
        let e2e = self.done.ok_or_else(|| FailureKind::NoDone.with(came()))?;
        let counted = self.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens));
        let prompt_tokens = counted.map(|(prompt, _)| prompt);
        let output_tokens = counted.map_or(self.pieces, |(_, output)| output);
        Ok(Answer { e2e, prompt_tokens, output_tokens, ..self.answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::server::stream::Chunk;

    fn text() -> Event {
        Event::Chunk(Chunk { text: true, usage: None })
    }

    fn usage(prompt_tokens: u64, completion_tokens: u64) -> Event {
        Event::Chunk(Chunk { text: false, usage: Some(Usage { prompt_tokens, completion_tokens }) })
    }

    fn ended(events: impl IntoIterator<Item = (u64, Event)>) -> Result<Answer, Failure> {
        let mut timeline = Timeline::default();
        for (at, event) in events {
            timeline.note(Duration::from_millis(at), event);
        }
        timeline.end()
    }

    #[test]
    fn times_are_counted_between_pieces_of_text() {
        let role = Event::Chunk(Chunk::default());
        let events =
            [(2, role), (10, text()), (15, text()), (40, text()), (41, usage(9, 4)), (43, Event::Done)];
        let answer = ended(events).unwrap();
        let ms = Duration::from_millis;
        assert_eq!(answer.ttft, Some(ms(10)));
        assert_eq!(answer.gaps, [ms(5), ms(25)]);
        assert_eq!(answer.e2e, ms(43));
        assert_eq!((answer.prompt_tokens, answer.output_tokens), (Some(9), 4));
        assert_eq!(answer.tpot(), Some(ms(11)));
    }

    #[test]
    fn without_the_servers_count_pieces_are_counted() {
        let answer = ended([(1, text()), (2, text()), (3, Event::Done)]).unwrap();
        assert_eq!((answer.prompt_tokens, answer.output_tokens), (None, 2));
        let nothing = ended([(3, Event::Done)]).unwrap();
        assert_eq!((nothing.ttft, nothing.tpot(), nothing.output_tokens), (None, None, 0));
        let one = ended([(1, text()), (3, Event::Done)]).unwrap();
        assert_eq!(one.tpot(), None);
    }

    #[test]
    fn what_is_not_complete_is_a_failure() {
        let error = || Event::Error("full".into());
        for (events, kind) in [
            (vec![], FailureKind::NoDone),
            (vec![(1, text()), (2, usage(1, 1))], FailureKind::NoDone),
            (vec![(1, text()), (2, error()), (3, Event::Done)], FailureKind::ErrorEvent),
            (vec![(1, Event::NotUnderstood("x".into())), (2, error())], FailureKind::NotUnderstood),
        ] {
            assert_eq!(ended(events).unwrap_err().kind, kind);
        }
    }
}
