//! The bodies that clients get: OpenAI's shapes.

use serde::Serialize;

use super::request::Shape;
use crate::generation::{FinishReason, Usage};

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
}

/// Token counts as OpenAI writes them.
#[derive(Clone, Copy, Debug, Serialize)]
struct WireUsage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        let Usage { prompt_tokens, completion_tokens, .. } = usage;
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
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
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(flatten)]
    content: Content<'a>,
    logprobs: Option<()>,
    finish_reason: Option<FinishReason>,
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

/// One part of a stream.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// The beginning: who speaks. Only chats have it.
    Role,
    /// More text.
    Text(&'a str),
    /// The end.
    Finish(FinishReason),
    /// Token counts, after the end.
    Usage(Usage),
}

impl Heading {
    /// The whole answer as JSON.
    #[must_use]
    pub fn whole(&self, text: &str, reason: FinishReason, usage: Usage) -> Vec<u8> {
        let (object, content) = match self.shape {
            Shape::Chat => ("chat.completion", Content::Message { role: "assistant", content: text }),
            Shape::Completion => ("text_completion", Content::Text(text)),
        };
        self.json(object, Some((content, Some(reason))), Some(usage))
    }

    /// One chunk of a stream as JSON.
    #[must_use]
    pub fn chunk(&self, part: Part<'_>) -> Vec<u8> {
        let (text, reason, usage) = match part {
            Part::Role => (Some(""), None, None),
            Part::Text(text) => (Some(text), None, None),
            Part::Finish(reason) => (None, Some(reason), None),
            Part::Usage(usage) => (None, None, Some(usage)),
        };
        let role = matches!(part, Part::Role).then_some("assistant");
        let (object, content) = match self.shape {
            Shape::Chat => ("chat.completion.chunk", Content::Delta(Delta { role, content: text })),
            Shape::Completion => ("text_completion", Content::Text(text.unwrap_or_default())),
        };
        // The chunk of token counts has no choice.
        self.json(object, usage.is_none().then_some((content, reason)), usage)
    }

    fn json(
        &self,
        object: &'static str,
        choice: Option<(Content<'_>, Option<FinishReason>)>,
        usage: Option<Usage>,
    ) -> Vec<u8> {
        let body = Body {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices: choice
                .into_iter()
                .map(|(content, finish_reason)| Choice { index: 0, content, logprobs: None, finish_reason })
                .collect(),
            usage: usage.map(WireUsage::from),
        };
        serde_json::to_vec(&body).expect("strings and numbers always serialize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heading(shape: Shape) -> Heading {
        Heading { shape, id: "x-1".into(), created: 7, model: "m".into(), fingerprint: "fp".into() }
    }

    fn check(json: &[u8], expected: &str) {
        let start = r#"{"id":"x-1","object":"OBJECT","created":7,"model":"m","system_fingerprint":"fp","#;
        let (object, rest) = expected.split_once(' ').unwrap();
        assert_eq!(String::from_utf8_lossy(json), start.replace("OBJECT", object) + rest);
    }

    #[test]
    fn answers_have_openais_shapes() {
        let usage = Usage { prompt_tokens: 3, cached_tokens: 1, completion_tokens: 4 };
        let counts = r#""usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
        let chat = heading(Shape::Chat);
        check(
            &chat.whole("hi", FinishReason::Stop, usage),
            &format!(
                r#"chat.completion "choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"logprobs":null,"finish_reason":"stop"}}],{counts}"#
            ),
        );
        check(
            &heading(Shape::Completion).whole("hi", FinishReason::Length, usage),
            &format!(
                r#"text_completion "choices":[{{"index":0,"text":"hi","logprobs":null,"finish_reason":"length"}}],{counts}"#
            ),
        );
        let chunk = "chat.completion.chunk";
        for (part, rest) in [
            (
                Part::Role,
                r#""choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}"#,
            ),
            (
                Part::Text("h\n"),
                r#""choices":[{"index":0,"delta":{"content":"h\n"},"logprobs":null,"finish_reason":null}]}"#,
            ),
            (
                Part::Finish(FinishReason::Stop),
                r#""choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}"#,
            ),
        ] {
            check(&chat.chunk(part), &format!("{chunk} {rest}"));
        }
        check(&chat.chunk(Part::Usage(usage)), &format!(r#"{chunk} "choices":[],{counts}"#));
    }
}
