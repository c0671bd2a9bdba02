//! The `server` section: defaults, paths and origins.

use std::path::Path;
use std::time::Duration;

use super::{MODEL, faults, parse};
use crate::policy::{ApiKeys, ServerPolicy};
use crate::units::ByteCount;

/// A policy with this section.
fn policy(server: &str) -> String {
    format!("server: {server}\n{MODEL}")
}

#[test]
fn an_empty_section_has_the_defaults() {
    let expected = ServerPolicy {
        listen: ([127, 0, 0, 1], 8080).into(),
        drain_timeout: Duration::from_secs(30),
        max_body_bytes: ByteCount::from_mib(1),
        api_keys_file: None,
        metrics_require_key: false,
        cors_origins: Vec::new(),
        client_timeout: Duration::from_secs(30),
        send_buffer_bytes: ByteCount::from_mib(1),
        max_connections: 2048,
    };
    assert_eq!(parse(MODEL).expect("a legal policy").server, expected);
    assert_eq!(
        parse(&policy("{ api_keys_file: null, cors_origins: null }")).expect("a legal policy").server,
        expected
    );
}

#[test]
fn the_file_of_keys_lies_beside_the_policy() {
    for (given, path) in [("keys.yaml", "/base/keys.yaml"), ("/etc/keys.yaml", "/etc/keys.yaml")] {
        let server = parse(&policy(&format!("{{ api_keys_file: {given} }}"))).expect("a legal policy").server;
        assert_eq!(server.api_keys_file.as_deref(), Some(Path::new(path)));
    }
    let expected = "server.api_keys_file: expected the path of a file of keys, got 5; put it in quotes";
    let found = faults(&policy("{ api_keys_file: 5 }"));
    assert!(found[0].ends_with(expected), "{found:?}");
}

#[test]
fn origins_are_what_browsers_send() {
    for legal in ["https://app.example.com", "http://localhost:3000", "\"http://[::1]:8080\"", "\"*\""] {
        assert_eq!(faults(&policy(&format!("{{ cors_origins: [{legal}] }}"))), [""; 0], "{legal}");
    }
    for wrong in
        ["app.example.com", "https://", "https://a/b", "https://A.example", "5", "null", "\"*\", https://a"]
    {
        let found = faults(&policy(&format!("{{ cors_origins: [{wrong}] }}")));
        assert!(
            found.len() == 1 && found[0].contains("server.cors_origins[0]: expected an origin"),
            "{wrong}: {found:?}"
        );
    }
}

#[test]
fn the_document_shows_a_legal_file_of_keys() {
    let document = include_str!("../../../docs/operations.md");
    let (_, section) = document.split_once("## API keys\n").expect("the section");
    let (_, block) = section.split_once("```yaml\n").expect("the example");
    let (yaml, rest) = block.split_once("```").expect("its end");
    let keys = ApiKeys::parse(yaml, "keys.yaml").unwrap_or_else(|error| panic!("{error}")).into_keys();
    let last = keys.last().expect("two keys");
    assert_eq!((keys[0].weight, last.priority, last.tokens_per_minute), (4, 10, Some(100_000)));
    for key in [
        "name",
        "sha256",
        "weight",
        "priority",
        "max_concurrent",
        "requests_per_minute",
        "tokens_per_minute",
        "models",
        "admin",
    ] {
        assert!(rest.contains(&format!("| `{key}` |")), "no row for {key}");
    }
}
