//! llama.cpp's global state, and the devices that it sees.

use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::{
    LlamaBackendDeviceType, LogOptions, list_llama_ggml_backend_devices, send_logs_to_tracing,
};

use crate::units::{DeviceId, DeviceSet};

/// llama.cpp's global state: made once, kept for the life of the process.
pub(super) fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        send_logs_to_tracing(LogOptions::default());
        load_dynamic_backends();
        LlamaBackend::init().expect("llama.cpp is initialized only here")
    })
}

/// Loads the back ends that fit this machine: from `MODELPOOL_BACKENDS`, else from the folder `backends` beside
/// the program, else from where the build left them.
#[cfg(feature = "dynamic-backends")]
fn load_dynamic_backends() {
    let named = std::env::var_os("MODELPOOL_BACKENDS").map(std::path::PathBuf::from);
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("backends")));
    match named.or(beside.filter(|folder| folder.is_dir())) {
        Some(folder) => llama_cpp_2::llama_backend::load_backends_from_path(&folder),
        None => llama_cpp_2::llama_backend::load_backends(),
    }
}

#[cfg(not(feature = "dynamic-backends"))]
fn load_dynamic_backends() {}

/// The GPUs that llama.cpp can compute on, as indices of its device list in the order of their numbers.
pub(super) fn gpu_indices() -> Vec<usize> {
    backend();
    list_llama_ggml_backend_devices()
        .into_iter()
        .filter(|device| device.device_type == LlamaBackendDeviceType::Gpu)
        .map(|device| device.index)
        .collect()
}

/// The devices that instances can run on, best first: GPUs, or the host where there is none.
#[must_use]
pub fn compute_devices() -> Vec<DeviceId> {
    let gpus = u32::try_from(gpu_indices().len()).unwrap_or(0).min(DeviceSet::MAX_GPUS);
    if gpus == 0 { vec![DeviceId::Host] } else { (0..gpus).map(DeviceId::Gpu).collect() }
}
