//! Reads single values of one section: type, range and default.
//!
//! Pure. Each reader gives the value, or notes a fault and gives `None`, so that its caller can go on to
//! the next key. An absent or null key has its default, which is never a fault.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use crate::units::ByteCount;

use super::error::{Faults, Kind};
use super::path::YamlPath;
use super::raw::Given;

/// A place in the document, and where to note what is wrong there.
pub(super) struct Section<'f> {
    at: YamlPath,
    faults: &'f mut Faults,
}

/// One key as far as a rule across keys needs it: its name, whether the text gives it, its value.
pub(super) type Side = (&'static str, bool, Option<u64>);

impl<'f> Section<'f> {
    pub fn new(at: YamlPath, faults: &'f mut Faults) -> Self {
        Self { at, faults }
    }

    fn describe(&mut self, key: &str, kind: impl FnOnce() -> Kind) {
        let at = &self.at;
        self.faults.describe(|| at.key(key), kind);
    }

    /// Notes that `given` at `key` is not what is `expected`.
    pub fn refuse<T>(&mut self, key: &str, expected: &str, given: &Given) -> Option<T> {
        self.note(key, format!("expected {expected}, got {given}"))
    }

    /// Notes a fault of `key`.
    pub fn note<T>(&mut self, key: &str, message: String) -> Option<T> {
        self.faults.add(self.at.key(key), message);
        None
    }

    /// Notes that `key` has to be given.
    pub fn missing<T>(&mut self, key: &str, remedy: &str) -> Option<T> {
        self.faults.add_missing(self.at.key(key), remedy);
        None
    }

    /// A whole number in `range`.
    pub fn whole(
        &mut self,
        key: &str,
        given: Option<&Given>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.describe(key, || Kind::Whole { default, low: *range.start(), high: *range.end() });
        let Some(given) = given else { return Some(default) };
        match given.whole() {
            Some(value) if range.contains(&value) => Some(value),
            _ => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                self.refuse(key, &expected, given)
            }
        }
    }

    /// A whole number in `range`, as `u32`.
    pub fn count(
        &mut self,
        key: &str,
        given: Option<&Given>,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        self.whole(key, given, default.into(), range).and_then(|value| value.try_into().ok())
    }

    /// A number in `range`, which has both ends and includes the upper one.
    pub fn number(
        &mut self,
        key: &str,
        given: Option<&Given>,
        default: f64,
        range: (Bound<f64>, Bound<f64>),
    ) -> Option<f64> {
        if let (low, Bound::Included(high)) = range
            && let Bound::Included(start) | Bound::Excluded(start) = low
        {
            let includes_low = matches!(low, Bound::Included(_));
            self.describe(key, || Kind::Number { default, low: start, includes_low, high });
        }
        let Some(given) = given else { return Some(default) };
        match given.number() {
            Some(value) if range.contains(&value) => Some(value),
            _ => {
                let expected = match range {
                    (Bound::Excluded(low), Bound::Included(high)) => {
                        format!("a number above {low} and up to {high}")
                    }
                    (Bound::Included(low), Bound::Included(high)) => {
                        format!("a number from {low} to {high}")
                    }
                    _ => "a number".to_owned(),
                };
                self.refuse(key, &expected, given)
            }
        }
    }

    /// An amount of memory in `range`: bytes, or text such as `64MiB`.
    pub fn bytes(
        &mut self,
        key: &str,
        given: Option<&Given>,
        default: ByteCount,
        range: RangeInclusive<ByteCount>,
    ) -> Option<ByteCount> {
        let text = |bytes: &ByteCount| bytes.to_string();
        self.describe(key, || Kind::Bytes {
            default: text(&default),
            low: text(range.start()),
            high: text(range.end()),
        });
        let Some(given) = given else { return Some(default) };
        match amount(given) {
            Some(value) if range.contains(&value) => Some(value),
            _ => {
                let expected = format!("an amount of memory from {} to {}", range.start(), range.end());
                self.refuse(key, &expected, given)
            }
        }
    }

    /// One of a few words; `choices` has each with its value.
    pub fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        given: Option<&Given>,
        default: T,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.describe(key, || {
            let stands_for = |(_, value): &&(&str, T)| *value == default;
            Kind::Choice {
                default: choices.iter().find(stands_for).map(|(word, _)| (*word).to_owned()),
                words: choices.iter().map(|(word, _)| (*word).to_owned()).collect(),
            }
        });
        let Some(given) = given else { return Some(default) };
        match choices.iter().find(|(word, _)| given.text() == Some(word)) {
            Some((_, value)) => Some(*value),
            None => self.refuse(key, &listed(choices.iter().map(|(word, _)| *word)), given),
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str, given: Option<&Given>, default: bool) -> Option<bool> {
        self.describe(key, || Kind::Flag { default });
        let Some(given) = given else { return Some(default) };
        given.flag().or_else(|| self.refuse(key, "true or false", given))
    }

    /// Text that has to be there; `what` names it in messages.
    pub fn text<'g>(&mut self, key: &str, given: Option<&'g Given>, what: &str) -> Option<&'g str> {
        let Some(given) = given else { return self.missing(key, &format!("give {what}")) };
        let text = given.text();
        if text.is_none() {
            let remedy = if given.is_bare() { "; put it in quotes" } else { "" };
            return self.note(key, format!("expected {what}, got {given}{remedy}"));
        }
        text
    }

    /// Checks that the value of `low` is at most that of `high`. The fault goes to a key that the text
    /// gives: one of the two, because the defaults are in order.
    pub fn ordered(&mut self, low: Side, high: Side) {
        let ((low_key, low_given, Some(low)), (high_key, high_given, Some(high))) = (low, high) else {
            return;
        };
        if low <= high {
            return;
        }
        let default = |given: bool| if given { "" } else { ", the default" };
        let (key, relation) = if high_given {
            (high_key, format!("{high} is less than {low_key} ({low}{})", default(low_given)))
        } else {
            (low_key, format!("{low} is more than {high_key} ({high}{})", default(high_given)))
        };
        self.note::<()>(key, format!("{relation}; raise {high_key} or lower {low_key}"));
    }
}

/// `a, b or c`
fn listed<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// `given` as an amount of memory: a whole number of bytes, or text with a unit.
pub(super) fn amount(given: &Given) -> Option<ByteCount> {
    given.whole().map(ByteCount).or_else(|| given.text()?.parse().ok())
}

/// `low` to `high`, both included.
pub(super) const fn from_to(low: f64, high: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Included(low), Bound::Included(high))
}

/// Above `low`, up to `high`.
pub(super) const fn above_to(low: f64, high: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(low), Bound::Included(high))
}
