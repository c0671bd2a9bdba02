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
        "temperature": short(sampling.temperature),
        "top_k": sampling.top_k,
        "top_p": short(sampling.top_p),
        "min_p": short(sampling.min_p),
        "typical_p": short(sampling.typical_p),
        "repeat_last_n": back(penalties.last_tokens),
        "repeat_penalty": short(penalties.repeat),
        "presence_penalty": short(penalties.presence),
        "frequency_penalty": short(penalties.frequency),
        "dry_multiplier": short(dry.multiplier),
        "dry_base": short(dry.base),
        "dry_allowed_length": dry.allowed_length,
        "dry_penalty_last_n": dry.last_tokens.map_or(-1, i64::from),
        "dry_sequence_breakers": dry.sequence_breakers,
        "xtc_probability": short(xtc.probability),
        "xtc_threshold": short(xtc.threshold),
        "mirostat": match mirostat.map(|mirostat| mirostat.version) {
            None => 0,
            Some(MirostatVersion::V1) => 1,
            Some(MirostatVersion::V2) => 2,
        },
        "mirostat_tau": mirostat.map(|mirostat| short(mirostat.tau)),
        "mirostat_eta": mirostat.map(|mirostat| short(mirostat.eta)),
        "stop": stop,
    })
}

/// A number of 32 bits as it is written, without the digits that 64 bits would add.
fn short(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_were_given() {
        let sampling =
            SamplingSettings { temperature: 0.7, top_p: 0.95, seed: 7, ..SamplingSettings::default() };
        let told = settings(&sampling, Some(9), &["x".into()]);
        let [temperature, top_p, seed] =
            ["temperature", "top_p", "seed"].map(|field| told[field].to_string());
        assert_eq!([temperature.as_str(), &top_p, &seed], ["0.7", "0.95", "7"]);
        assert_eq!((&told["n_predict"], &told["repeat_last_n"]), (&json!(9), &json!(64)));
        assert_eq!(settings(&sampling, None, &[])["n_predict"], -1);
    }
}
