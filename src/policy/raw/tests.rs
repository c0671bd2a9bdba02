//! What serde says of a wrong document, and what people are told.

use super::*;
use crate::policy::spans::Spans;

fn faults(text: &str) -> Vec<String> {
    let mut faults = Faults::default();
    let spans = Spans::read(text, &mut faults);
    read::<RawPolicy>(text, "empty", &mut faults);
    faults.located(|path| spans.locate(path)).iter().map(ToString::to_string).collect()
}

#[test]
fn serde_words_its_errors_as_explain_expects() {
    assert_eq!(
        faults("models: [{queue: {x: 1}}]"),
        ["1:19: models[0].queue.x: unknown key; known here: max_requests, timeout_ms"]
    );
    assert_eq!(
        faults("models: [{variants: [{x: 1}]}]"),
        ["1:23: models[0].variants[0].x: unknown key; known here: path"]
    );
    assert_eq!(
        faults("server: 5\nmodels: a"),
        [
            "1:1: server: expected a mapping (`key: value` lines), got 5",
            "2:1: models: expected a list (`- ` lines), got \"a\"",
        ]
    );
}

#[test]
fn a_list_is_no_mapping_even_if_its_elements_would_fit() {
    assert_eq!(
        faults("server: ['127.0.0.1:80', 1, 2]"),
        ["1:1: server: expected a mapping (`key: value` lines), got a list"]
    );
}

#[test]
fn keys_that_are_not_words_are_unknown_keys() {
    let known = "unknown key; known here: server, devices, models";
    assert_eq!(
        faults("1: a\ntrue: b\n? [c]\n: d"),
        [format!("1:1: 1: {known}"), format!("2:1: true: {known}"), format!("3:3: \"?\": {known}"),]
    );
}
