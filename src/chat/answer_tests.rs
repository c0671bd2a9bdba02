//! What each family writes, cut into pieces of any size; what is no call, and what breaks.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::chat::{CallFormat, ThoughtTags};

const THINK: ThoughtTags = ThoughtTags { open: "<think>", close: "</think>" };

fn tools() -> Arc<[Tool]> {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" }, "days": { "type": "integer" } } });
    ["weather", "time"]
        .map(|name| Tool { name: name.into(), parameters: parameters.clone(), definition: json!(Map::new()) })
        .into()
}

/// An answer as it comes out in the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    thoughts: String,
    text: String,
    calls: Vec<(String, String)>,
}

fn read(parser: &AnswerParser, pieces: impl IntoIterator<Item = impl AsRef<str>>) -> Read {
    let mut parser = parser.clone();
    let mut deltas: Vec<Delta> = pieces.into_iter().flat_map(|piece| parser.push(piece.as_ref())).collect();
    deltas.extend(parser.finish());
    let mut read = Read::default();
    for delta in deltas {
        match delta {
            Delta::Thought(text) => read.thoughts.push_str(&text),
            Delta::Text(text) => read.text.push_str(&text),
            Delta::Call { index, name } => {
                assert_eq!(index, read.calls.len());
                read.calls.push((name, String::new()));
            }
            Delta::Arguments { index, text } => {
                assert_eq!(index + 1, read.calls.len(), "the latest call");
                read.calls[index].1.push_str(&text);
            }
        }
    }
    assert_eq!(parser.calls(), read.calls.len());
    read
}

/// A parser of the family with these marks in its template.
fn parser(family: &str) -> AnswerParser {
    let calls = Some(CallFormat::of(family));
    AnswerParser::new(
        AnswerForm { thoughts: Some(THINK), thinking: false, calls, channels: false },
        tools(),
        true,
    )
}

/// Every character alone gives the same as all at once.
fn by_character(parser: &AnswerParser, text: &str) -> Read {
    let whole = read(parser, [text]);
    assert_eq!(read(parser, text.chars().map(String::from)), whole, "{text}");
    whole
}

fn check(family: &str, text: &str, said: &str, calls: &[(&str, &str)]) {
    let found = by_character(&parser(family), text);
    let calls = calls.iter().map(|(name, arguments)| ((*name).to_owned(), (*arguments).to_owned())).collect();
    assert_eq!(found, Read { thoughts: String::new(), text: said.into(), calls }, "{family}: {text}");
}

const BERN: (&str, &str) = ("weather", r#"{"city": "Bern"}"#);
const ROME: (&str, &str) = ("time", r#"{"city": "R\"}\n"}"#);

#[test]
fn calls_of_each_family_are_read() {
    let (bern, rome) = (
        r#"{"name": "weather", "arguments": {"city": "Bern"}}"#,
        r#"{"arguments":{"city": "R\"}\n"}, "name":"time"}"#,
    );
    let llama = r#"{"name": "weather", "parameters": {"city": "Bern"}}"#;
    let parser = |marks: &str, text: &str| check(marks, text, "", &[BERN, ROME]);
    parser("<tool_call>", &format!("<tool_call>\n{bern}\n</tool_call>\n<tool_call>\n{rome}\n</tool_call>"));
    parser("", &format!("{bern}\n{rome}"));
    parser("<|python_tag|>", &format!("<|python_tag|>{llama}; {rome}"));
    parser("<|python_tag|>", &format!(" {llama}\n<|python_tag|>{rome}"));
    parser("[TOOL_CALLS]", &format!("[TOOL_CALLS] [{bern}, {rome}]"));
    parser(
        "[TOOL_CALLS][ARGS]",
        "[TOOL_CALLS]weather[ARGS]{\"city\": \"Bern\"}[TOOL_CALLS]time[CALL_ID]abc[ARGS]{\"city\": \"R\\\"}\\n\"}",
    );
    parser("<|tool_call|>", &format!("<|tool_call|>[{bern},{rome}]<|/tool_call|>"));
    parser("<|tool_call|>", &format!("<|tool_call|>[{bern}, {rome}]"));
    parser("<TOOLCALL>", &format!("<TOOLCALL>[{bern}, {rome}]</TOOLCALL>"));
    parser(
        "<|START_ACTION|>",
        &format!(
            "<|START_ACTION|>[\n    {{\"tool_call_id\": \"0\", \"tool_name\": \"weather\", \"parameters\": {}}},\n    {rome}\n]<|END_ACTION|>",
            BERN.1
        ),
    );
    parser(
        "<function=",
        "<function=weather>{\"city\": \"Bern\"}</function>\n<function=time>{\"city\": \"R\\\"}\\n\"}</function>",
    );
    let (begin, middle, end) =
        ("<|tool_call_begin|>functions.", "<|tool_call_argument_begin|>", "<|tool_call_end|>");
    parser(
        "<|tool_calls_section_begin|>",
        &format!(
            "<|tool_calls_section_begin|>{begin}weather:0{middle}{}{end}{begin}time:1{middle}{}{end}<|tool_calls_section_end|>",
            BERN.1, ROME.1
        ),
    );
    let v3 = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>";
    let end = "\n```<｜tool▁call▁end｜>";
    parser(
        "<｜tool▁calls▁begin｜>```json",
        &format!(
            "<｜tool▁calls▁begin｜>{v3}weather\n```json\n{}{end}\n{v3}time\n```json\n{}{end}<｜tool▁calls▁end｜>",
            BERN.1, ROME.1
        ),
    );
    let (begin, sep, end) = ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>");
    parser(
        "<｜tool▁calls▁begin｜>",
        &format!(
            "<｜tool▁calls▁begin｜>{begin}weather{sep}{}{end}{begin}time{sep}{}{end}<｜tool▁calls▁end｜>",
            BERN.1, ROME.1
        ),
    );
}

#[test]
fn arguments_between_tags_become_json_of_the_types_that_the_schema_says() {
    let coder = "<tool_call>\n<function=weather>\n<parameter=city>\n3 \"Bern\"\n</parameter>\n<parameter=days>\n3\n</parameter>\n\
                 </function>\n</tool_call>";
    let call = ("weather", r#"{"city": "3 \"Bern\"", "days": 3}"#);
    check("<tool_call><parameter=", coder, "", &[call]);
    let glm = "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>3 \"Bern\"</arg_value>\n<arg_key>days</arg_key>\n\
               <arg_value>3</arg_value>\n</tool_call>";
    check("<tool_call><arg_key>", glm, "", &[call]);
    check("<tool_call><arg_key>", "<tool_call>time\n</tool_call> ok", " ok", &[("time", "{}")]);
    let invoke = "<invoke name=\"weather\">\n<parameter name=\"city\">3 \"Bern\"</parameter>\n<parameter name=\"days\">3</parameter>\n\
                  </invoke>\n";
    let minimax = format!("<minimax:tool_call>\n{invoke}{invoke}</minimax:tool_call>");
    check("<minimax:tool_call>", &minimax, "", &[call, call]);
    let seed = coder.replace("tool_call>", "seed:tool_call>");
    check("<seed:tool_call>", &seed, "", &[call]);
}

#[test]
fn text_around_calls_is_said_without_the_space_between() {
    let call = format!("<tool_call>{{\"name\": \"weather\", \"arguments\": {}}}</tool_call>", BERN.1);
    check("<tool_call>", &format!("Let me see.\n\n{call}\n"), "Let me see.", &[BERN]);
    check("<tool_call>", &format!("{call}\n\nDone. "), "\n\nDone.", &[BERN]);
}

#[test]
fn what_is_no_call_comes_out_as_it_is() {
    for (family, text) in [
        ("<tool_call>", " A <tool and </tool_call> {\"name\": 1}\n\n"),
        ("<tool_call>", "<tool_call>"),
        ("<tool_call>", "<tool_call>\n{\"name\": \"weather\", \"argu"),
        ("<tool_call>", "<tool_call>{\"name\": \"weather\" \"x\"} and more"),
        ("<tool_call>", "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>"),
        ("<tool_call>", "<tool_call>{\"arguments\": {}}</tool_call>"),
        ("<tool_call>", "<tool_call>{\"name\": \"weather\", \"arguments\": [1]}"),
        ("[TOOL_CALLS]", "[TOOL_CALLS] none"),
        ("[TOOL_CALLS][ARGS]", "[TOOL_CALLS] and [ARGS]{}"),
        ("", "{\"name\": \"nobody\", \"arguments\": {}}"),
        ("", "{\"name\": \"weather\", \"size\": 3}"),
        ("", "{\"name\": \"weather\"}"),
        ("", "{\"title\": {\"name\": \"weather\"}}"),
        ("", "  {}"),
        ("", "The answer is {\"name\": \"weather\", \"arguments\": {}}"),
        ("<|python_tag|>", "<|python_tag|>print(1)"),
        ("<function=", "<function=weather>nothing</function>"),
        ("<tool_call><parameter=", "<tool_call>\n<function=weather>\nnothing"),
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>weather"),
        ("<tool_call>", "not <think> thoughts </think>"),
    ] {
        check(family, text, text, &[]);
    }
}

#[test]
fn a_call_that_breaks_off_after_its_beginning_was_told_stays_as_far_as_it_came() {
    let begun = "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Be";
    check("<tool_call>", begun, "", &[("weather", "{\"city\": \"Be")]);
    let wrong = "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": nobody}}</tool_call>";
    check("<tool_call>", wrong, "obody}}</tool_call>", &[("weather", "{\"city\": n")]);
}

#[test]
fn forms_that_models_slip_into_are_understood() {
    let text =
        "<tool_call>{\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"Bern\\\"}\"}</tool_call>";
    check("<tool_call>", text, "", &[BERN]);
    check(
        "<tool_call>",
        "<tool_call>{\"name\": \"time\", \"arguments\": null}</tool_call>",
        "",
        &[("time", "{}")],
    );
    check("<tool_call>", "<tool_call>{\"name\": \"time\"}", "", &[("time", "{}")]);
    check("[TOOL_CALLS][ARGS]", "[TOOL_CALLS]weather{\"city\": \"Bern\"}", "", &[BERN]);
}

#[test]
fn thoughts_are_told_apart() {
    let thinking = AnswerForm { thoughts: Some(THINK), thinking: true, calls: None, channels: false };
    let open = AnswerForm { thinking: false, ..thinking.clone() };
    let none = AnswerForm { thoughts: None, ..open.clone() };
    for (form, text, thoughts, said) in [
        (&open, "<think>\nWell, a < b.\n</think>\n\nHi", "Well, a < b.", "Hi"),
        (&open, "\n<think></think>Hi ", "", "Hi "),
        (&open, " Hi <think>x</think>", "", " Hi <think>x</think>"),
        (&open, "<thi", "", "<thi"),
        (&open, "<think>\nno end </th", "no end </th", ""),
        (&thinking, "\nWell.\n</think>Hi\n", "Well.", "Hi\n"),
        (&none, "<think>x</think>", "", "<think>x</think>"),
    ] {
        let parser = AnswerParser::new(form.clone(), Arc::from([]), true);
        let expected = Read { thoughts: thoughts.into(), text: said.into(), calls: Vec::new() };
        assert_eq!(by_character(&parser, text), expected, "{text}");
    }
    let bare = AnswerForm { calls: Some(CallFormat::of("")), ..thinking };
    let parser = AnswerParser::new(bare, tools(), true);
    let text = "I call.</think>\n\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}";
    let found = by_character(&parser, text);
    assert_eq!((found.thoughts.as_str(), found.text.as_str(), found.calls.len()), ("I call.", "", 1));
}

#[test]
fn messages_on_channels_are_told_apart() {
    let form = AnswerForm { channels: true, calls: Some(CallFormat::of("")), ..AnswerForm::default() };
    let parser = AnswerParser::new(form, tools(), true);
    let call = |header: &str| format!("{header}<|message|> {}<|call|>", BERN.1);
    let thought = "<|channel|>analysis<|message|>I call.<|end|><|start|>assistant";
    for (text, thoughts, said, calls) in [
        (format!("{thought}<|channel|>final<|message|>Hi <|you|>"), "I call.", "Hi <|you|>", 0),
        (
            call(&format!("{thought}<|channel|>commentary to=functions.weather <|constrain|>json")),
            "I call.",
            "",
            1,
        ),
        (call(" to=functions.weather<|channel|>commentary json"), "", "", 1),
        ("<|channel|>commentary to=functions.weather<|message|>none".into(), "", "none", 0),
        ("Plain text".into(), "", "Plain text", 0),
        ("<|channel|>final".into(), "", "", 0),
    ] {
        let found = by_character(&parser, &text);
        let expected = Read {
            thoughts: thoughts.into(),
            text: said.into(),
            calls: vec![(BERN.0.into(), BERN.1.into()); calls],
        };
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn calls_after_the_first_are_left_out_where_one_is_wanted() {
    let calls = Some(CallFormat::of("<tool_call>"));
    let form = AnswerForm { thoughts: None, thinking: false, calls, channels: false };
    let one = AnswerParser::new(form, tools(), false);
    let call = |city: &str| {
        format!("<tool_call>{{\"name\": \"time\", \"arguments\": {{\"city\": \"{city}\"}}}}</tool_call>\n")
    };
    let found = by_character(&one, &[call("a"), call("b"), call("c")].concat());
    assert_eq!(found, Read { calls: vec![("time".into(), "{\"city\": \"a\"}".into())], ..Read::default() });
}

#[test]
fn arguments_are_told_as_they_come() {
    let mut parser = parser("<tool_call>");
    assert_eq!(parser.push("<tool_call>{\"name\": \"weather\", \"arguments\": "), []);
    let name = "weather".to_owned();
    assert_eq!(
        parser.push("{\"ci"),
        [Delta::Call { index: 0, name }, Delta::Arguments { index: 0, text: "{\"ci".into() }]
    );
    assert_eq!(parser.push("ty\": 1}"), [Delta::Arguments { index: 0, text: "ty\": 1}".into() }]);
    assert_eq!(parser.push("}</tool_call>"), []);
    assert_eq!(parser.finish(), []);
}

/// What texts of models are made of, and what confuses readers.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ";",
        "{\"name\": \"weather\", \"arguments\": {\"city\": \"é\"}}",
        "\"name\": ",
        "\"weather\"",
        "weather",
        "\"arguments\": ",
        "{\"a\": [1, {}]}",
        "<function=weather>",
        "</function>",
        "<parameter=city>",
        "</parameter>",
        "\n",
        " ",
        "text",
        "é🐳",
        "<",
        "\\",
        "\"",
        "1",
        "null",
        "<|python_tag|>",
        "<arg_key>",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ]);
    prop::collection::vec(fragment, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn however_a_text_is_cut_it_says_the_same(
        text in fragments(),
        cuts in prop::collection::vec(1_usize..9, 1..12),
        family in prop::sample::select(vec![
            "", "<tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[TOOL_CALLS][ARGS]", "<tool_call><parameter=",
            "<tool_call><arg_key>", "<function=", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>```json",
        ]),
        thinking: bool,
        channels in prop::bool::weighted(0.2),
        several: bool,
    ) {
        let form = AnswerForm { thoughts: Some(THINK), thinking, calls: Some(CallFormat::of(family)), channels };
        let parser = AnswerParser::new(form, tools(), several);
        let whole = read(&parser, [&text]);
        let (mut pieces, mut characters) = (Vec::new(), text.chars());
        for cut in cuts.iter().cycle() {
            let piece: String = characters.by_ref().take(*cut).collect();
            if piece.is_empty() {
                break;
            }
            pieces.push(piece);
        }
        prop_assert_eq!(read(&parser, pieces), whole);
    }

    #[test]
    fn text_without_marks_comes_out_unchanged(text in "[a-z <>\n\u{e9}]{0,60}") {
        for family in ["", "<tool_call>", "[TOOL_CALLS]"] {
            prop_assert_eq!(read(&parser(family), [&text]).text, text.as_str());
        }
    }
}
