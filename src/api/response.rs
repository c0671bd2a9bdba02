//! The bodies that clients get: OpenAI's shapes.

use serde::Serialize;

use super::choices::total;
use super::error::ApiError;
use super::logprobs::{Logprobs, Offset};
use super::request::Shape;
use super::timings::Timings;
use crate::generation::{Event, FinishReason, Token, TokenLogprobs, Usage};

/// What all bodies of one answer share.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Which shape.
    pub shape: Shape,
    /// `chatcmpl-…` or `cmpl-…`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// Names the variant that serves, so that clients can tell answers of different variants apart.
    pub fingerprint: String,
    /// Whether the request asked for the probabilities of its tokens.
    pub logprobs: bool,
    /// How many choices each prompt has.
    pub per_prompt: usize,
}

/// Token counts as OpenAI writes them.
#[derive(Clone, Copy, Debug, Serialize)]
struct WireUsage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PromptDetails {
    cached_tokens: u32,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        let Usage { prompt_tokens, cached_tokens, completion_tokens } = usage;
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            prompt_tokens_details: PromptDetails { cached_tokens },
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<WireUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    #[serde(flatten)]
    content: Content<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Content<'a> {
    Message { role: &'static str, content: &'a str },
    Delta(Delta<'a>),
    Text(&'a str),
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// One choice of an answer, as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// What was generated.
    pub text: String,
    /// The tokens that belong to it.
    pub tokens: Vec<Token>,
    /// The probability of each token, where the request asked for it.
    pub logprobs: Vec<TokenLogprobs>,
    /// Why it ended; `None` before.
    pub reason: Option<FinishReason>,
    /// Tokens counted.
    pub usage: Usage,
}

impl Answer {
    /// Adds what the engine tells.
    ///
    /// # Errors
    ///
    /// The failure, if that is what it tells.
    pub fn take(&mut self, event: Event) -> Result<(), ApiError> {
        match event {
            Event::Started { .. } | Event::Cached { .. } | Event::Embedding(_) => {}
            Event::Token { token, text, logprobs } => {
                self.tokens.push(token);
                self.text.push_str(&text);
                self.logprobs.extend(logprobs.map(|logprobs| *logprobs));
            }
            Event::Finished { reason, text, usage } => {
                self.text.push_str(&text);
                self.reason = Some(reason);
                self.usage = usage;
            }
            Event::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// One part of a choice in a stream.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// The beginning: who speaks. Only chats have it.
    Role,
    /// More text, and the probability of the token that made it certain, where the request asked for it.
    Text(&'a str, Option<&'a TokenLogprobs>),
    /// The end.
    Finish(FinishReason),
}

impl Heading {
    /// The same, served by a variant.
    #[must_use]
    pub fn of(mut self, variant: &str) -> Self {
        self.fingerprint = format!("fp_{variant}");
        self
    }

    /// The whole answer as JSON: all its choices, in order.
    #[must_use]
    pub fn whole(&self, answers: &[Answer], timings: Option<Timings>) -> Vec<u8> {
        let object = match self.shape {
            Shape::Chat => "chat.completion",
            Shape::Completion => "text_completion",
        };
        let choices = answers.iter().enumerate().map(|(index, answer)| self.choice(index, answer)).collect();
        let usages: Vec<Usage> = answers.iter().map(|answer| answer.usage).collect();
        self.json(object, choices, Some(total(&usages, self.per_prompt)), timings)
    }

    fn choice<'a>(&self, index: usize, answer: &'a Answer) -> Choice<'a> {
        let content = match self.shape {
            Shape::Chat => Content::Message { role: "assistant", content: &answer.text },
            Shape::Completion => Content::Text(&answer.text),
        };
        let logprobs = || Logprobs::new(self.shape, &answer.logprobs, &mut Offset::default());
        let logprobs = self.logprobs.then(logprobs);
        Choice { index, content, logprobs, finish_reason: answer.reason.map(FinishReason::name) }
    }

    /// One chunk of a stream as JSON. `offset` is where the choice's text is; a token's probability moves it.
    #[must_use]
    pub fn chunk(
        &self,
        index: usize,
        part: Part<'_>,
        offset: &mut Offset,
        timings: Option<Timings>,
    ) -> Vec<u8> {
        let (text, logprobs, finish_reason) = match part {
            Part::Role => (Some(""), None, None),
            Part::Text(text, logprobs) => (Some(text), logprobs, None),
            Part::Finish(reason) => (None, None, Some(reason.name())),
        };
        let role = matches!(part, Part::Role).then_some("assistant");
        let content = match self.shape {
            Shape::Chat => Content::Delta(Delta { role, content: text }),
            Shape::Completion => Content::Text(text.unwrap_or_default()),
        };
        let logprobs = logprobs.map(|token| Logprobs::new(self.shape, std::slice::from_ref(token), offset));
        let choice = Choice { index, content, logprobs, finish_reason };
        self.json(self.chunk_object(), vec![choice], None, timings)
    }

    /// The chunk of token counts, after the end. It has no choice.
    #[must_use]
    pub fn usage_chunk(&self, usage: Usage) -> Vec<u8> {
        self.json(self.chunk_object(), Vec::new(), Some(usage), None)
    }

    const fn chunk_object(&self) -> &'static str {
        match self.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Completion => "text_completion",
        }
    }

    fn json(
        &self,
        object: &'static str,
        choices: Vec<Choice<'_>>,
        usage: Option<Usage>,
        timings: Option<Timings>,
    ) -> Vec<u8> {
        let body = Body {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage: usage.map(WireUsage::from),
            timings,
        };
        serde_json::to_vec(&body).expect("strings and numbers always serialize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::TokenLogprob;

    fn heading(shape: Shape, logprobs: bool) -> Heading {
        Heading {
            shape,
            id: "x-1".into(),
            created: 7,
            model: "m".into(),
            fingerprint: "fp".into(),
            logprobs,
            per_prompt: 2,
        }
    }

    fn answer(text: &str, reason: FinishReason) -> Answer {
        let usage = Usage { prompt_tokens: 3, cached_tokens: 1, completion_tokens: 4 };
        Answer { text: text.into(), reason: Some(reason), usage, ..Answer::default() }
    }

    fn check(json: &[u8], expected: &str) {
        let start = r#"{"id":"x-1","object":"OBJECT","created":7,"model":"m","system_fingerprint":"fp","#;
        let (object, rest) = expected.split_once(' ').unwrap();
        assert_eq!(String::from_utf8_lossy(json), start.replace("OBJECT", object) + rest);
    }

    const COUNTS: &str = r#""usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":1}}}"#;

    #[test]
    fn answers_have_openais_shapes() {
        check(
            &heading(Shape::Chat, false).whole(&[answer("hi", FinishReason::Stop)], None),
            &format!(
                r#"chat.completion "choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"logprobs":null,"finish_reason":"stop"}}],{COUNTS}"#
            ),
        );
        check(
            &heading(Shape::Completion, true).whole(&[answer("hi", FinishReason::Length)], None),
            &format!(
                r#"text_completion "choices":[{{"index":0,"text":"hi","logprobs":{{"tokens":[],"token_logprobs":[],"top_logprobs":[],"text_offset":[]}},"finish_reason":"length"}}],{COUNTS}"#
            ),
        );
    }

    #[test]
    fn all_choices_are_counted_and_their_prompt_once() {
        let json = heading(Shape::Completion, false)
            .whole(&[answer("a", FinishReason::Stop), answer("b", FinishReason::Length)], None);
        check(
            &json,
            r#"text_completion "choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":"stop"},{"index":1,"text":"b","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":8,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":1}}}"#,
        );
    }

    #[test]
    fn chunks_have_openais_shapes() {
        let (chat, mut offset) = (heading(Shape::Chat, true), Offset::default());
        let logprob = TokenLogprob { token: 1, bytes: b"h\n".to_vec(), logprob: -1.0 };
        let logprobs = TokenLogprobs { chosen: logprob, top: Vec::new() };
        for (part, rest) in [
            (
                Part::Role,
                r#""choices":[{"index":2,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}"#,
            ),
            (
                Part::Text("h\n", Some(&logprobs)),
                r#""choices":[{"index":2,"delta":{"content":"h\n"},"logprobs":{"content":[{"token":"h\n","logprob":-1.0,"bytes":[104,10],"top_logprobs":[]}]},"finish_reason":null}]}"#,
            ),
            (
                Part::Finish(FinishReason::Stop),
                r#""choices":[{"index":2,"delta":{},"logprobs":null,"finish_reason":"stop"}]}"#,
            ),
        ] {
            check(&chat.chunk(2, part, &mut offset, None), &format!("chat.completion.chunk {rest}"));
        }
        let usage = answer("", FinishReason::Stop).usage;
        check(&chat.usage_chunk(usage), &format!(r#"chat.completion.chunk "choices":[],{COUNTS}"#));
    }

    #[test]
    fn offsets_go_on_from_chunk_to_chunk() {
        let (completion, mut offset) = (heading(Shape::Completion, true), Offset::default());
        let mut chunk = |bytes: &[u8]| {
            let chosen = TokenLogprob { token: 1, bytes: bytes.to_vec(), logprob: -1.0 };
            let logprobs = TokenLogprobs { chosen, top: Vec::new() };
            String::from_utf8(completion.chunk(0, Part::Text("", Some(&logprobs)), &mut offset, None))
                .unwrap()
        };
        assert!(chunk("\u{e9}x".as_bytes()).contains(r#""text_offset":[0]"#));
        assert!(chunk(b"y").contains(r#""text_offset":[2]"#));
    }
}
