//! Reads the key/value part of a GGUF file and keeps the few values that `modelpool` needs.
//!
//! Everything else, the vocabulary included, is passed over without being stored: only its place is
//! noted, so that the text of two tokens can be looked up afterwards.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use super::LAYERS_MAX;
use super::error::{Fault, shown};
use super::source::Source;

/// The most keys a file may have; files in use have fewer than 100.
const KEYS_MAX: u64 = 4096;
/// The longest key, in bytes; the format's own limit.
const KEY_BYTES_MAX: u64 = 65_535;
/// The longest text that is kept, in bytes. Chat templates in use stay below 100 KiB.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// The fewest bytes that a key and its value can take: two lengths of text, a type and one byte.
const ENTRY_BYTES_MIN: u64 = 8 + 4 + 1;

/// Keys whose text is kept.
const TEXTS: [&str; 5] = [
    "general.architecture",
    "general.name",
    "tokenizer.chat_template",
    "tokenizer.chat_template.rerank",
    "tokenizer.chat_template.tool_use",
];
/// Keys whose number or flag is kept.
const NUMBERS: [&str; 7] = [
    "general.alignment",
    "general.file_type",
    "split.count",
    "split.no",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
];
/// Ends of keys that begin with the architecture's name, whose number or numbers are kept. The name
/// may follow later in the file, so these are kept for every architecture.
const NUMBER_ENDINGS: [&str; 11] = [
    ".attention.head_count",
    ".attention.head_count_kv",
    ".attention.key_length",
    ".attention.value_length",
    ".block_count",
    ".context_length",
    ".embedding_length",
    ".expert_feed_forward_length",
    ".expert_used_count",
    ".feed_forward_length",
    ".vocab_size",
];
const VOCABULARY: &str = "tokenizer.ggml.tokens";

/// Reads magic number and version, and says what else the file might be.
pub(super) fn read_version(source: &mut Source<impl Read + Seek>) -> Result<u32, Fault> {
    let magic: [u8; 4] = source.bytes("the magic number")?;
    match &magic {
        b"GGUF" => {}
        b"vers" => return Err(Fault::GitLfsPointer),
        _ => return Err(Fault::NotGguf { found: String::from_utf8_lossy(&magic).into_owned() }),
    }
    match source.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        // A small version number in the other byte order; llama.cpp tells the two apart like this.
        version if version != 0 && version.trailing_zeros() >= 16 => Err(Fault::BigEndian),
        version => Err(Fault::UnsupportedVersion { version }),
    }
}

/// The kept values of a file.
pub(super) struct Metadata {
    values: BTreeMap<String, Value>,
    vocabulary: Option<Vocabulary>,
}

/// Where the vocabulary's texts begin, and how many there are.
#[derive(Clone, Copy)]
struct Vocabulary {
    position: u64,
    count: u64,
}

enum Value {
    Number(u64),
    Flag(bool),
    Text(String),
    Numbers(Vec<u64>),
    /// A value of no use here, described.
    Other(&'static str),
}

/// The types of values, by their number in the file; numbers from `gguf_type` in ggml's `gguf.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ValueType {
    Unsigned(u64),
    Signed(u64),
    Float(u64),
    Flag,
    Text,
    Array,
}

impl ValueType {
    fn read(source: &mut Source<impl Read + Seek>, key: &str, what: &str) -> Result<Self, Fault> {
        Ok(match source.u32(what)? {
            0 => Self::Unsigned(1),
            1 => Self::Signed(1),
            2 => Self::Unsigned(2),
            3 => Self::Signed(2),
            4 => Self::Unsigned(4),
            5 => Self::Signed(4),
            6 => Self::Float(4),
            7 => Self::Flag,
            8 => Self::Text,
            9 => Self::Array,
            10 => Self::Unsigned(8),
            11 => Self::Signed(8),
            12 => Self::Float(8),
            found => return Err(Fault::UnknownValueType { key: shown(key), found }),
        })
    }

    /// The fewest bytes a value of this type takes.
    fn bytes_min(self) -> u64 {
        match self {
            Self::Unsigned(bytes) | Self::Signed(bytes) | Self::Float(bytes) => bytes,
            Self::Flag => 1,
            Self::Text => 8,
            Self::Array => 12,
        }
    }
}

impl Metadata {
    /// Reads the number of keys, then all keys and values.
    pub(super) fn read(source: &mut Source<impl Read + Seek>) -> Result<Self, Fault> {
        let count = source.u64("the key count")?;
        source.claim_items(count, ENTRY_BYTES_MIN, "the metadata")?;
        if count > KEYS_MAX {
            let what = "the metadata, in keys,".to_owned();
            return Err(Fault::TooLarge { what, found: count, limit: KEYS_MAX });
        }
        let mut metadata = Self { values: BTreeMap::new(), vocabulary: None };
        for _ in 0..count {
            metadata.read_entry(source)?;
        }
        Ok(metadata)
    }

    fn read_entry(&mut self, source: &mut Source<impl Read + Seek>) -> Result<(), Fault> {
        let key = source.text(KEY_BYTES_MAX, "a metadata key")?;
        let what = format!("the value of key {}", shown(&key));
        let value_type = ValueType::read(source, &key, &what)?;
        let text_kept = TEXTS.contains(&key.as_str());
        let number_kept =
            NUMBERS.contains(&key.as_str()) || NUMBER_ENDINGS.iter().any(|end| key.ends_with(end));
        if key == VOCABULARY && value_type == ValueType::Array {
            let vocabulary = skip_vocabulary(source, &what)?;
            if self.vocabulary.replace(vocabulary).is_some() {
                return Err(Fault::DuplicateKey { key });
            }
        } else if text_kept || number_kept {
            let value = read_value(source, value_type, text_kept, &key, &what)?;
            if self.values.insert(key.clone(), value).is_some() {
                return Err(Fault::DuplicateKey { key: shown(&key) });
            }
        } else {
            read_value(source, value_type, false, &key, &what)?;
        }
        Ok(())
    }

    /// Bytes that tensors are aligned to: a power of two.
    pub(super) fn alignment(&self) -> Result<u64, Fault> {
        let key = "general.alignment";
        let alignment = self.number(key)?.unwrap_or(32);
        if !alignment.is_power_of_two() {
            let (key, found) = (key.to_owned(), alignment.to_string());
            return Err(Fault::WrongValue { key, expected: "a power of two", found });
        }
        Ok(u64::from(alignment))
    }

    /// Tokens in the vocabulary, if the file holds one.
    pub(super) fn vocab_tokens(&self) -> Option<u64> {
        self.vocabulary.map(|vocabulary| vocabulary.count)
    }

    /// The text of the token whose number is under `key`; `None` without a key or such a token.
    pub(super) fn token_text(
        &self,
        source: &mut Source<impl Read + Seek>,
        key: &str,
    ) -> Result<Option<String>, Fault> {
        // llama.cpp takes the number -1, stored as an unsigned number, for "no such token".
        let (Some(vocabulary), Some(id)) = (self.vocabulary, self.number(key)?) else { return Ok(None) };
        if u64::from(id) >= vocabulary.count {
            return Ok(None);
        }
        source.seek_to(vocabulary.position)?;
        for _ in 0..id {
            source.skip_text(VOCABULARY)?;
        }
        source.text(TEXT_BYTES_MAX, VOCABULARY).map(Some)
    }

    /// The number under `key`, if there is one.
    pub(super) fn number(&self, key: &str) -> Result<Option<u32>, Fault> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(narrow(*number, key)?)),
            Some(value) => Err(value.is_not("a whole number", key)),
        }
    }

    /// The number under `key`.
    pub(super) fn required_number(&self, key: &str) -> Result<u32, Fault> {
        self.number(key)?.ok_or_else(|| Fault::MissingKey { key: shown(key) })
    }

    /// The numbers under `key`, one for each of `layers`; a single number stands for all.
    pub(super) fn per_layer(&self, key: &str, layers: u32) -> Result<Option<Vec<u32>>, Fault> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(vec![narrow(*number, key)?; layers as usize])),
            Some(Value::Numbers(numbers)) if numbers.len() == layers as usize => {
                numbers.iter().map(|number| narrow(*number, key)).collect::<Result<_, _>>().map(Some)
            }
            Some(value) => Err(value.is_not("a whole number, or one for each layer", key)),
        }
    }

    /// The text under `key`, if there is one.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Fault> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(value) => Err(value.is_not("text", key)),
        }
    }

    /// The text under `key`.
    pub(super) fn required_text(&self, key: &str) -> Result<String, Fault> {
        self.text(key)?.ok_or_else(|| Fault::MissingKey { key: shown(key) })
    }

    /// The flag under `key`, if there is one.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Fault> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(value) => Err(value.is_not("true or false", key)),
        }
    }
}

impl Value {
    fn is_not(&self, expected: &'static str, key: &str) -> Fault {
        let found = match self {
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Text(text) => format!("\"{}\"", shown(text)),
            Self::Numbers(numbers) => format!("an array of {} numbers", numbers.len()),
            Self::Other(described) => (*described).to_owned(),
        };
        Fault::WrongValue { key: shown(key), expected, found }
    }
}

fn narrow(number: u64, key: &str) -> Result<u32, Fault> {
    u32::try_from(number).map_err(|_| Fault::OutOfRange {
        key: shown(key),
        found: number,
        least: 0,
        most: u64::from(u32::MAX),
    })
}

/// Reads one value; text only where `text_kept`, other text and long arrays are passed over.
fn read_value(
    source: &mut Source<impl Read + Seek>,
    value_type: ValueType,
    text_kept: bool,
    key: &str,
    what: &str,
) -> Result<Value, Fault> {
    Ok(match value_type {
        ValueType::Unsigned(_) | ValueType::Signed(_) => {
            read_number(source, value_type, what)?.map_or(Value::Other("a negative number"), Value::Number)
        }
        ValueType::Float(bytes) => {
            source.skip(bytes, what)?;
            Value::Other("a floating-point number")
        }
        ValueType::Flag => Value::Flag(source.bytes::<1>(what)? != [0]),
        ValueType::Text if text_kept => Value::Text(source.text(TEXT_BYTES_MAX, what)?),
        ValueType::Text => {
            source.skip_text(what)?;
            Value::Other("text")
        }
        ValueType::Array => read_array(source, key, what)?,
    })
}

/// Reads an array of whole numbers no longer than a model has layers; passes over any other.
fn read_array(source: &mut Source<impl Read + Seek>, key: &str, what: &str) -> Result<Value, Fault> {
    let (element, count) = read_array_head(source, key, what)?;
    match element {
        ValueType::Unsigned(_) | ValueType::Signed(_) if count <= u64::from(LAYERS_MAX) => {
            // A negative number occurs only in arrays that no one asks for; it is kept as 0.
            let numbers = (0..count).map(|_| Ok(read_number(source, element, what)?.unwrap_or(0)));
            numbers.collect::<Result<_, Fault>>().map(Value::Numbers)
        }
        ValueType::Array => Err(Fault::NestedArray { key: shown(key) }),
        ValueType::Text => {
            for _ in 0..count {
                source.skip_text(what)?;
            }
            Ok(Value::Other("an array of texts"))
        }
        _ => {
            source.skip(count.saturating_mul(element.bytes_min()), what)?;
            Ok(Value::Other("an array"))
        }
    }
}

/// Type and number of an array's elements, which are known to fit into the file.
fn read_array_head(
    source: &mut Source<impl Read + Seek>,
    key: &str,
    what: &str,
) -> Result<(ValueType, u64), Fault> {
    let element = ValueType::read(source, key, what)?;
    let count = source.u64(what)?;
    source.claim_items(count, element.bytes_min(), what)?;
    Ok((element, count))
}

fn skip_vocabulary(source: &mut Source<impl Read + Seek>, what: &str) -> Result<Vocabulary, Fault> {
    let (element, count) = read_array_head(source, VOCABULARY, what)?;
    if element != ValueType::Text {
        let (key, found) = (VOCABULARY.to_owned(), "an array of something else".to_owned());
        return Err(Fault::WrongValue { key, expected: "an array of texts", found });
    }
    let position = source.position();
    for _ in 0..count {
        source.skip_text(what)?;
    }
    Ok(Vocabulary { position, count })
}

/// A whole number of any width; `None` if it is negative.
fn read_number(
    source: &mut Source<impl Read + Seek>,
    value_type: ValueType,
    what: &str,
) -> Result<Option<u64>, Fault> {
    let signed: i64 = match value_type {
        ValueType::Unsigned(1) => return Ok(Some(u64::from(u8::from_le_bytes(source.bytes(what)?)))),
        ValueType::Unsigned(2) => return Ok(Some(u64::from(u16::from_le_bytes(source.bytes(what)?)))),
        ValueType::Unsigned(4) => return Ok(Some(u64::from(source.u32(what)?))),
        ValueType::Signed(1) => i8::from_le_bytes(source.bytes(what)?).into(),
        ValueType::Signed(2) => i16::from_le_bytes(source.bytes(what)?).into(),
        ValueType::Signed(4) => i32::from_le_bytes(source.bytes(what)?).into(),
        ValueType::Signed(_) => i64::from_le_bytes(source.bytes(what)?),
        _ => return source.u64(what).map(Some),
    };
    Ok(u64::try_from(signed).ok())
}
