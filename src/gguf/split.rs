//! Finds the shards of a split model, by the names that llama.cpp gives and looks for.
//!
//! Pure over paths: reads no file. Source of the names: `llama_split_path` in llama.cpp.

use std::path::{Path, PathBuf};

use super::error::Fault;

/// The most shards a model may have; the largest published ones have under 100.
const SHARDS_MAX: u32 = 512;

/// What a file's name says of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard<'stem> {
    /// The model's name.
    pub name: &'stem str,
    /// Which one it is, from 1.
    pub number: u32,
}

/// The shard that a file with this stem is; `None` if the name is that of a whole model.
#[must_use]
pub fn shard(stem: &str) -> Option<Shard<'_>> {
    let number = |text: &str| {
        let digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let (rest, count) = stem.rsplit_once("-of-")?;
    let _: u32 = number(count)?;
    let (name, which) = rest.rsplit_once('-')?;
    Some(Shard { name, number: number(which)? })
}

/// Paths of the shards 2 to `count` that belong to the first shard at `first`.
///
/// # Errors
/// `count` is absurd, or the name of `first` does not end in `-00001-of-<count>.gguf`.
pub(super) fn siblings(first: &Path, count: u32) -> Result<Vec<PathBuf>, Fault> {
    if count > SHARDS_MAX {
        let (found, most) = (u64::from(count), u64::from(SHARDS_MAX));
        return Err(Fault::OutOfRange { key: "split.count".to_owned(), found, least: 1, most });
    }
    let ending = |number: u32| format!("-{number:05}-of-{count:05}.gguf");
    let prefix =
        first.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(&ending(1)));
    let prefix = prefix.ok_or_else(|| Fault::ShardName { count, expected: ending(1) })?;
    Ok((2..=count).map(|number| first.with_file_name(format!("{prefix}{}", ending(number)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_lie_beside_the_first() {
        let found = siblings(Path::new("/m/big-q8_0-00001-of-00003.gguf"), 3).unwrap();
        let expected = ["/m/big-q8_0-00002-of-00003.gguf", "/m/big-q8_0-00003-of-00003.gguf"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn names_say_which_shard_a_file_is() {
        assert_eq!(shard("big-q8_0-00002-of-00003"), Some(Shard { name: "big-q8_0", number: 2 }));
        for whole in ["big", "big-2-of-3", "big-00001-of-x", "00001-of-00003"] {
            assert_eq!(shard(whole), None, "{whole}");
        }
    }

    #[test]
    fn a_renamed_shard_is_told_the_name_it_needs() {
        let fault = siblings(Path::new("/m/big.gguf"), 3).unwrap_err();
        assert!(fault.to_string().contains("-00001-of-00003.gguf"), "{fault}");
    }

    #[test]
    fn an_absurd_number_of_shards_is_refused() {
        let fault = siblings(Path::new("/m/big-00001-of-99999.gguf"), 99_999).unwrap_err();
        assert!(matches!(fault, Fault::OutOfRange { .. }), "{fault}");
    }
}
