//! Quantizes a file with llama.cpp. llama-cpp-2 has no such function, so this calls llama.cpp's own.
//!
//! The only `unsafe` code of the program, and the only user of llama-cpp-sys-2.

use std::ffi::{CString, NulError};
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use llama_cpp_sys_2::{llama_model_quantize, llama_model_quantize_default_params};

use super::backend::backend;
use crate::quantization::Quantization;

/// Why a file was not quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A path that C cannot be given.
    #[error("a path has a NUL byte in it: {0}")]
    Path(#[from] NulError),
    /// llama.cpp gave up.
    #[error("llama.cpp does not quantize this file; its log says why")]
    Refused,
}

/// Writes the full model at `full` to `output` as a file of type `kind`, computing with `threads` threads. What is at
/// `output` is overwritten; after an error it holds anything.
///
/// llama.cpp aborts the process on failed assertions, so this belongs into a process of its own.
///
/// # Errors
///
/// [`QuantizeError`] if llama.cpp cannot read or write one of the files, or cannot quantize this model.
#[expect(unsafe_code, reason = "llama-cpp-2 has no function for it")]
pub fn quantize(
    full: &Path,
    output: &Path,
    kind: &Quantization,
    threads: NonZeroU32,
) -> Result<(), QuantizeError> {
    let full = CString::new(full.as_os_str().as_bytes())?;
    let output = CString::new(output.as_os_str().as_bytes())?;
    // Tables that the conversion reads are made with it, and the log comes through it.
    backend();
    // SAFETY: takes nothing and returns plain values: numbers, flags, and pointers that are null.
    let mut params = unsafe { llama_model_quantize_default_params() };
    params.ftype = kind.file_type;
    params.nthread = i32::try_from(threads.get()).unwrap_or(i32::MAX);
    // SAFETY: both texts end with NUL and live until the call returns, as does `params`, all of whose pointers are null,
    // which llama.cpp takes for absent. It keeps none of them, and catches its own exceptions.
    let refused = unsafe { llama_model_quantize(full.as_ptr(), output.as_ptr(), &raw const params) };
    if refused == 0 { Ok(()) } else { Err(QuantizeError::Refused) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_numbers_of_types_are_llama_cpp_s() {
        let numbers = [
            ("f16", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_F16),
            ("q8_0", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q8_0),
            ("q6_k", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q6_K),
            ("q5_k_m", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q5_K_M),
            ("q5_k_s", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q5_K_S),
            ("q5_0", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q5_0),
            ("q4_k_m", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q4_K_M),
            ("q4_k_s", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q4_K_S),
            ("iq4_nl", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_IQ4_NL),
            ("q4_0", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q4_0),
            ("iq4_xs", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_IQ4_XS),
            ("q3_k_m", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q3_K_M),
            ("q2_k", llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q2_K),
        ];
        let known = crate::quantization::QUANTIZATIONS.map(|kind| (kind.name, kind.file_type));
        assert_eq!(known, numbers);
    }
}
