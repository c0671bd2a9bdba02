//! Figures and foreign text as parts of a page. PURE.

use std::fmt::Write as _;

/// Text that comes from files, so that it is text in a page as well: no tag, no attribute's end, no control character.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' => safe.push_str("&#10;"),
            c if c.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            c => safe.push(c),
        }
    }
    safe
}

/// A time since the beginning, as a clock shows it: 2:05, 1:00:00.
pub(super) fn clock(seconds: f64) -> String {
    let all = whole(seconds);
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A round time on an axis: 30 s, 10 min, 1 h 30, 2 d.
pub(super) fn round_time(seconds: f64) -> String {
    let all = whole(seconds);
    let (days, hours, minutes, seconds) = (all / 86_400, all / 3600 % 24, all / 60 % 60, all % 60);
    let mut text = String::new();
    for (amount, unit) in [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")] {
        if amount > 0 {
            let gap = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{gap}{amount} {unit}");
        }
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

/// A time that something took, with three digits that matter: 85 ms, 1.25 s, 14.2 s.
pub(super) fn taken(seconds: f64) -> String {
    if seconds < 0.9995 { format!("{:.0} ms", seconds * 1e3) } else { format!("{} s", short(seconds)) }
}

/// A number with up to three digits that matter, and no zeros that do not: 0.25, 1.5, 20, 1 234.
pub(super) fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => return grouped(whole(value.round())),
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A count with gaps between thousands.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a saturating cast of a positive number"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (seconds, on_a_clock, on_an_axis) in [
            (0.0, "0:00", "0"),
            (65.9, "1:05", "1 min 5 s"),
            (600.0, "10:00", "10 min"),
            (5400.0, "1:30:00", "1 h 30 min"),
            (90_000.0, "25:00:00", "1 d 1 h"),
        ] {
            assert_eq!((clock(seconds).as_str(), round_time(seconds).as_str()), (on_a_clock, on_an_axis));
        }
        assert_eq!([0.0851, 0.9996, 14.23, 1234.0].map(taken), ["85 ms", "1 s", "14.2 s", "1\u{202f}234 s"]);
        assert_eq!([0.25, 1.5, 20.0, 0.0].map(short), ["0.25", "1.5", "20", "0"]);
        assert_eq!([7, 1000, 1_234_567].map(grouped), ["7", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }

    #[test]
    fn foreign_text_is_only_text() {
        assert_eq!(escaped("<a b='\"'>&\n\u{0}"), "&lt;a b=&#39;&quot;&#39;&gt;&amp;&#10;\u{fffd}");
    }
}
