//! Reads the descriptions of a GGUF file's tensors and adds up their bytes.
//!
//! No tensor is stored: only sums, by layer. The descriptions must follow each other without gaps,
//! as llama.cpp demands, so the last tensor's end tells how long the file must be.

use std::io::{Read, Seek};

use super::LAYERS_MAX;
use super::error::{Fault, shown};
use super::source::Source;

/// ggml's `GGML_MAX_NAME` less the closing NUL.
const NAME_BYTES_MAX: u64 = 63;
/// ggml's `GGML_MAX_DIMS`.
const DIMENSIONS_MAX: u32 = 4;
/// The fewest bytes of a description: length of the name, dimensions, type and offset.
const DESCRIPTION_BYTES_MIN: u64 = 8 + 4 + 4 + 8;
/// Padding after a tensor in a file that llama.cpp writes is less than this.
const PADDING_BYTES_MAX: u64 = 32;
/// Parts of the names of matrices that llama.cpp never quantizes. It knows more of them, all small.
const KEPT_NAMES: [&str; 2] = ["_norm.weight", "ffn_gate_inp.weight"];
/// Matrices that llama.cpp gives more bits than the type's own.
const BYTE_NAMES: [&str; 3] = ["token_embd.weight", "per_layer_token_embd.weight", "output.weight"];

/// The weights of a model, by what quantization can make of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// Weights in rows that are a multiple of 256 long: any type can hold them.
    pub any_type: u64,
    /// Weights in rows that are a multiple of 32 long, and those of token embedding and output: they take 8.5 bits at
    /// the most, if not the type's own.
    pub byte_types: u64,
    /// Weights in other rows: they stay at 16 bits.
    pub no_type: u64,
    /// Bytes of what is never quantized, and the most padding that all tensors can have.
    pub kept_bytes: u64,
    /// Tensors that are quantized already.
    pub quantized_tensors: u64,
}

/// What the tensors of one file, or of all shards, take.
#[derive(Debug, Default)]
pub(super) struct TensorSums {
    /// Tensors.
    pub count: u64,
    /// Bytes of all tensors, without padding.
    pub bytes: u64,
    /// Bytes of `token_embd.weight`.
    pub embedding_bytes: u64,
    /// Whether there is an output matrix of its own.
    pub has_output: bool,
    /// What quantization can make of them.
    pub weights: Weights,
    layers: Vec<u64>,
}

impl TensorSums {
    /// Bytes of the tensors in layer `layer`.
    pub(super) fn layer(&self, layer: usize) -> u64 {
        self.layers.get(layer).copied().unwrap_or(0)
    }

    /// Adds the sums of another shard.
    pub(super) fn absorb(&mut self, shard: &Self) {
        self.count = self.count.saturating_add(shard.count);
        self.bytes = self.bytes.saturating_add(shard.bytes);
        self.embedding_bytes = self.embedding_bytes.saturating_add(shard.embedding_bytes);
        self.has_output |= shard.has_output;
        self.weights.absorb(&shard.weights);
        for (layer, bytes) in shard.layers.iter().enumerate() {
            self.add_to_layer(layer, *bytes);
        }
    }

    fn add(&mut self, name: &str, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        match name {
            "token_embd.weight" => self.embedding_bytes = self.embedding_bytes.saturating_add(bytes),
            "output.weight" => self.has_output = true,
            _ => {
                let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
                let layer: Option<usize> = layer.and_then(|number| number.parse().ok());
                if let Some(layer) = layer.filter(|layer| *layer < LAYERS_MAX as usize) {
                    self.add_to_layer(layer, bytes);
                }
            }
        }
    }

    fn add_to_layer(&mut self, layer: usize, bytes: u64) {
        if layer >= self.layers.len() {
            self.layers.resize(layer + 1, 0);
        }
        self.layers[layer] = self.layers[layer].saturating_add(bytes);
    }
}

impl Weights {
    fn absorb(&mut self, other: &Self) {
        let Self { any_type, byte_types, no_type, kept_bytes, quantized_tensors } = other;
        for (own, others) in [
            (&mut self.any_type, any_type),
            (&mut self.byte_types, byte_types),
            (&mut self.no_type, no_type),
            (&mut self.kept_bytes, kept_bytes),
            (&mut self.quantized_tensors, quantized_tensors),
        ] {
            *own = own.saturating_add(*others);
        }
    }

    fn add(&mut self, tensor: &Tensor) {
        let Tensor { name, bytes, row, rows, .. } = tensor;
        self.quantized_tensors += u64::from(tensor.is_quantized);
        self.kept_bytes = self.kept_bytes.saturating_add(PADDING_BYTES_MAX);
        let kept = || KEPT_NAMES.iter().any(|part| name.contains(part));
        let (group, amount) = if tensor.dimensions < 2 || !name.ends_with("weight") || kept() {
            (&mut self.kept_bytes, *bytes)
        } else if !row.is_multiple_of(32) {
            (&mut self.no_type, row.saturating_mul(*rows))
        } else if !row.is_multiple_of(256) || BYTE_NAMES.contains(&name.as_str()) {
            (&mut self.byte_types, row.saturating_mul(*rows))
        } else {
            (&mut self.any_type, row.saturating_mul(*rows))
        };
        *group = group.saturating_add(amount);
    }
}

/// Reads `count` descriptions and checks that the tensors lie inside the file.
pub(super) fn read(
    source: &mut Source<impl Read + Seek>,
    count: u64,
    alignment: u64,
) -> Result<TensorSums, Fault> {
    source.claim_items(count, DESCRIPTION_BYTES_MIN, "the list of tensors")?;
    let mut sums = TensorSums::default();
    // Offsets count from the start of the data, which is known only after the last description.
    let mut next_offset = 0_u64;
    let mut last = None;
    for _ in 0..count {
        let tensor = Tensor::read(source)?;
        if tensor.offset != next_offset {
            let (found, expected) = (tensor.offset, next_offset);
            return Err(Fault::BadOffset { tensor: shown(&tensor.name), found, expected });
        }
        let end = next_offset.checked_add(tensor.bytes);
        let padded = end.and_then(|end| end.checked_next_multiple_of(alignment));
        let (Some(end), Some(padded)) = (end, padded) else {
            return Err(truncated(&tensor.name, u64::MAX, source.file_bytes()));
        };
        next_offset = padded;
        sums.add(&tensor.name, tensor.bytes);
        sums.weights.add(&tensor);
        last = Some((tensor.name, end));
    }
    if let Some((name, end)) = last {
        let end =
            source.position().checked_next_multiple_of(alignment).and_then(|start| start.checked_add(end));
        let end = end.unwrap_or(u64::MAX);
        if end > source.file_bytes() {
            return Err(truncated(&name, end, source.file_bytes()));
        }
    }
    Ok(sums)
}

fn truncated(tensor: &str, end: u64, file_bytes: u64) -> Fault {
    Fault::Truncated { what: format!("tensor {}", shown(tensor)), end, file_bytes }
}

struct Tensor {
    name: String,
    dimensions: u32,
    /// Numbers in a row.
    row: u64,
    rows: u64,
    /// Whether several numbers share something, which is what ggml calls quantized.
    is_quantized: bool,
    bytes: u64,
    offset: u64,
}

impl Tensor {
    fn read(source: &mut Source<impl Read + Seek>) -> Result<Self, Fault> {
        let what = "the list of tensors";
        let name = source.text(NAME_BYTES_MAX, what)?;
        let bad_shape =
            |found: String, expected: String| Fault::BadShape { tensor: shown(&name), found, expected };
        let dimensions = source.u32(what)?;
        if dimensions > DIMENSIONS_MAX {
            let expected = format!("at most {DIMENSIONS_MAX}");
            return Err(bad_shape(format!("{dimensions} dimensions"), expected));
        }
        let mut row = 1_u64;
        let mut all_rows = Some(1_u64);
        for dimension in 0..dimensions {
            let length = source.u64(what)?;
            if dimension == 0 {
                row = length;
            } else {
                all_rows = all_rows.and_then(|rows| rows.checked_mul(length));
            }
        }
        let type_id = source.u32(what)?;
        let offset = source.u64(what)?;
        let (block, block_bytes) = block_of(type_id)
            .ok_or_else(|| Fault::UnknownTensorType { tensor: shown(&name), found: type_id })?;
        if !row.is_multiple_of(block) {
            let expected = format!("a multiple of {block}");
            return Err(bad_shape(format!("rows of {row} numbers"), expected));
        }
        let size = all_rows.and_then(|rows| {
            let bytes = (row / block).checked_mul(rows)?.checked_mul(block_bytes)?;
            i64::try_from(bytes).is_ok().then_some((rows, bytes))
        });
        let (rows, bytes) = size.ok_or_else(|| {
            bad_shape(format!("rows of {row} numbers times other dimensions"), "under 2^63 bytes".to_owned())
        })?;
        Ok(Self { name, dimensions, row, rows, is_quantized: block > 1, bytes, offset })
    }
}

/// For each ggml type by number: the numbers in one block, and the bytes that the block takes.
///
/// Source: `type_traits` in ggml's `ggml.c`, with sizes from `ggml-common.h` (ggml 0.26.0).
#[rustfmt::skip]
const BLOCKS: [(u64, u64); 43] = [
    (1, 4), // 0 f32
    (1, 2), // 1 f16
    (32, 18), // 2 q4_0
    (32, 20), // 3 q4_1
    (0, 0), // 4 q4_2, withdrawn
    (0, 0), // 5 q4_3, withdrawn
    (32, 22), // 6 q5_0
    (32, 24), // 7 q5_1
    (32, 34), // 8 q8_0
    (32, 36), // 9 q8_1
    (256, 84), // 10 q2_K
    (256, 110), // 11 q3_K
    (256, 144), // 12 q4_K
    (256, 176), // 13 q5_K
    (256, 210), // 14 q6_K
    (256, 292), // 15 q8_K
    (256, 66), // 16 iq2_xxs
    (256, 74), // 17 iq2_xs
    (256, 98), // 18 iq3_xxs
    (256, 50), // 19 iq1_s
    (32, 18), // 20 iq4_nl
    (256, 110), // 21 iq3_s
    (256, 82), // 22 iq2_s
    (256, 136), // 23 iq4_xs
    (1, 1), // 24 i8
    (1, 2), // 25 i16
    (1, 4), // 26 i32
    (1, 8), // 27 i64
    (1, 8), // 28 f64
    (256, 56), // 29 iq1_m
    (1, 2), // 30 bf16
    (0, 0), // 31 q4_0_4_4, withdrawn
    (0, 0), // 32 q4_0_4_8, withdrawn
    (0, 0), // 33 q4_0_8_8, withdrawn
    (256, 54), // 34 tq1_0
    (256, 66), // 35 tq2_0
    (0, 0), // 36 iq4_nl_4_4, withdrawn
    (0, 0), // 37 iq4_nl_4_8, withdrawn
    (0, 0), // 38 iq4_nl_8_8, withdrawn
    (32, 17), // 39 mxfp4
    (64, 36), // 40 nvfp4
    (128, 18), // 41 q1_0
    (64, 18), // 42 q2_0
];

/// The block of ggml type `type_id`; `None` for withdrawn and unknown types.
fn block_of(type_id: u32) -> Option<(u64, u64)> {
    BLOCKS.get(usize::try_from(type_id).ok()?).copied().filter(|(numbers, _)| *numbers > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_per_weight_are_those_that_ggml_documents() {
        for (type_id, bits) in [
            (0, 32.0),
            (1, 16.0),
            (2, 4.5),
            (3, 5.0),
            (8, 8.5),
            (10, 2.625),
            (11, 3.4375),
            (12, 4.5),
            (13, 5.5),
            (14, 6.5625),
            (16, 2.0625),
            (17, 2.3125),
            (18, 3.0625),
            (19, 1.5625),
            (21, 3.4375),
            (22, 2.5625),
            (23, 4.25),
            (29, 1.75),
            (34, 1.6875),
            (35, 2.0625),
            (39, 4.25),
            (40, 4.5),
            (41, 1.125),
            (42, 2.25),
        ] {
            let (numbers, bytes) = block_of(type_id).unwrap();
            #[expect(clippy::cast_precision_loss, reason = "block sizes are small")]
            let found = bytes as f64 * 8.0 / numbers as f64;
            assert!((found - bits).abs() < 1e-9, "type {type_id}: {found} bits, not {bits}");
        }
    }

    #[test]
    fn withdrawn_and_future_types_are_unknown() {
        for type_id in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(block_of(type_id), None, "{type_id}");
        }
    }

    #[test]
    fn shards_add_up_layer_by_layer() {
        let mut first = TensorSums::default();
        first.add("blk.0.attn_q.weight", 10);
        first.add("token_embd.weight", 5);
        let mut second = TensorSums::default();
        second.add("blk.0.ffn_up.weight", 1);
        second.add("blk.2.ffn_up.weight", 7);
        second.add("blk.99999.ffn_up.weight", 3);
        second.add("output.weight", 2);
        first.absorb(&second);
        assert_eq!([first.layer(0), first.layer(1), first.layer(2), first.layer(9)], [11, 0, 7, 0]);
        assert_eq!((first.count, first.bytes, first.embedding_bytes, first.has_output), (6, 28, 5, true));
    }
}
