//! The bodies of llama-server's own `/completion` and `/infill`.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::output::{MAX_LOGPROBS, Strings};
use super::prompts::{self, RawPrompt};
use super::range::out_of_range;
use super::sampling::{self, RawSampling};
use super::{ApiError, Makes, Target, grammar, refuse_others, timeout};
use crate::api::body;
use crate::api::dialect::Dialect;
use crate::catalog::{Catalog, CatalogModel};
use crate::generation::{ExtraFile, GenerationRequest, Infill, Prompt};

/// The most other files of a gap.
const MAX_EXTRA_FILES: usize = 256;
/// What a file is called whose name is not given; llama-server's.
const UNNAMED: &str = "tmp";

/// What is to be generated: what follows a prompt, or what fills a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// `/completion`
    Completion,
    /// `/infill`
    Infill,
}

impl Native {
    /// How this path tells errors.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Completion => Dialect::COMPLETION,
            Self::Infill => Dialect::INFILL,
        }
    }
}

/// A validated request.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the request")]
pub struct NativeJob<'catalog> {
    /// The model asked for.
    pub model: &'catalog CatalogModel,
    /// One for each prompt; at least one.
    pub requests: Vec<GenerationRequest>,
    /// Whether the client gave the seed of the random draws.
    pub seeded: bool,
    /// Whether text is wanted, or only that the prompt is computed.
    pub predicts: bool,
    /// Whether tokens are sent as they come.
    pub stream: bool,
    /// Whether the ids of tokens are wanted.
    pub return_tokens: bool,
    /// Whether each part of a stream says how long it took so far.
    pub timings_per_token: bool,
    /// How long the client gives it.
    pub timeout: Option<Duration>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NativeRequest")]
struct RawNative {
    prompt: Option<RawPrompt>,
    #[schemars(range(min = -1, max = 4_294_967_295_i64))]
    n_predict: Option<i64>,
    #[schemars(range(min = -1, max = 4_294_967_295_i64))]
    max_tokens: Option<i64>,
    stream: Option<bool>,
    stop: Option<Strings>,
    #[schemars(range(max = MAX_LOGPROBS))]
    n_probs: Option<u32>,
    post_sampling_probs: Option<bool>,
    return_tokens: Option<bool>,
    timings_per_token: Option<bool>,
    ignore_eos: Option<bool>,
    cache_prompt: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "InfillRequest")]
struct RawInfill {
    input_prefix: String,
    input_suffix: String,
    #[schemars(length(max = MAX_EXTRA_FILES))]
    input_extra: Option<Vec<RawExtra>>,
    prompt: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ExtraFile")]
struct RawExtra {
    filename: Option<String>,
    text: String,
}

/// What a body of a path looks like.
pub fn schema(path: Native, generator: &mut SchemaGenerator) -> Schema {
    let mut parts = vec![
        generator.subschema_for::<RawNative>(),
        generator.subschema_for::<RawSampling>(),
        grammar::fields_schema(),
        super::model_part(),
        super::timeout_part(),
    ];
    if path == Native::Infill {
        parts.push(generator.subschema_for::<RawInfill>());
    }
    json_schema!({ "allOf": parts })
}

/// Reads the body of a request.
///
/// # Errors
///
/// [`ApiError`] that names the field.
pub fn read<'catalog>(
    bytes: &[u8],
    path: Native,
    target: Target<'_>,
    catalog: &'catalog Catalog,
) -> Result<NativeJob<'catalog>, ApiError> {
    let object: Map<String, Value> = body::parse(bytes)?;
    let model = target.find(&object, catalog)?;
    refuse_others(model, Makes::Text)?;
    let prompts = match path {
        Native::Completion => None,
        Native::Infill => Some(vec![Prompt::Infill(gap(body::from_object(&object)?)?)]),
    };
    let raw: RawNative = body::from_object(&object)?;
    let raw_sampling: RawSampling = body::from_object(&object)?;
    let seeded = raw_sampling.has_seed();
    let sampling = sampling::settings(raw_sampling, object.get("logit_bias"), &model.policy.sampling)?;
    let grammar = grammar::read(&object)?;
    if raw.post_sampling_probs == Some(true) {
        let message = "post_sampling_probs: probabilities are told before sampling alone; leave it out";
        return Err(ApiError::invalid("post_sampling_probs", message));
    }
    let (max_tokens, predicts) = most_tokens(&raw)?;
    let logprobs = match raw.n_probs {
        Some(most) if most > MAX_LOGPROBS => {
            return Err(out_of_range("n_probs", &format!("a whole number from 0 to {MAX_LOGPROBS}"), most));
        }
        most => most.filter(|most| *most > 0 && predicts),
    };
    let stop = Strings::check("stop", raw.stop)?;
    let prompts = match prompts {
        Some(prompts) => prompts,
        None => prompts::prompts(raw.prompt)?,
    };
    prompts::bounded(prompts.len(), 1)?;
    let requests = prompts.into_iter().map(|prompt| GenerationRequest {
        prompt,
        sampling: sampling.clone(),
        max_tokens,
        stop: stop.clone(),
        ignore_eos: raw.ignore_eos == Some(true),
        grammar: grammar.clone(),
        shown: Vec::new(),
        logprobs,
        reuse_prefix: raw.cache_prompt != Some(false),
    });
    Ok(NativeJob {
        model,
        requests: requests.collect(),
        seeded,
        predicts,
        stream: raw.stream == Some(true),
        return_tokens: raw.return_tokens == Some(true),
        timings_per_token: raw.timings_per_token == Some(true),
        timeout: timeout(object.get("timeout"))?,
    })
}

/// The most tokens, and whether their text is wanted: with 0 only the prompt is computed, which takes one.
fn most_tokens(raw: &RawNative) -> Result<(Option<u32>, bool), ApiError> {
    let checked = |field, given: Option<i64>| match given.filter(|given| *given != -1).map(u32::try_from) {
        None => Ok(None),
        Some(Ok(most)) => Ok(Some(most)),
        Some(Err(_)) => {
            let expected = "a whole number from 0 to 4294967295, or -1 for what fits into the context";
            Err(out_of_range(field, expected, given.unwrap_or_default()))
        }
    };
    let (own_name, other_name) =
        (checked("n_predict", raw.n_predict)?, checked("max_tokens", raw.max_tokens)?);
    Ok(match if raw.n_predict.is_some() { own_name } else { other_name } {
        Some(0) => (Some(1), false),
        most => (most, true),
    })
}

fn gap(raw: RawInfill) -> Result<Infill, ApiError> {
    let extra = raw.input_extra.unwrap_or_default();
    if extra.len() > MAX_EXTRA_FILES {
        let message = format!("input_extra: at most {MAX_EXTRA_FILES} files, got {}", extra.len());
        return Err(ApiError::invalid("input_extra", message));
    }
    let extra = extra
        .into_iter()
        .map(|file| ExtraFile { name: file.filename.unwrap_or_else(|| UNNAMED.to_owned()), text: file.text });
    // What was typed last is a part of what stands before the gap.
    let prefix = raw.input_prefix + &raw.prompt.unwrap_or_default();
    Ok(Infill { prefix, suffix: raw.input_suffix, extra: extra.collect() })
}
