//! What chat templates expect of Python: its JSON, its tests of types, its dates.
//!
//! Hugging Face renders templates with Python's Jinja, and templates are written and tested there. What minijinja
//! does otherwise, and templates in use rely on, is here.

use std::fmt::Write;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::fmt::strtime;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// The most spaces that a line or level is moved in by.
const MAX_INDENT: usize = 16;
/// Bytes that cost as much as an instruction, as in minijinja.
const BYTES_PER_FUEL: usize = 64;
/// The most levels of what is written as JSON.
const MAX_DEPTH: usize = 128;

/// Adds all that does not change from prompt to prompt.
pub(super) fn prepare(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("tojson", |state: &State<'_, '_>, value: &Value, kwargs: Kwargs| {
        tojson(state, value, &kwargs)
    });
    environment.add_filter(
        "indent",
        |state: &State<'_, '_>, text: &str, width: Option<Value>, first: Option<bool>, kwargs: Kwargs| {
            let text = indent(text, width, first, &kwargs)?;
            pay(state, text.len())?;
            Ok::<_, Error>(text)
        },
    );
    // In Python texts and mappings are sequences, too.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
    environment.add_test("iterable", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Iterable)
    });
}

/// Takes a template's fuel for so many bytes that it makes. What minijinja itself does is paid for already; this is for
/// what is added here, so that a few lines of a template cannot fill the memory.
fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(u64::try_from(bytes / BYTES_PER_FUEL).unwrap_or(u64::MAX).saturating_add(1))
}

/// Python's methods. Those that make much of little are paid for before they do.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let bytes = match (name, args) {
            ("replace", [old, new, ..]) => {
                let count = old.as_str().map_or(0, |old| text.matches(old).count());
                count.saturating_mul(new.as_str().map_or(0, str::len))
            }
            ("join", [items]) => {
                let mut bytes = 0_usize;
                for item in items.try_iter()? {
                    let mut written = String::new();
                    let length = item.as_str().map(str::len);
                    if length.is_none() {
                        Dumper::plain(Some(state)).write(&mut written, &item, 0)?;
                    }
                    bytes = bytes.saturating_add(text.len() + length.unwrap_or(written.len()));
                }
                bytes
            }
            ("format", _) if text.as_bytes().windows(4).any(|run| run.iter().all(u8::is_ascii_digit)) => {
                let message = "format: a width or precision has at most three digits";
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
            _ => 0,
        };
        pay(state, bytes)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Hugging Face's `strftime_now`, for one moment in UTC.
pub(super) fn strftime(now: SystemTime) -> Value {
    Value::from_function(move |format: &str| -> Result<String, Error> {
        let fault = |error: jiff::Error| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {error}"))
        };
        let moment = Timestamp::try_from(now).map_err(fault)?.to_zoned(jiff::tz::TimeZone::UTC);
        strtime::format(format, &moment).map_err(fault)
    })
}

/// Jinja's own `indent`, which keeps a line end at the end, unlike minijinja's.
fn indent(text: &str, width: Option<Value>, first: Option<bool>, kwargs: &Kwargs) -> Result<String, Error> {
    let width = width.or(kwargs.get("width")?);
    let indent = match width.as_ref().map(|width| (width.as_str(), width.as_usize())) {
        None => " ".repeat(4),
        Some((Some(text), _)) if text.len() <= MAX_INDENT => text.to_owned(),
        Some((None, Some(spaces))) if spaces <= MAX_INDENT => " ".repeat(spaces),
        Some(_) => {
            let message =
                format!("indent: the width is a text of up to {MAX_INDENT} bytes, or so many spaces");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    };
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    let blank = kwargs.get::<Option<bool>>("blank")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let lines = text.split('\n').enumerate().map(|(at, line)| {
        let moved = if at == 0 { first } else { blank || !line.is_empty() };
        if moved { format!("{indent}{line}") } else { line.to_owned() }
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Python's `json.dumps`, with Hugging Face's defaults.
fn tojson(state: &State<'_, '_>, value: &Value, kwargs: &Kwargs) -> Result<Value, Error> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidOperation, format!("tojson: {what}"));
    let indent = match kwargs.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match (indent.as_str(), indent.as_usize()) {
            (Some(text), _) if text.len() <= MAX_INDENT => text.to_owned(),
            (None, Some(spaces)) if spaces <= MAX_INDENT => " ".repeat(spaces),
            _ => return Err(wrong(&format!("indent is a text, or up to {MAX_INDENT} spaces"))),
        }),
    };
    let separators = match kwargs.get::<Option<Value>>("separators")?.filter(|given| !given.is_none()) {
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
        Some(given) => {
            let texts: Vec<Value> = given.try_iter()?.collect();
            match texts.as_slice() {
                [items, keys]
                    if items.len().is_some_and(|length| length <= MAX_INDENT)
                        && keys.len().is_some_and(|length| length <= MAX_INDENT) =>
                {
                    (items.to_string(), keys.to_string())
                }
                _ => return Err(wrong("separators are two short texts")),
            }
        }
    };
    let dumper = Dumper {
        state: Some(state),
        indent,
        separators,
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let mut text = String::new();
    dumper.write(&mut text, value, 0)?;
    Ok(Value::from_safe_string(text))
}

/// JSON in Python's usual form.
pub(super) fn dumps(value: &serde_json::Value) -> String {
    let mut text = String::new();
    match Dumper::plain(None).write(&mut text, &Value::from(Serde(value)), 0) {
        Ok(()) => text,
        Err(_) => value.to_string(),
    }
}

struct Dumper<'a> {
    /// Whose fuel it takes.
    state: Option<&'a State<'a, 'a>>,
    /// What a level is moved in by; `None` writes all in one line.
    indent: Option<String>,
    /// Between items, and between key and value.
    separators: (String, String),
    /// Whether characters beyond ASCII are escaped.
    ascii: bool,
    /// Whether keys are sorted.
    sorted: bool,
}

impl<'a> Dumper<'a> {
    /// In one line, in Python's usual form.
    fn plain(state: Option<&'a State<'a, 'a>>) -> Self {
        Self { state, indent: None, separators: (", ".into(), ": ".into()), ascii: false, sorted: false }
    }

    fn write(&self, text: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if let Some(state) = self.state {
            // Each line may be moved in by every level.
            let space = self.indent.as_ref().map_or(0, |indent| indent.len() * depth);
            pay(state, space + value.as_str().map_or(0, str::len))?;
        }
        if depth > MAX_DEPTH {
            let message = format!("tojson: more than {MAX_DEPTH} levels");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        match value.kind() {
            ValueKind::None => text.push_str("null"),
            ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => text.push_str(&number(value)),
            ValueKind::String => self.string(text, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items(text, ['[', ']'], depth, &items, |text, item| self.write(text, item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.items(text, ['{', '}'], depth, &keys, |text, key| {
                    let name = match key.kind() {
                        ValueKind::None => "null".to_owned(),
                        ValueKind::Bool => key.to_string().to_lowercase(),
                        _ => key.to_string(),
                    };
                    self.string(text, &name);
                    text.push_str(&self.separators.1);
                    self.write(text, &value.get_item(key)?, depth + 1)
                })?;
            }
            kind => {
                let message = format!("tojson: a value of kind {kind} is no JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn items(
        &self,
        text: &mut String,
        [open, close]: [char; 2],
        depth: usize,
        items: &[Value],
        mut write: impl FnMut(&mut String, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let new_line = |text: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                text.push('\n');
                (0..depth).for_each(|_| text.push_str(indent));
            }
        };
        text.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push_str(&self.separators.0);
            }
            new_line(text, depth + 1);
            write(text, item)?;
        }
        if !items.is_empty() {
            new_line(text, depth);
        }
        text.push(close);
        Ok(())
    }

    fn string(&self, text: &mut String, value: &str) {
        text.push('"');
        for character in value.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                control if control < ' ' => escape(text, u16::try_from(u32::from(control)).unwrap_or(0)),
                beyond if self.ascii && !(' '..='~').contains(&beyond) => {
                    beyond.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escape(text, *unit));
                }
                other => text.push(other),
            }
        }
        text.push('"');
    }
}

fn escape(text: &mut String, unit: u16) {
    write!(text, "\\u{unit:04x}").expect("writing to a string cannot fail");
}

/// As Python writes a number: whole ones as they are, others as the shortest text that means them, with an exponent
/// below -4 and from 16 on.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(number) = f64::try_from(value.clone()) else { return value.to_string() };
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..=15 if exponent >= 0 || number != 0.0 => {
            let plain = number.to_string();
            if plain.contains('.') { plain } else { plain + ".0" }
        }
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;
    use serde_json::json;

    fn rendered(source: &str) -> String {
        let mut environment = Environment::new();
        prepare(&mut environment);
        let value = json!({ "b": [1, 2.5, -0.0, 1e16, 1e-5, 0.0001, 123_456_789.125, true, null], "a": "é\"<\u{1}🐳" });
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_772_874_303);
        let context = context! { value => Value::from(Serde(&value)), empty => context! {}, strftime_now => strftime(now) };
        match environment.render_str(source, context) {
            Ok(text) => text,
            Err(error) => format!("refused: {}", error.detail().unwrap_or_default()),
        }
    }

    fn check(source: &str, expected: &str) {
        assert_eq!(rendered(source), expected, "{source}");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        check(
            "{{ value | tojson }}",
            r#"{"b": [1, 2.5, -0.0, 1e+16, 1e-05, 0.0001, 123456789.125, true, null], "a": "é\"<\u0001🐳"}"#,
        );
        check("{{ value.a | tojson(ensure_ascii=true) }}", r#""\u00e9\"<\u0001\ud83d\udc33""#);
        check("{{ {'b': 1, 'a': []} | tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": []\n}");
        check("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}", r#"{"a":2,"b":1}"#);
        check("{{ {1: {true: none}} | tojson }}", r#"{"1": {"true": null}}"#);
        check("{{ empty | tojson(indent=4) }}", "{}");
        check("{{ missing | tojson }}", "refused: tojson: a value of kind undefined is no JSON");
    }

    #[test]
    fn types_are_those_of_python() {
        check("{{ 'x' is sequence }} {{ value is sequence }} {{ 5 is sequence }}", "True True False");
        check("{{ 'x' is iterable }} {{ value is iterable }} {{ none is iterable }}", "True True False");
        check("{{ true }} {{ none }} {{ 'a' ~ 1.0 ~ false }}", "True None a1.0False");
    }

    #[test]
    fn lines_are_moved_in_as_jinja_does() {
        check("{{ 'a\n\nb\n' | indent }}|", "a\n\n    b\n|");
        check("{{ 'a\n' | indent(2, first=true) }}|", "  a\n|");
        check("{{ 'a\n\nb' | indent('\t', true, blank=true) }}", "\ta\n\t\n\tb");
        check(
            "{{ 'a' | indent(width=1000) }}",
            "refused: indent: the width is a text of up to 16 bytes, or so many spaces",
        );
    }

    #[test]
    fn dates_are_those_of_the_moment_given() {
        check("{{ strftime_now('%d %b %Y') }}", "07 Mar 2026");
        check("{{ strftime_now('%A, %B %-d, %Y %H:%M:%S') }}", "Saturday, March 7, 2026 09:05:03");
    }
}
