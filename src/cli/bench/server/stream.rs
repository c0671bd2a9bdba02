//! Reads the events of a stream: server-sent events with OpenAI's chunks in them. PURE.
//!
//! Of each chunk only what is measured is kept. The rest is skipped as it is read: this client shares the machine's
//! cores with the server.

use serde::de::{Error as _, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A part of the answer.
    Chunk(Chunk),
    /// The answer is complete.
    Done,
    /// The server gave up; what it said.
    Error(String),
    /// This is no chunk; why not.
    NotUnderstood(String),
}

/// What matters of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Whether it carries text.
    pub text: bool,
    /// What the whole answer took, if it says so.
    pub usage: Option<Usage>,
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub prompt_tokens: u64,
    #[serde(default)]
    pub completion_tokens: u64,
}

/// Puts events together from bytes as they come.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// A line whose end has not come.
    line: Vec<u8>,
    /// The data of an event whose end has not come.
    data: Vec<u8>,
    /// Whether that event is named "error".
    named_error: bool,
}

impl EventReader {
    /// Reads bytes and tells of each event that is complete.
    pub(super) fn push(&mut self, bytes: &[u8], mut tell: impl FnMut(Event)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            rest = behind;
            if self.line.is_empty() {
                self.line(line, &mut tell);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.line(&whole, &mut tell);
            }
        }
        self.line.extend_from_slice(rest);
    }

    /// The stream is over: tells of an event whose last line has no end.
    pub(super) fn end(mut self, mut tell: impl FnMut(Event)) {
        let line = std::mem::take(&mut self.line);
        self.line(&line, &mut tell);
        self.line(b"", &mut tell);
    }

    fn line(&mut self, line: &[u8], tell: &mut impl FnMut(Event)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if !self.data.is_empty() {
                tell(event(&self.data, self.named_error));
            }
            self.data.clear();
            self.named_error = false;
            return;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.named_error = value == b"error",
            // Not of the standard; llama-server has said so.
            b"error" => tell(Event::Error(String::from_utf8_lossy(value).into_owned())),
            // Comments, which keep connections alive, and fields that nobody needs.
            _ => {}
        }
    }
}

fn event(data: &[u8], named_error: bool) -> Event {
    let text = || String::from_utf8_lossy(data).into_owned();
    if named_error {
        return Event::Error(text());
    }
    if data == b"[DONE]" {
        return Event::Done;
    }
    match serde_json::from_slice::<WireChunk>(data) {
        Ok(WireChunk { error: Some(_), .. }) => Event::Error(text()),
        Ok(chunk) => Event::Chunk(Chunk {
            text: chunk.choices.iter().flatten().any(WireChoice::has_text),
            usage: chunk.usage,
        }),
        Err(error) => Event::NotUnderstood(format!("{error} in {}", text())),
    }
}

#[derive(Deserialize)]
struct WireChunk {
    choices: Option<Vec<WireChoice>>,
    usage: Option<Usage>,
    error: Option<IgnoredAny>,
}

/// A choice of a chat, with `delta`, or of a completion, with `text`.
#[derive(Deserialize)]
struct WireChoice {
    delta: Option<WireDelta>,
    text: Option<HasText>,
}

#[derive(Deserialize)]
struct WireDelta {
    content: Option<HasText>,
    /// Where servers put what a model thinks before it answers.
    reasoning_content: Option<HasText>,
}

impl WireChoice {
    fn has_text(&self) -> bool {
        let delta = self.delta.as_ref().map(|delta| [&delta.content, &delta.reasoning_content]);
        let texts = delta.into_iter().flatten().chain([&self.text]);
        texts.flatten().any(|HasText(has)| *has)
    }
}

/// Whether a text is not empty, read without keeping it.
struct HasText(bool);

impl<'de> Deserialize<'de> for HasText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl Visitor<'_> for Look {
            type Value = HasText;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HasText, E> {
                Ok(HasText(!text.is_empty()))
            }
        }
        deserializer.deserialize_str(Look).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        for part in parts {
            reader.push(part, |event| events.push(event));
        }
        reader.end(|event| events.push(event));
        events
    }

    fn text(text: bool) -> Event {
        Event::Chunk(Chunk { text, usage: None })
    }

    #[test]
    fn chunks_of_chats_and_completions_are_told_apart_from_empty_ones() {
        for (data, expected) in [
            (r#"{"choices":[{"delta":{"content":"Once"}}]}"#, text(true)),
            (r#"{"choices":[{"delta":{"content":"\"content\":\u00e9 \\"}}]}"#, text(true)),
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, text(false)),
            (r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#, text(false)),
            (r#"{"choices":[{"delta":{"reasoning_content":"Hm"}}]}"#, text(true)),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, text(false)),
            (r#"{"choices":[{"text":" a","index":0,"logprobs":{"content":"x"}}]}"#, text(true)),
            (r#"{"choices":[{"text":""}]}"#, text(false)),
            (r#"{"choices":[],"usage":null,"error":null}"#, text(false)),
            ("[DONE]", Event::Done),
        ] {
            assert_eq!(read([format!("data: {data}\n\n").as_bytes()]), [expected], "{data}");
        }
        let usage = r#"data: {"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;
        let usage_read = Usage { prompt_tokens: 7, completion_tokens: 3 };
        assert_eq!(read([usage.as_bytes()]), [Event::Chunk(Chunk { text: false, usage: Some(usage_read) })]);
    }

    #[test]
    fn errors_are_heard_in_each_of_their_forms() {
        for stream in [
            "data: {\"error\":{\"message\":\"full\"}}\n\n",
            "event: error\ndata: {\"message\":\"full\"}\n\n",
            "error: {\"message\":\"full\"}\n\n",
        ] {
            let events = read([stream.as_bytes()]);
            assert!(matches!(&events[..], [Event::Error(said)] if said.contains("full")), "{events:?}");
        }
        for data in ["{", "{\"choices\":[{\"delta\":{\"content\":5}}]}", "hello"] {
            let events = read([format!("data: {data}\n\n").as_bytes()]);
            assert!(matches!(&events[..], [Event::NotUnderstood(why)] if why.contains(data)), "{events:?}");
        }
    }

    #[test]
    fn lines_end_and_events_are_written_in_more_than_one_way() {
        let stream = ": alive\r\n\r\nid: 7\r\ndata:{\"choices\":\r\ndata: []}\r\n\r\ndata: [DONE]";
        assert_eq!(read([stream.as_bytes()]), [text(false), Event::Done]);
        assert_eq!(read([&b""[..]]), []);
        assert_eq!(read([&b"\n\n\n"[..]]), []);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_network_cuts(cuts in proptest::collection::vec(0usize..200, 0..20)) {
            let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"\u{e9}\"}}]}\n\n: x\n\nevent: error\n\
                          data: a\n\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n".as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|at| *at < stream.len()).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            let expected = [text(true), Event::Error("a".into()), text(false), Event::Done];
            prop_assert_eq!(read(parts), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read([&bytes[..]]);
        }
    }
}
