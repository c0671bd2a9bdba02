//! Metric names, buckets and the recorder that Prometheus reads.
//!
//! Names live in `names.rs` and nowhere else. Base units; labels come from closed sets (models and variants of the policy,
//! outcomes, reasons), never from what a client can choose. docs/metrics.md describes each.

mod names;

use std::sync::OnceLock;

use metrics::{Counter, Histogram, counter, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub use names::*;

use crate::units::ModelName;

/// Buckets for waits and answers: 5 ms to 10 minutes, about 2.2 times apart.
const LATENCY_BUCKETS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0, 60.0, 180.0, 600.0];
/// Buckets for the gap between two tokens: 0.5 ms to 5 s.
const GAP_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.012, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Installs the recorder on the first call; later calls give the same handle.
///
/// # Errors
///
/// If another recorder was installed in this process.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets(&LATENCY_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(ITL.into()), &GAP_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_ok() {
        names::describe();
        metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        for outcome in ["reloaded", "refused"] {
            counter!(RELOADS, "outcome" => outcome).increment(0);
        }
        return Ok(HANDLE.get_or_init(|| handle).clone());
    }
    // Another thread was faster: its handle is about to be there.
    Ok(HANDLE.wait().clone())
}

/// How a generation ended, as a metric label: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended by itself.
    Completed,
    /// The client went away.
    Cancelled,
    /// The prompt could not be served.
    Refused,
    /// The engine failed, or the server stopped.
    Failed,
    /// There was no slot for it; counted as a rejection, not as an end.
    Rejected,
}

impl Outcome {
    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

/// The series of one model that every request touches, looked up once.
#[derive(Clone)]
pub struct ModelMetrics {
    model: ModelName,
    /// See [`TTFT`].
    pub ttft: Histogram,
    /// See [`ITL`].
    pub itl: Histogram,
    /// See [`END_TO_END`].
    pub end_to_end: Histogram,
    /// See [`QUEUE_WAIT`].
    pub queue_wait: Histogram,
    /// See [`PROMPT_TOKENS`].
    pub prompt_tokens: Counter,
    /// See [`CACHED_PROMPT_TOKENS`].
    pub cached_prompt_tokens: Counter,
    /// See [`GENERATED_TOKENS`].
    pub generated_tokens: Counter,
    /// See [`RESUMES`].
    pub resumes: Counter,
    /// See [`RESUME_PAUSE`].
    pub resume_pause: Histogram,
    /// See [`QUARANTINED`].
    pub quarantined: Counter,
}

impl ModelMetrics {
    /// The series of `model`.
    #[must_use]
    pub fn new(model: &ModelName) -> Self {
        let label = model.to_string();
        // Series that begin with their first event hide it from `increase()`.
        for outcome in [Outcome::Completed, Outcome::Cancelled, Outcome::Refused, Outcome::Failed] {
            counter!(REQUESTS, "model" => label.clone(), "outcome" => outcome.name()).increment(0);
        }
        Self {
            model: model.clone(),
            ttft: histogram!(TTFT, "model" => label.clone()),
            itl: histogram!(ITL, "model" => label.clone()),
            end_to_end: histogram!(END_TO_END, "model" => label.clone()),
            queue_wait: histogram!(QUEUE_WAIT, "model" => label.clone()),
            prompt_tokens: counter!(PROMPT_TOKENS, "model" => label.clone()),
            cached_prompt_tokens: counter!(CACHED_PROMPT_TOKENS, "model" => label.clone()),
            generated_tokens: counter!(GENERATED_TOKENS, "model" => label.clone()),
            resumes: counter!(RESUMES, "model" => label.clone()),
            resume_pause: histogram!(RESUME_PAUSE, "model" => label.clone()),
            quarantined: counter!(QUARANTINED, "model" => label),
        }
    }

    /// Counts a generation that ended.
    pub fn ended(&self, outcome: Outcome) {
        counter!(REQUESTS, "model" => self.model.to_string(), "outcome" => outcome.name()).increment(1);
    }

    /// Counts a generation that was refused before it began.
    pub fn rejected(&self, reason: &'static str) {
        counter!(REJECTIONS, "model" => self.model.to_string(), "reason" => reason).increment(1);
    }
}

impl std::fmt::Debug for ModelMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelMetrics").field("model", &self.model).finish_non_exhaustive()
    }
}
