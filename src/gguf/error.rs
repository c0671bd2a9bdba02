//! What can be wrong with a GGUF file, said so that its owner knows what to do.
//!
//! Pure: values and their text. Text that comes from the file is escaped and shortened before it is shown.

use std::io;
use std::path::Path;

use thiserror::Error;

/// A file and its fault; prints as one sentence, for example `x.gguf is not a regular file; …`.
#[derive(Debug, Error)]
#[error("{file} {fault}")]
pub struct GgufError {
    /// The path as it was given, or `this file` where there is none.
    pub file: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl GgufError {
    pub(super) fn of(path: &Path, fault: Fault) -> Self {
        Self { file: path.display().to_string(), fault }
    }

    pub(super) fn of_unnamed(fault: Fault) -> Self {
        Self { file: "this file".to_owned(), fault }
    }
}

/// What is wrong with a GGUF file. Each text continues a sentence that begins with the file's name.
#[derive(Debug, Error)]
pub enum Fault {
    /// The operating system refused.
    #[error("cannot be read: {0}; check the path and its permissions")]
    Io(#[from] io::Error),
    /// A directory, a pipe or a device.
    #[error("is not a regular file; name a .gguf file")]
    NotAFile,
    /// The magic number is missing.
    #[error("is not a GGUF file: it begins with {found:?}; download it again or check the path")]
    NotGguf {
        /// The first bytes, as text.
        found: String,
    },
    /// A checkout without its large files.
    #[error("is a Git LFS pointer, not the model itself; run `git lfs pull` where it lies")]
    GitLfsPointer,
    /// Written for a big-endian machine.
    #[error("is a big-endian GGUF file; use the little-endian one, or convert the model again")]
    BigEndian,
    /// A version before 2 or after 3.
    #[error(
        "has GGUF version {version}, but versions 2 and 3 can be read; \
         convert the model again with a current llama.cpp, or update modelpool"
    )]
    UnsupportedVersion {
        /// The version found.
        version: u32,
    },
    /// Something would end after the end of the file.
    #[error(
        "is truncated: {what} ends at byte {}, the file has {}; download it again",
        grouped(*end), grouped(*file_bytes)
    )]
    Truncated {
        /// What is cut off.
        what: String,
        /// The byte it ends at; `u64::MAX` where its length is absurd.
        end: u64,
        /// The length of the file.
        file_bytes: u64,
    },
    /// Something is larger than any sound file needs.
    #[error("is damaged: {what} has {}, the limit is {}; download it again", grouped(*found), grouped(*limit))]
    TooLarge {
        /// What is too large, with its unit.
        what: String,
        /// Its size.
        found: u64,
        /// The largest size allowed.
        limit: u64,
    },
    /// A metadata value of a type that GGUF does not define.
    #[error("is damaged: key {key} has value type {found}, types 0 to 12 exist; download it again")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The type found.
        found: u32,
    },
    /// An array of arrays; llama.cpp refuses it too.
    #[error("has an array of arrays under key {key}, which llama.cpp cannot load; convert the model again")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// A value of another type than the key needs.
    #[error("has {found} under key {key}, which needs {expected}; convert the model again")]
    WrongValue {
        /// The key.
        key: String,
        /// What the key needs.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// A number outside its range.
    #[error(
        "has {} under key {key}, which allows {} to {}; convert the model again",
        grouped(*found), grouped(*least), grouped(*most)
    )]
    OutOfRange {
        /// The key.
        key: String,
        /// The number found.
        found: u64,
        /// The smallest number allowed.
        least: u64,
        /// The largest number allowed.
        most: u64,
    },
    /// A key that occurs twice.
    #[error("has key {key} twice; convert the model again")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key without which there is no model.
    #[error(
        "lacks key {key}, so it is no language model that llama.cpp can load; \
         name the model's main file, or convert it again"
    )]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A tensor in a format that this version does not know.
    #[error(
        "has tensor {tensor} of ggml type {found}, which is not known here; \
         update modelpool, or quantize the model again"
    )]
    UnknownTensorType {
        /// The tensor.
        tensor: String,
        /// The type found.
        found: u32,
    },
    /// A tensor whose shape cannot be.
    #[error("is damaged: tensor {tensor} has {found}, which needs {expected}; download it again")]
    BadShape {
        /// The tensor.
        tensor: String,
        /// The shape found.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A tensor that does not follow the one before it.
    #[error(
        "is damaged: tensor {tensor} begins at data offset {}, {} is expected; download it again",
        grouped(*found), grouped(*expected)
    )]
    BadOffset {
        /// The tensor.
        tensor: String,
        /// The offset found.
        found: u64,
        /// The end of the tensor before it, aligned.
        expected: u64,
    },
    /// A vocabulary without weights.
    #[error("holds no tensors, only a vocabulary; name the file with the model's weights")]
    NoTensors,
    /// A shard other than the first.
    #[error("is shard {number} of {count}; name the first shard, the others are found beside it")]
    NotFirstShard {
        /// The shard's number, from 1.
        number: u64,
        /// Shards in all.
        count: u32,
    },
    /// A first shard whose name does not lead to the others.
    #[error("is the first of {count} shards, so its name must end in {expected}; rename the shards")]
    ShardName {
        /// Shards in all.
        count: u32,
        /// The ending that llama.cpp looks for.
        expected: String,
    },
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text from the file, fit to be printed: escaped, and no longer than 80 characters.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut shown: String = text.chars().take(CHARS_MAX).collect::<String>().escape_debug().collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (7_413_024, "7,413,024")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn text_from_a_file_cannot_disturb_a_terminal() {
        assert_eq!(shown("blk.0\u{1b}[2J"), "blk.0\\u{1b}[2J");
        assert_eq!(shown(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
    }

    #[test]
    fn a_message_is_one_sentence_with_the_remedy() {
        let error = GgufError::of(
            Path::new("x.gguf"),
            Fault::Truncated {
                what: "tensor blk.3.ffn_up.weight".to_owned(),
                end: 7_413_024,
                file_bytes: 5_000_000,
            },
        );
        assert_eq!(
            error.to_string(),
            "x.gguf is truncated: tensor blk.3.ffn_up.weight ends at byte 7,413,024, \
             the file has 5,000,000; download it again"
        );
    }
}
