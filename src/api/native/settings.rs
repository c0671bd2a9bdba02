//! How tokens are chosen, under llama-server's names.

use serde_json::{Value, json};

use crate::generation::{MirostatVersion, SamplingSettings};

/// The settings of a request, or those that one has that says nothing. -1 tokens are as many as fit.
pub fn settings(sampling: &SamplingSettings, max_tokens: Option<u32>, stop: &[String]) -> Value {
    let (penalties, dry, xtc) = (&sampling.penalties, &sampling.dry, &sampling.xtc);
    let back = |tokens: u32| if tokens == u32::MAX { -1 } else { i64::from(tokens) };
    let mirostat = sampling.mirostat;
    json!({
        "n_predict": max_tokens.map_or(-1, i64::from),
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "typical_p": sampling.typical_p,
        "repeat_last_n": back(penalties.last_tokens),
        "repeat_penalty": penalties.repeat,
        "presence_penalty": penalties.presence,
        "frequency_penalty": penalties.frequency,
        "dry_multiplier": dry.multiplier,
        "dry_base": dry.base,
        "dry_allowed_length": dry.allowed_length,
        "dry_penalty_last_n": dry.last_tokens.map_or(-1, i64::from),
        "dry_sequence_breakers": dry.sequence_breakers,
        "xtc_probability": xtc.probability,
        "xtc_threshold": xtc.threshold,
        "mirostat": match mirostat.map(|mirostat| mirostat.version) {
            None => 0,
            Some(MirostatVersion::V1) => 1,
            Some(MirostatVersion::V2) => 2,
        },
        "mirostat_tau": mirostat.map(|mirostat| mirostat.tau),
        "mirostat_eta": mirostat.map(|mirostat| mirostat.eta),
        "stop": stop,
    })
}
