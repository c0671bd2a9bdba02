//! Metric names, buckets and the recorder that Prometheus reads.
//!
//! Names live here and nowhere else. Base units; labels come from closed sets (models and variants of the policy,
//! outcomes, reasons), never from what a client can choose. docs/metrics.md describes each.

use std::sync::OnceLock;

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::units::ModelName;

pub const BUILD_INFO: &str = "modelpool_build_info";
pub const REQUESTS: &str = "modelpool_requests_total";
pub const REJECTIONS: &str = "modelpool_rejections_total";
pub const HTTP_RESPONSES: &str = "modelpool_http_responses_total";
pub const QUEUE_DEPTH: &str = "modelpool_queue_depth";
pub const QUEUE_OLDEST_WAIT: &str = "modelpool_queue_oldest_wait_seconds";
pub const QUEUE_WAIT: &str = "modelpool_queue_wait_seconds";
pub const IN_FLIGHT: &str = "modelpool_requests_in_flight";
pub const TTFT: &str = "modelpool_ttft_seconds";
pub const ITL: &str = "modelpool_itl_seconds";
pub const END_TO_END: &str = "modelpool_request_duration_seconds";
pub const PROMPT_TOKENS: &str = "modelpool_prompt_tokens_total";
pub const GENERATED_TOKENS: &str = "modelpool_generated_tokens_total";
pub const INSTANCES: &str = "modelpool_instances";
pub const TARGET_INSTANCES: &str = "modelpool_target_instances";
pub const SLOTS: &str = "modelpool_slots";
pub const SLOTS_BUSY: &str = "modelpool_slots_busy";
pub const LOADS: &str = "modelpool_loads_total";
pub const LOAD_DURATION: &str = "modelpool_load_duration_seconds";
pub const INSTANCE_STARTS: &str = "modelpool_instance_starts_total";
pub const INSTANCE_START_DURATION: &str = "modelpool_instance_start_duration_seconds";
pub const INSTANCE_STOPS: &str = "modelpool_instance_stops_total";
pub const UNLOADS: &str = "modelpool_unloads_total";
pub const DECISIONS: &str = "modelpool_scaling_decisions_total";
pub const MEMORY_TOTAL: &str = "modelpool_memory_total_bytes";
pub const MEMORY_USED: &str = "modelpool_memory_used_bytes";
pub const MEMORY_FREE: &str = "modelpool_memory_free_bytes";
pub const MEMORY_SELF: &str = "modelpool_memory_used_by_server_bytes";

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
        describe();
        metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        return Ok(HANDLE.get_or_init(|| handle).clone());
    }
    // Another thread was faster: its handle is about to be there.
    Ok(HANDLE.wait().clone())
}

fn describe() {
    describe_gauge!(BUILD_INFO, "Always 1; the label says which version runs");
    describe_counter!(REQUESTS, "Generations that ended, by model and outcome");
    describe_counter!(REJECTIONS, "Generations refused before they began, by model and reason");
    describe_counter!(HTTP_RESPONSES, "HTTP responses by path and status");
    describe_gauge!(QUEUE_DEPTH, "Requests that wait for a slot");
    describe_gauge!(QUEUE_OLDEST_WAIT, "How long the first waiting request has waited");
    describe_histogram!(QUEUE_WAIT, "Time from admission to a slot");
    describe_gauge!(IN_FLIGHT, "Requests that hold a slot");
    describe_histogram!(TTFT, "Time from the request's arrival to its first token, queueing included");
    describe_histogram!(ITL, "Time between consecutive tokens of a generation");
    describe_histogram!(END_TO_END, "Time from the request's arrival to the end of its answer");
    describe_counter!(PROMPT_TOKENS, "Prompt tokens of accepted requests");
    describe_counter!(GENERATED_TOKENS, "Tokens generated");
    describe_gauge!(INSTANCES, "Instances by model, variant and state");
    describe_gauge!(TARGET_INSTANCES, "Instances that the controller wants");
    describe_gauge!(SLOTS, "Slots of ready instances");
    describe_gauge!(SLOTS_BUSY, "Slots leased to requests");
    describe_counter!(LOADS, "Loads of weights by outcome");
    describe_histogram!(LOAD_DURATION, "Time to load weights");
    describe_counter!(INSTANCE_STARTS, "Instances started, by reason");
    describe_histogram!(INSTANCE_START_DURATION, "Time from the decision to a ready instance, load included");
    describe_counter!(INSTANCE_STOPS, "Instances drained, by reason");
    describe_counter!(UNLOADS, "Weights unloaded because their last instance went");
    describe_counter!(DECISIONS, "Scaling decisions by reason, counted when the reason changes");
    describe_gauge!(MEMORY_TOTAL, "Memory of a device");
    describe_gauge!(MEMORY_USED, "Memory of a device in use, by this and other programs");
    describe_gauge!(MEMORY_FREE, "Memory of a device that is free");
    describe_gauge!(MEMORY_SELF, "Memory of a device that this server uses");
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
    /// See [`GENERATED_TOKENS`].
    pub generated_tokens: Counter,
}

impl ModelMetrics {
    /// The series of `model`.
    #[must_use]
    pub fn new(model: &ModelName) -> Self {
        let label = model.to_string();
        Self {
            model: model.clone(),
            ttft: histogram!(TTFT, "model" => label.clone()),
            itl: histogram!(ITL, "model" => label.clone()),
            end_to_end: histogram!(END_TO_END, "model" => label.clone()),
            queue_wait: histogram!(QUEUE_WAIT, "model" => label.clone()),
            prompt_tokens: counter!(PROMPT_TOKENS, "model" => label.clone()),
            generated_tokens: counter!(GENERATED_TOKENS, "model" => label),
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
