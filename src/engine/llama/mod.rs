//! llama.cpp through llama-cpp-2: the only module that uses it.
//!
//! A context borrows its model, so the thread that runs an instance lives inside the scope of the worker that
//! owns the weights. llama.cpp aborts the process on failed assertions; nothing here can catch that.

mod backend;
mod calls;
mod grammar;
mod kept;
mod quantize;
mod tokens;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::context::session::LlamaStateSeqFlags;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::{LlamaModelParams, LlamaSplitMode};

pub use backend::compute_devices;
use backend::{backend, gpu_indices};
use kept::{Kept, KeptTexts};
pub use quantize::{QuantizeError, quantize};

use super::{BatchToken, Context, ContextSpec, EngineError, Loader, Vocabulary, Weights, WeightsSpec};
use crate::generation::{GenerationError, Grammar, SpecialToken, Token, Tokenizing};
use crate::gguf;
use crate::policy::{self, FlashAttention, Pooling, Split};
use crate::sampling::Constraint;
use crate::units::{DeviceId, DeviceSet};

/// Weights of this size do not stay in a CPU's caches from one pass to the next.
const MEMORY_BOUND_BYTES: u64 = 64 << 20;

/// More threads than this do not choose tokens faster: they all read the same memory.
const MAX_SAMPLING_THREADS: usize = 12;

/// As special tokens are written in a text.
const WRITTEN: Tokenizing = Tokenizing { add_special: false, parse_special: true };
/// "Offload everything": larger than any model's number of layers.
const ALL_LAYERS: u32 = 9_999;

/// Loads GGUF files.
#[derive(Clone, Copy, Debug, Default)]
pub struct LlamaLoader;

impl Loader for LlamaLoader {
    type Weights = LlamaWeights;

    fn load(&self, spec: &WeightsSpec) -> Result<LlamaWeights, EngineError> {
        let error = |reason: String| EngineError::Load { path: spec.path.display().to_string(), reason };
        let params = params(spec).map_err(error)?;
        let model = LlamaModel::load_from_file(backend(), &spec.path, &params)
            .map_err(|e| error(format!("{e} (llama.cpp's own messages are in the log){}", hint(spec))))?;
        let vocabulary = Arc::new(tokens::vocabulary(&model.vocab()));
        let tokenizer = tokens::Tokenizer::new(&model.vocab());
        Ok(LlamaWeights {
            has_window: has_window(&model),
            is_encoder: is_encoder(&model),
            model,
            vocabulary,
            tokenizer,
            on_host: spec.devices == DeviceSet::HOST,
            making_context: Mutex::new(()),
            kept: Mutex::default(),
        })
    }
}

/// Not every back end, nor every kind of model, can be divided in every way.
fn hint(spec: &WeightsSpec) -> &'static str {
    match spec.split {
        Split::Tensor | Split::Row if spec.devices.len() > 1 => {
            "; if it cannot be divided in this way, set engine.split to layer"
        }
        _ => "",
    }
}

/// What llama.cpp is told of the devices.
fn params(spec: &WeightsSpec) -> Result<LlamaModelParams, String> {
    if spec.devices == DeviceSet::HOST {
        return Ok(LlamaModelParams::default().with_n_gpu_layers(0));
    }
    let seen = gpu_indices();
    let index = |device: DeviceId| {
        let DeviceId::Gpu(number) = device else {
            return Err("the host and a GPU hold no layers together".into());
        };
        seen.get(number as usize).copied().ok_or_else(|| format!("llama.cpp does not see gpu{number}"))
    };
    let indices = spec.devices.iter().map(index).collect::<Result<Vec<usize>, String>>()?;
    let split = match spec.split {
        Split::Tensor => LlamaSplitMode::Tensor,
        Split::Row => LlamaSplitMode::Row,
        Split::Layer | Split::Off => LlamaSplitMode::Layer,
    };
    LlamaModelParams::default()
        .with_n_gpu_layers(spec.gpu_layers.unwrap_or(ALL_LAYERS))
        .with_split_mode(if indices.len() > 1 { split } else { LlamaSplitMode::Layer })
        .with_devices(&indices)
        .map_err(|error| error.to_string())
}

fn has_window(model: &LlamaModel) -> bool {
    let architecture = model.meta_val_str("general.architecture").unwrap_or_default();
    model.meta_val_str(&format!("{architecture}.attention.sliding_window")).is_ok_and(|window| window != "0")
}

fn is_encoder(model: &LlamaModel) -> bool {
    gguf::is_encoder(&model.meta_val_str("general.architecture").unwrap_or_default())
}

/// A loaded model.
pub struct LlamaWeights {
    model: LlamaModel,
    vocabulary: Arc<Vocabulary>,
    tokenizer: tokens::Tokenizer,
    on_host: bool,
    /// Whether some layers see only the last tokens (sliding-window attention).
    has_window: bool,
    /// Whether it reads whole texts at once, and has no KV cache.
    is_encoder: bool,
    /// llama.cpp writes to the model while it makes a context: one at a time.
    making_context: Mutex<()>,
    /// What contexts that are gone held.
    kept: Mutex<KeptTexts>,
}

impl LlamaWeights {
    fn kept(&self) -> MutexGuard<'_, KeptTexts> {
        // Every change is complete before anything that could panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_context(&self, spec: ContextSpec) -> Result<LlamaContext<'_>, EngineError> {
        let _one_at_a_time = self.making_context.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = i32::try_from(spec.threads).unwrap_or(i32::MAX);
        let kv_cache_type = match spec.kv_cache_type {
            policy::KvCacheType::F16 => KvCacheType::F16,
            policy::KvCacheType::Q8_0 => KvCacheType::Q8_0,
            policy::KvCacheType::Q4_0 => KvCacheType::Q4_0,
        };
        // llama.cpp's `enum llama_flash_attn_type`.
        let flash_attention = match spec.flash_attention {
            FlashAttention::Auto => -1,
            FlashAttention::Off => 0,
            FlashAttention::On => 1,
        };
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(spec.context_tokens.saturating_mul(spec.slots)))
            .with_n_seq_max(spec.slots)
            .with_n_batch(spec.call_tokens())
            .with_n_ubatch(spec.pass_tokens())
            .with_type_k(kv_cache_type)
            .with_type_v(kv_cache_type)
            .with_flash_attention_policy(flash_attention)
            .with_kv_unified(false)
            .with_embeddings(spec.pooling.is_some())
            .with_pooling_type(match spec.pooling {
                None => LlamaPoolingType::Unspecified,
                Some(Pooling::Mean) => LlamaPoolingType::Mean,
                Some(Pooling::Cls) => LlamaPoolingType::Cls,
                Some(Pooling::Last) => LlamaPoolingType::Last,
                Some(Pooling::Rank) => LlamaPoolingType::Rank,
            })
            .with_n_threads(threads)
            .with_n_threads_batch(threads);
        self.model.new_context(backend(), params).map_err(|error| EngineError::Context {
            slots: spec.slots,
            context_tokens: spec.context_tokens,
            reason: format!("{error} (memory is short, or the model does not allow it; see the log)"),
        })
    }
}

impl Weights for LlamaWeights {
    type Context<'weights> = LlamaInstance<'weights>;

    fn context(&self, spec: ContextSpec) -> Result<LlamaInstance<'_>, EngineError> {
        Ok(LlamaInstance {
            weights: self,
            context: Some(self.new_context(spec)?),
            batch: LlamaBatch::new(spec.call_tokens() as usize, 1),
            spec,
        })
    }

    fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        self.tokenizer.tokenize(&self.model.vocab(), text)
    }

    fn tokenize_with(&self, text: &str, form: Tokenizing) -> Vec<Token> {
        self.tokenizer.tokenize_with(&self.model.vocab(), text, form)
    }

    fn special(&self, token: SpecialToken) -> Option<Token> {
        tokens::special(&self.model.vocab(), token)
    }

    fn written(&self, token: Token) -> Vec<u8> {
        tokens::written(&self.model.vocab(), token)
    }

    fn constraint(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, GenerationError> {
        grammar::constraint(grammar, &self.vocabulary, |text| self.tokenize_with(text, WRITTEN))
    }
}

/// One llama.cpp context.
pub struct LlamaInstance<'weights> {
    weights: &'weights LlamaWeights,
    /// `None` only after a failed [`Context::set_threads`].
    context: Option<LlamaContext<'weights>>,
    batch: LlamaBatch<'static>,
    spec: ContextSpec,
}

impl<'weights> LlamaInstance<'weights> {
    fn context(&self) -> &LlamaContext<'weights> {
        self.context.as_ref().expect("an instance that lost its context is not used again")
    }

    fn context_mut(&mut self) -> &mut LlamaContext<'weights> {
        self.context.as_mut().expect("an instance that lost its context is not used again")
    }

    fn clear(&mut self, slot: u32) {
        let removed = self.context_mut().clear_kv_cache_seq(Some(slot), None, None);
        assert_eq!(removed, Ok(true), "a whole sequence can always be removed");
    }
}

impl Context for LlamaInstance<'_> {
    fn spec(&self) -> ContextSpec {
        self.spec
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), EngineError> {
        self.batch.clear();
        for entry in batch {
            self.batch
                .add(
                    tokens::llama_token(entry.token),
                    position(entry.position),
                    &[position(entry.slot)],
                    entry.wants_logits,
                )
                .map_err(|error| EngineError::Decode(error.to_string()))?;
        }
        let context = self.context.as_mut().expect("an instance that lost its context is not used again");
        context.decode(&mut self.batch).map_err(|error| EngineError::Decode(error.to_string()))
    }

    fn max_gap(&self) -> usize {
        let model = &self.weights.model;
        if model.is_recurrent() || model.is_hybrid() {
            // Such a model cannot forget the tokens that would fill a gap.
            return 0;
        }
        // As many tokens as cost about as much as another pass over the weights: on an H100, with 8 billion weights in
        // Q8_0, a pass takes 4.6 ms for one token, 7.7 for 8 and 14 for 64.
        match self.weights.on_host {
            false => 48,
            true if model.size() >= MEMORY_BOUND_BYTES => 1,
            true => 0,
        }
    }

    fn padding_price(&self) -> usize {
        // What fills a window of attention drives out what the next token still needs.
        if self.weights.has_window { 0 } else { self.max_gap() }
    }

    fn divides_texts(&self) -> bool {
        // With a KV cache for each sequence a pass has as many tokens of each (`llama_batch_allocr::split_equal`).
        // Encoders have none, and compute whole batches.
        !self.weights.is_encoder
    }

    fn logits(&self, row: usize) -> &[f32] {
        self.context().get_logits_ith(i32::try_from(row).expect("batches are small"))
    }

    fn embedding(&self, slot: u32) -> &[f32] {
        let found = self.context().embeddings_seq_ith(position(slot));
        found.expect("the context pools, and the slot was in the batch")
    }

    fn truncate(&mut self, slot: u32, keep: u32) -> bool {
        let removed = self.context_mut().clear_kv_cache_seq(Some(slot), Some(keep), None);
        let removed = removed.expect("slots and positions are bounded by the policy");
        if !removed {
            self.clear(slot);
        }
        removed
    }

    fn copy(&mut self, from: u32, to: u32, keep: u32) -> bool {
        let copied = self.context_mut().copy_kv_cache_seq(position(from), position(to), None, None);
        copied.expect("the whole slot is copied, without positions that could be wrong");
        self.truncate(to, keep)
    }

    fn shift(&mut self, slot: u32, from: u32, count: u32) -> bool {
        let (slot, behind, count) = (position(slot), from + count, position(count));
        let context = self.context_mut();
        context.kv_cache_seq_rm(slot, Some(from), Some(behind)).is_ok()
            && context.kv_cache_seq_add(slot, Some(behind), None, -count).is_ok()
    }

    fn keep(&mut self, slot: u32, tokens: &[Token]) {
        let limit_bytes = self.spec.prefix_cache.host_bytes.0;
        let kind = self.spec.kv_cache_type;
        if !self.weights.kept().wants(tokens, kind) {
            return;
        }
        let bytes = self.context().state_seq_get_size_ext(position(slot), LlamaStateSeqFlags::empty());
        if bytes as u64 > limit_bytes {
            return;
        }
        match self.context().state_seq_get(position(slot), LlamaStateSeqFlags::empty()) {
            Ok(state) => {
                let kept = Kept { tokens: tokens.to_vec(), state, kind };
                self.weights.kept().add(kept, limit_bytes);
            }
            Err(error) => tracing::warn!(%error, "what a slot holds cannot be kept"),
        }
    }

    fn restore(&mut self, slot: u32, tokens: &[Token], least: usize) -> u32 {
        let weights = self.weights;
        let texts = weights.kept();
        let Some((kept, common)) = texts.find(tokens, self.spec.kv_cache_type) else { return 0 };
        // A context with smaller slots has no room for all of a longer text.
        if common < least || kept.tokens.len() > self.spec.context_tokens as usize {
            return 0;
        }
        self.clear(slot);
        if let Err(error) = self.context_mut().state_seq_set(&kept.state, position(slot)) {
            tracing::warn!(%error, "what was kept cannot be used");
            self.clear(slot);
            return 0;
        }
        let common = u32::try_from(common).expect("a context has fewer than 2^32 tokens");
        if self.truncate(slot, common) { common } else { 0 }
    }

    fn sampling_threads(&self) -> usize {
        if self.weights.on_host {
            return self.spec.threads as usize;
        }
        std::thread::available_parallelism().map_or(1, usize::from).min(MAX_SAMPLING_THREADS)
    }

    /// llama-cpp-2 fixes the threads when it makes a context, so a new one takes over the sequences' states.
    fn set_threads(&mut self, threads: u32) -> Result<(), EngineError> {
        if threads == self.spec.threads {
            return Ok(());
        }
        let lost = |error: &dyn std::fmt::Display| EngineError::Decode(format!("sequence state: {error}"));
        let mut states = Vec::new();
        for slot in 0..position(self.spec.slots) {
            if self.context().kv_cache_seq_pos_max(slot) >= 0 {
                let state = self.context().state_seq_get(slot, LlamaStateSeqFlags::empty());
                states.push((slot, state.map_err(|e| lost(&e))?));
            }
        }
        // The old context goes first, so that memory never has to hold both.
        self.context = None;
        self.spec.threads = threads;
        let mut context = self.weights.new_context(self.spec)?;
        for (slot, state) in states {
            context.state_seq_set(&state, slot).map_err(|e| lost(&e))?;
        }
        self.context = Some(context);
        Ok(())
    }
}

/// llama.cpp counts positions and sequences with signed numbers.
fn position(number: u32) -> i32 {
    i32::try_from(number).expect("positions and slots are bounded by the policy")
}
