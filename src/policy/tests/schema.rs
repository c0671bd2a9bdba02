//! The JSON Schema says of every key what validation does.

use serde_json::Value;

use super::shipped;
use crate::policy::error::Faults;
use crate::policy::path::{Step, YamlPath};
use crate::policy::{raw, schema};

fn default_schema() -> Value {
    schema(include_str!("../../../policies/default.yaml"))
}

/// The schema of a node.
fn at<'s>(schema: &'s Value, path: &YamlPath) -> Option<&'s Value> {
    path.steps().iter().try_fold(schema, |schema, step| match step {
        Step::Key(key) => schema.get("properties")?.get(key),
        Step::Index(_) => schema.get("items"),
    })
}

#[test]
fn every_key_has_a_schema_and_nearly_every_one_says_what_it_means() {
    let schema = default_schema();
    let mut undescribed = Vec::new();
    for path in shipped::keys() {
        if path.to_string().starts_with("models[0].variants") {
            continue;
        }
        let found = at(&schema, &path).unwrap_or_else(|| panic!("{path} has no schema"));
        assert!(found.is_object(), "{path}: {found}");
        if found.get("description").is_none() {
            undescribed.push(path.to_string());
        }
    }
    undescribed.sort();
    let alone = ["devices", "models", "models[0].scale.late_share", "server"];
    let expected = alone
        .into_iter()
        .chain(["models[0].scale.schedule[0].at", "models[0].scale.schedule[0].min_instances"]);
    let mut expected: Vec<&str> = expected.collect();
    expected.sort_unstable();
    assert_eq!(undescribed, expected);
}

#[test]
fn shipped_policies_satisfy_it_and_others_do_not() {
    let schema = default_schema();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let read = |text: &str| raw::read::<Value>(text, "", &mut Faults::default()).expect("YAML");
    let faults = |text: &str| -> Vec<String> {
        validator.iter_errors(&read(text)).map(|error| error.to_string()).collect()
    };
    for (name, text) in shipped::policies() {
        assert_eq!(faults(&text), Vec::<String>::new(), "{}", name.display());
    }
    for (text, fault) in [
        ("{}", "\"models\" is a required property"),
        ("models: []", "[] has less than 1 item"),
        ("models: [{ name: a }]", "\"variants\" is a required property"),
        ("models: [{ name: a, variants: [] }]", "any of the schemas"),
        ("models: [{ name: a, variants: [{ path: a }], slotz: 3 }]", "'slotz' was unexpected"),
        (
            "models: [{ name: a, variants: { auto: a }, slots: 300 }]",
            "300 is greater than the maximum of 256",
        ),
        (
            "models: [{ name: a, variants: { auto: a }, engine: { kv_cache_type: q9 } }]",
            "\"q9\" is not one of",
        ),
        ("models: [{ name: a, variants: { auto: a }, cache: { memory: 3 apples } }]", "any of the schemas"),
    ] {
        let found = faults(text);
        assert!(found.iter().any(|found| found.contains(fault)), "{text}: {found:?}");
    }
}
