//! What a legal policy says. Every value here has passed every rule of this room.
//!
//! Plain values: no behaviour beyond small look-ups. The YAML keys, their ranges and their defaults are
//! in `validate`, and for people in docs/policy.md.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::units::{ByteCount, DeviceId, ModelName};

/// Everything an operator decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How the HTTP server behaves.
    pub server: ServerPolicy,
    /// How much of the machine may be used.
    pub devices: DevicesPolicy,
    /// The models on offer, in the file's order; never empty, names unique.
    pub models: Vec<Arc<ModelPolicy>>,
    /// What it was read from.
    pub source: PolicySource,
}

/// What a policy was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySource {
    /// The YAML text.
    pub text: Arc<str>,
    /// The file; `None` if it is none.
    pub file: Option<PathBuf>,
    /// The folder to which its paths are relative.
    pub folder: PathBuf,
}

/// How the HTTP server behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerPolicy {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Longest time that a shutdown waits for running requests.
    pub drain_timeout: Duration,
    /// Largest request body that is read.
    pub max_body_bytes: ByteCount,
    /// The file of API keys; `None` asks nobody for one.
    pub api_keys_file: Option<PathBuf>,
    /// Whether `/metrics` asks for a key, too.
    pub metrics_require_key: bool,
    /// Whose pages may read answers in a browser: origins, or `*`.
    pub cors_origins: Vec<String>,
    /// How long a client may take nothing of what is sent to it.
    pub client_timeout: Duration,
    /// The most of an answer that is kept for a client that reads more slowly than it comes.
    pub send_buffer_bytes: ByteCount,
    /// Most connections at a time.
    pub max_connections: u32,
}

/// How much of the machine may be used.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicesPolicy {
    /// Share of each device's memory, GPUs and host, that stays free, 0 to 0.9.
    pub headroom_fraction: f64,
    /// At least this much of it.
    pub headroom_bytes: ByteCount,
    /// How much host memory all instances together may hold.
    pub host_memory_limit: MemoryLimit,
    /// CPU threads for computing; `None` means all cores.
    pub cpu_threads: Option<NonZeroU32>,
}

impl DevicesPolicy {
    /// What stays free of a device that has `total` memory.
    #[must_use]
    pub fn headroom(&self, total: ByteCount) -> ByteCount {
        total.fraction(self.headroom_fraction).max(self.headroom_bytes).min(total)
    }
}

/// An amount of memory, absolute or as a share of what the machine has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MemoryLimit {
    /// A share of the total, 0.01 to 1.
    Fraction(f64),
    /// An amount that does not depend on the machine.
    Bytes(ByteCount),
}

impl MemoryLimit {
    /// The limit on a machine that has `total` memory; never more than `total`.
    #[must_use]
    pub fn of(self, total: ByteCount) -> ByteCount {
        match self {
            Self::Fraction(fraction) => total.fraction(fraction),
            Self::Bytes(bytes) => bytes.min(total),
        }
    }
}

/// One model: the files that can serve it, and how its pool grows and shrinks.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPolicy {
    /// The name that clients ask for.
    pub name: ModelName,
    /// The model's files.
    pub variants: Variants,
    /// Context of one slot in tokens: prompt and output together.
    pub context_tokens: u32,
    /// Sequences that one instance decodes together.
    pub slots: u32,
    /// Where its workers run.
    pub isolation: Isolation,
    /// How important it is where memory is short, 0 to 100.
    pub priority: u32,
    /// Devices that it may use; `None` for the GPUs, or the host where there are none.
    pub devices: Option<Vec<DeviceId>>,
    /// How its instances compute.
    pub engine: EnginePolicy,
    /// Sampling for requests that do not say.
    pub sampling: SamplingPolicy,
    /// How many instances to hold, and when.
    pub scale: ScalePolicy,
    /// How requests wait.
    pub queue: QueuePolicy,
    /// Which answers are kept for those who ask the same.
    pub cache: CachePolicy,
    /// When a worker counts as frozen.
    pub watchdog: WatchdogPolicy,
}

/// Where a worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// In a process of its own: what ends it, ends nothing else.
    Process,
    /// In threads of the server: an abort of llama.cpp ends the server.
    Thread,
}

/// Which files serve a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Variants {
    /// These, best first; 1 to 16.
    Listed(Vec<VariantPolicy>),
    /// This one, which is full, and then those beside it that have the names of variants of it. Which those are, is
    /// seen when the files are read.
    Auto(VariantPolicy),
}

/// One GGUF file of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantPolicy {
    /// The file's name without folder and extension; unique in its model.
    pub name: String,
    /// Where the file is.
    pub file: ModelFile,
}

/// Where a GGUF file is.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelFile {
    /// A file of this name that the program carries inside itself (`embedded:NAME` in YAML).
    Embedded(String),
    /// A file on disk.
    Path(PathBuf),
}

/// How instances compute. The enums among these values are also what the engine itself is told.
#[derive(Debug, Clone, PartialEq)]
pub struct EnginePolicy {
    /// Layers whose weights go to the GPU; `None` means all. Nothing on a host without a GPU.
    pub gpu_layers: Option<u32>,
    /// How a variant that is larger than each GPU is divided between several.
    pub split: Split,
    /// CPU threads of an instance on the host; `None` follows from the size of the model.
    pub threads: Option<NonZeroU32>,
    /// The most tokens of one pass over the weights (llama.cpp's `n_ubatch`); at least the number of slots.
    pub batch_tokens: u32,
    /// How keys and values are stored.
    pub kv_cache_type: KvCacheType,
    /// Whether attention is computed by the fused algorithm.
    pub flash_attention: FlashAttention,
    /// What happens to what does not fit into the context.
    pub context_overflow: ContextOverflow,
    /// How the KV cache of earlier requests is used again.
    pub prefix_cache: PrefixCachePolicy,
    /// Makes embeddings instead of text, in this way.
    pub pooling: Option<Pooling>,
}

/// How a variant that is larger than each GPU is divided between several (llama.cpp's `split_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Split {
    /// Not at all: it does not fit.
    Off,
    /// Each GPU holds some of the layers, and computes after the one before it.
    Layer,
    /// Each GPU holds a part of each matrix and of the KV cache, and all compute at the same time.
    Tensor,
    /// Each GPU holds some rows of each matrix; an older way that only some of llama.cpp's back ends still have.
    Row,
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one's, which models with a token for that have trained.
    Cls,
    /// The last one's.
    Last,
    /// The scores that a reranker gives them.
    Rank,
}

/// How keys and values are stored. A quantized cache needs less memory and is less exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KvCacheType {
    /// 16 bits a value.
    F16,
    /// 8.5 bits a value.
    Q8_0,
    /// 4.5 bits a value.
    Q4_0,
}

impl KvCacheType {
    /// Bytes of 32 values: llama.cpp's blocks, which in the quantized types have a scale of two bytes.
    #[must_use]
    pub const fn block_bytes(self) -> u64 {
        match self {
            Self::F16 => 64,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
        }
    }
}

/// Whether attention is computed by the fused algorithm, which needs less memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FlashAttention {
    /// Where llama.cpp finds that it helps.
    Auto,
    /// Always; quantized values need it.
    On,
    /// Never.
    Off,
}

/// What happens to what does not fit into the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ContextOverflow {
    /// A prompt that leaves no room is refused; an answer ends where the context does.
    Refuse,
    /// A prompt that is too long loses its oldest part; an answer ends where the context does.
    Truncate,
    /// As `Truncate`; and an answer that reaches the end forgets the oldest half of the text and goes on.
    Shift,
}

/// How the KV cache of earlier requests is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PrefixCachePolicy {
    /// Whether at all.
    pub enabled: bool,
    /// Host memory, of each worker, for what instances held that are gone.
    pub host_bytes: ByteCount,
}

/// How the next token is chosen where a request does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingPolicy {
    /// 0 always takes the likeliest token; up to 2.
    pub temperature: f32,
    /// Choose among this many likeliest tokens; 0 means all.
    pub top_k: u32,
    /// Choose among the likeliest tokens that together have this probability; above 0, up to 1.
    pub top_p: f32,
    /// Choose among the tokens with at least this share of the likeliest one's probability; 0 to 1.
    pub min_p: f32,
    /// Penalty on tokens of the latest text, above 0 up to 10; 1 changes nothing.
    pub repeat_penalty: f32,
}

/// How many instances to hold, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalePolicy {
    /// Instances held even without traffic; 0 lets the model be unloaded.
    pub min_instances: u32,
    /// Most instances; at least 1, at least `min_instances` and as many as any entry of the schedule.
    pub max_instances: u32,
    /// What stands in the place of `min_instances` from certain moments on.
    pub schedule: Schedule,
    /// How long a request may wait for a slot.
    pub target_queue_wait: Duration,
    /// How long its first token may take, the wait included; then that says who is late.
    pub target_ttft: Option<Duration>,
    /// How far apart the tokens of an answer may come. A step computes only so much of other prompts; `None` adapts to how
    /// long a step without prompts takes.
    pub target_itl: Option<Duration>,
    /// Share of the requests that may be late, 0.0001 to 0.5.
    pub late_share: f64,
    /// How long fewer instances must have sufficed at least before one is removed; in any case as long as one takes to start.
    pub scale_down_after: Duration,
    /// The longest that instances are kept without requests; at least `scale_down_after`. Shorter where loads are faster
    /// than requests may wait, or the gaps of the past say that it would not pay.
    pub idle_unload_after: Duration,
    /// Whether trends and patterns of the past start instances before the requests come.
    pub forecast: bool,
    /// Whether worse variants may serve.
    pub quality: Quality,
    /// How long memory must have been free before a better variant takes the place of a worse one.
    pub upgrade_after: Duration,
    /// How long an instance stays at least before it makes room for another model.
    pub min_residence: Duration,
}

/// Whether worse variants may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// The best that fits.
    Flexible,
    /// The first variant, or none.
    Pinned,
}

/// How requests wait for a slot.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuePolicy {
    /// Most requests waiting; further ones are rejected at once.
    pub max_requests: u32,
    /// Longest wait before a request is given up.
    pub timeout: Duration,
}

/// Which answers are kept for those who ask the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachePolicy {
    /// Whether any are.
    pub enabled: bool,
    /// Requests whose answers are kept.
    pub requests: CachedRequests,
    /// The most memory for answers.
    pub memory: ByteCount,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// Where several servers keep answers for each other.
    pub redis: Option<RedisUrl>,
}

/// The URL of a Redis server. It can have a password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(pub Arc<str>);

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisUrl")
    }
}

/// Requests whose answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachedRequests {
    /// Those that leave nothing to chance: at temperature 0, or with a seed of the client's.
    Deterministic,
    /// All: who asks again, gets the first answer again.
    All,
}

/// When a worker counts as frozen and is replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchdogPolicy {
    /// Longest time that an instance with work may take for one step.
    pub no_progress_after: Duration,
    /// Longest time that a load may take.
    pub load_timeout: Duration,
}
