//! Grammars that people write are let through, and those that take llama.cpp's reader for ever are not.

use super::*;

#[track_caller]
fn refuses(text: &str, expected: &str) {
    let fault = check(text).expect_err(expected);
    assert!(fault.contains(expected), "{fault}");
}

/// llama.cpp's own grammar for JSON.
const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws # an object

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"#;

#[test]
fn usual_grammars_are_let_through() {
    let levels: Vec<String> = (0..40)
        .map(|level| format!("level-{level} ::= level-{} (ws [-+*/] ws level-{})*\n", level + 1, level + 1))
        .collect();
    let levels = levels.concat();
    for text in [
        "root ::= \"yes\" | \"no\"",
        JSON,
        "root ::= (\"a\" | [\\]\"] | \")\" | .)* # (((\r\n\r\nb ::= \"(\"",
        "root ::= <think> !</think>* <[123]> \"x\"{2} \"y\"{2,} \"z\"{0,3000}",
        // Operators by precedence.
        &format!("root ::= level-0\n{levels}level-40 ::= [0-9]+ | \"(\" root \")\"\nws ::= \" \"?\n"),
        "",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn nesting_size_and_repetitions_are_bounded() {
    let nested = |depth: usize| format!("root ::= {}\"a\"{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(check(&nested(MAX_NESTING)), Ok(()));
    refuses(&nested(MAX_NESTING + 1), "line 1: more than 64 parentheses inside each other");
    refuses(&nested(20_000), "more than 64 parentheses");
    refuses(&format!("root ::= \"{}\"", "a".repeat(MAX_BYTES)), "expected at most 65536 bytes");
    refuses("root ::= \"a\"{2001}", "expected at most 2000 repetitions, got 2001");
    refuses("root ::= \"a\"{99999999999999999999999}", "expected at most 2000 repetitions");
    refuses(&format!("root ::= \"{}\"{{2000}}", "a".repeat(60_000)), "more than 100000 elements");
    refuses(&format!("root ::= {}", "(\"a\"{2000} \"b\"){2000} ".repeat(30)), "more than 100000 elements");
}

#[test]
fn ways_that_multiply_are_refused() {
    let chain = |rules: usize, alternatives: usize| -> String {
        let rule = |rule: usize| {
            let next = format!("r{}", rule + 1);
            format!("r{rule} ::= {}\n", vec![next; alternatives].join(" | "))
        };
        let rules: String = (0..rules).map(rule).collect();
        format!("root ::= r0\n{rules}")
    };
    assert_eq!(check(&chain(8, 2)), Ok(()));
    refuses(&chain(40, 2), "too many ways to begin");
    refuses(&chain(6, 40), "too many ways to begin");
    refuses(&chain(1000, 1), "more than 256 rules that begin with each other");
    // What comes first can be empty, so that the next can come first, too.
    let optional: Vec<String> =
        (0..40).map(|rule| format!("r{rule} ::= (r{} \"x\")? r{}\n", rule + 1, rule + 1)).collect();
    let optional = optional.concat();
    refuses(&format!("root ::= r0\n{optional}"), "too many ways to begin");
}

#[test]
fn rules_that_begin_with_themselves_are_refused() {
    refuses("root ::= root \"a\" | \"b\"", "a rule begins with itself (left recursion)");
    refuses("root ::= a\na ::= b? root\nb ::= \"x\"", "left recursion");
    assert_eq!(check("root ::= \"a\" root | \"b\""), Ok(()));
}

#[test]
fn faults_are_told_with_their_line() {
    refuses("root ::= \"a\"\n\nb = c", "line 3: expected ::=");
    refuses("root ::= \"a", "line 1: expected a closing \"");
    refuses("root ::= \"a\\", "expected a closing \"");
    refuses("root ::= [a", "expected a closing ]");
    refuses("root ::= (\"a\"", "expected a closing parenthesis");
    refuses("root ::= \"a\")", "expected the end of the line");
    refuses("root ::= *", "expected something to repeat");
    refuses("root ::= \"a\"{", "expected a number of repetitions");
    refuses("root ::= \"a\"{3,2}", "expected repetitions such as");
    refuses("?", "expected the name of a rule");
    refuses("root ::= \"a\0\"", "NUL");
}
