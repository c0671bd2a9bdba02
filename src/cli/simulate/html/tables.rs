//! The comparison and the decisions as tables. PURE.

use std::fmt::Write as _;

use super::marks::{change, seconds};
use super::text::{clock, escaped, grouped};
use crate::cli::simulate::report::{HEADING, Report};
use crate::sim::Outcome;

/// Decisions that are listed.
pub(super) const LISTED_MAX: usize = 200;

/// All ways to scale, side by side; the first is the policy.
pub(super) fn comparison(report: &Report) -> String {
    let mut text = String::from("<section>\n<h2>Compared with other ways to scale</h2>\n");
    text.push_str(&opening("Comparison", &HEADING, "comparison"));
    for row in report.rows() {
        text.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = escaped(cell);
            let _ = if column == 0 {
                write!(text, "<th scope=\"row\">{cell}</th>")
            } else {
                write!(text, "<td>{cell}</td>")
            };
        }
        text.push_str("</tr>\n");
    }
    text.push_str(
        "</tbody></table></div>\n<p class=\"note\">In time: the share of all requests whose first token came within the SLO. \
         Instance-s: seconds that instances existed, loads included. Cost: the same as a multiple of the clairvoyant plan's, \
         which knows all requests before they come and starts each on arrival. Most: instances at once.</p>\n</section>\n",
    );
    text
}

/// The first decisions.
pub(super) fn decisions(outcome: &Outcome, with_models: bool) -> String {
    let notes = &outcome.notes;
    let mut text = String::from("<section>\n<h2>Decisions</h2>\n");
    if notes.is_empty() {
        text.push_str("<p class=\"note\">None: nothing was started or ended.</p>\n</section>\n");
        return text;
    }
    let model: &[&str] = if with_models { &["model"] } else { &[] };
    let heading = [&["time"], model, &["change", "instances", "reason", "in figures"]].concat();
    text.push_str(&opening("Decisions", &heading, "decisions"));
    for note in notes.iter().take(LISTED_MAX) {
        let model = if with_models { format!("<td>{}</td>", escaped(&note.model)) } else { String::new() };
        let _ = writeln!(
            text,
            "<tr><td class=\"number\">{}</td>{model}<td class=\"number {}\">{}</td><td class=\"number\">{}</td>\
             <td><code>{}</code></td><td>{}</td></tr>",
            clock(seconds(note)),
            if note.starts > 0 { "up" } else { "down" },
            change(note),
            note.target_instances,
            escaped(note.reason),
            escaped(&note.why),
        );
    }
    text.push_str("</tbody></table></div>\n");
    if notes.len() > LISTED_MAX {
        let _ = writeln!(
            text,
            "<p class=\"note\">The first {LISTED_MAX} of {}.</p>",
            grouped(notes.len() as u64)
        );
    }
    text.push_str("</section>\n");
    text
}

/// A table that is wider than a phone is moved by itself, with the keyboard as well.
fn opening(label: &str, heading: &[&str], class: &str) -> String {
    let mut cells = String::new();
    for cell in heading {
        let _ = write!(cells, "<th scope=\"col\">{}</th>", escaped(cell));
    }
    format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\"><table class=\"{class}\">\n\
         <thead><tr>{cells}</tr></thead>\n<tbody>\n"
    )
}
