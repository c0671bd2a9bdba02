//! The rules of `server`; see [`validate`](super).

use std::path::Path;
use std::time::Duration;

use super::HOUR_MS;
use crate::policy::error::Faults;
use crate::policy::path::YamlPath;
use crate::policy::raw::{Given, RawServer};
use crate::policy::section::Section;
use crate::policy::types::ServerPolicy;
use crate::units::ByteCount;

pub(super) fn server(
    raw: &RawServer,
    at: &YamlPath,
    base_dir: &Path,
    faults: &mut Faults,
) -> Option<ServerPolicy> {
    let cors_origins =
        origins(raw.cors_origins.as_deref().unwrap_or_default(), &at.key("cors_origins"), faults);
    let mut section = Section::new(at.clone(), faults);
    let listen = match &raw.listen {
        None => Some(([127, 0, 0, 1], 8080).into()),
        Some(given) => given
            .text()
            .and_then(|text| text.parse().ok())
            .or_else(|| section.refuse("listen", "an IP address and port such as 127.0.0.1:8080", given)),
    };
    let drain_timeout_ms =
        section.whole("drain_timeout_ms", raw.drain_timeout_ms.as_ref(), 30_000, 0..=HOUR_MS);
    let max_body_bytes = section.bytes(
        "max_body_bytes",
        raw.max_body_bytes.as_ref(),
        ByteCount::from_mib(1),
        ByteCount(1 << 10)..=ByteCount::from_mib(1 << 10),
    );
    let api_keys_file = match &raw.api_keys_file {
        None => Some(None),
        given => {
            let file = section.text("api_keys_file", given.as_ref(), "the path of a file of keys");
            file.map(|file| Some(base_dir.join(file)))
        }
    };
    let metrics_require_key = section.flag("metrics_require_key", raw.metrics_require_key.as_ref(), false);
    let client_timeout_ms =
        section.whole("client_timeout_ms", raw.client_timeout_ms.as_ref(), 30_000, 100..=HOUR_MS);
    let send_buffer_bytes = section.bytes(
        "send_buffer_bytes",
        raw.send_buffer_bytes.as_ref(),
        ByteCount::from_mib(1),
        ByteCount(16 << 10)..=ByteCount::from_mib(1 << 10),
    );
    let max_connections = section.count("max_connections", raw.max_connections.as_ref(), 2048, 1..=1_000_000);
    Some(ServerPolicy {
        listen: listen?,
        drain_timeout: Duration::from_millis(drain_timeout_ms?),
        max_body_bytes: max_body_bytes?,
        api_keys_file: api_keys_file?,
        metrics_require_key: metrics_require_key?,
        cors_origins: cors_origins?,
        client_timeout: Duration::from_millis(client_timeout_ms?),
        send_buffer_bytes: send_buffer_bytes?,
        max_connections: max_connections?,
    })
}

/// Origins as browsers send them, or `*` alone.
fn origins(raw: &[Option<Given>], at: &YamlPath, faults: &mut Faults) -> Option<Vec<String>> {
    let origins = raw.iter().enumerate().map(|(index, given)| {
        let text = given.as_ref().and_then(Given::text).unwrap_or_default();
        let is_all = text == "*" && raw.len() == 1;
        if is_all || is_origin(text) {
            return Some(text.to_owned());
        }
        let shown = given.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let expected = "an origin such as https://app.example.com or http://localhost:3000, or \"*\" alone";
        faults.add(at.index(index), format!("expected {expected}, got {shown}"));
        None
    });
    // All are looked at before any is given up.
    let origins: Vec<Option<String>> = origins.collect();
    origins.into_iter().collect()
}

/// Scheme, host and perhaps a port, without a path: so a browser writes it.
fn is_origin(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
    let host = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, host)| host);
    text.len() <= 255 && host.is_some_and(|host| !host.is_empty() && host.chars().all(legal))
}
