//! Hostile grammars.

use serde_json::{Value, json};

use crate::case::{Case, bad_chat};

/// A grammar in which what can come first doubles with each of many rules.
fn doubling() -> String {
    let rule = |rule: usize| format!("r{rule} ::= \"x\"? r{} | r{} \"y\"\n", rule + 1, rule + 1);
    format!("root ::= r0\n{}r40 ::= \"a\"\n", (0..40).map(rule).collect::<String>())
}

/// Many rules of which each is one of two letters.
fn two_ways(rules: usize) -> String {
    let uses: Vec<String> = (0..rules).map(|rule| format!("a{rule}")).collect();
    let rules: Vec<String> = uses.iter().map(|name| format!("{name} ::= \"x\" | \"y\"")).collect();
    format!("root ::= {}\n{}", uses.join(" | "), rules.join("\n"))
}

pub fn cases() -> Vec<Case> {
    let nested = |depth: usize| format!("root ::= {}\"a\"{}", "(".repeat(depth), ")".repeat(depth));
    let refused = [
        (nested(20_000), "line 1: more than 64 parentheses inside each other"),
        (nested(65), "more than 64 parentheses"),
        (format!("root ::= \"{}\"", "a".repeat(10_000_000)), "expected at most 65536 bytes, got 10000011"),
        (doubling(), "too many ways to read the text"),
        ("root ::= root \"a\" | \"a\"".into(), "the rule root begins with itself"),
        ("root ::= a\na ::= b\nb ::= a \"x\" | \"y\"".into(), "begins with itself"),
        ("root ::= a\na ::= c? root \"y\"\nc ::= \"x\"".into(), "begins with itself"),
        ("root ::= (root \"a\")*".into(), "begins with itself"),
        ("root ::= nope".into(), "the rule nope is used and is not there"),
        ("start ::= \"a\"".into(), "there is no rule root"),
        ("   ".into(), "there is no rule root"),
        ("# a comment".into(), "there is no rule root"),
        ("root".into(), "line 1: expected ::="),
        ("root ::= \"a\"\n\nb = c".into(), "line 3: expected ::="),
        ("root ::= \"a\"{0,100000}".into(), "expected at most 2000 repetitions, got 100000"),
        ("root ::= \"a\"{99999999999999999999}".into(), "expected at most 2000 repetitions"),
        ("root ::= \"a\"{5,2}".into(), "expected repetitions such as"),
        ("root ::= \"a\"{-1}".into(), "expected a number of repetitions"),
        (format!("root ::= \"a\"{}", "{2}".repeat(20)), "more than 100000 elements"),
        (format!("root ::= {}", "(\"a\"{2000} \"b\"){2000} ".repeat(30)), "more than 100000 elements"),
        ("root ::= \"a".into(), "expected a closing \""),
        ("root ::= [a".into(), "expected a closing ]"),
        ("root ::= (\"a\"".into(), "expected a closing parenthesis"),
        ("root ::= []".into(), "expected a character"),
        ("root ::= [z-a]".into(), "ends before it begins"),
        ("root ::= \"\\q\"".into(), "unknown escape \\q"),
        ("root ::= \"\\x4\"".into(), "expected 2 hexadecimal digits"),
        ("root ::= \"a\0b\"".into(), "has a NUL character"),
        ("root ::= <[99999999]>".into(), "<[99999999]> is no token, the vocabulary ends at 2047"),
        ("root ::= <nope>".into(), "<nope> is no token of this model"),
        ("root ::= *".into(), "expected something to repeat"),
        (format!("root ::= {}", "a".repeat(60_000)), "is used and is not there"),
    ];
    refused
        .into_iter()
        .map(|(grammar, says)| bad_chat(&json!({ "grammar": grammar }), "grammar", says))
        .collect()
}

/// Grammars that hold up who keeps each way to read a text for itself.
pub fn hard() -> Vec<(&'static str, Value)> {
    let grammars = [
        ("500 classes that may be any number", format!("root ::= {}", "[a-z ]* ".repeat(500))),
        (
            "200 repeated alternatives that are the same",
            format!("root ::= {}", "([a-z ] | [a-z ])* ".repeat(200)),
        ),
        ("5000 classes that may be missing", format!("root ::= {}", "[a-z ]? ".repeat(5000))),
        (
            "400 alternatives that are the same, repeated",
            format!("root ::= ({}[a-z ])*", "[a-z ] | ".repeat(400)),
        ),
        ("repetitions in repetitions", "root ::= ((([a-z ]+){0,90}){0,90}){0,9}".into()),
        (
            "an end that tells which way it was",
            "root ::= [a-z ,.] root \"b\" | [a-z ,.] root \"c\" | \"!\"".into(),
        ),
        ("a long literal", format!("root ::= \"{}\"", "a".repeat(65_000))),
        ("2000 rules with two ways each", two_ways(2000)),
    ];
    grammars.into_iter().map(|(name, grammar)| (name, json!({ "grammar": grammar }))).collect()
}
