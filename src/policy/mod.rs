//! Reads a policy: which models to serve, within which limits, and how to scale them.
//!
//! Input: YAML text. Output: a [`Policy`] that satisfies every rule, or every fault at once, each with
//! its YAML path, line and column. Past this room an illegal policy cannot exist, so nobody checks twice.
//! Must not: look for model files, touch a GPU, spawn, log. Only [`Policy::from_file`] does I/O.
//! Caller: `cli`, at start and for `check`. Every key is explained in docs/policy.md.
//!
//! In reading order: `types` (what comes out), `error`, `path` (where a fault is), `spans` (text to line
//! and column), `raw` (text to `RawPolicy`; the only user of `serde_yaml`), `suggest` (spelling),
//! `section` (one key's type and range), `keys` (a file of API keys), `validate` (`RawPolicy` to [`Policy`]: defaults and rules),
//! `schema` (what editors know of it).

mod error;
mod keys;
mod path;
mod raw;
mod schedule;
mod schema;
mod section;
mod spans;
mod suggest;
mod types;
mod validate;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use error::{Fault, PolicyError};
pub use keys::{ApiKeys, KeyHash, KeyPolicy, MAX_KEYS, is_key_name};
pub use schedule::{InForce, Schedule};
pub use schema::schema;
pub use types::{
    CachePolicy, CachedRequests, ContextOverflow, DevicesPolicy, EnginePolicy, FlashAttention, Isolation,
    KvCacheType, MemoryLimit, ModelFile, ModelPolicy, Policy, PolicySource, Pooling, PrefixCachePolicy,
    Quality, QueuePolicy, RedisUrl, SamplingPolicy, ScalePolicy, ServerPolicy, Split, VariantPolicy,
    Variants, WatchdogPolicy,
};

use error::Faults;
use path::YamlPath;
use spans::Spans;

/// The longest policy that is read: 1 MiB, a thousand times what one needs.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

impl Policy {
    /// Reads and validates the file `path`; relative model paths are relative to the file's folder.
    ///
    /// # Errors
    /// [`PolicyError::Unreadable`] where the file cannot be read as text, [`PolicyError::Invalid`] with
    /// every fault where the text is not a legal policy.
    pub fn from_file(path: &Path) -> Result<Self, PolicyError> {
        let origin = path.display().to_string();
        let text = read_text(path, &origin, "the policy")?;
        let mut policy = Self::parse(&text, &origin, path.parent().unwrap_or(Path::new("")))?;
        policy.source.file = Some(path.to_owned());
        Ok(policy)
    }

    /// Validates `text`. `origin` names the text in messages; relative model paths are joined to
    /// `base_dir`.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`] with every fault, [`PolicyError::Unreadable`] where the text is longer
    /// than [`MAX_POLICY_BYTES`].
    pub fn parse(text: &str, origin: &str, base_dir: &Path) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(too_long(origin, "the policy"));
        }
        let mut faults = Faults::default();
        let empty = "the policy is empty; it needs at least `models`";
        let (spans, raw) = read_raw(text, empty, &mut faults);
        let source = PolicySource { text: text.into(), file: None, folder: base_dir.to_owned() };
        let policy = raw.and_then(|raw| validate::policy(raw, source, &mut faults));
        finish(policy, origin, &spans, faults)
    }

    /// The model that clients ask for as `name`.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Arc<ModelPolicy>> {
        self.models.iter().find(|model| model.name.as_str() == name)
    }
}

/// The text's keys, and where they stand. `empty` is what an empty text lacks.
fn read_raw<T: DeserializeOwned>(text: &str, empty: &str, faults: &mut Faults) -> (Spans, Option<T>) {
    let spans = Spans::read(text, faults);
    let raw = if spans.grows { None } else { raw::read(text, empty, faults) };
    if let (Some(_), Some((position, message))) = (&raw, &spans.syntax_error) {
        faults.add_at(YamlPath::default(), *position, format!("not YAML: {message}"));
    }
    (spans, raw)
}

/// What was found, unless there are faults.
fn finish<T>(found: Option<T>, origin: &str, spans: &Spans, faults: Faults) -> Result<T, PolicyError> {
    let faults = faults.located(|path| spans.locate(path));
    match found {
        Some(found) if faults.is_empty() => Ok(found),
        _ => Err(PolicyError::Invalid { origin: origin.to_owned(), faults }),
    }
}

/// The text of a file that is to be `what`.
fn read_text(path: &Path, origin: &str, what: &'static str) -> Result<String, PolicyError> {
    let mut bytes = Vec::new();
    // One byte more than the limit, so that `parse` sees that the file is too long, even if it is a
    // device that never ends.
    let limit = MAX_POLICY_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable(origin, what, &error))?;
    if bytes.len() > MAX_POLICY_BYTES {
        return Err(too_long(origin, what));
    }
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..position].split(|byte| *byte == b'\n').count();
        PolicyError::Unreadable {
            origin: origin.to_owned(),
            what,
            reason: format!("line {line} is not UTF-8 text (byte {position})"),
            remedy: "save it as UTF-8",
        }
    })
}

fn unreadable(origin: &str, what: &'static str, error: &io::Error) -> PolicyError {
    let (reason, remedy) = match error.kind() {
        io::ErrorKind::NotFound => ("there is no such file".to_owned(), "check the path"),
        io::ErrorKind::IsADirectory => ("this is a folder".to_owned(), "name the file inside it"),
        io::ErrorKind::PermissionDenied => {
            ("permission denied".to_owned(), "let the user that runs modelpool read it")
        }
        _ => (error.to_string(), "check that it is a readable text file"),
    };
    PolicyError::Unreadable { origin: origin.to_owned(), what, reason, remedy }
}

fn too_long(origin: &str, what: &'static str) -> PolicyError {
    PolicyError::Unreadable {
        origin: origin.to_owned(),
        what,
        reason: format!("it is longer than {MAX_POLICY_BYTES} bytes"),
        remedy: "check that it is the right file, and shorten it",
    }
}
