//! Reads YAML text as the keys of a policy. The only user of `serde_yaml`.
//!
//! Output: [`RawPolicy`], which has the shape of a policy but promises nothing about its values. Pure.
//! One fault does not hide the next: the node that serde refuses is noted and left out, and the rest is
//! read again.

mod lenient;
mod variants;

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::error::{Faults, MAX_FAULTS};
use super::path::{Position, Step, YamlPath, shown_text};
use super::suggest::unknown_key;
use lenient::Lenient;
pub(super) use variants::RawVariants;

/// Declares sections: mappings in which every key may be absent, and no other key may be present.
macro_rules! sections {
    ($($(#[$attribute:meta])* $name:ident { $($key:ident: $kind:ty,)* })*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, expecting = "a mapping (`key: value` lines)")]
        pub(super) struct $name { $(pub $key: Option<$kind>,)* }
    )*};
}

sections! {
    /// The whole document. A list's element is `None` where it is null or was left out.
    RawPolicy {
        server: RawServer,
        devices: RawDevices,
        models: Vec<Option<RawModel>>,
    }
    RawServer {
        listen: Given,
        drain_timeout_ms: Given,
        max_body_bytes: Given,
        api_keys_file: Given,
        metrics_require_key: Given,
        cors_origins: Vec<Option<Given>>,
        client_timeout_ms: Given,
        send_buffer_bytes: Given,
        max_connections: Given,
    }
    RawDevices {
        headroom_fraction: Given,
        headroom_bytes: Given,
        host_memory_limit: Given,
        cpu_threads: Given,
    }
    RawModel {
        name: Given,
        variants: RawVariants,
        context_tokens: Given,
        slots: Given,
        isolation: Given,
        priority: Given,
        devices: Vec<Option<Given>>,
        engine: RawEngine,
        sampling: RawSampling,
        scale: RawScale,
        queue: RawQueue,
        cache: RawCache,
        watchdog: RawWatchdog,
    }
    RawVariant {
        path: Given,
    }
    RawAuto {
        auto: Given,
    }
    RawEngine {
        gpu_layers: Given,
        split: Given,
        threads: Given,
        batch_tokens: Given,
        kv_cache_type: Given,
        flash_attention: Given,
        context_overflow: Given,
        prefix_cache: RawPrefixCache,
        pooling: Given,
    }
    RawPrefixCache {
        enabled: Given,
        host_memory: Given,
    }
    RawSampling {
        temperature: Given,
        top_k: Given,
        top_p: Given,
        min_p: Given,
        repeat_penalty: Given,
    }
    RawScale {
        min_instances: Given,
        max_instances: Given,
        target_queue_wait_ms: Given,
        target_ttft_ms: Given,
        target_itl_ms: Given,
        late_share: Given,
        scale_down_after_ms: Given,
        idle_unload_after_ms: Given,
        forecast: Given,
        quality: Given,
        upgrade_after_ms: Given,
        min_residence_ms: Given,
        schedule: Vec<Option<RawScheduled>>,
    }
    RawScheduled {
        at: Given,
        min_instances: Given,
    }
    RawQueue {
        max_requests: Given,
        timeout_ms: Given,
    }
    RawCache {
        enabled: Given,
        requests: Given,
        memory: Given,
        ttl_ms: Given,
        redis: Given,
    }
    RawWatchdog {
        no_progress_after_ms: Given,
        load_timeout_ms: Given,
    }
    /// A file of API keys.
    RawKeys {
        keys: Vec<Option<RawKey>>,
    }
    RawKey {
        name: Given,
        sha256: Given,
        weight: Given,
        priority: Given,
        max_concurrent: Given,
        requests_per_minute: Given,
        tokens_per_minute: Given,
        models: Vec<Option<Given>>,
        admin: Given,
    }
}

/// A value as the text gives it, of whatever type. Its `Display` is for messages.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Given(Value);

impl Given {
    /// The value as a whole number that is not negative.
    pub fn whole(&self) -> Option<u64> {
        self.0.as_u64()
    }

    /// The value as a number, whole or not.
    pub fn number(&self) -> Option<f64> {
        self.0.as_f64()
    }

    /// The value as text.
    pub fn text(&self) -> Option<&str> {
        self.0.as_str()
    }

    /// The value as a truth value.
    pub fn flag(&self) -> Option<bool> {
        self.0.as_bool()
    }

    /// Whether quotes would make the value a text.
    pub fn is_bare(&self) -> bool {
        matches!(self.0, Value::Bool(_) | Value::Number(_))
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe(&self.0))
    }
}

/// `text` as a raw policy or raw keys, as far as it can be read; `None` where nothing in it can. `empty` is what an empty
/// text lacks.
pub(super) fn read<T: DeserializeOwned>(text: &str, empty: &str, faults: &mut Faults) -> Option<T> {
    // Only the first document is read; `spans` notes that there is another.
    let document = serde_yaml::Deserializer::from_str(text).next();
    let mut document = match document.map(Lenient::deserialize) {
        Some(Ok(Lenient(value))) => value,
        Some(Err(error)) => {
            note_syntax_error(&error, text, faults);
            return None;
        }
        None => Value::Null,
    };
    if document.is_null() {
        faults.add(YamlPath::default(), empty);
        return None;
    }
    while faults.len() < MAX_FAULTS {
        let error = match serde_path_to_error::deserialize::<_, T>(&document) {
            Ok(raw) => return Some(raw),
            Err(error) => error,
        };
        let path = known_part(error.path());
        let refused = node(&mut document, &path);
        let message = explain(&error.into_inner(), &path, refused.as_deref());
        faults.lose(path.clone(), message);
        if path.steps().is_empty() || !leave_out(&mut document, &path) {
            return None;
        }
    }
    None
}

/// Notes what `serde_yaml` says of a text that is not YAML.
fn note_syntax_error(error: &serde_yaml::Error, text: &str, faults: &mut Faults) {
    let position = error.location().map(|place| Position { line: place.line(), column: place.column() });
    let Some(position) = position else {
        return faults.add(YamlPath::default(), format!("not YAML: {error}"));
    };
    let Position { line, column } = position;
    // The place stands before the message already; other places in the message stay.
    let message = error.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
    let tab = text.lines().nth(line - 1).is_some_and(|line| line.trim_start_matches(' ').starts_with('\t'));
    let remedy =
        if tab { "indent with spaces, not tabs" } else { "check indentation, colons and quotes here" };
    faults.add_at(YamlPath::default(), position, format!("not YAML: {message}; {remedy}"));
}

/// A sentence for serde's `error` about the node at `path`.
///
/// serde hands over text only, so this takes its two sentences apart; a unit test pins their form.
fn explain(error: &serde_yaml::Error, path: &YamlPath, refused: Option<&Value>) -> String {
    let text = error.to_string();
    if let Some(Step::Key(key)) = path.steps().last() {
        let known = text.strip_prefix(&format!("unknown field `{key}`, expected "));
        if let Some(known) = known {
            // Every second piece is between backquotes: "one of `a`, `b`".
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            return unknown_key(key, &known);
        }
    }
    match (text.rsplit_once(", expected "), refused) {
        (Some((_, expected)), Some(refused)) => {
            let expected = expected.replace("a sequence", "a list (`- ` lines)");
            format!("expected {expected}, got {}", describe(refused))
        }
        _ => text,
    }
}

/// `path` as far as it names keys and elements.
fn known_part(path: &serde_path_to_error::Path) -> YamlPath {
    let step = |segment: &serde_path_to_error::Segment| match segment {
        serde_path_to_error::Segment::Seq { index } => Some(Step::Index(*index)),
        serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
        _ => None,
    };
    path.iter().map_while(step).collect()
}

/// The node of `document` at `path`.
fn node<'v>(document: &'v mut Value, path: &YamlPath) -> Option<&'v mut Value> {
    path.steps().iter().try_fold(document, |node, step| match step {
        Step::Key(key) => node.get_mut(key),
        Step::Index(index) => node.get_mut(index),
    })
}

/// Takes the node at `path` out of `document`; an element becomes null, so that others keep their
/// indices. False where there is no such node, or it is null already.
fn leave_out(document: &mut Value, path: &YamlPath) -> bool {
    let Some((step, above)) = path.steps().split_last() else { return false };
    let above = node(document, &above.iter().cloned().collect());
    match (above, step) {
        (Some(Value::Mapping(mapping)), Step::Key(key)) => mapping.remove(key).is_some(),
        (Some(Value::Sequence(list)), Step::Index(index)) => {
            list.get_mut(*index).is_some_and(|element| !std::mem::take(element).is_null())
        }
        _ => false,
    }
}

/// `value` in a few words.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => shown_text(value),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Tagged(_) => "a tagged value".to_owned(),
    }
}

#[cfg(test)]
mod tests;
