//! The grammar of an answer that calls functions: texts around what llama.cpp's converter makes of their schemas.

use std::fmt::Write;

use crate::generation::{CallGrammar, ThoughtGrammar};

/// Puts the frames around the rules of a converted schema `{"anyOf": […]}`, whose rule `root` names one for each of
/// them, in order, and one more for an answer without calls where there may be one.
///
/// # Errors
///
/// Says what was found instead.
pub(super) fn assemble(calls: &CallGrammar, converted: &str) -> Result<String, String> {
    let root = converted.lines().find_map(|line| line.strip_prefix("root ::= "));
    let rules: Vec<_> = root.unwrap_or_default().split(" | ").map(str::trim).collect();
    if rules.len() != calls.frames.len() + usize::from(calls.answers)
        || rules.iter().any(|rule| !is_name(rule))
    {
        let found = root.unwrap_or("nothing");
        return Err(format!("expected a rule for each of {} functions, got {found}", calls.frames.len()));
    }
    let replaced = ["root ::= ", "space ::= "];
    let others = converted.lines().filter(|line| !replaced.iter().any(|start| line.starts_with(start)));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    let call = rules
        .iter()
        .zip(&calls.frames)
        .map(|(rule, (before, after))| [literal(before), (*rule).to_owned(), literal(after)].join(" "));
    let mut write = |name: &str, body: &str| {
        writeln!(text, "{name} ::= {}", body.trim()).expect("writing to a string cannot fail");
    };
    // The converter allows line ends and long indents, in which small models lose themselves.
    write("space", "\" \"?");
    write("tool-call", &call.collect::<Vec<_>>().join(" | "));
    let further = match &calls.between {
        Some(between) => format!("({} tool-call)*", literal(between)),
        None => String::new(),
    };
    write("tool-calls", &format!("{} tool-call {further} {}", literal(&calls.begin), literal(&calls.end)));
    let said = match rules.last().filter(|_| calls.answers) {
        Some(answer) => format!("(tool-calls | {answer})"),
        None => "tool-calls".to_owned(),
    };
    match &calls.thoughts {
        None => write("root", &said),
        Some(ThoughtGrammar { open, close }) => {
            // Any text without the tag at its end: what begins like it, by its first two characters, is it.
            let mut characters = close.chars();
            let (first, second) = (characters.next().unwrap_or('<'), characters.next().unwrap_or('/'));
            let (first_only, neither) = (literal(&first.to_string()), class(&[first, second]));
            let thoughts =
                format!("({} | {first_only}+ {neither})* {first_only}* {}", class(&[first]), literal(close));
            write("tool-thoughts", &format!("{thoughts} [ \\t\\n]{{0,4}}"));
            match open {
                None => write("root", &format!("tool-thoughts {said}")),
                Some(open) => write("root", &format!("({} tool-thoughts)? {said}", literal(open))),
            }
        }
    }
    Ok(text)
}

fn is_name(rule: &str) -> bool {
    !rule.is_empty() && rule.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A text in GBNF; nothing for the empty one.
fn literal(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let escaped: String = text
        .chars()
        .flat_map(|character| {
            let escape = match character {
                '\n' => "\\n",
                '"' => "\\\"",
                '\\' => "\\\\",
                _ => "",
            };
            let kept = escape.is_empty().then_some(character);
            escape.chars().chain(kept)
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Any character but these.
fn class(characters: &[char]) -> String {
    let escaped: Vec<_> = characters
        .iter()
        .map(|character| match character {
            '[' | ']' | '\\' | '^' | '-' => format!("\\x{:02x}", u32::from(*character)),
            other => other.to_string(),
        })
        .collect();
    format!("[^{}]", escaped.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(thoughts: Option<ThoughtGrammar>, between: Option<&str>) -> CallGrammar {
        CallGrammar {
            thoughts,
            begin: "[TOOL_CALLS][".into(),
            between: between.map(Into::into),
            end: "]".into(),
            answers: false,
            frames: vec![("\"a\n".into(), String::new()), (String::new(), "\\".into())],
            schema: String::new(),
        }
    }

    #[test]
    fn frames_stand_around_the_rules_of_their_functions() {
        let converted = "alternative-0 ::= \"x\" space\nalternative-1 ::= \"y\"\nalternative-2 ::= \"z\"\n\
                         root ::= alternative-0 | alternative-1\nspace ::= | \" \" | \"\\n\"{1,2} [ \\t]{0,20}\n";
        let close = ThoughtGrammar { open: Some("[THINK]".into()), close: "[/THINK]".into() };
        assert_eq!(
            assemble(&calls(Some(close), Some(", ")), converted).unwrap(),
            r#"alternative-0 ::= "x" space
alternative-1 ::= "y"
alternative-2 ::= "z"
space ::= " "?
tool-call ::= "\"a\n" alternative-0  |  alternative-1 "\\"
tool-calls ::= "[TOOL_CALLS][" tool-call (", " tool-call)* "]"
tool-thoughts ::= ([^\x5b] | "["+ [^\x5b/])* "["* "[/THINK]" [ \t\n]{0,4}
root ::= ("[THINK]" tool-thoughts)? tool-calls
"#
        );
        let answers = CallGrammar { answers: true, ..calls(None, None) };
        let converted_answers = converted.replace("| alternative-1", "| alternative-1 | alternative-2");
        let text = assemble(&answers, &converted_answers).unwrap();
        assert!(text.ends_with("root ::= (tool-calls | alternative-2)\n"), "{text}");
        assert!(assemble(&calls(None, None), converted).unwrap().ends_with("root ::= tool-calls\n"));
    }

    #[test]
    fn what_is_no_rule_for_each_function_is_an_error() {
        for converted in ["", "root ::= \"a\" | b", "root ::= a", "root ::= a | b | c"] {
            let error = assemble(&calls(None, None), converted).unwrap_err();
            assert!(error.starts_with("expected a rule for each of 2 functions"), "{error}");
        }
    }
}
