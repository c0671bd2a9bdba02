//! Reads a call that is a JSON object: `{"name": …, "arguments": {…}}`, in any order.

use super::call::{Progress, Reader, Sheet};
use super::json::{Scanner, Step, is_space};

/// Keys that may stand beside name and arguments without a meaning here.
const OTHER_KEYS: [&str; 4] = ["id", "type", "tool_call_id", "index"];

#[derive(Clone, Debug)]
enum Place {
    /// Before the brace.
    Begin,
    /// Before a key, or the end where there may be one.
    Key {
        may_end: bool,
    },
    /// Inside a key.
    InKey(String, Scanner),
    Colon,
    BeforeValue,
    /// Inside a value; `text` is what is to be kept of it.
    Value {
        text: String,
        scanner: Scanner,
    },
    /// Before a comma, or the end.
    Comma,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Name,
    Arguments,
    Other,
}

/// Reads one object.
#[derive(Clone, Debug)]
pub(super) struct ObjectReader {
    place: Place,
    key: Key,
    /// Whether only an object that has both, name and arguments, of a known function is a call.
    strict: bool,
}

impl ObjectReader {
    pub fn new(strict: bool) -> Self {
        Self { place: Place::Begin, key: Key::Other, strict }
    }

    /// Takes one character. `None` goes on.
    fn push(&mut self, character: char, sheet: &mut Sheet<'_>) -> Option<Progress> {
        match &mut self.place {
            Place::InKey(text, scanner) => {
                text.push(character);
                match scanner.push(character) {
                    Step::Inside => return None,
                    Step::Last => {}
                    Step::Behind | Step::Wrong => return Some(Progress::Broken),
                }
                let key: String = serde_json::from_str(text).unwrap_or_default();
                self.key = match key.as_str() {
                    "name" | "tool_name" => Key::Name,
                    "arguments" | "parameters" => Key::Arguments,
                    other if !self.strict || OTHER_KEYS.contains(&other) => Key::Other,
                    _ => return Some(Progress::Broken),
                };
                self.place = Place::Colon;
            }
            Place::Value { .. } => return self.value(character, sheet),
            _ if is_space(character) => {}
            Place::Begin if character == '{' => self.place = Place::Key { may_end: true },
            Place::Key { may_end: true } if character == '}' => return Some(self.ended(sheet)),
            Place::Key { .. } if character == '"' => {
                let mut scanner = Scanner::new();
                scanner.push('"');
                self.place = Place::InKey("\"".into(), scanner);
            }
            Place::Colon if character == ':' => self.place = Place::BeforeValue,
            Place::BeforeValue => {
                if self.key == Key::Arguments && !matches!(character, '{' | '"' | 'n') {
                    return Some(Progress::Broken);
                }
                self.place = Place::Value { text: String::new(), scanner: Scanner::new() };
                return self.value(character, sheet);
            }
            Place::Comma if character == ',' => self.place = Place::Key { may_end: false },
            Place::Comma if character == '}' => return Some(self.ended(sheet)),
            _ => return Some(Progress::Broken),
        }
        None
    }

    fn value(&mut self, character: char, sheet: &mut Sheet<'_>) -> Option<Progress> {
        let Place::Value { text, scanner } = &mut self.place else { return Some(Progress::Broken) };
        let step = scanner.push(character);
        let streams =
            self.key == Key::Arguments && (text.starts_with('{') || text.is_empty() && character == '{');
        match step {
            Step::Inside | Step::Last => {
                if self.key != Key::Other {
                    text.push(character);
                }
                if streams {
                    sheet.arguments(character);
                }
                if step == Step::Inside {
                    return None;
                }
            }
            Step::Behind => {}
            Step::Wrong => return Some(Progress::Broken),
        }
        let text = std::mem::take(text);
        self.place = Place::Comma;
        match self.key {
            Key::Name => {
                let Ok(name) = serde_json::from_str::<String>(&text) else { return Some(Progress::Broken) };
                if name.is_empty() || (self.strict && !sheet.knows(&name)) {
                    return Some(Progress::Broken);
                }
                sheet.name(name);
            }
            // Some models write the arguments as a text of JSON.
            Key::Arguments if !streams => {
                let inner = serde_json::from_str::<Option<String>>(&text).ok();
                let inner = inner.map(|inner| inner.unwrap_or_else(|| "{}".into()));
                match inner.filter(|inner| serde_json::from_str::<serde_json::Map<_, _>>(inner).is_ok()) {
                    Some(inner) => inner.chars().for_each(|character| sheet.arguments(character)),
                    None => return Some(Progress::Broken),
                }
            }
            Key::Arguments | Key::Other => {}
        }
        if step == Step::Behind { self.push(character, sheet) } else { None }
    }

    fn ended(&self, sheet: &mut Sheet<'_>) -> Progress {
        if !sheet.named() || (self.strict && !sheet.has_arguments()) {
            return Progress::Broken;
        }
        sheet.default_arguments();
        Progress::Done
    }
}

impl Reader for ObjectReader {
    fn read(&mut self, text: &str, sheet: &mut Sheet<'_>) -> (usize, Progress) {
        for (at, character) in text.char_indices() {
            match self.push(character, sheet) {
                None => {}
                Some(Progress::Broken) => return (at, Progress::Broken),
                Some(progress) => return (at + character.len_utf8(), progress),
            }
        }
        (text.len(), Progress::More)
    }
}
