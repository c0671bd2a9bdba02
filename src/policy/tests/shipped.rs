//! The shipped policies and docs/policy.md agree with the code, and no text makes the room panic.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{MODEL, faults, parse};
use crate::policy::error::Faults;
use crate::policy::path::YamlPath;
use crate::policy::spans::Spans;
use crate::policy::{Policy, SamplingPolicy};

fn in_project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(in_project(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every key that the room reads, as it names them itself when it meets one that it does not know.
pub(super) fn keys() -> Vec<YamlPath> {
    let root = YamlPath::default();
    let model = root.key("models").index(0);
    let sections = [
        (root.clone(), "{zzz: 1}"),
        (root.key("server"), "server: {zzz: 1}"),
        (root.key("devices"), "devices: {zzz: 1}"),
        (model.clone(), "models: [{zzz: 1}]"),
        (model.key("variants"), "models: [{variants: {zzz: 1}}]"),
        (model.key("variants").index(0), "models: [{variants: [{zzz: 1}]}]"),
        (model.key("engine"), "models: [{engine: {zzz: 1}}]"),
        (model.key("engine").key("prefix_cache"), "models: [{engine: {prefix_cache: {zzz: 1}}}]"),
        (model.key("sampling"), "models: [{sampling: {zzz: 1}}]"),
        (model.key("scale"), "models: [{scale: {zzz: 1}}]"),
        (model.key("scale").key("schedule").index(0), "models: [{scale: {schedule: [{zzz: 1}]}}]"),
        (model.key("queue"), "models: [{queue: {zzz: 1}}]"),
        (model.key("cache"), "models: [{cache: {zzz: 1}}]"),
        (model.key("watchdog"), "models: [{watchdog: {zzz: 1}}]"),
    ];
    let known_in = |(section, yaml): (YamlPath, &str)| -> Vec<YamlPath> {
        let faults = faults(yaml);
        let known =
            faults.iter().find_map(|fault| Some(fault.split_once("zzz: unknown key; known here: ")?.1));
        let known = known.unwrap_or_else(|| panic!("{yaml}: {faults:?}"));
        known.split(", ").map(|key| section.key(key)).collect()
    };
    sections.into_iter().flat_map(known_in).collect()
}

/// The first block fenced as `language` after `heading` in `document`.
fn fenced<'d>(document: &'d str, heading: &str, language: &str) -> &'d str {
    let (_, section) = document.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let (_, block) = section.split_once(&format!("```{language}\n")).expect("a fenced block");
    block.split_once("```").expect("the end of the block").0
}

/// Path and text of each policy that comes with the program.
pub(super) fn policies() -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(in_project("policies")).expect("the folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let policies = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    policies.map(|path| (path.clone(), fs::read_to_string(path).expect("text"))).collect()
}

#[test]
fn every_shipped_policy_is_legal() {
    let policies = policies();
    for (path, _) in &policies {
        Policy::from_file(path).unwrap_or_else(|error| panic!("{error}"));
    }
    assert!(policies.len() >= 3, "{}", policies.len());
}

#[test]
fn the_default_policy_has_every_key() {
    let spans = Spans::read(&read("policies/default.yaml"), &mut Faults::default());
    let keys = keys();
    assert_eq!(keys.len(), 71);
    for key in keys {
        // One stands in place of the list, the others are in an example.
        let key_text = key.to_string();
        if key_text == "models[0].variants.auto" || key_text.starts_with("models[0].scale.schedule[") {
            continue;
        }
        assert!(spans.has(&key), "policies/default.yaml has no {key}");
    }
}

#[test]
fn the_default_policy_states_the_defaults() {
    let stated = Policy::from_file(&in_project("policies/default.yaml")).expect("a legal policy");
    let implied = parse(MODEL).expect("a legal policy");
    assert_eq!(stated.server, implied.server);
    assert_eq!(stated.devices, implied.devices);
    let (stated, implied) = (&stated.models[0], &implied.models[0]);
    assert_eq!(stated.slots, implied.slots);
    assert_eq!(stated.engine, implied.engine);
    // The small model suits another temperature.
    let temperature = implied.sampling.temperature;
    assert_eq!(SamplingPolicy { temperature, ..stated.sampling.clone() }, implied.sampling);
    assert_eq!(stated.scale, implied.scale);
    assert_eq!(stated.queue, implied.queue);
    assert_eq!(stated.cache, implied.cache);
}

#[test]
fn the_document_explains_every_key() {
    let document = read("docs/policy.md");
    for key in keys() {
        let key = key.to_string().replace("[0]", "[]");
        assert!(document.contains(&format!("| `{key}` |")), "docs/policy.md has no row for {key}");
    }
}

#[test]
fn the_document_shows_real_output() {
    let document = read("docs/policy.md");
    let yaml = fenced(&document, "## When a policy has faults", "yaml");
    let shown = fenced(&document, "## When a policy has faults", "text");
    let error = Policy::parse(yaml, "my-policy.yaml", Path::new("")).expect_err("faults").to_string();
    assert_eq!(shown.trim_end(), error);
}

/// Pieces that change what YAML around them means.
const PIECES: [&str; 30] = [
    ":",
    ": ",
    "- ",
    "? ",
    "\n",
    "\n  ",
    "\t",
    " ",
    "#",
    "&a ",
    "*a",
    "!t ",
    "!!int ",
    "---\n",
    "...\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "|\n",
    ">\n",
    "%YAML 9\n",
    "<<: ",
    "null",
    "-1e999",
    "\u{feff}",
    "\u{0}é\u{2028}",
];

fn mutated_policy() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0..40_usize, 0..PIECES.len());
    prop::collection::vec(edit, 1..12).prop_map(|edits| {
        let comment = |line: &&str| !line.trim_start().starts_with('#');
        let policy = include_str!("../../../policies/default.yaml").lines().filter(comment);
        let mut text: Vec<char> = policy.flat_map(|line| line.chars().chain(['\n'])).collect();
        for (place, cut, piece) in edits {
            let start = place.index(text.len() + 1);
            // Most edits only insert, so that much of the policy stays readable.
            let end = (start + cut.saturating_sub(30)).min(text.len());
            text.splice(start..end, PIECES[piece].chars());
        }
        text.into_iter().collect()
    })
}

/// A policy, or faults that can be shown: at least one, each inside the text, on one line.
fn is_answered(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = parse(text) {
        let shown = error.to_string();
        let crate::policy::PolicyError::Invalid { faults, .. } = error else { return Ok(()) };
        prop_assert!(!faults.is_empty());
        prop_assert_eq!(shown.lines().count(), faults.len() + 1, "{}", shown);
        // A fault may be found at the end, after the last line. Parsers count more line ends than "\n".
        let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
        for fault in faults {
            prop_assert!((1..=lines + 1).contains(&fault.line) && fault.column >= 1, "{}", shown);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn mutated_policies_never_panic(text in mutated_policy()) {
        is_answered(&text)?;
    }

    #[test]
    fn pieces_of_yaml_never_panic(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40),
    ) {
        is_answered(&pieces.concat())?;
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        is_answered(&text)?;
    }
}
