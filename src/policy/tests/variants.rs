//! A model's files as a list, or found by the full one.

use super::{check, parse};
use crate::policy::{ModelFile, VariantPolicy, Variants};

fn model(variants: &str) -> String {
    format!("models:\n- name: m\n  variants: {variants}\n")
}

#[test]
fn one_file_can_stand_for_all() {
    for (given, name, file) in [
        ("m-f16.gguf", "m-f16", ModelFile::Path("/base/m-f16.gguf".into())),
        ("'embedded:c-f16.gguf'", "c-f16", ModelFile::Embedded("c-f16.gguf".into())),
    ] {
        for yaml in [model(&format!("{{auto: {given}}}")), model(&format!("\n    auto: {given}"))] {
            let policy = parse(&yaml).unwrap_or_else(|error| panic!("{error}"));
            let full = VariantPolicy { name: name.into(), file: file.clone() };
            assert_eq!(policy.models[0].variants, Variants::Auto(full), "{yaml}");
        }
    }
}

#[test]
fn what_is_neither_a_list_nor_such_a_file_is_told_in_its_place() {
    let expected = "the path of a GGUF file, or embedded:NAME";
    let missing = format!("models[0].variants.auto: missing; give {expected}");
    for (variants, faults) in [
        ("{}", vec![format!("3:3: {missing}")]),
        ("{auto: null}", vec![format!("3:14: {missing}")]),
        (
            "{auto: 7}",
            vec![format!("3:14: models[0].variants.auto: expected {expected}, got 7; put it in quotes")],
        ),
        ("{auto: ['a']}", vec![format!("3:14: models[0].variants.auto: expected {expected}, got a list")]),
        ("{auto: '..'}", vec![format!("3:14: models[0].variants.auto: expected {expected}, got \"..\"")]),
        ("{auto: a, b: 1}", vec!["3:23: models[0].variants.b: unknown key; known here: auto".into()]),
        (
            "{auto: a, autos: 1}",
            vec!["3:23: models[0].variants.autos: unknown key; did you mean `auto`?".into()],
        ),
        (
            "[{auto: a}]",
            vec![
                format!("3:14: models[0].variants[0].path: missing; give {expected}"),
                "3:15: models[0].variants[0].auto: unknown key; known here: path".into(),
            ],
        ),
        (
            "auto",
            vec![
                "3:3: models[0].variants: expected a list (`- ` lines) or `auto: FILE`, got \"auto\"".into(),
            ],
        ),
    ] {
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        check(&model(variants), &faults);
    }
}
