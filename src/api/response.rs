//! The bodies that clients get: OpenAI's shapes.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::answer::{Answer, Call, End, Part};
use super::choices::total;
use super::logprobs::{Logprobs, Offset};
use super::request::Shape;
use super::timings::Timings;
use crate::generation::Usage;

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
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Usage")]
struct WireUsage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
}

#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
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

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Answer")]
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

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Choice")]
struct Choice<'a> {
    index: usize,
    #[serde(flatten)]
    content: Content<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<End>,
}

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum Content<'a> {
    Message(Message<'a>),
    Delta(Delta<'a>),
    Text(&'a str),
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "AnswerMessage")]
struct Message<'a> {
    role: &'static str,
    /// Null in an answer that only calls functions.
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
}

#[derive(Default, JsonSchema, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[WireCall<'a>; 1]>,
}

/// A call, or the next piece of one.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "Call")]
struct WireCall<'a> {
    /// Only in streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: WireFunction<'a>,
}

#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "CalledFunction")]
struct WireFunction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl<'a> From<&'a Call> for WireCall<'a> {
    fn from(call: &'a Call) -> Self {
        let function = WireFunction { name: Some(&call.name), arguments: &call.arguments };
        Self { index: None, id: Some(&call.id), r#type: Some("function"), function }
    }
}

impl<'a> From<&'a Part> for Delta<'a> {
    fn from(part: &'a Part) -> Self {
        let call = |call| Self { tool_calls: Some([call]), ..Self::default() };
        match part {
            Part::Role => Self { role: Some("assistant"), content: Some(""), ..Self::default() },
            Part::Text(text, _) => Self { content: Some(text), ..Self::default() },
            Part::Thought(text) => Self { reasoning_content: Some(text), ..Self::default() },
            Part::Call { index, id, name } => call(WireCall {
                index: Some(*index),
                id: Some(id),
                r#type: Some("function"),
                function: WireFunction { name: Some(name), arguments: "" },
            }),
            Part::Arguments { index, text } => call(WireCall {
                index: Some(*index),
                function: WireFunction { name: None, arguments: text },
                ..WireCall::default()
            }),
            Part::Finish(..) => Self::default(),
        }
    }
}

/// What whole answers and the chunks of streams look like.
pub fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Body<'_>>()
}

impl Heading {
    /// A variant serves.
    pub fn serve(&mut self, variant: &str) {
        self.fingerprint = format!("fp_{variant}");
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
            Shape::Chat => Content::Message(Message {
                role: "assistant",
                content: Some(answer.text.as_str())
                    .filter(|text| !text.is_empty() || answer.calls.is_empty()),
                reasoning_content: &answer.thoughts,
                tool_calls: answer.calls.iter().map(WireCall::from).collect(),
            }),
            Shape::Completion => Content::Text(&answer.text),
        };
        let logprobs = || Logprobs::new(self.shape, &answer.logprobs, &mut Offset::default());
        let logprobs = self.logprobs.then(logprobs);
        Choice { index, content, logprobs, finish_reason: answer.end }
    }

    /// One chunk of a stream as JSON. `offset` is where the choice's text is; a token's probability moves it.
    #[must_use]
    pub fn chunk(&self, index: usize, part: &Part, offset: &mut Offset, timings: Option<Timings>) -> Vec<u8> {
        let (text, logprobs) = match part {
            Part::Text(text, logprobs) => (text.as_str(), logprobs.as_deref()),
            _ => ("", None),
        };
        let finish_reason = if let Part::Finish(end, _) = part { Some(*end) } else { None };
        let content = match self.shape {
            Shape::Chat => Content::Delta(part.into()),
            Shape::Completion => Content::Text(text),
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
#[path = "response_tests.rs"]
mod tests;
