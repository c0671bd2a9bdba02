//! How tokens are chosen, under llama-server's names.

use schemars::JsonSchema;
use serde::Serialize;

use crate::generation::{MirostatVersion, SamplingSettings};

/// The settings of a request, or those that one has that says nothing.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "GenerationSettings")]
pub struct Settings {
    /// -1 tokens are as many as fit, here and below.
    n_predict: i64,
    /// Decides every draw.
    pub seed: u64,
    temperature: f64,
    top_k: u32,
    top_p: f64,
    min_p: f64,
    typical_p: f64,
    repeat_last_n: i64,
    repeat_penalty: f64,
    presence_penalty: f64,
    frequency_penalty: f64,
    dry_multiplier: f64,
    dry_base: f64,
    dry_allowed_length: u32,
    dry_penalty_last_n: i64,
    dry_sequence_breakers: Vec<String>,
    xtc_probability: f64,
    xtc_threshold: f64,
    mirostat: u32,
    mirostat_tau: Option<f64>,
    mirostat_eta: Option<f64>,
    stop: Vec<String>,
}

/// What a request's settings are under these names.
pub fn settings(sampling: &SamplingSettings, max_tokens: Option<u32>, stop: &[String]) -> Settings {
    let (penalties, dry, xtc) = (&sampling.penalties, &sampling.dry, &sampling.xtc);
    let back = |tokens: u32| if tokens == u32::MAX { -1 } else { i64::from(tokens) };
    let mirostat = sampling.mirostat;
    Settings {
        n_predict: max_tokens.map_or(-1, i64::from),
        seed: sampling.seed,
        temperature: short(sampling.temperature),
        top_k: sampling.top_k,
        top_p: short(sampling.top_p),
        min_p: short(sampling.min_p),
        typical_p: short(sampling.typical_p),
        repeat_last_n: back(penalties.last_tokens),
        repeat_penalty: short(penalties.repeat),
        presence_penalty: short(penalties.presence),
        frequency_penalty: short(penalties.frequency),
        dry_multiplier: short(dry.multiplier),
        dry_base: short(dry.base),
        dry_allowed_length: dry.allowed_length,
        dry_penalty_last_n: dry.last_tokens.map_or(-1, i64::from),
        dry_sequence_breakers: dry.sequence_breakers.clone(),
        xtc_probability: short(xtc.probability),
        xtc_threshold: short(xtc.threshold),
        mirostat: match mirostat.map(|mirostat| mirostat.version) {
            None => 0,
            Some(MirostatVersion::V1) => 1,
            Some(MirostatVersion::V2) => 2,
        },
        mirostat_tau: mirostat.map(|mirostat| short(mirostat.tau)),
        mirostat_eta: mirostat.map(|mirostat| short(mirostat.eta)),
        stop: stop.to_vec(),
    }
}

/// A number of 32 bits as it is written, without the digits that 64 bits would add.
fn short(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_those_that_were_given() {
        let sampling =
            SamplingSettings { temperature: 0.7, top_p: 0.95, seed: 7, ..SamplingSettings::default() };
        let told = json!(settings(&sampling, Some(9), &["x".into()]));
        let [temperature, top_p, seed] =
            ["temperature", "top_p", "seed"].map(|field| told[field].to_string());
        assert_eq!([temperature.as_str(), &top_p, &seed], ["0.7", "0.95", "7"]);
        assert_eq!((&told["n_predict"], &told["repeat_last_n"]), (&json!(9), &json!(64)));
        assert_eq!(settings(&sampling, None, &[]).n_predict, -1);
    }
}
