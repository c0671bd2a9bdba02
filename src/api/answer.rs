//! What the engine tells of one choice, as the parts of an answer: neutral to the shape in which a client gets it.

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::error::ApiError;
use crate::chat::{AnswerParser, CallIds, Delta};
use crate::generation::{Event, FinishReason, Token, TokenLogprobs, Usage};

/// Letters and digits of the ids of calls.
const ID_CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// One part of a choice.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The beginning: who speaks. Only chats have it.
    Role,
    /// More of what the model thinks.
    Thought(String),
    /// More text, and the probability of the token that made it certain, where the request asked for it.
    Text(String, Option<Box<TokenLogprobs>>),
    /// It begins to call a function.
    Call {
        /// Which call of the choice, from 0.
        index: usize,
        /// What its result will refer to.
        id: String,
        /// The function.
        name: String,
    },
    /// More of the arguments of a call, which are JSON.
    Arguments {
        /// Which call.
        index: usize,
        /// The text.
        text: String,
    },
    /// The end.
    Finish(End, Usage),
}

/// Why a choice ended by itself.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FinishReason")]
pub enum End {
    /// The model ended its turn, or a stop string was reached.
    Stop,
    /// `max_tokens` or the context's end was reached.
    Length,
    /// The model ended its turn and waits for the results of its calls.
    ToolCalls,
}

/// Makes parts of the events of one choice.
#[derive(Clone, Debug)]
pub struct Reader {
    /// `None` where text is all that there is.
    parser: Option<AnswerParser>,
    /// Tokens whose text became thoughts.
    thought_tokens: u32,
    /// Tokens whose text may still become anything.
    held_tokens: u32,
}

impl Reader {
    /// Reads one choice; the parser has read nothing yet.
    #[must_use]
    pub fn new(parser: Option<AnswerParser>) -> Self {
        Self { parser, thought_tokens: 0, held_tokens: 0 }
    }

    /// The parts that an event adds.
    ///
    /// # Errors
    ///
    /// The failure, if that is what it tells.
    pub fn take(&mut self, event: Event) -> Result<Vec<Part>, ApiError> {
        match event {
            Event::Started { .. } | Event::Cached { .. } | Event::Embedding(_) => Ok(Vec::new()),
            Event::Token { text, logprobs, .. } => {
                let mut parts = self.text(text);
                self.count(&parts);
                // Text can be held back while its token has figures to tell.
                match (logprobs, parts.first_mut()) {
                    (None, _) => {}
                    (found, Some(Part::Text(_, first))) => *first = found,
                    (found, _) => parts.insert(0, Part::Text(String::new(), found)),
                }
                Ok(parts)
            }
            Event::Finished { reason, text, usage } => {
                let mut parts = self.text(text);
                if let Some(parser) = &mut self.parser {
                    parts.extend(parser.finish().into_iter().map(|delta| part(delta, parser.ids())));
                }
                let calls = self.parser.as_ref().map_or(0, AnswerParser::calls);
                let end = match reason {
                    FinishReason::Stop | FinishReason::StopString(_) if calls > 0 => End::ToolCalls,
                    FinishReason::Stop | FinishReason::StopString(_) => End::Stop,
                    FinishReason::Length => End::Length,
                };
                parts.push(Part::Finish(end, usage));
                Ok(parts)
            }
            Event::Failed(error) => Err(error.into()),
        }
    }

    /// How many tokens were thoughts, as far as that is certain. Tokens whose text was held back count as what it became.
    #[must_use]
    pub const fn thought_tokens(&self) -> u32 {
        self.thought_tokens
    }

    /// One more token came, and made this certain.
    fn count(&mut self, parts: &[Part]) {
        self.held_tokens = self.held_tokens.saturating_add(1);
        let thinks = matches!(parts.last(), Some(Part::Thought(_)));
        if thinks {
            self.thought_tokens = self.thought_tokens.saturating_add(self.held_tokens);
        }
        if !parts.is_empty() {
            self.held_tokens = 0;
        }
    }

    fn text(&mut self, text: String) -> Vec<Part> {
        if text.is_empty() {
            return Vec::new();
        }
        let Some(parser) = &mut self.parser else { return vec![Part::Text(text, None)] };
        let deltas = parser.push(&text);
        deltas.into_iter().map(|delta| part(delta, parser.ids())).collect()
    }
}

fn part(delta: Delta, ids: CallIds) -> Part {
    match delta {
        Delta::Thought(text) => Part::Thought(text),
        Delta::Text(text) => Part::Text(text, None),
        Delta::Call { index, name } => Part::Call { index, id: call_id(ids, &name, index), name },
        Delta::Arguments { index, text } => Part::Arguments { index, text },
    }
}

/// A new id of the kind that the model's template takes.
fn call_id(ids: CallIds, name: &str, index: usize) -> String {
    let (prefix, length) = match ids {
        CallIds::Counted => return format!("functions.{name}:{index}"),
        CallIds::Short => ("", 9),
        CallIds::Any => ("call_", 20),
    };
    let mut bits = Uuid::new_v4().as_u128();
    let mut id = prefix.to_owned();
    for _ in 0..length {
        let digit = usize::try_from(bits % 62).expect("below 62");
        id.push(char::from(ID_CHARACTERS[digit]));
        bits /= 62;
    }
    id
}

/// One choice of an answer, as far as it has come.
#[derive(Clone, Debug)]
pub struct Answer {
    reader: Reader,
    /// The tokens generated that belong to it.
    pub tokens: Vec<Token>,
    /// What was said.
    pub text: String,
    /// What was thought before.
    pub thoughts: String,
    /// The functions called.
    pub calls: Vec<Call>,
    /// The probability of each token, where the request asked for it.
    pub logprobs: Vec<TokenLogprobs>,
    /// Why it ended; `None` before.
    pub end: Option<End>,
    /// The same, in the engine's words.
    pub reason: Option<FinishReason>,
    /// Tokens counted.
    pub usage: Usage,
}

/// A whole call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What its result will refer to.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments, as JSON text.
    pub arguments: String,
}

impl Answer {
    /// The beginning of an answer.
    #[must_use]
    pub fn new(reader: Reader) -> Self {
        Self {
            reader,
            tokens: Vec::new(),
            text: String::new(),
            thoughts: String::new(),
            calls: Vec::new(),
            logprobs: Vec::new(),
            end: None,
            reason: None,
            usage: Usage::default(),
        }
    }

    /// Adds what the engine tells.
    ///
    /// # Errors
    ///
    /// The failure, if that is what it tells.
    pub fn take(&mut self, event: Event) -> Result<(), ApiError> {
        match &event {
            Event::Token { token, .. } => self.tokens.push(*token),
            Event::Finished { reason, .. } => self.reason = Some(*reason),
            _ => {}
        }
        for part in self.reader.take(event)? {
            match part {
                Part::Role => {}
                Part::Thought(text) => self.thoughts.push_str(&text),
                Part::Text(text, logprobs) => {
                    self.text.push_str(&text);
                    self.logprobs.extend(logprobs.map(|logprobs| *logprobs));
                }
                Part::Call { id, name, .. } => self.calls.push(Call { id, name, arguments: String::new() }),
                Part::Arguments { text, .. } => {
                    if let Some(call) = self.calls.last_mut() {
                        call.arguments.push_str(&text);
                    }
                }
                Part::Finish(end, usage) => (self.end, self.usage) = (Some(end), usage),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_new_and_of_the_kind_that_templates_take() {
        let [short, long, counted] =
            [CallIds::Short, CallIds::Any, CallIds::Counted].map(|ids| call_id(ids, "f", 1));
        assert!(short.len() == 9 && short.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{short}");
        assert!(long.starts_with("call_") && long.len() == 25, "{long}");
        assert_ne!(call_id(CallIds::Any, "f", 1), long);
        assert_eq!(counted, "functions.f:1");
    }
}
