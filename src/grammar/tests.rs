//! Grammars that people write are read and followed, and none that can be written takes long.

use super::*;

fn read(text: &str) -> Result<Grammar, String> {
    Grammar::read(text, Bounds::WRITTEN)
}

#[track_caller]
fn refuses(text: &str, expected: &str) {
    let fault = read(text).expect_err(expected);
    assert!(fault.contains(expected), "{fault}");
}

#[track_caller]
fn follower(text: &str) -> Follower {
    let mut grammar = read(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    grammar.resolve(1000, |text| (text == "<think>").then_some(7)).unwrap();
    Follower::new(grammar).unwrap()
}

/// A token that no grammar names.
const OTHER: Token = 999;

/// Whether a text is one that the grammar describes (`Some(true)`), the beginning of one, or neither.
fn follow(grammar: &str, text: &[u8], piece: usize) -> Option<bool> {
    let mut follower = follower(grammar);
    for piece in text.chunks(piece) {
        let allowed = follower.allows(OTHER, piece).unwrap();
        assert_eq!(follower.accept(OTHER, piece), Ok(allowed), "{grammar}: {piece:?}");
        if !allowed {
            return None;
        }
    }
    Some(follower.may_end())
}

#[track_caller]
fn check(grammar: &str, text: &str, expected: Option<bool>) {
    for piece in [1, 2, 3, 100] {
        assert_eq!(
            follow(grammar, text.as_bytes(), piece),
            expected,
            "{grammar}: {text:?} in pieces of {piece}"
        );
    }
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
fn a_text_is_followed_to_its_end() {
    for (grammar, text, expected) in [
        ("root ::= \"yes\" | \"no\"", "yes", Some(true)),
        ("root ::= \"yes\" | \"no\"", "ye", Some(false)),
        ("root ::= \"yes\" | \"no\"", "yo", None),
        ("root ::= \"yes\" | \"no\"", "yess", None),
        (
            "root ::= a b?\na ::= [a-c\\]]+ # a comment\n\nb ::= \"!\" | (\"?\" \".\"){2,3}",
            "ab]c?.?.",
            Some(true),
        ),
        ("root ::= a b?\na ::= [a-c\\]]+\nb ::= \"!\" | (\"?\" \".\"){2,3}", "a?.", Some(false)),
        ("root ::= a b?\na ::= [a-c\\]]+\nb ::= \"!\" | (\"?\" \".\"){2,3}", "a?.?.?.?", None),
        ("root ::= [^a-c\\n]{2}", "x\u{1f98a}", Some(true)),
        ("root ::= [^a-c\\n]{2}", "xb", None),
        ("root ::= [\u{e0}-\u{ff}]* .", "\u{e9}\u{f6}\u{1f98a}", Some(true)),
        ("root ::= \"\\x41\\u00e9\\U0001F98A\\t\\\\\\\"\"", "A\u{e9}\u{1f98a}\t\\\"", Some(true)),
        ("root ::= \"a\"{2,}", "aaaaa", Some(true)),
        ("root ::= \"a\"{2,}", "a", Some(false)),
        ("root ::= \"ab\"{2}", "abab", Some(true)),
        ("root ::= \"a\"{0}", "", Some(true)),
        ("root ::= \"(\" root \")\" root | \"\"", "(()(()))", Some(true)),
        ("root ::= \"(\" root \")\" root | \"\"", "(()", Some(false)),
        ("root ::= \"(\" root \")\" root | \"\"", "())", None),
        (JSON, "{\"a\": [1, -2.5e3, \"\\u00e9\u{1f98a}\", {}], \"b\" :null}", Some(true)),
        (JSON, "{\"a\": [1, ", Some(false)),
        (JSON, "{\"a\": [1}", None),
    ] {
        check(grammar, text, expected);
    }
}

#[test]
fn bytes_that_cannot_become_a_character_of_the_grammar_are_refused() {
    let beginning = |grammar: &str, bytes: &[u8]| follower(grammar).allows(OTHER, bytes).unwrap();
    assert!(beginning("root ::= [\u{e0}-\u{ff}]", &[0xc3]));
    assert!(!beginning("root ::= [a-z]", &[0xc3]));
    assert!(!beginning("root ::= [^\u{c0}-\u{ff}]", &[0xc3]));
    assert!(beginning("root ::= \"\u{1f98a}\"", &[0xf0, 0x9f]));
    assert!(!beginning("root ::= .", &[0xff]));
    assert!(!beginning("root ::= .", &[]), "a token without text leads nowhere");
    let mut half = follower("root ::= [\u{e0}-\u{ff}]");
    assert_eq!(half.accept(OTHER, &[0xc3]), Ok(true));
    assert!(
        !half.may_end() && half.allows(OTHER, &[0xa9]) == Ok(true) && half.allows(OTHER, b"a") == Ok(false)
    );
}

#[test]
fn whole_tokens_are_followed_by_their_ids() {
    let mut follower =
        follower("root ::= <think> !</think>* <[8]> \"x\"".replace("</think>", "<[9]>").as_str());
    assert_eq!(follower.allows(OTHER, b"<think>"), Ok(false), "its text alone is not the token");
    assert_eq!(follower.accept(7, b"<think>"), Ok(true));
    assert_eq!(follower.accept(OTHER, b"x"), Ok(true));
    assert_eq!(follower.allows(9, b"</think>"), Ok(false));
    assert_eq!(follower.accept(8, b"!"), Ok(true));
    assert_eq!(follower.accept(OTHER, b"x"), Ok(true));
    assert!(follower.may_end());
    let unknown = |text: &str| read(text).unwrap().resolve(1000, |_| None).unwrap_err();
    assert_eq!(unknown("root ::= <nope>"), "<nope> is no token of this model");
    assert_eq!(unknown("root ::= <[1000]>"), "<[1000]> is no token, the vocabulary ends at 999");
}

/// The first fault of a text of many letters, if there is one.
fn after_letters(grammar: &str) -> Result<(), Exhausted> {
    let mut follower = Follower::new(read(grammar).unwrap())?;
    (0..200).try_for_each(|_| follower.accept(OTHER, b"a").map(drop))
}

/// Each holds llama.cpp up for minutes, or for ever.
#[test]
fn ways_that_multiply_cost_a_bounded_time_or_are_given_up() {
    let chain = |rules: usize, alternatives: usize| {
        let rule = |rule: usize| {
            format!("r{rule} ::= {}\n", vec![format!("r{}", rule + 1); alternatives].join(" | "))
        };
        format!("root ::= r0\n{}r{rules} ::= \"a\"\n", (0..rules).map(rule).collect::<String>())
    };
    for grammar in [
        format!("root ::= {}", "[a-z]* ".repeat(60)),
        "root ::= ([a-z] [a-z]*)* [a-z]*".into(),
        "root ::= \"a\" root | \"a\" root | [a-z] root | \".\"".into(),
        format!("root ::= ({}\"a\")*", "\"a\" | ".repeat(300)),
        chain(40, 2),
        chain(1000, 1),
    ] {
        assert_eq!(after_letters(&grammar), Ok(()), "{grammar:.80}");
    }
    for grammar in [
        format!("root ::= {}", "[a-z]? ".repeat(8000)),
        "root ::= ((\"a\" \"a\"{0,100}){0,100}){0,8}".into(),
        // Which of the two it is can be told only by what comes at the end: 2^n stacks after n letters.
        "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"x\"".into(),
    ] {
        assert_eq!(after_letters(&grammar), Err(Exhausted), "{grammar:.80}");
    }
}

#[test]
fn long_texts_forget_what_is_behind_them() {
    let mut follower = follower("root ::= \"a\" root \"b\" | \"x\"");
    for (piece, count) in [(b"aaaaaaaaaa", 10_000), (b"x---------", 1)] {
        for _ in 0..count {
            let piece = if piece[0] == b'x' { &piece[..1] } else { &piece[..] };
            assert_eq!(follower.accept(OTHER, piece), Ok(true));
        }
    }
    for _ in 0..10_000 {
        assert_eq!(follower.accept(OTHER, b"bbbbbbbbbb"), Ok(true));
    }
    assert!(follower.may_end());
}

#[test]
fn usual_grammars_are_read() {
    let levels: Vec<String> = (0..40)
        .map(|level| format!("level-{level} ::= level-{} (ws [-+*/] ws level-{})*\n", level + 1, level + 1))
        .collect();
    let levels = levels.concat();
    for text in [
        JSON,
        "root ::= (\"a\" | [\\]\"] | \")\" | .)* # (((\r\n\r\nb ::= \"(\"",
        // Operators by precedence.
        &format!("root ::= level-0\n{levels}level-40 ::= [0-9]+ | \"(\" root \")\"\nws ::= \" \"?\n"),
        "root ::=",
    ] {
        assert!(read(text).is_ok(), "{text}");
    }
}

#[test]
fn nesting_size_and_repetitions_are_bounded() {
    let nested = |depth: usize| format!("root ::= {}\"a\"{}", "(".repeat(depth), ")".repeat(depth));
    assert!(read(&nested(64)).is_ok());
    refuses(&nested(65), "line 1: more than 64 parentheses inside each other");
    refuses(&nested(20_000), "more than 64 parentheses");
    refuses(&format!("root ::= \"{}\"", "a".repeat(64 << 10)), "expected at most 65536 bytes");
    refuses("root ::= \"a\"{2001}", "expected at most 2000 repetitions, got 2001");
    refuses("root ::= \"a\"{0,100000}", "expected at most 2000 repetitions, got 100000");
    refuses("root ::= \"a\"{99999999999999999999999}", "expected at most 2000 repetitions");
    refuses(&format!("root ::= \"{}\"{{2000}}", "a".repeat(60_000)), "more than 100000 elements");
    refuses(&format!("root ::= {}", "(\"a\"{2000} \"b\"){2000} ".repeat(30)), "more than 100000 elements");
    let any = Grammar::read("root ::= \"a\"{2,3000}", Bounds::CONVERTED).unwrap();
    assert_eq!(Follower::new(any).unwrap().accept(OTHER, "a".repeat(5000).as_bytes()), Ok(true));
}

#[test]
fn rules_that_begin_with_themselves_are_refused() {
    refuses("root ::= root \"a\" | \"b\"", "the rule root begins with itself (left recursion)");
    refuses("root ::= a\na ::= b? root \"y\"\nb ::= \"x\"", "left recursion");
    refuses("root ::= (root \"a\")*", "left recursion");
    refuses("root ::= a\na ::= b\nb ::= c | \"x\"\nc ::= a \"y\"", "left recursion");
    assert!(read("root ::= \"a\" root | \"b\"").is_ok());
    // The repetition of what can be empty leads nowhere new.
    for grammar in
        ["root ::= (\"a\"?)*", "root ::= ((\"a\"*)+)+", "root ::= (\"a\"* \"b\"*)*", "root ::= root | \"a\"*"]
    {
        check(grammar, "aaa", Some(true));
        check(grammar, "aac", None);
    }
}

#[test]
fn faults_are_told_with_their_line() {
    refuses("root ::= \"a\"\n\nb = c", "line 3: expected ::=");
    refuses("root ::= \"a", "line 1: expected a closing \"");
    refuses("root ::= \"a\\", "expected a closing \"");
    refuses("root ::= [a", "expected a closing ]");
    refuses("root ::= []", "expected a character in [ ]");
    refuses("root ::= [z-a]", "a range of characters ends before it begins");
    refuses("root ::= (\"a\"", "expected a closing parenthesis");
    refuses("root ::= \"a\")", "expected the end of the line");
    refuses("root ::= *", "expected something to repeat");
    refuses("root ::= \"a\"{", "expected a number of repetitions");
    refuses("root ::= \"a\"{3,2}", "expected repetitions such as");
    refuses("root ::= \"\\q\"", "unknown escape \\q");
    refuses("root ::= \"\\x4\"", "expected 2 hexadecimal digits");
    refuses("root ::= !a", "expected a token such as <name>");
    refuses("root ::= <[x]>", "expected the id of a token");
    refuses("?", "expected the name of a rule");
    refuses("root ::= \"a\0\"", "NUL");
    refuses("root ::= nope", "the rule nope is used and is not there");
    refuses("start ::= \"a\"", "there is no rule root");
    refuses(" # nothing", "there is no rule root");
}
