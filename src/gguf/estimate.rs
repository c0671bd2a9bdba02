//! Predicts from a header how much memory an instance takes, before anything is loaded.
//!
//! Pure arithmetic, saturating: a hostile header gives an absurd prediction, never a panic. The
//! predictions only decide whether a load is tried.

use crate::units::ByteCount;

use super::Header;

/// Bytes of an activation (F32), and of a number of the attention mask (F16).
const F32_BYTES: u64 = 4;
const F16_BYTES: u64 = 2;

/// How many values of the KV cache stand together in its types: llama.cpp quantizes blocks of 32.
const BLOCK_VALUES: u64 = 32;

/// Bits of a weight, times 100, in the type that llama.cpp falls back to, and in the one where no other fits.
const Q8_0_BITS_TIMES_100: u64 = 850;
const F16_BITS_TIMES_100: u64 = 1600;

/// An amount of memory, by where llama.cpp puts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// On the host.
    pub host: ByteCount,
    /// On the GPU, or on all GPUs together.
    pub gpu: ByteCount,
}

impl Header {
    /// Bytes of keys and values for `tokens` positions, in a cache that stores 32 values in `block_bytes`.
    ///
    /// Σ over layers of `tokens × kv_heads × (key_length + value_length) × block_bytes / 32`, as llama.cpp's
    /// `llama_kv_cache` allocates it. It rounds the positions of a sequence up to a multiple of 256:
    /// round first. Layers with a sliding window, and models that share or compress their cache, take
    /// less. The state of recurrent layers (Mamba, RWKV) is not counted.
    #[must_use]
    pub fn kv_cache_bytes(&self, tokens: u64, block_bytes: u64) -> ByteCount {
        let placed = self.place_kv_cache(0, tokens, block_bytes);
        placed.host
    }

    /// As [`kv_cache_bytes`](Self::kv_cache_bytes), with `gpu_layers` layers on a GPU. The cache of a
    /// layer lies where the layer lies.
    #[must_use]
    pub fn place_kv_cache(&self, gpu_layers: u32, tokens: u64, block_bytes: u64) -> Placed {
        let first_on_gpu = self.first_layer_on_gpu(gpu_layers);
        let head_length = u64::from(self.key_length) + u64::from(self.value_length);
        let mut placed = Placed::default();
        for (layer, kv_heads) in self.kv_heads.iter().enumerate() {
            let values = head_length.saturating_mul(u64::from(*kv_heads)).saturating_mul(tokens);
            let bytes = values.div_ceil(BLOCK_VALUES).saturating_mul(block_bytes);
            *(if layer < first_on_gpu { &mut placed.host } else { &mut placed.gpu }) += ByteCount(bytes);
        }
        placed
    }

    /// Where the weights lie with llama.cpp's `n_gpu_layers = gpu_layers` and a GPU to use.
    ///
    /// llama.cpp (`llama_model_base::load_tensors`) counts the output as one more layer after the last,
    /// and moves layers to the GPU from the end; the token embedding stays on the host. If the output
    /// shares the embedding's matrix, the GPU holds a second copy. `u32::MAX` moves all layers.
    #[must_use]
    pub fn place_weights(&self, gpu_layers: u32) -> Placed {
        let first_on_gpu = self.first_layer_on_gpu(gpu_layers);
        let mut placed = Placed { host: self.embedding_bytes, gpu: ByteCount::ZERO };
        let mut output = self.tensor_bytes.saturating_sub(self.embedding_bytes);
        for (layer, bytes) in self.layer_bytes.iter().enumerate() {
            *(if layer < first_on_gpu { &mut placed.host } else { &mut placed.gpu }) += *bytes;
            output = output.saturating_sub(*bytes);
        }
        if gpu_layers == 0 {
            placed.host += output;
        } else {
            placed.gpu += output;
            if self.ties_output {
                placed.gpu += self.embedding_bytes;
            }
        }
        placed
    }

    /// A rough upper estimate of the buffers in which one instance computes.
    ///
    /// ```text
    /// logits      = (ubatch_tokens + slots) × vocab_tokens × 4
    /// activations = ubatch_tokens × 4 × ( 4 × embedding_length
    ///                                   + heads × (key_length + value_length)
    ///                                   + max kv_heads × (key_length + value_length)
    ///                                   + 3 × max(feed_forward_length, experts_used × expert width)
    ///                                   + experts_used × embedding_length )
    /// ```
    ///
    /// llama.cpp reserves logits for each token of the largest step (`graph_reserve`), and one row for
    /// each sequence outside the graph (`output_reserve`). The activations are those alive in a layer,
    /// counted as if none of their memory were used again; an F32 takes 4 bytes. It is an estimate: it
    /// leaves out the attention mask ([`attention_mask_bytes`](Self::attention_mask_bytes)), a back
    /// end's own scratch memory, and the attention scores that a back end without flash attention keeps.
    #[must_use]
    pub fn compute_buffer_bytes(&self, ubatch_tokens: u32, slots: u32) -> ByteCount {
        let [ubatch, slots] = [ubatch_tokens, slots].map(u64::from);
        let [embedding, heads, experts] =
            [self.embedding_length, self.heads, self.experts_used].map(u64::from);
        let kv_heads = u64::from(self.kv_heads.iter().copied().max().unwrap_or(0));
        let head_length = u64::from(self.key_length) + u64::from(self.value_length);
        let experts_width = experts.saturating_mul(self.expert_feed_forward_length.into());
        let feed_forward = experts_width.max(self.feed_forward_length.into());

        let activations = embedding
            .saturating_mul(4)
            .saturating_add((heads + kv_heads).saturating_mul(head_length))
            .saturating_add(feed_forward.saturating_mul(3))
            .saturating_add(experts.saturating_mul(embedding))
            .saturating_mul(ubatch);
        let logits = (ubatch + slots).saturating_mul(self.vocab_tokens);
        ByteCount(logits.saturating_add(activations).saturating_mul(F32_BYTES))
    }

    /// Bytes of the attention mask of a step of `ubatch_tokens` tokens in an instance whose KV cache has
    /// `context_tokens` positions: `context_tokens × ubatch_tokens × 6`, one F32 and one F16 each.
    ///
    /// Belongs to the compute buffers, and outweighs the rest where the context is long.
    #[must_use]
    pub fn attention_mask_bytes(&self, context_tokens: u64, ubatch_tokens: u32) -> ByteCount {
        let cells = context_tokens.saturating_mul(ubatch_tokens.into());
        ByteCount(cells.saturating_mul(F32_BYTES + F16_BYTES))
    }

    /// The most bytes of the file that quantizing this one makes, whose weights take `bits_times_100 / 100` bits each
    /// at the most.
    #[must_use]
    pub fn quantized_bytes(&self, bits_times_100: u64) -> ByteCount {
        let weights = &self.weights;
        let bits = [
            (weights.any_type, bits_times_100),
            (weights.byte_types, bits_times_100.max(Q8_0_BITS_TIMES_100)),
            (weights.no_type, bits_times_100.max(F16_BITS_TIMES_100)),
        ];
        let bytes = bits.map(|(count, bits)| ByteCount(count.saturating_mul(bits).div_ceil(800)));
        let metadata = self.file_bytes.saturating_sub(self.tensor_bytes);
        bytes.into_iter().sum::<ByteCount>() + ByteCount(weights.kept_bytes) + metadata
    }

    /// The first layer on the GPU; the number of layers where there is none. The output comes first.
    fn first_layer_on_gpu(&self, gpu_layers: u32) -> usize {
        let layers = self.layers.saturating_add(1).saturating_sub(gpu_layers).min(self.layers);
        layers as usize
    }
}
