//! `modelpool key`: makes an API key.

use anyhow::Context as _;

use super::print;
use crate::keys::hash;
use crate::policy::is_key_name;

/// Random bytes of a key: too many to be guessed, so that a plain hash of it can be kept.
const KEY_BYTES: usize = 32;

/// Prints a new key and its entry for the file of keys.
///
/// # Errors
///
/// A name that no key can have, or a system without random numbers.
pub(super) fn run(name: &str) -> anyhow::Result<()> {
    anyhow::ensure!(is_key_name(name), "expected a name of 1 to 64 letters, digits and . _ -, got {name:?}");
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    print(&text(name, &format!("mp-{}", hex::encode(bytes))));
    Ok(())
}

fn text(name: &str, secret: &str) -> String {
    let hash = hex::encode(hash(secret));
    format!(
        "{secret}\n\n# For the file that server.api_keys_file names:\nkeys:\n  - name: {name}\n    sha256: \"{hash}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ApiKeys;

    #[test]
    fn what_is_printed_is_a_file_of_keys_after_the_key() {
        let text = text("my-app", "mp-1");
        let (secret, entry) = text.split_once("\n\n").unwrap();
        let keys = ApiKeys::parse(entry, "keys.yaml").unwrap_or_else(|error| panic!("{error}")).into_keys();
        assert_eq!((keys[0].name.as_str(), keys[0].sha256), ("my-app", hash(secret)));
        assert!(!entry.contains(secret));
    }
}
