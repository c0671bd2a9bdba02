//! The probabilities of tokens, in OpenAI's shapes: one for chats, an older one for completions.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::request::Shape;
use crate::generation::{TokenLogprob, TokenLogprobs};

/// What stands for the logarithm of nothing, which JSON cannot say; OpenAI's number.
const IMPOSSIBLE: f32 = -9999.0;

/// The probabilities of some tokens of an answer.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum Logprobs<'a> {
    /// `{"content": […]}`
    Chat {
        /// By token.
        content: Vec<ChatToken<'a>>,
    },
    /// Four arrays of the same length.
    Completion {
        /// Text of each token.
        tokens: Vec<String>,
        /// Its probability.
        token_logprobs: Vec<f32>,
        /// Those of the likeliest ones at its place, by their text, and its own.
        top_logprobs: Vec<Map<String, Value>>,
        /// Where it begins in the answer's text, in characters.
        text_offset: Vec<usize>,
    },
}

/// A token, and the likeliest ones at its place.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ChatToken<'a> {
    #[serde(flatten)]
    chosen: WireToken<'a>,
    top_logprobs: Vec<WireToken<'a>>,
}

#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "TokenProbability")]
struct WireToken<'a> {
    token: String,
    logprob: f32,
    /// `None` for tokens without text, such as the one that ends a turn.
    bytes: Option<&'a [u8]>,
}

impl<'a> From<&'a TokenLogprob> for WireToken<'a> {
    fn from(token: &'a TokenLogprob) -> Self {
        let bytes = Some(token.bytes.as_slice()).filter(|bytes| !bytes.is_empty());
        Self { token: text(token), logprob: logprob(token), bytes }
    }
}

/// Counts the characters of an answer, token by token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offset(usize);

impl Offset {
    /// Where a token begins: how many characters began before it. Moves behind it.
    fn pass(&mut self, token: &TokenLogprob) -> usize {
        let start = self.0;
        // All bytes of a character but its first are 10xxxxxx.
        self.0 += token.bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        start
    }
}

impl<'a> Logprobs<'a> {
    /// The next tokens of an answer in the shape of an endpoint. `offset` is where the answer's text is.
    pub fn new(shape: Shape, tokens: &'a [TokenLogprobs], offset: &mut Offset) -> Self {
        if shape == Shape::Chat {
            return Self::Chat { content: self::tokens(tokens) };
        }
        Self::Completion {
            tokens: tokens.iter().map(|token| text(&token.chosen)).collect(),
            token_logprobs: tokens.iter().map(|token| logprob(&token.chosen)).collect(),
            top_logprobs: tokens.iter().map(by_text).collect(),
            text_offset: tokens.iter().map(|token| offset.pass(&token.chosen)).collect(),
        }
    }
}

/// An object for each token, as chats and Responses have it.
pub fn tokens(tokens: &[TokenLogprobs]) -> Vec<ChatToken<'_>> {
    let tokens = tokens.iter().map(|token| ChatToken {
        chosen: (&token.chosen).into(),
        top_logprobs: token.top.iter().map(Into::into).collect(),
    });
    tokens.collect()
}

/// Several tokens can have the same text, above all parts of characters: the likeliest counts.
fn by_text(token: &TokenLogprobs) -> Map<String, Value> {
    let mut map = Map::new();
    for token in token.top.iter().chain([&token.chosen]) {
        map.entry(text(token)).or_insert_with(|| logprob(token).into());
    }
    map
}

fn text(token: &TokenLogprob) -> String {
    String::from_utf8_lossy(&token.bytes).into_owned()
}

fn logprob(token: &TokenLogprob) -> f32 {
    token.logprob.max(IMPOSSIBLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8], logprob: f32) -> TokenLogprob {
        TokenLogprob { token: 7, bytes: bytes.to_vec(), logprob }
    }

    fn tokens() -> Vec<TokenLogprobs> {
        vec![
            TokenLogprobs {
                chosen: token(b"a\xe2\x82", -0.5),
                top: vec![token(b"a\xe2\x82", -0.5), token(b"", -2.0)],
            },
            TokenLogprobs { chosen: token(b"\xac", f32::NEG_INFINITY), top: Vec::new() },
            TokenLogprobs {
                chosen: token(b"b", -1.0),
                top: vec![token(b"\xff", -0.25), token(b"\xfe", -3.0)],
            },
        ]
    }

    fn check(shape: Shape, expected: &str) {
        let (tokens, mut offset) = (tokens(), Offset::default());
        let json = serde_json::to_string(&Logprobs::new(shape, &tokens, &mut offset)).unwrap();
        assert_eq!(json, expected);
    }

    #[test]
    fn chats_have_an_object_for_each_token() {
        check(
            Shape::Chat,
            "{\"content\":[\
             {\"token\":\"a\u{fffd}\",\"logprob\":-0.5,\"bytes\":[97,226,130],\"top_logprobs\":[\
             {\"token\":\"a\u{fffd}\",\"logprob\":-0.5,\"bytes\":[97,226,130]},\
             {\"token\":\"\",\"logprob\":-2.0,\"bytes\":null}]},\
             {\"token\":\"\u{fffd}\",\"logprob\":-9999.0,\"bytes\":[172],\"top_logprobs\":[]},\
             {\"token\":\"b\",\"logprob\":-1.0,\"bytes\":[98],\"top_logprobs\":[\
             {\"token\":\"\u{fffd}\",\"logprob\":-0.25,\"bytes\":[255]},\
             {\"token\":\"\u{fffd}\",\"logprob\":-3.0,\"bytes\":[254]}]}]}",
        );
    }

    #[test]
    fn completions_have_arrays_that_belong_together() {
        check(
            Shape::Completion,
            "{\"tokens\":[\"a\u{fffd}\",\"\u{fffd}\",\"b\"],\"token_logprobs\":[-0.5,-9999.0,-1.0],\
             \"top_logprobs\":[{\"a\u{fffd}\":-0.5,\"\":-2.0},{\"\u{fffd}\":-9999.0},{\"\u{fffd}\":-0.25,\"b\":-1.0}],\
             \"text_offset\":[0,2,2]}",
        );
    }
}
