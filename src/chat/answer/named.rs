//! Reads a call whose function stands before its arguments: `name[ARGS]{…}`.

use super::call::{Progress, Reader, Sheet};
use super::json::{Scanner, Step, is_space};
use super::mark::{Match, matches};

/// The longest name of a function that is looked for.
const MAX_NAME_BYTES: usize = 256;

/// Between a function's name and what some models give a call besides: an id, or its number.
const CALL_IDS: [&str; 2] = ["[CALL_ID]", ":"];

#[derive(Clone, Debug)]
enum Place {
    Begin,
    Name(String),
    /// An id, which is passed over.
    Id,
    BeforeArguments,
    Arguments(Scanner),
    End,
}

/// Reads one call.
#[derive(Clone, Debug)]
pub(super) struct NamedReader {
    begin: &'static str,
    separator: &'static str,
    end: &'static str,
    place: Place,
}

impl NamedReader {
    pub fn new(begin: &'static str, separator: &'static str, end: &'static str) -> Self {
        Self { begin, separator, end, place: Place::Begin }
    }

    /// Takes what it can of a text: how much, and whether that was something.
    fn step(&mut self, text: &str, sheet: &mut Sheet<'_>) -> (usize, Progress) {
        let space = text.find(|character| !is_space(character)).unwrap_or(text.len());
        match &mut self.place {
            Place::Begin if space == text.len() => {}
            Place::Begin => match matches(&text[space..], self.begin) {
                Match::Whole => {
                    self.place = Place::Name(String::new());
                    return (space + self.begin.len(), Progress::More);
                }
                Match::Begun => {}
                Match::Not => return (0, Progress::Broken),
            },
            Place::Name(name) => {
                let begun = std::mem::take(name);
                return self.name(begun, text, sheet);
            }
            Place::Id => match text.find(self.separator) {
                Some(at) => {
                    self.place = Place::BeforeArguments;
                    return (at + self.separator.len(), Progress::More);
                }
                None if text.len() > MAX_NAME_BYTES => return (0, Progress::Broken),
                None => {}
            },
            Place::BeforeArguments => match text[space..].chars().next() {
                Some('{') => {
                    self.place = Place::Arguments(Scanner::new());
                    return (space, Progress::More);
                }
                Some(_) => return (space, Progress::Broken),
                None => {}
            },
            Place::Arguments(scanner) => {
                for (at, character) in text.char_indices() {
                    let step = scanner.push(character);
                    if matches!(step, Step::Wrong | Step::Behind) {
                        return (at, Progress::Broken);
                    }
                    sheet.arguments(character);
                    if step == Step::Last {
                        self.place = Place::End;
                        return (at + character.len_utf8(), Progress::More);
                    }
                }
                return (text.len(), Progress::More);
            }
            Place::End => {
                let end = self.end.trim_start();
                if end.is_empty() {
                    return (0, Progress::Done);
                }
                match matches(&text[space..], end) {
                    Match::Whole => return (space + end.len(), Progress::Done),
                    Match::Begun => {}
                    // The call is whole without its end.
                    Match::Not => return (0, Progress::Done),
                }
            }
        }
        (0, Progress::More)
    }

    fn name(&mut self, mut name: String, text: &str, sheet: &mut Sheet<'_>) -> (usize, Progress) {
        let length = text.find(|character: char| !is_name(character)).unwrap_or(text.len());
        name.push_str(&text[..length]);
        if name.len() > MAX_NAME_BYTES {
            return (0, Progress::Broken);
        }
        let rest = &text[length..];
        let id = CALL_IDS.map(|mark| (matches(rest, mark), mark.len()));
        let next =
            match (matches(rest, self.separator), id.into_iter().find(|(found, _)| *found == Match::Whole)) {
                (Match::Whole, _) => Some((self.separator.len(), Place::BeforeArguments)),
                (_, Some((_, length))) => Some((length, Place::Id)),
                (Match::Begun, _) => None,
                _ if id.iter().any(|(found, _)| *found == Match::Begun) => None,
                _ if rest.starts_with('{') => Some((0, Place::BeforeArguments)),
                _ => return (length, Progress::Broken),
            };
        match next {
            Some(_) if name.is_empty() => (0, Progress::Broken),
            Some((further, place)) => {
                self.place = place;
                sheet.name(name);
                (length + further, Progress::More)
            }
            None => {
                self.place = Place::Name(name);
                (length, Progress::More)
            }
        }
    }
}

/// What functions are called.
pub(super) fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

impl Reader for NamedReader {
    fn read(&mut self, text: &str, sheet: &mut Sheet<'_>) -> (usize, Progress) {
        let mut taken = 0;
        loop {
            let before = std::mem::discriminant(&self.place);
            let (more, progress) = self.step(&text[taken..], sheet);
            taken += more;
            let stands = more == 0 && before == std::mem::discriminant(&self.place);
            if progress != Progress::More
                || stands
                || taken == text.len() && !matches!(self.place, Place::End)
            {
                return (taken, progress);
            }
        }
    }
}
