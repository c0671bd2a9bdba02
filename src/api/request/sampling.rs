//! How the next token is chosen: the request's settings, or else the policy's.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::ApiError;
use super::bias;
use super::range::{above_to, from_to, number, out_of_range, strings, tokens_back};
use crate::generation::{Dry, Mirostat, MirostatVersion, Penalties, SamplingSettings, Xtc};
use crate::policy::SamplingPolicy;

/// The most strings over which no repetition extends, and the most bytes of one. llama.cpp cuts such a string after
/// 40 bytes, and each is looked for again with each token.
const MAX_BREAKERS: usize = 64;
const MAX_BREAKER_BYTES: usize = 40;
/// Where Mirostat begins if a request does not say; llama.cpp's values.
const MIROSTAT_TAU: f32 = 5.0;
const MIROSTAT_ETA: f32 = 0.1;

/// The fields as they are sent, under llama.cpp's names where OpenAI has none.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Sampling")]
pub(super) struct RawSampling {
    #[schemars(range(min = 0, max = 2))]
    temperature: Option<f64>,
    top_k: Option<u32>,
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    top_p: Option<f64>,
    #[schemars(range(min = 0, max = 1))]
    min_p: Option<f64>,
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    typical_p: Option<f64>,
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 10))]
    repeat_penalty: Option<f64>,
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 10))]
    repetition_penalty: Option<f64>,
    #[schemars(range(min = -1, max = 4_294_967_295_i64))]
    repeat_last_n: Option<i64>,
    #[schemars(range(min = -2, max = 2))]
    presence_penalty: Option<f64>,
    #[schemars(range(min = -2, max = 2))]
    frequency_penalty: Option<f64>,
    #[schemars(range(min = 0, max = 100))]
    dry_multiplier: Option<f64>,
    #[schemars(range(min = 1, max = 100))]
    dry_base: Option<f64>,
    dry_allowed_length: Option<u32>,
    #[schemars(range(min = -1, max = 4_294_967_295_i64))]
    dry_penalty_last_n: Option<i64>,
    #[schemars(length(max = MAX_BREAKERS), inner(length(min = 1, max = MAX_BREAKER_BYTES)))]
    dry_sequence_breakers: Option<Vec<String>>,
    #[schemars(range(min = 0, max = 1))]
    xtc_probability: Option<f64>,
    #[schemars(range(min = 0, max = 1))]
    xtc_threshold: Option<f64>,
    #[schemars(range(min = 0, max = 2))]
    mirostat: Option<u32>,
    #[schemars(range(min = 0, max = 100))]
    mirostat_tau: Option<f64>,
    #[schemars(range(min = 0, max = 1))]
    mirostat_eta: Option<f64>,
    seed: Option<i64>,
}

impl RawSampling {
    /// Whether random draws are decided.
    pub fn has_seed(&self) -> bool {
        self.seed.is_some()
    }
}

/// What the request says, with the policy's defaults. `logit_bias` is that field of the request.
pub(super) fn settings(
    raw: RawSampling,
    logit_bias: Option<&Value>,
    policy: &SamplingPolicy,
) -> Result<SamplingSettings, ApiError> {
    Ok(SamplingSettings {
        temperature: number("temperature", raw.temperature, policy.temperature, from_to(0.0, 2.0))?,
        top_k: raw.top_k.unwrap_or(policy.top_k),
        top_p: number("top_p", raw.top_p, policy.top_p, above_to(0.0, 1.0))?,
        min_p: number("min_p", raw.min_p, policy.min_p, from_to(0.0, 1.0))?,
        typical_p: number("typical_p", raw.typical_p, 1.0, above_to(0.0, 1.0))?,
        penalties: penalties(&raw, policy)?,
        xtc: Xtc {
            probability: number("xtc_probability", raw.xtc_probability, 0.0, from_to(0.0, 1.0))?,
            threshold: number(
                "xtc_threshold",
                raw.xtc_threshold,
                Xtc::default().threshold,
                from_to(0.0, 1.0),
            )?,
        },
        mirostat: mirostat(&raw)?,
        logit_bias: bias::read(logit_bias)?,
        // Any bits will do; negative seeds are seeds, too.
        seed: raw.seed.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().1, i64::cast_unsigned),
        dry: dry(raw)?,
    })
}

fn penalties(raw: &RawSampling, policy: &SamplingPolicy) -> Result<Penalties, ApiError> {
    let repeat = |field, given| number(field, given, policy.repeat_penalty, above_to(0.0, 10.0));
    let other_name = repeat("repetition_penalty", raw.repetition_penalty)?;
    let own_name = repeat("repeat_penalty", raw.repeat_penalty)?;
    let default = Some(Penalties::default().last_tokens);
    Ok(Penalties {
        last_tokens: tokens_back("repeat_last_n", raw.repeat_last_n, default)?.unwrap_or(u32::MAX),
        repeat: if raw.repeat_penalty.is_some() { own_name } else { other_name },
        frequency: number("frequency_penalty", raw.frequency_penalty, 0.0, from_to(-2.0, 2.0))?,
        presence: number("presence_penalty", raw.presence_penalty, 0.0, from_to(-2.0, 2.0))?,
    })
}

fn dry(raw: RawSampling) -> Result<Dry, ApiError> {
    let default = Dry::default();
    let sequence_breakers = match raw.dry_sequence_breakers {
        None => default.sequence_breakers,
        Some(given) => strings("dry_sequence_breakers", given, MAX_BREAKERS, MAX_BREAKER_BYTES)?,
    };
    Ok(Dry {
        multiplier: number("dry_multiplier", raw.dry_multiplier, default.multiplier, from_to(0.0, 100.0))?,
        base: number("dry_base", raw.dry_base, default.base, from_to(1.0, 100.0))?,
        allowed_length: raw.dry_allowed_length.unwrap_or(default.allowed_length),
        last_tokens: tokens_back("dry_penalty_last_n", raw.dry_penalty_last_n, default.last_tokens)?,
        sequence_breakers,
    })
}

fn mirostat(raw: &RawSampling) -> Result<Option<Mirostat>, ApiError> {
    let tau = number("mirostat_tau", raw.mirostat_tau, MIROSTAT_TAU, from_to(0.0, 100.0))?;
    let eta = number("mirostat_eta", raw.mirostat_eta, MIROSTAT_ETA, from_to(0.0, 1.0))?;
    let version = match raw.mirostat {
        None | Some(0) => return Ok(None),
        Some(1) => MirostatVersion::V1,
        Some(2) => MirostatVersion::V2,
        Some(other) => return Err(out_of_range("mirostat", "0, 1 or 2", other)),
    };
    Ok(Some(Mirostat { version, tau, eta }))
}
