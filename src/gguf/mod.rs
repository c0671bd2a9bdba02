//! Reads the header of a GGUF file: what the model is, and how much memory it will need.
//!
//! Input: a path, or any `Read + Seek` and its length. Output: a [`Header`], or a fault with its remedy.
//! Does I/O on that one input and nothing else: no llama.cpp, no clock, no logging, no `unsafe`.
//! A hostile or broken file can neither crash, hang nor exhaust memory: every count and length is
//! checked against the bytes that are left and against a fixed limit *before* anything is allocated,
//! and the header as a whole may take at most [`HEADER_BYTES_MAX`].
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little
//! endian. Where that text is silent, the rules are those of llama.cpp's `gguf.cpp` and
//! `llama-model.cpp`, so that a file accepted here is not refused there for its shape.

mod compute;
mod error;
mod estimate;
mod metadata;
mod source;
mod split;
mod tensors;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use crate::units::ByteCount;

pub use self::compute::InstanceSize;
pub use self::error::{Fault, GgufError};
pub use self::estimate::Placed;
use self::metadata::Metadata;
use self::source::Source;
pub use self::split::{Shard, shard};
use self::tensors::TensorSums;
pub use self::tensors::Weights;

/// The most bytes that metadata and tensor descriptions may take, 128 MiB.
///
/// It bounds the time to read any file. The largest vocabularies in use (262,144 tokens and their
/// merges) take about 16 MiB.
pub const HEADER_BYTES_MAX: u64 = 128 << 20;

/// The most layers a model may have: llama.cpp's `LLAMA_MAX_LAYERS`, above which it aborts.
pub const LAYERS_MAX: u32 = 512;

/// Whether models of an architecture read whole texts at once: those that llama.cpp gives no memory
/// (`llama_model::create_memory`), as far as they make embeddings.
#[must_use]
pub fn is_encoder(architecture: &str) -> bool {
    architecture.contains("bert") || architecture == "gemma-embedding"
}

/// What the header of a GGUF file says, as far as `modelpool` needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// GGUF version, 2 or 3.
    pub version: u32,
    /// llama.cpp's name of the architecture, for example `llama` or `qwen3moe`.
    pub architecture: String,
    /// The name its author gave the model.
    pub name: Option<String>,
    /// The Jinja template that turns messages into a prompt.
    pub chat_template: Option<String>,
    /// What a reranker is asked, with `{query}` and `{document}` in it.
    pub rerank_template: Option<String>,
    /// The one for conversations with tools, where the file has such a one.
    pub tool_template: Option<String>,
    /// Positions the model was trained for.
    pub context_length_train: u32,
    /// Layers (blocks); at most [`LAYERS_MAX`].
    pub layers: u32,
    /// Width of the residual stream, in numbers per token.
    pub embedding_length: u32,
    /// Width of the feed-forward part; the widest layer's, 0 if the file does not say.
    pub feed_forward_length: u32,
    /// Width of one expert's feed-forward part; 0 in a model without experts.
    pub expert_feed_forward_length: u32,
    /// Experts that compute each token; 0 in a model without experts.
    pub experts_used: u32,
    /// Attention heads; the largest layer's where layers differ, 0 without attention.
    pub heads: u32,
    /// Key/value heads of each layer, `[layers]`. 0 marks a layer without a KV cache.
    pub kv_heads: Vec<u32>,
    /// Numbers in one head's key.
    pub key_length: u32,
    /// Numbers in one head's value.
    pub value_length: u32,
    /// Tokens in the vocabulary; 0 if the file has none.
    pub vocab_tokens: u64,
    /// Text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// Text of the token that ends a sequence.
    pub eos_token: Option<String>,
    /// Whether the tokenizer puts the first token before a prompt by itself.
    pub add_bos: Option<bool>,
    /// Bytes of all weights, without padding.
    pub tensor_bytes: ByteCount,
    /// Bytes of each layer's weights, `[layers]`; `tensor_bytes` also holds what is in no layer.
    pub layer_bytes: Vec<ByteCount>,
    /// Bytes of the token embedding, which llama.cpp keeps on the host.
    pub embedding_bytes: ByteCount,
    /// llama.cpp's number for the file's type (`enum llama_ftype`), if the file says.
    pub file_type: Option<u32>,
    /// What quantization can make of its weights.
    pub weights: Weights,
    /// Whether the token embedding is the output matrix too; a GPU then holds a second copy of it.
    pub ties_output: bool,
    /// Length of the file, or of all its shards.
    pub file_bytes: ByteCount,
    /// Files the model is split into; 1 for a whole model.
    pub split_count: u32,
}

/// Reads the header of the GGUF file at `path`.
///
/// Of a split model name the first shard (`…-00001-of-0000N.gguf`): the others are found beside it,
/// as llama.cpp finds them, and all byte counts cover the whole model.
///
/// # Errors
/// Names the file at fault, what was found in it and the remedy: the file cannot be read, is not a
/// GGUF file, is truncated or damaged, or holds no model that llama.cpp could load.
pub fn read_file(path: &Path) -> Result<Header, GgufError> {
    let mut scan = scan_file(path)?;
    let split_count = scan.split_count().map_err(|fault| GgufError::of(path, fault))?;
    if split_count > 1 {
        let siblings = split::siblings(path, split_count).map_err(|fault| GgufError::of(path, fault))?;
        for sibling in siblings {
            scan.absorb(&scan_file(&sibling)?);
        }
    }
    scan.into_header(true).map_err(|fault| GgufError::of(path, fault))
}

/// The files of the model at `path`: it alone, or, where its name is that of the first of several shards, all of
/// them. Reads nothing.
#[must_use]
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let shards = path.file_stem().and_then(|stem| stem.to_str()?.rsplit_once("-of-")?.1.parse().ok());
    let siblings = shards.and_then(|count| split::siblings(path, count).ok()).unwrap_or_default();
    std::iter::once(path.to_owned()).chain(siblings).collect()
}

/// Reads the header of the GGUF file of `file_bytes` bytes that `reader` gives, from its start.
///
/// Of a split model this must be the first shard, and the byte counts cover that shard alone;
/// `split_count` says so. [`read_file`] covers all shards.
///
/// # Errors
/// As [`read_file`], but calls the file `this file`.
pub fn read(reader: &mut (impl Read + Seek), file_bytes: u64) -> Result<Header, GgufError> {
    scan(reader, file_bytes).and_then(|scan| scan.into_header(false)).map_err(GgufError::of_unnamed)
}

/// One file's contents, before it is known whether they make a model.
struct Scan {
    version: u32,
    metadata: Metadata,
    bos_token: Option<String>,
    eos_token: Option<String>,
    tensors: TensorSums,
    file_bytes: u64,
}

/// Scans the file at `path`. Anything but a regular file is refused unopened: opening a pipe waits.
fn scan_file(path: &Path) -> Result<Scan, GgufError> {
    let found = fs::metadata(path).map_err(|error| GgufError::of(path, error.into()))?;
    if !found.is_file() {
        return Err(GgufError::of(path, Fault::NotAFile));
    }
    let open = || -> Result<Scan, Fault> {
        let mut file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        scan(&mut file, file_bytes)
    };
    open().map_err(|fault| GgufError::of(path, fault))
}

fn scan(reader: &mut (impl Read + Seek), file_bytes: u64) -> Result<Scan, Fault> {
    let mut source = Source::new(reader, file_bytes)?;
    let version = metadata::read_version(&mut source)?;
    let tensor_count = source.u64("the tensor count")?;
    let metadata = Metadata::read(&mut source)?;
    let tensors = tensors::read(&mut source, tensor_count, metadata.alignment()?)?;
    let bos_token = metadata.token_text(&mut source, "tokenizer.ggml.bos_token_id")?;
    let eos_token = metadata.token_text(&mut source, "tokenizer.ggml.eos_token_id")?;
    Ok(Scan { version, metadata, bos_token, eos_token, tensors, file_bytes })
}

impl Scan {
    /// Files the model is split into, at least 1.
    fn split_count(&self) -> Result<u32, Fault> {
        let count = self.metadata.number("split.count")?.unwrap_or(1).max(1);
        let number = self.metadata.number("split.no")?.unwrap_or(0);
        if count > 1 && number > 0 {
            return Err(Fault::NotFirstShard { number: u64::from(number) + 1, count });
        }
        Ok(count)
    }

    /// Adds another shard's weights to this one's.
    fn absorb(&mut self, shard: &Self) {
        self.tensors.absorb(&shard.tensors);
        self.file_bytes = self.file_bytes.saturating_add(shard.file_bytes);
    }

    /// The header, if the contents make a model. `whole`: all shards have been absorbed.
    fn into_header(self, whole: bool) -> Result<Header, Fault> {
        let split_count = self.split_count()?;
        let metadata = &self.metadata;
        let architecture = metadata.required_text("general.architecture")?;
        let key = |rest: &str| format!("{architecture}.{rest}");
        let layers = metadata.required_number(&key("block_count"))?;
        if layers == 0 || layers > LAYERS_MAX {
            let (key, limit) = (key("block_count"), u64::from(LAYERS_MAX));
            return Err(Fault::OutOfRange { key, found: u64::from(layers), least: 1, most: limit });
        }
        let embedding_length = metadata.required_number(&key("embedding_length"))?;
        let context_length_train = metadata.required_number(&key("context_length"))?;
        if self.tensors.count == 0 && (whole || split_count == 1) {
            return Err(Fault::NoTensors);
        }

        let largest = |rest: &str| -> Result<u32, Fault> {
            let per_layer = metadata.per_layer(&key(rest), layers)?;
            Ok(per_layer.and_then(|each| each.into_iter().max()).unwrap_or(0))
        };
        // llama.cpp's defaults: as many key/value heads as heads, and heads that share the width.
        let head_counts = metadata.per_layer(&key("attention.head_count"), layers)?;
        let head_counts = head_counts.unwrap_or_else(|| vec![0; layers as usize]);
        let heads = head_counts.iter().copied().max().unwrap_or(0);
        let kv_heads = metadata.per_layer(&key("attention.head_count_kv"), layers)?.unwrap_or(head_counts);
        let share = embedding_length.checked_div(heads).unwrap_or(0);
        let layer_bytes = (0..layers as usize).map(|layer| ByteCount(self.tensors.layer(layer))).collect();
        Ok(Header {
            version: self.version,
            name: metadata.text("general.name")?,
            chat_template: metadata.text("tokenizer.chat_template")?,
            rerank_template: metadata.text("tokenizer.chat_template.rerank")?,
            tool_template: metadata.text("tokenizer.chat_template.tool_use")?,
            context_length_train,
            layers,
            embedding_length,
            feed_forward_length: largest("feed_forward_length")?,
            expert_feed_forward_length: largest("expert_feed_forward_length")?,
            experts_used: largest("expert_used_count")?,
            heads,
            kv_heads,
            key_length: metadata.number(&key("attention.key_length"))?.unwrap_or(share),
            value_length: metadata.number(&key("attention.value_length"))?.unwrap_or(share),
            vocab_tokens: match metadata.vocab_tokens() {
                Some(count) => count,
                None => metadata.number(&key("vocab_size"))?.map_or(0, u64::from),
            },
            bos_token: self.bos_token,
            eos_token: self.eos_token,
            add_bos: metadata.flag("tokenizer.ggml.add_bos_token")?,
            tensor_bytes: ByteCount(self.tensors.bytes),
            layer_bytes,
            embedding_bytes: ByteCount(self.tensors.embedding_bytes),
            file_type: metadata.number("general.file_type")?,
            weights: self.tensors.weights,
            ties_output: !self.tensors.has_output,
            file_bytes: ByteCount(self.file_bytes),
            split_count,
            architecture,
        })
    }
}
