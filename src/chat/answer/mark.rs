//! Marks in a text that comes piece by piece.

/// Whether a text begins with a mark, or may still become it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Whole,
    Begun,
    Not,
}

pub(super) fn matches(text: &str, mark: &str) -> Match {
    if text.starts_with(mark) {
        Match::Whole
    } else if mark.starts_with(text) {
        Match::Begun
    } else {
        Match::Not
    }
}

/// Length of the longest beginning of `mark`, but not all of it, that `text` ends with.
pub(super) fn overlap(text: &str, mark: &str) -> usize {
    let mut lengths = mark.char_indices().map(|(at, _)| at).rev();
    lengths.find(|length| text.ends_with(&mark[..*length])).unwrap_or(0)
}
