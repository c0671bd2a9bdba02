//! Predicts the buffers in which an instance computes.
//!
//! Pure arithmetic, saturating, as in `estimate.rs`. llama.cpp makes these buffers once, for the largest pass over the
//! weights (`llama_context::sched_reserve`): all slots take part, and each of its tokens gets logits. ggml's allocator
//! uses memory again as soon as nothing reads it any more, so what counts is the moment at which most is alive:
//!
//! ```text
//! output    = pass_tokens × 4 × ( vocab_tokens + 6 × embedding_length )
//! feeding   = pass_tokens × 4 × ( 3 × max(feed_forward_length, experts_used × expert width)
//!                                 + (5 + experts_used) × embedding_length )
//! attending = pass_tokens × 4 × ( (heads + max kv_heads) × (key_length + value_length)
//!                                 + 4 × embedding_length + (heads × positions, unless attention is fused) )
//! mask      = pass_tokens × positions × (2 if attention is fused, else 4)
//! buffer    = max(output, feeding, attending) + mask
//! ```
//!
//! The multiples of `embedding_length` are what lies beside the largest tensors, holes of the allocator included; they
//! were fitted to what llama.cpp (llama-cpp-sys-2 0.1.161) reports on the CPU, see the test. On a GPU the residual stream
//! comes from the host, lies at the start of the buffer, and leaves the output no hole: one multiple instead of six, and
//! the mask's place is used again.

use super::{Header, Placed};
use crate::units::ByteCount;

/// Bytes of an activation, of a logit, and of a number of the attention mask where attention is not fused (F32).
const F32_BYTES: u64 = 4;
/// Bytes of a number of the mask where attention is fused (F16).
const F16_BYTES: u64 = 2;
/// Bytes of a token's number, its position, its two places in the KV cache and its row of the output.
const INPUT_BYTES: u64 = 4 + 4 + 8 + 8 + 4;
/// llama.cpp rounds the positions of a sequence up to this.
const POSITION_STEP: u64 = 256;

/// What decides, besides the model, how much memory an instance takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceSize {
    /// Sequences that share each pass.
    pub slots: u32,
    /// Tokens that each slot holds.
    pub context_tokens: u32,
    /// The most tokens of one pass over the weights; at least one for each slot is counted.
    pub batch_tokens: u32,
    /// Bytes in which the KV cache stores 32 values.
    pub kv_block_bytes: u64,
    /// Whether attention is fused (flash attention).
    pub fused_attention: bool,
    /// Whether it makes embeddings: each token of a pass then has an output.
    pub pooled: bool,
}

impl InstanceSize {
    /// Positions of one slot, as llama.cpp allocates them.
    #[must_use]
    pub fn positions(&self) -> u64 {
        u64::from(self.context_tokens).next_multiple_of(POSITION_STEP)
    }

    /// Tokens of the pass for which the buffers are made: no more than the context holds, as many for each slot.
    fn pass_tokens(&self) -> u64 {
        let slots = u64::from(self.slots.max(1));
        let most = u64::from(self.batch_tokens.max(self.slots)).min(self.positions().saturating_mul(slots));
        most.next_multiple_of(slots)
    }
}

impl Header {
    /// Where the KV cache of an instance lies, with `gpu_layers` layers on a GPU.
    #[must_use]
    pub fn place_instance_cache(&self, gpu_layers: u32, size: &InstanceSize) -> Placed {
        let positions = size.positions().saturating_mul(size.slots.into());
        self.place_kv_cache(gpu_layers, positions, size.kv_block_bytes)
    }

    /// Where the buffers lie in which an instance computes, with `gpu_layers` layers on a GPU. The rows of logits that
    /// are read afterwards (`llama_context::output_reserve`) lie on the host in any case.
    ///
    /// Not counted is what a GPU's back end takes for itself while it computes; of a model that is only partly on a GPU
    /// also the weights that are copied there for large batches.
    #[must_use]
    pub fn place_compute(&self, gpu_layers: u32, size: &InstanceSize) -> Placed {
        let pass = size.pass_tokens();
        let row_bytes = |values: u64| ByteCount(values.saturating_mul(pass).saturating_mul(F32_BYTES));
        let [embedding, vocabulary] = [u64::from(self.embedding_length), self.vocab_tokens];
        let output = |beside: u64| row_bytes(embedding.saturating_mul(beside).saturating_add(vocabulary));
        let mask_value = if size.fused_attention { F16_BYTES } else { F32_BYTES };
        let mask = ByteCount(pass.saturating_mul(size.positions()).saturating_mul(mask_value));
        let layer = row_bytes(self.values_in_a_layer(size));
        let inputs = mask + ByteCount(pass.saturating_mul(INPUT_BYTES));
        let (rows, row_values) = if size.pooled {
            (pass, vocabulary.saturating_add(embedding))
        } else {
            (size.slots.into(), vocabulary)
        };
        let rows = ByteCount(row_values.saturating_mul(rows).saturating_mul(F32_BYTES));
        let on_host = self.first_layer_on_gpu(gpu_layers) > 0;
        let on_gpu = self.first_layer_on_gpu(gpu_layers) < self.layers as usize;
        if gpu_layers == 0 {
            return Placed { host: output(6).max(layer) + inputs + rows, gpu: ByteCount::ZERO };
        }
        // The token embedding is looked up on the host.
        let host = if on_host { layer } else { row_bytes(embedding) };
        let gpu = output(1).max(if on_gpu { layer + inputs } else { ByteCount::ZERO });
        Placed { host: host + inputs + rows, gpu }
    }

    /// The most values for each token of a pass that are alive at once inside a layer.
    fn values_in_a_layer(&self, size: &InstanceSize) -> u64 {
        let [embedding, heads, experts] =
            [self.embedding_length, self.heads, self.experts_used].map(u64::from);
        let kv_heads = u64::from(self.kv_heads.iter().copied().max().unwrap_or(0));
        let head_length = u64::from(self.key_length) + u64::from(self.value_length);
        let experts_width = experts.saturating_mul(self.expert_feed_forward_length.into());
        let feed_forward = experts_width.max(self.feed_forward_length.into());
        let feeding = feed_forward.saturating_mul(3).saturating_add((5 + experts).saturating_mul(embedding));
        let scores = if size.fused_attention { 0 } else { heads.saturating_mul(size.positions()) };
        let attending = (heads + kv_heads)
            .saturating_mul(head_length)
            .saturating_add(embedding.saturating_mul(4))
            .saturating_add(scores);
        feeding.max(attending)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::gguf::read_file;

    const MIB: f64 = (1 << 20) as f64;

    fn demo() -> Header {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
        read_file(&folder.join("tidepool-3m-f16.gguf")).unwrap()
    }

    /// A model of `[embedding, feed-forward, heads, key/value heads, head length, vocabulary]`.
    fn shape([embedding, feed_forward, heads, kv_heads, head, vocabulary]: [u32; 6]) -> Header {
        Header {
            embedding_length: embedding,
            feed_forward_length: feed_forward,
            heads,
            kv_heads: vec![kv_heads; 4],
            key_length: head,
            value_length: head,
            vocab_tokens: vocabulary.into(),
            ..demo()
        }
    }

    fn size(slots: u32, context_tokens: u32, batch_tokens: u32) -> InstanceSize {
        InstanceSize {
            slots,
            context_tokens,
            batch_tokens,
            kv_block_bytes: 64,
            fused_attention: true,
            pooled: false,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "compared with two decimals")]
    fn mib(bytes: ByteCount) -> f64 {
        bytes.0 as f64 / MIB
    }

    const TIDEPOOL: [u32; 6] = [256, 768, 8, 4, 32, 2048];
    const SMALL: [u32; 6] = [768, 2048, 12, 4, 64, 32_000];
    const EIGHT_BILLION: [u32; 6] = [4096, 14_336, 32, 8, 128, 128_256];
    const SMALL_VOCABULARY: [u32; 6] = [4096, 14_336, 32, 8, 128, 32_768];
    const LARGE_VOCABULARY: [u32; 6] = [896, 4864, 14, 2, 64, 151_936];
    const NARROW: [u32; 6] = [1024, 4096, 16, 16, 64, 2048];

    /// What llama.cpp (llama-cpp-sys-2 0.1.161) reported on the CPU: slots, tokens of each, tokens of a pass, and
    /// MiB of `compute buffer size` and `output buffer size` together.
    #[test]
    fn predictions_are_what_llama_cpp_reports_on_the_cpu() {
        for (model, fused, [slots, context, batch], reported) in [
            (TIDEPOOL, true, [1, 256, 64], 0.91 + 0.01),
            (TIDEPOOL, true, [1, 256, 512], 3.63 + 0.01),
            (TIDEPOOL, true, [8, 256, 512], 7.27 + 0.06),
            (TIDEPOOL, true, [1, 1024, 512], 8.02 + 0.01),
            (TIDEPOOL, true, [8, 1024, 512], 8.02 + 0.06),
            (TIDEPOOL, true, [5, 1000, 512], 8.07 + 0.04),
            (TIDEPOOL, true, [8, 1024, 1], 0.13 + 0.06),
            (TIDEPOOL, true, [64, 1024, 64], 1.00 + 0.50),
            (TIDEPOOL, true, [64, 1024, 512], 8.02 + 0.50),
            (TIDEPOOL, false, [8, 1024, 512], 21.52 + 0.06),
            (SMALL, true, [1, 2048, 512], 73.52 + 0.12),
            (SMALL, true, [8, 1024, 512], 72.52 + 0.98),
            (SMALL, true, [64, 256, 512], 70.27 + 7.81),
            (EIGHT_BILLION, true, [1, 2048, 512], 292.52 + 0.49),
            (EIGHT_BILLION, true, [8, 8192, 512], 298.52 + 3.91),
            (EIGHT_BILLION, false, [8, 2048, 512], 298.52 + 3.91),
            (SMALL_VOCABULARY, true, [8, 2048, 512], 126.02 + 1.00),
            (SMALL_VOCABULARY, true, [8, 8192, 512], 132.02 + 1.00),
            (LARGE_VOCABULARY, true, [8, 2048, 512], 307.52 + 4.64),
            (LARGE_VOCABULARY, true, [8, 8192, 512], 315.27 + 4.64),
            (NARROW, true, [8, 8192, 512], 42.02 + 0.06),
            (NARROW, false, [8, 2048, 512], 84.02 + 0.06),
        ] {
            let size = InstanceSize { fused_attention: fused, ..size(slots, context, batch) };
            let placed = shape(model).place_compute(0, &size);
            let predicted = mib(placed.host);
            let error = (predicted - reported) / reported;
            let close = error.abs() < 0.03 || (predicted - reported).abs() < 0.02;
            assert!(close, "{model:?} {size:?}: {predicted:.2} MiB, not {reported:.2}");
            assert_eq!(placed.gpu, ByteCount::ZERO);
        }
    }

    /// llama.cpp reports 258.50 MiB on the GPU and 9 to 20 on the host for this model.
    #[test]
    fn a_gpu_holds_the_logits_and_the_host_what_goes_in_and_out() {
        for (slots, context, host_mib) in [(1, 2048, 10.5), (1, 8192, 16.5), (8, 8192, 19.9)] {
            let placed = shape(EIGHT_BILLION).place_compute(u32::MAX, &size(slots, context, 512));
            assert_eq!(format!("{:.1}", mib(placed.gpu)), "258.5");
            assert_eq!(format!("{:.1}", mib(placed.host)), format!("{host_mib:.1}"));
        }
    }

    #[test]
    fn layers_that_stay_on_the_host_compute_there() {
        let header = shape(SMALL_VOCABULARY);
        let [none, output, half, all] =
            [0, 1, 3, 5].map(|layers| header.place_compute(layers, &size(8, 2048, 512)));
        assert_eq!(none.gpu, ByteCount::ZERO);
        assert!(output.gpu < half.gpu, "{output:?} {half:?}");
        assert_eq!((half.gpu, output.host), (all.gpu, half.host));
        assert!(all.host < half.host, "{all:?} {half:?}");
    }

    #[test]
    fn embeddings_have_an_output_for_each_token() {
        let pooled = InstanceSize { pooled: true, ..size(8, 1024, 512) };
        let [text, pooled] =
            [size(8, 1024, 512), pooled].map(|size| shape(SMALL).place_compute(0, &size).host);
        assert_eq!(pooled.0 - text.0, (512 * (32_000 + 768) - 8 * 32_000) * 4);
    }
}
