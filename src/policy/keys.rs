//! Reads a file of API keys: who may ask for what, how much, and before whom.
//!
//! Input: YAML text. Output: keys that satisfy every rule, or every fault at once, as for a policy. Only
//! [`ApiKeys::from_file`] does I/O. The file has hashes, no keys: who reads it cannot use it.

use std::collections::HashMap;
use std::path::Path;

use super::error::{Faults, PolicyError};
use super::path::YamlPath;
use super::raw::{Given, RawKey, RawKeys};
use super::section::Section;
use super::{finish, read_raw, read_text};
use crate::units::{KeyName, ModelName};

/// The most keys of a file: each is a label of metrics.
pub const MAX_KEYS: usize = 1000;

/// What a key hashes to: SHA-256 without salt or stretching, which guard secrets that can be guessed. A key has 256 random
/// bits and cannot be.
pub type KeyHash = [u8; 32];

/// The keys of a file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeys(Vec<KeyPolicy>);

/// What one key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// What it is called; unique.
    pub name: KeyName,
    /// Its hash; unique.
    pub sha256: KeyHash,
    /// Its share of the slots beside those of other keys, 1 to 1000.
    pub weight: u32,
    /// 0 to 100; the higher first.
    pub priority: u32,
    /// Most requests at a time.
    pub max_concurrent: Option<u32>,
    /// Most requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Most tokens in a minute, of prompts and answers.
    pub tokens_per_minute: Option<u32>,
    /// The models that it may ask for; `None` for all.
    pub models: Option<Vec<ModelName>>,
    /// Whether it may do what operators do.
    pub admin: bool,
}

impl ApiKeys {
    /// Reads and validates the file `path`.
    ///
    /// # Errors
    /// [`PolicyError::Unreadable`] where the file cannot be read as text, [`PolicyError::Invalid`] with every fault.
    pub fn from_file(path: &Path) -> Result<Self, PolicyError> {
        let origin = path.display().to_string();
        Self::parse(&read_text(path, &origin, "the file of keys")?, &origin)
    }

    /// Validates `text`. `origin` names it in messages.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`] with every fault.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PolicyError> {
        let mut faults = Faults::default();
        let empty = "there are no keys; add one with `modelpool key NAME`, or remove server.api_keys_file";
        let (spans, raw) = read_raw(text, empty, &mut faults);
        let keys = raw.and_then(|raw: RawKeys| keys(raw, &mut faults));
        finish(keys.map(Self), origin, &spans, faults)
    }

    /// The keys, in the file's order.
    #[must_use]
    pub fn into_keys(self) -> Vec<KeyPolicy> {
        self.0
    }
}

fn keys(raw: RawKeys, faults: &mut Faults) -> Option<Vec<KeyPolicy>> {
    let at = YamlPath::default().key("keys");
    let raw = raw.keys.unwrap_or_default();
    if raw.is_empty() || raw.len() > MAX_KEYS {
        faults.add_missing(at, &format!("list 1 to {MAX_KEYS} keys, each with `name` and `sha256`"));
        return None;
    }
    let mut names = HashMap::new();
    let mut hashes = HashMap::new();
    let mut keys = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let at = at.index(index);
        let Some(raw) = raw else {
            faults.add_missing(at, "give `name` and `sha256`, or remove this element");
            continue;
        };
        let key = key(&raw, &at, faults);
        if let Some(key) = &key {
            let name = *names.entry(key.name.clone()).or_insert(index);
            if name != index {
                faults.add(
                    at.key("name"),
                    format!("{:?} is the name of keys[{name}] too; names are unique", key.name.as_str()),
                );
            }
            let hash = *hashes.entry(key.sha256).or_insert(index);
            if hash != index {
                faults.add(
                    at.key("sha256"),
                    format!("keys[{hash}] has this hash too; make a key for each with `modelpool key NAME`"),
                );
            }
        }
        keys.push(key);
    }
    keys.into_iter().collect()
}

fn key(raw: &RawKey, at: &YamlPath, faults: &mut Faults) -> Option<KeyPolicy> {
    let models = models(raw.models.as_deref(), &at.key("models"), faults);
    let mut section = Section::new(at.clone(), faults);
    let name = name(raw.name.as_ref(), &mut section);
    let sha256 = sha256(raw.sha256.as_ref(), &mut section);
    let weight = section.count("weight", raw.weight.as_ref(), 1, 1..=1000);
    let priority = section.count("priority", raw.priority.as_ref(), 50, 0..=100);
    // Three keys whose default, no limit, has no number; 0 can stand for it because the ranges exclude 0.
    let max_concurrent = section.count("max_concurrent", raw.max_concurrent.as_ref(), 0, 1..=1_000_000);
    let requests = section.count("requests_per_minute", raw.requests_per_minute.as_ref(), 0, 1..=u32::MAX);
    let tokens = section.count("tokens_per_minute", raw.tokens_per_minute.as_ref(), 0, 1..=u32::MAX);
    let admin = section.flag("admin", raw.admin.as_ref(), false);
    let limit = |limit: u32| Some(limit).filter(|limit| *limit > 0);
    Some(KeyPolicy {
        name: name?,
        sha256: sha256?,
        weight: weight?,
        priority: priority?,
        max_concurrent: limit(max_concurrent?),
        requests_per_minute: limit(requests?),
        tokens_per_minute: limit(tokens?),
        models: models?,
        admin: admin?,
    })
}

/// Whether a key may be called so.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(legal)
}

fn name(given: Option<&Given>, section: &mut Section<'_>) -> Option<KeyName> {
    let what = "a name of 1 to 64 letters, digits and . _ -";
    let name = section.text("name", given, what)?;
    if is_key_name(name) { Some(KeyName::new(name)) } else { section.refuse("name", what, given?) }
}

fn sha256(given: Option<&Given>, section: &mut Section<'_>) -> Option<KeyHash> {
    let what = "the SHA-256 of a key as 64 hexadecimal digits";
    let text = section.text("sha256", given, what)?;
    let mut hash = KeyHash::default();
    match hex::decode_to_slice(text, &mut hash) {
        Ok(()) => Some(hash),
        // The value is not shown: somebody may have written the key itself.
        Err(_) => {
            section.note("sha256", format!("expected {what}, got {} other characters", text.chars().count()))
        }
    }
}

/// `Some(None)` where the file does not say.
#[expect(clippy::option_option, reason = "the outer one is whether it is legal, as everywhere in this room")]
fn models(
    raw: Option<&[Option<Given>]>,
    at: &YamlPath,
    faults: &mut Faults,
) -> Option<Option<Vec<ModelName>>> {
    let Some(raw) = raw else { return Some(None) };
    if raw.is_empty() {
        faults.add_missing(
            at.clone(),
            "list the models that the key may ask for, or remove the key to allow all",
        );
        return None;
    }
    let models = raw.iter().enumerate().map(|(index, given)| {
        let name = given.as_ref().and_then(Given::text);
        if name.is_none() {
            let shown = given.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
            faults.add(at.index(index), format!("expected the name of a model, got {shown}"));
        }
        name.map(ModelName::new)
    });
    // All are looked at before any is given up.
    let models: Vec<Option<ModelName>> = models.collect();
    models.into_iter().collect::<Option<Vec<_>>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn faults(text: &str) -> String {
        ApiKeys::parse(text, "keys.yaml").expect_err("faults").to_string()
    }

    #[test]
    fn a_key_has_what_the_file_says_and_defaults_for_the_rest() {
        let other = HASH.replace('9', "A");
        let text = format!(
            "keys:\n- {{ name: a, sha256: {HASH} }}\n- {{ name: b.2, sha256: \"{other}\", weight: 4, priority: 0, \
             max_concurrent: 2, requests_per_minute: 60, tokens_per_minute: 1000, models: [m, n], admin: true }}"
        );
        let keys = ApiKeys::parse(&text, "keys.yaml").unwrap().into_keys();
        let expected = KeyPolicy {
            name: KeyName::new("a"),
            sha256: hex::decode(HASH).unwrap().try_into().unwrap(),
            weight: 1,
            priority: 50,
            max_concurrent: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            models: None,
            admin: false,
        };
        assert_eq!(keys[0], expected);
        let second = &keys[1];
        assert_eq!((second.weight, second.priority, second.admin), (4, 0, true));
        let limits = (second.max_concurrent, second.requests_per_minute, second.tokens_per_minute);
        assert_eq!(limits, (Some(2), Some(60), Some(1000)));
        assert_eq!(second.models, Some(vec![ModelName::new("m"), ModelName::new("n")]));
    }

    #[test]
    fn all_faults_are_told_with_their_lines_and_no_key_is_shown() {
        let text = format!(
            "keys:\n- name: a b\n  sha256: mp-secret\n- name: c\n  sha256: {HASH}\n  weight: 0\n  admins: true\n\
             - name: d\n  sha256: {HASH}\n- name: d\n  sha256: {HASH}\n  models: []\n"
        );
        let shown = faults(&text);
        assert!(!shown.contains("mp-secret"), "{shown}");
        for line in [
            "keys.yaml: 5 faults",
            "keys.yaml:2:3: keys[0].name: expected a name of 1 to 64 letters, digits and . _ -, got \"a b\"",
            "keys.yaml:3:3: keys[0].sha256: expected the SHA-256 of a key as 64 hexadecimal digits, got 9 other characters",
            "keys.yaml:6:3: keys[1].weight: expected a whole number from 1 to 1000, got 0",
            "keys.yaml:7:3: keys[1].admins: unknown key; did you mean `admin`?",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        let same = format!("keys: [{{name: a, sha256: {HASH}}}, {{name: a, sha256: {HASH}}}]");
        let shown = faults(&same);
        assert!(
            shown.contains("is the name of keys[0] too") && shown.contains("keys[0] has this hash too"),
            "{shown}"
        );
    }

    #[test]
    fn a_file_without_keys_is_a_fault() {
        for text in ["", "keys: []", "keys: null", "{}"] {
            assert!(faults(text).contains("key"), "{text}");
        }
        let error = ApiKeys::from_file(Path::new("/nowhere/keys.yaml")).unwrap_err().to_string();
        assert_eq!(
            error,
            "/nowhere/keys.yaml: cannot read the file of keys: there is no such file; check the path"
        );
    }
}
