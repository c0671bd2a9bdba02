//! Decisions as marks above the instances: those that would lie on each other become one. PURE.

use std::fmt::Write as _;

use super::axis::Time;
use super::text::{clock, escaped, grouped};
use crate::sim::Note;

/// The most marks of a chart.
const MARKS_MAX: usize = 500;
/// The least distance of two marks: three pixels of a wide screen.
const GAP: f64 = 3.0 / 1100.0;
/// Decisions that one mark has in words.
const LINES_MAX: usize = 6;

/// Decisions of the same direction and nearly the same time.
pub(super) struct Mark<'a> {
    /// Where, 0 to 1.
    at: f64,
    is_up: bool,
    notes: Vec<&'a Note>,
}

/// The marks, in order of time.
pub(super) fn marks(notes: &[Note], time: Time) -> Vec<Mark<'_>> {
    let mut gap = GAP;
    loop {
        let marks = merged(notes, time, gap);
        if marks.len() <= MARKS_MAX {
            return marks;
        }
        gap *= 1.5;
    }
}

fn merged(notes: &[Note], time: Time, gap: f64) -> Vec<Mark<'_>> {
    let mut marks: Vec<Mark> = Vec::new();
    // The last mark of each direction.
    let mut last: [Option<usize>; 2] = [None, None];
    for note in notes {
        let (at, is_up) = (time.at(seconds(note)), note.starts > 0);
        let near = last[usize::from(is_up)].filter(|mark| at - marks[*mark].at < gap);
        if let Some(mark) = near {
            marks[mark].notes.push(note);
        } else {
            last[usize::from(is_up)] = Some(marks.len());
            marks.push(Mark { at, is_up, notes: vec![note] });
        }
    }
    marks
}

/// When a decision was made.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of a trace are exact in an f64")]
pub(super) fn seconds(note: &Note) -> f64 {
    note.millis as f64 / 1e3
}

/// What a decision changed: +2, −1.
pub(super) fn change(note: &Note) -> String {
    let starts = (note.starts > 0).then(|| format!("+{}", note.starts));
    let drains = (note.drains > 0).then(|| format!("\u{2212}{}", note.drains));
    [starts, drains].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

impl Mark<'_> {
    /// What is shown to those who point at it.
    fn words(&self, with_models: bool) -> String {
        let mut text = String::new();
        if self.notes.len() > 1 {
            let _ = writeln!(text, "{} decisions", grouped(self.notes.len() as u64));
        }
        for note in self.notes.iter().take(LINES_MAX) {
            let _ = write!(text, "{}  ", clock(seconds(note)));
            if with_models {
                let _ = write!(text, "{}  ", note.model);
            }
            let _ = writeln!(text, "{} → {}: {}", change(note), note.target_instances, note.why);
        }
        if self.notes.len() > LINES_MAX {
            let _ = write!(text, "and {} more", grouped((self.notes.len() - LINES_MAX) as u64));
        }
        text.trim_end().to_owned()
    }
}

/// The row of marks: starts above, ends below. The first can be reached with the tabulator, the others from there.
pub(super) fn html(marks: &[Mark], with_models: bool) -> String {
    if marks.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<svg class=\"marks\" role=\"group\" aria-label=\"Decisions; the arrow keys go from one to the next\">\n",
    );
    for (number, mark) in marks.iter().enumerate() {
        let (class, y, shape) =
            if mark.is_up { ("up", 8, "M0-5L4.5 3H-4.5Z") } else { ("down", 20, "M0 5L4.5-3H-4.5Z") };
        let several = if mark.notes.len() > 1 { " several" } else { "" };
        let _ = writeln!(
            text,
            "<svg x=\"{x:.2}%\" y=\"{y}\"><path class=\"mark {class}{several}\" d=\"{shape}\" tabindex=\"{tab}\" \
             role=\"img\" aria-label=\"{words}\"/></svg>",
            x = 100.0 * mark.at,
            tab = if number == 0 { 0 } else { -1 },
            words = escaped(&mark.words(with_models)),
        );
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Time = Time { seconds: 1100.0, stretch: 1.0 };

    fn note(millis: u64, starts: u32) -> Note {
        Note {
            millis,
            model: "m".into(),
            target_instances: 2,
            starts,
            drains: u32::from(starts == 0),
            reason: "idle",
            why: "idle for 5 s".into(),
        }
    }

    #[test]
    fn those_that_lie_on_each_other_become_one() {
        let notes = [note(0, 1), note(1000, 2), note(1500, 0), note(2000, 1), note(3500, 1)];
        let marks = marks(&notes, TIME);
        let brief: Vec<_> = marks.iter().map(|mark| (mark.is_up, mark.notes.len())).collect();
        assert_eq!(brief, [(true, 3), (false, 1), (true, 1)]);
        assert_eq!(marks[1].words(false), "0:01  −1 → 2: idle for 5 s");
        assert!(marks[0].words(true).starts_with("3 decisions\n0:00  m  +1 → 2: idle for 5 s\n"));
        assert_eq!(html(&marks, false).matches("class=\"mark ").count(), 3);
        assert_eq!(html(&[], false), "");
    }

    #[test]
    fn there_are_never_too_many() {
        let notes: Vec<Note> =
            (0..20_000u32).map(|number| note(u64::from(number) * 55, number % 2)).collect();
        let marks = marks(&notes, TIME);
        assert!((200..=MARKS_MAX).contains(&marks.len()), "{}", marks.len());
        assert_eq!(marks.iter().map(|mark| mark.notes.len()).sum::<usize>(), notes.len());
        let most = marks.iter().max_by_key(|mark| mark.notes.len()).unwrap();
        assert!(most.words(false).contains("\nand "), "{}", most.words(false));
    }
}
