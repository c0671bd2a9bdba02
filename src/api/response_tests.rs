//! The JSON that clients get, to the letter.

use super::*;
use crate::api::answer::Reader;
use crate::generation::{TokenLogprob, TokenLogprobs};

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

fn answer(text: &str, end: End) -> Answer {
    let usage = Usage { prompt_tokens: 3, cached_tokens: 1, completion_tokens: 4 };
    let mut answer = Answer::new(Reader::new(None));
    (answer.text, answer.end, answer.usage) = (text.into(), Some(end), usage);
    answer
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
        &heading(Shape::Chat, false).whole(&[answer("hi", End::Stop)], None),
        &format!(
            r#"chat.completion "choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"logprobs":null,"finish_reason":"stop"}}],{COUNTS}"#
        ),
    );
    check(
        &heading(Shape::Completion, true).whole(&[answer("hi", End::Length)], None),
        &format!(
            r#"text_completion "choices":[{{"index":0,"text":"hi","logprobs":{{"tokens":[],"token_logprobs":[],"top_logprobs":[],"text_offset":[]}},"finish_reason":"length"}}],{COUNTS}"#
        ),
    );
}

#[test]
fn all_choices_are_counted_and_their_prompt_once() {
    let json =
        heading(Shape::Completion, false).whole(&[answer("a", End::Stop), answer("b", End::Length)], None);
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
            Part::Text("h\n".into(), Some(Box::new(logprobs))),
            r#""choices":[{"index":2,"delta":{"content":"h\n"},"logprobs":{"content":[{"token":"h\n","logprob":-1.0,"bytes":[104,10],"top_logprobs":[]}]},"finish_reason":null}]}"#,
        ),
        (
            Part::Finish(End::Stop, Usage::default()),
            r#""choices":[{"index":2,"delta":{},"logprobs":null,"finish_reason":"stop"}]}"#,
        ),
    ] {
        check(&chat.chunk(2, &part, &mut offset, None), &format!("chat.completion.chunk {rest}"));
    }
    let usage = answer("", End::Stop).usage;
    check(&chat.usage_chunk(usage), &format!(r#"chat.completion.chunk "choices":[],{COUNTS}"#));
}

#[test]
fn offsets_go_on_from_chunk_to_chunk() {
    let (completion, mut offset) = (heading(Shape::Completion, true), Offset::default());
    let mut chunk = |bytes: &[u8]| {
        let chosen = TokenLogprob { token: 1, bytes: bytes.to_vec(), logprob: -1.0 };
        let logprobs = TokenLogprobs { chosen, top: Vec::new() };
        String::from_utf8(completion.chunk(
            0,
            &Part::Text(String::new(), Some(Box::new(logprobs))),
            &mut offset,
            None,
        ))
        .unwrap()
    };
    assert!(chunk("\u{e9}x".as_bytes()).contains(r#""text_offset":[0]"#));
    assert!(chunk(b"y").contains(r#""text_offset":[2]"#));
}

#[test]
fn calls_and_thoughts_have_the_shapes_that_clients_know() {
    let call = Call { id: "call_1".into(), name: "f".into(), arguments: "{\"a\": 1}".into() };
    let mut answer = answer("", End::ToolCalls);
    (answer.thoughts, answer.calls) = ("hm".into(), vec![call]);
    let whole = String::from_utf8(heading(Shape::Chat, false).whole(&[answer], None)).unwrap();
    let message = r#"{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}]},"logprobs":null,"finish_reason":"tool_calls""#;
    assert!(whole.contains(message), "{whole}");
    let mut offset = Offset::default();
    for (part, delta) in [
        (Part::Thought("hm".into()), r#"{"reasoning_content":"hm"}"#),
        (
            Part::Call { index: 1, id: "call_1".into(), name: "f".into() },
            r#"{"tool_calls":[{"index":1,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}"#,
        ),
        (
            Part::Arguments { index: 1, text: "{\"a".into() },
            r#"{"tool_calls":[{"index":1,"function":{"arguments":"{\"a"}}]}"#,
        ),
    ] {
        let chunk =
            String::from_utf8(heading(Shape::Chat, false).chunk(0, &part, &mut offset, None)).unwrap();
        assert!(chunk.contains(&format!(r#""delta":{delta},"logprobs":null"#)), "{chunk}");
    }
}
