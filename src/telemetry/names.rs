//! Every metric: its name, its kind and what it means, in one table. docs/metrics.md describes the labels.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Defines the names as constants, and `describe`, which gives their texts to the recorder.
macro_rules! metrics {
    ($($kind:ident $constant:ident = $name:literal, $text:literal;)+) => {
        $(
            #[doc = $text]
            pub const $constant: &str = $name;
        )+

        /// All names, for the test that compares them with the document.
        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name),+];

        /// Tells the recorder what each metric means.
        pub(super) fn describe() {
            $(metrics!(@describe $kind $constant $text);)+
        }
    };
    (@describe counter $constant:ident $text:literal) => { describe_counter!($constant, $text) };
    (@describe gauge $constant:ident $text:literal) => { describe_gauge!($constant, $text) };
    (@describe histogram $constant:ident $text:literal) => { describe_histogram!($constant, $text) };
}

metrics! {
    gauge BUILD_INFO = "modelpool_build_info", "Always 1; the label says which version runs";
    counter REQUESTS = "modelpool_requests_total", "Generations that ended, by model and outcome";
    counter REJECTIONS = "modelpool_rejections_total", "Generations refused before they began, by model and reason";
    counter HTTP_RESPONSES = "modelpool_http_responses_total", "HTTP responses by path and status";
    gauge QUEUE_DEPTH = "modelpool_queue_depth", "Requests that wait for a slot";
    gauge QUEUE_OLDEST_WAIT = "modelpool_queue_oldest_wait_seconds", "How long the first waiting request has waited";
    histogram QUEUE_WAIT = "modelpool_queue_wait_seconds", "Time from admission to a slot";
    gauge IN_FLIGHT = "modelpool_requests_in_flight", "Requests that hold a slot";
    histogram TTFT = "modelpool_ttft_seconds", "Time from the request's arrival to its first text, queueing included";
    histogram ITL = "modelpool_itl_seconds", "Time between consecutive tokens of a generation";
    histogram END_TO_END = "modelpool_request_duration_seconds", "Time from the request's arrival to the end of its answer";
    counter CACHED_PROMPT_TOKENS = "modelpool_cached_prompt_tokens_total",
        "Prompt tokens that a KV cache had, so that they were not computed";
    counter PROMPT_TOKENS = "modelpool_prompt_tokens_total", "Prompt tokens of accepted requests";
    counter GENERATED_TOKENS = "modelpool_generated_tokens_total", "Tokens generated";
    counter CACHE_REQUESTS = "modelpool_cache_requests_total",
        "Requests to models whose policy keeps answers, by what there was of theirs";
    counter CACHE_ERRORS = "modelpool_cache_errors_total", "Uses of a shared cache that failed, by operation";
    gauge CACHE_BYTES = "modelpool_cache_bytes", "Memory that kept answers take";
    counter RESUMES = "modelpool_resumes_total", "Times that a request lost its instance and went on in another";
    histogram RESUME_PAUSE = "modelpool_resume_pause_seconds", "Time from the loss of an instance to the next token of a request that went on";
    counter QUARANTINED = "modelpool_quarantined_requests_total", "Requests given up because they ended the workers that served them";
    counter KEY_REQUESTS = "modelpool_key_requests_total", "Requests with an API key that its limits let through";
    counter KEY_REJECTIONS = "modelpool_key_rejections_total", "Requests with an API key that were refused because of it, by reason";
    counter KEY_TOKENS = "modelpool_key_tokens_total", "Tokens of prompts and answers, by API key";
    gauge KEY_RUNNING = "modelpool_key_requests_running", "Requests of an API key that wait or are answered";
    gauge CONNECTIONS = "modelpool_connections", "Connections of clients that are open";
    counter CONNECTIONS_CLOSED = "modelpool_connections_closed_total", "Connections that the server closed, by reason";
    gauge INSTANCES = "modelpool_instances", "Instances by model, variant and state";
    gauge TARGET_INSTANCES = "modelpool_target_instances", "Instances that the controller wants";
    gauge SLOTS = "modelpool_slots", "Slots of ready instances";
    gauge SLOTS_BUSY = "modelpool_slots_busy", "Slots leased to requests";
    counter LOADS = "modelpool_loads_total", "Loads of weights by outcome";
    histogram LOAD_DURATION = "modelpool_load_duration_seconds", "Time to load weights";
    counter INSTANCE_STARTS = "modelpool_instance_starts_total", "Instances started, by reason";
    histogram INSTANCE_START_DURATION = "modelpool_instance_start_duration_seconds", "Time from the decision to a ready instance, load included";
    counter INSTANCE_STOPS = "modelpool_instance_stops_total", "Instances drained, by reason";
    counter INSTANCE_FAILURES = "modelpool_instance_failures_total", "Instances that could not be made or broke";
    counter WORKER_EXITS = "modelpool_worker_exits_total", "Workers that died or were ended because they were frozen, by reason";
    gauge CRASH_LOOP = "modelpool_crash_loop", "1 while a model fails again and again, or its file cannot be loaded, and requests for it are refused";
    counter RELOADS = "modelpool_policy_reloads_total", "Reloads of the policy or the API keys by outcome";
    counter UNLOADS = "modelpool_unloads_total", "Weights unloaded because their last instance went";
    counter DECISIONS = "modelpool_scaling_decisions_total", "Scaling decisions by reason, counted when the reason changes";
    gauge MEMORY_TOTAL = "modelpool_memory_total_bytes", "Memory of a device";
    gauge MEMORY_USED = "modelpool_memory_used_bytes", "Memory of a device in use, by this and other programs";
    gauge MEMORY_FREE = "modelpool_memory_free_bytes", "Memory of a device that is free";
    gauge MEMORY_SELF = "modelpool_memory_used_by_server_bytes", "Memory of a device that this server uses";
    gauge PREDICTED = "modelpool_predicted_bytes", "Memory that a worker or an instance is predicted to take of its device";
    gauge MEASURED = "modelpool_measured_bytes", "Memory that a worker or an instance took of a GPU";
    gauge GPU_UTILIZATION = "modelpool_gpu_utilization_ratio", "Share of the time in which a GPU computed anything";
    gauge GPU_TEMPERATURE = "modelpool_gpu_temperature_celsius", "Temperature of a GPU's chip";
    gauge GPU_POWER = "modelpool_gpu_power_watts", "Power that a GPU draws";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_metric_and_no_other() {
        let document = include_str!("../../docs/metrics.md");
        for name in ALL {
            assert!(document.contains(&format!("`{name}`")), "{name} is missing in docs/metrics.md");
        }
        for word in document.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let base =
                ["_bucket", "_sum", "_count"].iter().fold(word, |word, end| word.trim_end_matches(end));
            let named = !word.starts_with("modelpool_") || ALL.contains(&base) || ALL.contains(&word);
            assert!(named, "docs/metrics.md names {word}, which does not exist");
        }
    }
}
