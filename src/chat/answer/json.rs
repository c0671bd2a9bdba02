//! Reads a JSON value character by character, and knows where it ends.

/// The most levels of arrays and objects inside each other.
const MAX_DEPTH: usize = 128;

/// What a character was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part of the value, which goes on.
    Inside,
    /// The last of it.
    Last,
    /// No part of it: the value, a number, ended before.
    Behind,
    /// Not allowed here.
    Wrong,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Value,
    /// A value, or the end of the array.
    Item,
    /// A key, or the end of the object.
    FirstKey,
    Key,
    Colon,
    /// A comma, or the end of what it is in.
    Separator,
    Text {
        key: bool,
        escape: Escape,
    },
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// So many hexadecimal digits are missing.
    Digits(u8),
}

/// How far a number has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Sign,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// Reads one value.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    /// Whether each level is an object; otherwise an array.
    levels: Vec<bool>,
    expected: Expected,
}

impl Scanner {
    /// At the beginning of a value; no space comes before it.
    pub fn new() -> Self {
        Self { levels: Vec::new(), expected: Expected::Value }
    }

    /// Takes the next character.
    pub fn push(&mut self, character: char) -> Step {
        match self.expected {
            Expected::Text { key, escape } => self.text(character, key, escape),
            Expected::Number(number) => self.number(character, number),
            Expected::Word(rest) => match rest.strip_prefix(character) {
                Some("") => self.value_ended(),
                Some(rest) => self.expect(Expected::Word(rest)),
                None => Step::Wrong,
            },
            _ if is_space(character) => {
                if self.levels.is_empty() {
                    Step::Wrong
                } else {
                    Step::Inside
                }
            }
            Expected::Item if character == ']' => self.close(false),
            Expected::Value | Expected::Item => self.value(character),
            Expected::FirstKey if character == '}' => self.close(true),
            Expected::FirstKey | Expected::Key => match character {
                '"' => self.expect(Expected::Text { key: true, escape: Escape::None }),
                _ => Step::Wrong,
            },
            Expected::Colon if character == ':' => self.expect(Expected::Value),
            Expected::Colon => Step::Wrong,
            Expected::Separator => match (character, self.levels.last()) {
                (',', Some(true)) => self.expect(Expected::Key),
                (',', Some(false)) => self.expect(Expected::Value),
                ('}', Some(true)) | (']', Some(false)) => self.close(character == '}'),
                _ => Step::Wrong,
            },
        }
    }

    fn expect(&mut self, expected: Expected) -> Step {
        self.expected = expected;
        Step::Inside
    }

    fn value(&mut self, character: char) -> Step {
        match character {
            '{' | '[' if self.levels.len() >= MAX_DEPTH => Step::Wrong,
            '{' | '[' => {
                self.levels.push(character == '{');
                self.expect(if character == '{' { Expected::FirstKey } else { Expected::Item })
            }
            '"' => self.expect(Expected::Text { key: false, escape: Escape::None }),
            '-' => self.expect(Expected::Number(Number::Sign)),
            '0' => self.expect(Expected::Number(Number::Zero)),
            '1'..='9' => self.expect(Expected::Number(Number::Whole)),
            't' => self.expect(Expected::Word("rue")),
            'f' => self.expect(Expected::Word("alse")),
            'n' => self.expect(Expected::Word("ull")),
            _ => Step::Wrong,
        }
    }

    fn text(&mut self, character: char, key: bool, escape: Escape) -> Step {
        let go_on = |escape| Expected::Text { key, escape };
        match (escape, character) {
            (Escape::None, '"') if key => self.expect(Expected::Colon),
            (Escape::None, '"') => self.value_ended(),
            (Escape::None, '\\') => self.expect(go_on(Escape::Begun)),
            (Escape::None, ' '..) => Step::Inside,
            (Escape::Begun, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                self.expect(go_on(Escape::None))
            }
            (Escape::Begun, 'u') => self.expect(go_on(Escape::Digits(4))),
            (Escape::Digits(missing), digit) if digit.is_ascii_hexdigit() => {
                self.expect(go_on(if missing > 1 { Escape::Digits(missing - 1) } else { Escape::None }))
            }
            _ => Step::Wrong,
        }
    }

    fn number(&mut self, character: char, number: Number) -> Step {
        use Number::{Exponent, ExponentDigits, ExponentSign, Fraction, Point, Sign, Whole, Zero};
        let next = match (number, character) {
            (Sign, '0') => Zero,
            (Sign | Whole, '0'..='9') => Whole,
            (Zero | Whole, '.') => Point,
            (Point | Fraction, '0'..='9') => Fraction,
            (Zero | Whole | Fraction, 'e' | 'E') => Exponent,
            (Exponent, '+' | '-') => ExponentSign,
            (Exponent | ExponentSign | ExponentDigits, '0'..='9') => ExponentDigits,
            (Zero | Whole | Fraction | ExponentDigits, _) => {
                if self.levels.is_empty() {
                    return Step::Behind;
                }
                self.expected = Expected::Separator;
                return self.push(character);
            }
            _ => return Step::Wrong,
        };
        self.expect(Expected::Number(next))
    }

    fn close(&mut self, object: bool) -> Step {
        if self.levels.pop() == Some(object) { self.value_ended() } else { Step::Wrong }
    }

    fn value_ended(&mut self) -> Step {
        self.expected = Expected::Separator;
        if self.levels.is_empty() { Step::Last } else { Step::Inside }
    }
}

/// What JSON takes for space.
pub(super) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many characters of a text belong to the value at its beginning; `None` if it is none.
    fn length(text: &str) -> Option<usize> {
        let mut scanner = Scanner::new();
        for (at, character) in text.chars().enumerate() {
            match scanner.push(character) {
                Step::Inside => {}
                Step::Last => return Some(at + 1),
                Step::Behind => return Some(at),
                Step::Wrong => return None,
            }
        }
        None
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        for (text, expected) in [
            (r#"{"a": [1, -2.5e+3, {"b": "}\"\u00e9"}], "c": null} more"#, Some(50)),
            (r"{} ", Some(2)),
            ("[ ]]", Some(3)),
            ("12,", Some(2)),
            ("0 ", Some(1)),
            ("-0.5e1]", Some(6)),
            (r#""a\\" "#, Some(5)),
            ("true", Some(4)),
        ] {
            assert_eq!(length(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_wrong_at_once() {
        for text in [
            " 1",
            "{a",
            "{\"a\" 1",
            "{\"a\":1,}",
            "[1,]",
            "[1 2",
            "[}",
            "{]",
            "[01]",
            "-x",
            "1.x",
            "1ex",
            "trux",
            "\"\n",
            r#""\x"#,
            r#""\u12g"#,
            "{,",
            "]",
            "}",
        ] {
            let text = format!("{text}                ");
            assert_eq!(length(&text), None, "{text}");
        }
        assert_eq!(length(&"[".repeat(1000)), None);
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::vec((".{0,8}", inner), 0..4)
                    .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_read_to_its_end(value in values(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            prop_assert_eq!(length(&format!("{text} ")), Some(text.chars().count()));
        }
    }
}
