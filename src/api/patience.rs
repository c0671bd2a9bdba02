//! The body of a stream from the moment in which its status was sent: comments while there is nothing else to send, so that
//! clients and proxies see that it is alive.
//!
//! A stream whose request waits begins before the request is accepted. What is wrong with it is then told as an event.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::dialect::Dialect;
use super::error::ApiError;
use crate::admission::{Outlook, Place};
use crate::cache::Source;

/// How long a stream waits for its request to be accepted before it begins: what is refused sooner has its own status.
pub const HEAD_START: Duration = Duration::from_secs(1);
/// The longest time without a byte.
const SILENCE: Duration = Duration::from_secs(10);

/// The frames of an answer, as they come.
pub type Frames = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>> + Send + Sync>>;
/// A request that waits to be accepted.
pub type Begun = Pin<Box<dyn Future<Output = Result<Frames, ApiError>> + Send + Sync>>;

enum State {
    Waits(Begun),
    Goes(Frames),
    Ended,
}

/// What the comments are about.
pub struct Subject {
    /// Where the answers come from.
    pub source: Source,
    /// Where the request's choices stand.
    pub places: Vec<Place>,
}

/// A stream that is never silent for long.
pub struct PatientStream {
    state: State,
    subject: Subject,
    /// How errors are told.
    dialect: Dialect,
    /// When a comment is due.
    silence: Pin<Box<Sleep>>,
    last: VecDeque<Bytes>,
}

impl PatientStream {
    /// The stream of a request that was accepted.
    #[must_use]
    pub fn going(stream: Frames, subject: Subject, dialect: Dialect) -> Self {
        Self::new(State::Goes(stream), subject, dialect, SILENCE)
    }

    /// The stream of a request that has waited for a while already. Says so at once.
    #[must_use]
    pub fn waiting(begun: Begun, subject: Subject, dialect: Dialect) -> Self {
        Self::new(State::Waits(begun), subject, dialect, Duration::ZERO)
    }

    fn new(state: State, subject: Subject, dialect: Dialect, silence: Duration) -> Self {
        let silence = Box::pin(sleep_until(Instant::now() + silence));
        Self { state, subject, dialect, silence, last: VecDeque::new() }
    }

    /// The next frame of the answer; pending while there is none.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(frame) = self.last.pop_front() {
                return Poll::Ready(Some(frame));
            }
            match &mut self.state {
                State::Waits(begun) => match ready!(begun.as_mut().poll(context)) {
                    Ok(stream) => self.state = State::Goes(stream),
                    Err(error) => {
                        tracing::debug!(model = %self.subject.source.model(), %error, "refused after a wait");
                        self.last.push_back(self.dialect.frame(&error, 0));
                        self.state = State::Ended;
                    }
                },
                State::Goes(stream) => {
                    let Ok(frame) = ready!(stream.as_mut().poll_next(context)).transpose();
                    return Poll::Ready(frame);
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for PatientStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let frame = match self.poll_answer(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(context));
                let Subject { source, places } = &self.subject;
                Some(comment(&source.admission().outlook(source.model(), places)))
            }
        };
        self.silence.as_mut().reset(Instant::now() + SILENCE);
        Poll::Ready(frame.map(Ok))
    }
}

/// A comment of server-sent events: a line that begins with a colon, which clients pass over.
fn comment(outlook: &Outlook) -> Bytes {
    let text = match outlook {
        Outlook::Queued { position } => format!("queue position {position}"),
        Outlook::Loading { percent: Some(percent) } => format!("loading model, {percent} %"),
        Outlook::Loading { percent: None } => "loading model".to_owned(),
        Outlook::NoInstance { explanation } => {
            // A line break would end the comment.
            format!("waiting for an instance: {}", explanation.replace(['\r', '\n'], " "))
        }
        Outlook::Served => "working".to_owned(),
    };
    format!(": {text}\n\n").into()
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use std::sync::Arc;

    use super::*;
    use crate::admission::Admission;
    use crate::clock::Clock;
    use crate::units::ModelName;

    #[tokio::test(start_paused = true)]
    async fn nobody_hears_nothing_for_more_than_ten_seconds() {
        let (pool, wake) = (Arc::default(), Arc::default());
        let admission = Arc::new(Admission::new(pool, Clock::start(), &[], wake));
        let source = Source::uncached(admission, ModelName::new("m"));
        let subject = Subject { source, places: Vec::new() };
        let begun: Begun = Box::pin(std::future::pending());
        let mut stream = PatientStream::waiting(begun, subject, Dialect::CHAT);
        let begun = Instant::now();
        let mut heard = Vec::new();
        for _ in 0..3 {
            let Ok(frame) = stream.next().await.expect("it never ends");
            heard.push((begun.elapsed().as_secs(), frame));
        }
        let working = Bytes::from_static(b": working\n\n");
        assert_eq!(heard, [(0, working.clone()), (10, working.clone()), (20, working)]);
    }

    #[test]
    fn a_comment_is_one_line() {
        let check = |outlook: Outlook, text: &str| assert_eq!(comment(&outlook), format!(": {text}\n\n"));
        check(Outlook::Queued { position: 3 }, "queue position 3");
        check(Outlook::Loading { percent: Some(42) }, "loading model, 42 %");
        check(Outlook::Loading { percent: None }, "loading model");
        let explanation = "no headroom\ndata: x".to_owned();
        check(Outlook::NoInstance { explanation }, "waiting for an instance: no headroom data: x");
        check(Outlook::Served, "working");
    }
}
