//! Finds the key that somebody meant.
//!
//! Pure: the message depends only on the key and the keys known at its place.

/// The message for `key`, which is none of `known`.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    match closest(key, known) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// The known key that `key` most resembles, if it resembles one: a typing error in each three
/// characters, or a word left out at either end (`temp` and `max_instances_per_gpu` are near
/// `temperature` and `max_instances`).
fn closest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    // Longer keys are no typing errors, and the distance takes time with their product.
    if key.len() > 64 {
        return None;
    }
    let plain = key.to_lowercase().replace('-', "_");
    let near = |candidate: &&'a str| {
        let distance = edits(&plain, candidate);
        let shorter = plain.len().min(candidate.len());
        let extends = shorter >= 3
            && [(plain.as_str(), *candidate), (*candidate, plain.as_str())]
                .iter()
                .any(|(long, short)| long.starts_with(short) || long.ends_with(short));
        (extends || distance <= (plain.chars().count() / 3).max(1)).then_some((distance, *candidate))
    };
    known.iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Characters to insert, delete or replace to get from `from` to `to` (Levenshtein distance, by rows).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, a) in from.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (left, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[left + 1];
            row[left + 1] = replaced.min(diagonal + 1).min(row[left] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_keys_are_suggested_and_far_ones_are_not() {
        let known = ["name", "variants", "slots", "temperature", "max_instances", "min_instances"];
        for (key, meant) in [
            ("slot", Some("slots")),
            ("Slots", Some("slots")),
            ("varients", Some("variants")),
            ("temp", Some("temperature")),
            ("max-instances", Some("max_instances")),
            ("max_instance", Some("max_instances")),
            ("max_instances_per_gpu", Some("max_instances")),
            ("instances", Some("max_instances")),
            ("x", None),
            ("", None),
            ("quality", None),
        ] {
            assert_eq!(closest(key, &known), meant, "{key}");
        }
    }

    #[test]
    fn edits_count_single_characters() {
        for (from, to, count) in [("", "", 0), ("abc", "abc", 0), ("kitten", "sitting", 3), ("", "ab", 2)] {
            assert_eq!(edits(from, to), count, "{from} {to}");
        }
    }
}
