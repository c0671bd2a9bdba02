//! What a variant will take on a device, predicted from its file's header and the policy.

use crate::gguf::{Header, InstanceSize, Placed};
use crate::policy::{FlashAttention, ModelPolicy};
use crate::units::{ByteCount, DeviceSet};
use crate::view::Takes;

/// What a process takes of a GPU as soon as it computes there: CUDA's context and the loaded kernels. It comes with the
/// worker and goes with it, whatever the model is. Measured: NVML says 527 MiB of a worker on an H200 that has freed its
/// weights and contexts.
const GPU_PROCESS_BYTES: ByteCount = ByteCount::from_mib(527);

/// What a worker and each of its instances take, by where it lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// A worker without instances: its weights, and on a GPU what its process takes.
    pub worker: Placed,
    /// The KV cache of one instance.
    pub kv_cache: Placed,
    /// The buffers in which one instance computes.
    pub compute: Placed,
    /// What each of several GPUs takes in full: a process, buffers, and as much as the largest part of the model, because
    /// no part is divided.
    pub each: Takes,
}

impl Footprint {
    /// On a host without a GPU, where everything lies on the host.
    pub(super) fn on_host(header: &Header, policy: &ModelPolicy) -> Self {
        let worker = Placed { host: header.tensor_bytes, gpu: ByteCount::ZERO };
        Self::with_layers(header, policy, worker, 0)
    }

    /// On a GPU, with as many layers there as the policy says.
    pub(super) fn on_gpu(header: &Header, policy: &ModelPolicy) -> Self {
        let layers = policy.engine.gpu_layers.unwrap_or(u32::MAX);
        let mut worker = header.place_weights(layers);
        worker.gpu += GPU_PROCESS_BYTES;
        Self::with_layers(header, policy, worker, layers)
    }

    fn with_layers(header: &Header, policy: &ModelPolicy, worker: Placed, layers: u32) -> Self {
        let engine = &policy.engine;
        let size = InstanceSize {
            slots: policy.slots,
            context_tokens: policy.context_tokens,
            batch_tokens: engine.batch_tokens,
            kv_block_bytes: engine.kv_cache_type.block_bytes(),
            // llama.cpp fuses attention by itself wherever the back end can.
            fused_attention: engine.flash_attention != FlashAttention::Off,
            pooled: engine.pooling.is_some(),
        };
        let kv_cache = header.place_instance_cache(layers, &size);
        let compute = header.place_compute(layers, &size);
        let of_layer = ByteCount(kv_cache.gpu.0 / u64::from(header.layers.max(1)));
        let each =
            Takes { worker: GPU_PROCESS_BYTES + header.largest_part(), instance: compute.gpu + of_layer };
        Self { worker, kv_cache, compute, each }
    }

    /// What one instance takes.
    #[must_use]
    pub fn instance(&self) -> Placed {
        self.kv_cache + self.compute
    }

    /// What lies on the device itself. Of a worker on a GPU, some lies on the host besides.
    #[must_use]
    pub fn takes(&self, devices: impl Into<DeviceSet>) -> Takes {
        let devices = devices.into();
        Takes { worker: self.worker.at(devices), instance: self.instance().at(devices) }
    }
}
