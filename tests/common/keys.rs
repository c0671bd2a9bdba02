//! Files of API keys, and requests that bring one.

use std::path::PathBuf;

use modelpool::keys::hash;
use serde_json::Value;
use tempfile::TempDir;

/// A file of keys in a folder of its own.
pub struct KeysFile {
    _folder: TempDir,
    pub path: PathBuf,
}

impl KeysFile {
    /// A file with these keys: each a name, which is its secret with `mp-` before it, and what else its entry has.
    pub fn new(keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.yaml");
        let file = Self { _folder: folder, path };
        file.write(keys);
        file
    }

    pub fn write(&self, keys: &[(&str, &str)]) {
        let entry = |(name, rest): &(&str, &str)| {
            let hash =
                hash(&secret(name)).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            format!("- {{ name: {name}, sha256: \"{hash}\"{rest} }}\n")
        };
        let entries: String = keys.iter().map(entry).collect();
        std::fs::write(&self.path, format!("keys:\n{entries}")).expect("written");
    }
}

pub fn secret(name: &str) -> String {
    format!("mp-{name}")
}

/// Posts with the key of this name.
pub async fn post_as(client: &reqwest::Client, url: &str, name: &str, body: &Value) -> reqwest::Response {
    client.post(url).bearer_auth(secret(name)).json(body).send().await.expect("an answer")
}
