//! One line of the log for each request, when it is over: how long what took, who served it, or why nobody did.
//!
//! `modelpool simulate` reads these lines as a trace, so that a server's own traffic can be replayed.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Served;
use crate::generation::Usage;
use crate::telemetry::Outcome;
use crate::units::ModelName;

/// The target of these lines: `MODELPOOL_LOG=info,modelpool::request=off` turns them off.
const TARGET: &str = "modelpool::request";

/// What is told of a request.
#[derive(Debug)]
pub(super) struct Record {
    /// When it came.
    pub arrived: Instant,
    /// How long it waited for its first slot.
    pub waited: Duration,
    /// Whether the model had no instance when it came.
    pub is_cold: bool,
    /// When its first token came.
    pub first_token: Option<Instant>,
    /// When its last token came.
    pub last_token: Option<Instant>,
    /// Tokens counted so far.
    pub usage: Usage,
    /// How often it lost its instance.
    pub interruptions: u32,
    /// Why it was refused or failed.
    pub reason: Option<String>,
    /// Where its answer is from, if it was not computed for it.
    pub cache: Option<&'static str>,
}

/// Writes the line of a request that got the answer of another one. `cache`: in which way.
pub fn tell_replayed(
    model: &ModelName,
    request: &str,
    arrived: Instant,
    outcome: Outcome,
    served: Option<&Served>,
    usage: Usage,
    cache: &'static str,
) {
    let record = Record { usage, cache: Some(cache), ..Record::new(arrived) };
    record.write(model, request, outcome, served);
}

impl Record {
    pub fn new(arrived: Instant) -> Self {
        Self {
            arrived,
            waited: Duration::ZERO,
            is_cold: false,
            first_token: None,
            last_token: None,
            usage: Usage::default(),
            interruptions: 0,
            reason: None,
            cache: None,
        }
    }

    /// Time between the first and the last token, and the gaps in it.
    pub fn decoding(&self) -> Option<(u32, Duration)> {
        let time = self.last_token?.duration_since(self.first_token?);
        Some((self.usage.completion_tokens.saturating_sub(1), time))
    }

    /// Writes the line.
    pub fn write(&self, model: &ModelName, request: &str, outcome: Outcome, served: Option<&Served>) {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return;
        }
        let ago = SignedDuration::try_from(self.arrived.elapsed()).unwrap_or_default();
        let arrived = Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH);
        let slot = self.arrived + self.waited;
        let prefill = self.first_token.map(|first| millis(first.saturating_duration_since(slot)));
        let Usage { prompt_tokens, cached_tokens, completion_tokens } = self.usage;
        tracing::info!(
            target: TARGET,
            %model,
            request,
            outcome = outcome.name(),
            arrived = %format_args!("{arrived:.3}"),
            // What was refused was never counted.
            prompt_tokens = (prompt_tokens > 0).then_some(prompt_tokens),
            cached_tokens,
            completion_tokens,
            cache = self.cache,
            queue_ms = self.cache.is_none().then(|| millis(self.waited)),
            load_ms = self.is_cold.then(|| millis(self.waited)),
            prefill_ms = prefill,
            decode_ms = self.decoding().map(|(_, time)| millis(time)),
            total_ms = millis(self.arrived.elapsed()),
            instance = served.and_then(|served| Some(served.instance?.to_string())),
            variant = served.map(|served| &*served.variant),
            interruptions = (self.interruptions > 0).then_some(self.interruptions),
            reason = self.reason.as_deref(),
            "request"
        );
    }
}

/// Milliseconds, with tenths.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}
