//! What an answer that must call a function looks like: the grammar that a worker holds the model to.

use serde_json::{Value, json};

use super::form::{CHANNEL_THOUGHTS, GENERIC};
use super::python::dumps;
use super::{AnswerForm, CallFormat, CallSyntax, Tool, ToolCall};
use crate::generation::{CallGrammar, ThoughtGrammar};

/// The grammar of an answer that calls one of `tools`, or several of them, or else is JSON that satisfies the schema
/// `answer`; and the form in which it is to be read: a grammar cannot hold a model to arguments between tags, so such a
/// model writes JSON here.
#[must_use]
pub fn forced_calls(
    form: &AnswerForm,
    tools: &[Tool],
    several: bool,
    answer: Option<&Value>,
) -> (AnswerForm, CallGrammar) {
    let format = match form.calls {
        Some(format) if !matches!(format.syntax, CallSyntax::Parameters { .. }) => format,
        _ => &GENERIC,
    };
    let Shape { begin, between, end } = shape(format);
    let tags = if form.channels { Some(CHANNEL_THOUGHTS) } else { form.thoughts };
    let thoughts = tags.map(|tags| ThoughtGrammar {
        open: (!form.thinking).then(|| tags.open.to_owned()),
        close: tags.close.to_owned(),
    });
    let (frames, mut schemas): (Vec<_>, Vec<_>) =
        tools.iter().enumerate().map(|(index, tool)| call(format, tool, index)).unzip();
    schemas.extend(answer.map(|answer| moved(answer, &format!("#/anyOf/{}", tools.len()))));
    let schema = json!({ "anyOf": schemas }).to_string();
    let grammar = CallGrammar {
        thoughts,
        begin,
        between: (several && !form.channels).then_some(between),
        end,
        frames,
        answers: answer.is_some(),
        schema,
    };
    (AnswerForm { calls: Some(format), ..form.clone() }, grammar)
}

/// Calls as a model of this family writes them.
pub(super) fn written(format: &CallFormat, calls: &[ToolCall]) -> String {
    let Shape { begin, between, end } = shape(format);
    let calls = calls.iter().map(|call| {
        let (before, after) = frame(format, &call.name);
        let arguments = Value::Object(call.arguments.clone());
        let json = match format.syntax {
            CallSyntax::Named { .. } => arguments,
            _ => json!({ "name": call.name, format.arguments_key: arguments }),
        };
        format!("{before}{}{after}", dumps(&json))
    });
    format!("{begin}{}{end}", calls.collect::<Vec<_>>().join(&between))
}

/// What stands around all calls.
struct Shape {
    begin: String,
    between: String,
    end: String,
}

fn shape(format: &CallFormat) -> Shape {
    let text = |begin: &str, between: &str, end: &str| Shape {
        begin: begin.into(),
        between: between.into(),
        end: end.into(),
    };
    match &format.syntax {
        CallSyntax::Array => text(&format!("{}[", format.begin), ", ", &format!("]{}", format.end)),
        CallSyntax::Named { .. } if !format.end.is_empty() => text(format.begin, "\n", format.end),
        CallSyntax::Named { .. } => text("", "", ""),
        CallSyntax::Object | CallSyntax::Parameters { .. } => text("", "\n", ""),
    }
}

/// The texts around the JSON of a function's call.
fn frame(format: &CallFormat, name: &str) -> (String, String) {
    match &format.syntax {
        CallSyntax::Named { begin, separator, end } => {
            // Where nothing ends all calls, each begins with the mark.
            let mark = if format.end.is_empty() { format.begin } else { "" };
            (format!("{mark}{begin}{name}{separator}"), (*end).to_owned())
        }
        CallSyntax::Object if !format.bare => (format!("{}\n", format.begin), format!("\n{}", format.end)),
        _ => (String::new(), String::new()),
    }
}

/// The texts around the JSON of a function's call, and its schema.
fn call(format: &CallFormat, tool: &Tool, index: usize) -> ((String, String), Value) {
    let (at, frame) = (format!("#/anyOf/{index}"), frame(format, &tool.name));
    if let CallSyntax::Named { .. } = &format.syntax {
        return (frame, moved(&tool.parameters, &at));
    }
    let key = format.arguments_key;
    let parameters = moved(&tool.parameters, &format!("{at}/properties/{key}"));
    let schema = json!({
        "type": "object",
        "properties": { "name": { "const": tool.name }, key: parameters },
        "required": ["name", key],
        "additionalProperties": false,
    });
    (frame, schema)
}

/// A schema that is a part of another one, at the JSON pointer `at`: what it refers to has moved there, too.
fn moved(schema: &Value, at: &str) -> Value {
    match schema {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, value)| {
                    let value =
                        match (key.as_str(), value.as_str().and_then(|value| value.strip_prefix("#/"))) {
                            ("$ref", Some(path)) => format!("{at}/{path}").into(),
                            _ => moved(value, at),
                        };
                    (key.clone(), value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(|item| moved(item, at)).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::chat::ThoughtTags;

    fn tool(name: &str, parameters: Value) -> Tool {
        Tool { name: name.into(), definition: json!({}), parameters }
    }

    fn grammar(source: &str, several: bool) -> CallGrammar {
        let tools = [
            tool(
                "f",
                json!({ "properties": { "a": { "$ref": "#/$defs/x" } }, "$defs": { "x": { "type": "null" } } }),
            ),
            tool("g", json!({ "type": "object" })),
        ];
        let tags = ThoughtTags { open: "<think>", close: "</think>" };
        let form = AnswerForm {
            thoughts: Some(tags),
            thinking: false,
            calls: Some(CallFormat::of(source)),
            channels: false,
        };
        forced_calls(&form, &tools, several, None).1
    }

    /// The text of a call of `f` and one of `g`, with `…` for JSON.
    fn check(source: &str, expected: &str) {
        let grammar = grammar(source, true);
        let calls: Vec<_> =
            grammar.frames.iter().map(|(before, after)| format!("{before}…{after}")).collect();
        let between = grammar.between.unwrap();
        assert_eq!(format!("{}{}{}", grammar.begin, calls.join(&between), grammar.end), expected, "{source}");
    }

    #[test]
    fn each_family_calls_in_its_own_way() {
        check("<tool_call>", "<tool_call>\n…\n</tool_call>\n<tool_call>\n…\n</tool_call>");
        check("<|python_tag|>", "…\n…");
        check("", "…\n…");
        check("[TOOL_CALLS]", "[TOOL_CALLS][…, …]");
        check("[TOOL_CALLS][ARGS]", "[TOOL_CALLS]f[ARGS]…[TOOL_CALLS]g[ARGS]…");
        check(
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>…<｜tool▁call▁end｜>\n\
             <｜tool▁call▁begin｜>g<｜tool▁sep｜>…<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        );
        check(
            "<|channel|>analysis<|message|>",
            "<|channel|>commentary to=functions.f <|constrain|>json<|message|>…\
             <|channel|>commentary to=functions.g <|constrain|>json<|message|>…",
        );
        check("<TOOLCALL>", "<TOOLCALL>[…, …]</TOOLCALL>");
        check("<tool_call><parameter=", "…\n…");
    }

    #[test]
    fn calls_of_earlier_messages_are_written_alike() {
        let call = |name: &str| ToolCall { id: None, name: name.into(), arguments: Map::new() };
        let text = |source: &str| written(CallFormat::of(source), &[call("f"), call("g")]);
        let objects = r#"{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}"#;
        assert_eq!(text("<|tool_call|>"), format!("<|tool_call|>[{objects}]<|/tool_call|>"));
        assert_eq!(text("[TOOL_CALLS][ARGS]"), "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[ARGS]{}");
        assert_eq!(text(""), objects.replace("}, ", "}\n"));
    }

    #[test]
    fn references_move_with_their_schema() {
        let schema = |source: &str| serde_json::from_str::<Value>(&grammar(source, false).schema).unwrap();
        for source in ["", "[TOOL_CALLS][ARGS]"] {
            let schema = schema(source);
            let text = schema.to_string();
            let reference = text.split("\"$ref\":\"#").nth(1).unwrap().split('"').next().unwrap();
            assert_eq!(schema.pointer(reference), Some(&json!({ "type": "null" })), "{text}");
        }
        let name = schema("")["anyOf"][1]["properties"]["name"].clone();
        assert_eq!(name, json!({ "const": "g" }));
    }
}
