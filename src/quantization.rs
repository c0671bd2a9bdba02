//! The types of variants that can be made of a full model, and the names of their files.
//!
//! PURE: values and text. `modelpool quantize` writes under these names, and a policy's `variants: { auto: … }` looks
//! for them.

use std::path::{Path, PathBuf};

/// A type of file that llama.cpp can quantize to without knowing which weights matter (an importance matrix).
#[derive(Debug, PartialEq, Eq)]
pub struct Quantization {
    /// Its name in small letters, as it is written at the end of a file's name.
    pub name: &'static str,
    /// llama.cpp's number for it (`enum llama_ftype`), which files have under `general.file_type`.
    pub file_type: u32,
    /// The most bits that a weight takes, times 100: llama.cpp gives some matrices more than the type's own bits.
    /// The token embedding and the output matrix may take more still.
    pub bits_times_100: u64,
}

/// All types, best first.
///
/// Source: `llama_tensor_get_type_impl` in llama.cpp's `llama-quant.cpp`, for the shares of matrices in models in use.
pub const QUANTIZATIONS: [Quantization; 13] = [
    Quantization { name: "f16", file_type: 1, bits_times_100: 1600 },
    Quantization { name: "q8_0", file_type: 7, bits_times_100: 850 },
    Quantization { name: "q6_k", file_type: 18, bits_times_100: 657 },
    Quantization { name: "q5_k_m", file_type: 17, bits_times_100: 590 },
    Quantization { name: "q5_k_s", file_type: 16, bits_times_100: 560 },
    Quantization { name: "q5_0", file_type: 8, bits_times_100: 550 },
    Quantization { name: "q4_k_m", file_type: 15, bits_times_100: 520 },
    Quantization { name: "q4_k_s", file_type: 14, bits_times_100: 480 },
    Quantization { name: "iq4_nl", file_type: 25, bits_times_100: 470 },
    Quantization { name: "q4_0", file_type: 2, bits_times_100: 450 },
    Quantization { name: "iq4_xs", file_type: 30, bits_times_100: 450 },
    Quantization { name: "q3_k_m", file_type: 12, bits_times_100: 430 },
    Quantization { name: "q2_k", file_type: 10, bits_times_100: 350 },
];

/// Types that are not made here: they need to know which weights matter, or have been replaced.
const OTHER_TYPES: [&str; 14] = [
    "q4_1", "q5_1", "q3_k_s", "q3_k_l", "q2_k_s", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m",
    "iq3_xxs", "iq3_s", "iq3_m",
];

/// Ends of names that say that a file is full.
const FULL_ENDINGS: [&str; 3] = ["-f16", "-f32", "-bf16"];

impl Quantization {
    /// The type that is called `name`, in letters of any case.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        QUANTIZATIONS.iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
    }

    /// The name of the file that this type has beside the full file `full`; `None` if that has no name that is text.
    #[must_use]
    pub fn file_name(&self, full: &Path) -> Option<String> {
        let stem = full.file_stem()?.to_str()?;
        Some(format!("{}-{}.gguf", without_full_ending(stem), self.name))
    }
}

/// The name of the model that a file with this stem is a variant of: what stands before the type of its weights, whether
/// that was made here or is one of llama.cpp's others, as in `my-model-q8_0`, `My-Model.Q4_K_M` or `my-model-bf16`.
#[must_use]
pub fn model_of(stem: &str) -> &str {
    let is_type = |end: &str| {
        let mut others = OTHER_TYPES.iter().copied().chain(FULL_ENDINGS.iter().map(|full| &full[1..]));
        Quantization::named(end).is_some() || others.any(|kind| kind.eq_ignore_ascii_case(end))
    };
    // The longest ending that is a type: q4_k_s, not s.
    let mut parts = stem.match_indices(['-', '.', '_']).map(|(at, _)| (&stem[..at], &stem[at + 1..]));
    parts.find(|(start, end)| !start.is_empty() && is_type(end)).map_or(stem, |(start, _)| start)
}

/// `my-model-f16` as `my-model`.
fn without_full_ending(stem: &str) -> &str {
    let cut = |ending: &&str| {
        let (start, end) = stem.split_at_checked(stem.len().checked_sub(ending.len())?)?;
        (!start.is_empty() && end.eq_ignore_ascii_case(ending)).then_some(start)
    };
    FULL_ENDINGS.iter().find_map(cut).unwrap_or(stem)
}

/// Where the variants of the full file `full` are, best first, if they were made: beside it. Never `full` itself.
#[must_use]
pub fn variants_beside(full: &Path) -> Vec<PathBuf> {
    let names = QUANTIZATIONS.iter().filter_map(|kind| kind.file_name(full));
    names
        .map(|name| full.with_file_name(name))
        .filter(|path| !path.as_os_str().eq_ignore_ascii_case(full))
        .collect()
}

/// What people call llama.cpp's file type `number`.
#[must_use]
pub fn name_of(file_type: u32) -> String {
    match file_type {
        0 => "f32".to_owned(),
        32 => "bf16".to_owned(),
        number => {
            let known = QUANTIZATIONS.iter().find(|kind| kind.file_type == number);
            known.map_or_else(|| format!("llama.cpp's file type {number}"), |kind| kind.name.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_full_file_s() {
        for (full, expected) in [
            ("tidepool-3m-f16.gguf", "tidepool-3m-q8_0.gguf"),
            ("m/Big-BF16.gguf", "Big-q8_0.gguf"),
            ("Big-F32.GGUF", "Big-q8_0.gguf"),
            ("plain.gguf", "plain-q8_0.gguf"),
            ("a-f16-f16.gguf", "a-f16-q8_0.gguf"),
            ("af16.gguf", "af16-q8_0.gguf"),
            ("-f16.gguf", "-f16-q8_0.gguf"),
            ("a.b-f16", "a-q8_0.gguf"),
            ("ü.gguf", "ü-q8_0.gguf"),
        ] {
            let kind = Quantization::named("Q8_0").unwrap();
            assert_eq!(kind.file_name(Path::new(full)).as_deref(), Some(expected), "{full}");
        }
        assert_eq!(QUANTIZATIONS[0].file_name(Path::new("..")), None);
    }

    #[test]
    fn a_file_s_model_stands_before_the_type_of_its_weights() {
        for (stem, name) in [
            ("tidepool-3m-q4_k_m", "tidepool-3m"),
            ("Qwen3-8B-Q4_K_S", "Qwen3-8B"),
            ("Meta-Llama-3.Q8_0", "Meta-Llama-3"),
            ("big_IQ2_XXS", "big"),
            ("big-BF16", "big"),
            ("plain", "plain"),
            ("f16", "f16"),
            ("-f16", "-f16"),
            ("a-f16-chat", "a-f16-chat"),
        ] {
            assert_eq!(model_of(stem), name, "{stem}");
        }
    }

    #[test]
    fn the_best_is_first_and_the_full_file_is_none_of_them() {
        assert!(QUANTIZATIONS.is_sorted_by(|better, worse| better.bits_times_100 >= worse.bits_times_100));
        let found = variants_beside(Path::new("m/a-f16.gguf"));
        assert_eq!(found.len(), QUANTIZATIONS.len() - 1);
        assert_eq!(found[0], Path::new("m/a-q8_0.gguf"));
        assert_eq!(variants_beside(Path::new("a-bf16.gguf"))[0], Path::new("a-f16.gguf"));
    }

    #[test]
    fn file_types_have_names() {
        for (number, name) in
            [(0, "f32"), (1, "f16"), (15, "q4_k_m"), (32, "bf16"), (99, "llama.cpp's file type 99")]
        {
            assert_eq!(name_of(number), name);
        }
    }
}
