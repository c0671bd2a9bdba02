//! What `modelpool bench server` is told.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::HeaderValue;

use super::report::{Limit, Load};
use super::target::Target;
use crate::cli::bench::seconds;

/// How long a load lasts if nothing else is said.
const DEFAULT_TIME: Duration = Duration::from_secs(10);
/// How long servers that are compared may take to become ready if nothing else is said.
const DEFAULT_WAIT_TO_COMPARE: Duration = Duration::from_secs(60);

/// Measures a running server that speaks OpenAI's API by streaming answers from it.
///
/// Each load is a row: so many clients that each wait for their answer, or so many requests a second. Times are seen
/// by the client, in milliseconds: TTFT to the first text, ITL between two pieces of text, TPOT per token after the
/// first, E2E to the end.
#[derive(Args, Debug)]
pub(in crate::cli::bench) struct ServerArguments {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(super) url: Target,
    /// Another server to compare with: both take turns, after a warm-up of each that does not count.
    #[arg(long, value_name = "URL")]
    pub(super) against: Option<Target>,
    /// Rounds of a comparison, for each load.
    #[arg(long, value_name = "N", default_value = "5", requires = "against")]
    pub(super) rounds: NonZeroU32,
    /// What to call the server at --url in a comparison.
    #[arg(long, value_name = "NAME", default_value = "A", requires = "against")]
    pub(super) label_a: String,
    /// What to call the server at --against.
    #[arg(long, value_name = "NAME", default_value = "B", requires = "against")]
    pub(super) label_b: String,
    /// The model to ask for [default: the first one that the server lists].
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,
    /// The model to ask for at --against [default: --model, or the first one that the server lists].
    #[arg(long, value_name = "NAME", requires = "against")]
    pub(super) against_model: Option<String>,
    /// What to ask for.
    #[arg(long, value_enum, default_value = "chat")]
    pub(super) endpoint: Endpoint,
    /// Closed loop: clients that each wait for their answer before they ask again; a list makes a row for each.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "1,4,16",
        conflicts_with = "rate"
    )]
    clients: Vec<NonZeroU32>,
    /// Open loop: requests per second that come at random times, whatever becomes of those before; a list makes a
    /// row for each.
    #[arg(long, value_name = "R,…", value_delimiter = ',', value_parser = above_zero)]
    rate: Vec<f64>,
    /// Requests of each row, and of each round of a comparison.
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    requests: Option<NonZeroU32>,
    /// Seconds in which each row makes requests; those that run then are waited for [default: 10].
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Tokens of a prompt, about; no two prompts begin alike, so that no server can use one's KV cache for another.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) prompt_tokens: u32,
    /// Of these, tokens that all prompts begin with.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    pub(super) shared_prefix_tokens: u32,
    /// The most tokens of an answer.
    #[arg(long, value_name = "N", default_value = "64")]
    pub(super) max_tokens: NonZeroU32,
    /// Send `ignore_eos: true`, so that all answers have --max-tokens tokens. Not every server heeds it.
    #[arg(long)]
    pub(super) ignore_eos: bool,
    /// Sampling temperature [default: the server's].
    #[arg(long, value_name = "T", value_parser = temperature)]
    pub(super) temperature: Option<f64>,
    /// Seconds that a request may take; what takes longer has failed.
    #[arg(long, value_name = "S", default_value = "300", value_parser = seconds)]
    pub(super) timeout: Duration,
    /// Seconds that a server may take to become ready [default: 0, and 60 with --against].
    #[arg(long, value_name = "S", value_parser = seconds)]
    wait: Option<Duration>,
    /// Decides prompts and arrivals. The same prompts again may be answered from a cache [default: another one each
    /// time].
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// A key to send to the servers, as `Authorization: Bearer KEY`.
    #[arg(long, value_name = "KEY", value_parser = bearer)]
    pub(super) api_key: Option<HeaderValue>,
    /// Write each request that was answered to this file, a line of JSON with when it came, its tokens, TTFT and E2E:
    /// traffic that modelpool simulate --trace replays.
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    pub(super) record: Option<PathBuf>,
    /// Print one JSON document instead of tables.
    #[arg(long)]
    pub(super) json: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Endpoint {
    /// /v1/chat/completions
    Chat,
    /// /v1/completions
    Completions,
}

impl Endpoint {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
        }
    }
}

impl ServerArguments {
    /// The loads, in order.
    pub(super) fn loads(&self) -> Vec<Load> {
        if self.rate.is_empty() {
            self.clients.iter().map(|clients| Load::Closed { clients: clients.get() }).collect()
        } else {
            self.rate.iter().map(|rate| Load::Open { rate: *rate }).collect()
        }
    }

    /// When each load ends.
    pub(super) fn limit(&self) -> Limit {
        match self.requests {
            Some(requests) => Limit::Requests(requests.get().into()),
            None => Limit::Time(self.seconds.unwrap_or(DEFAULT_TIME)),
        }
    }

    /// How long servers may take to become ready.
    pub(super) fn wait(&self) -> Duration {
        let default = if self.against.is_some() { DEFAULT_WAIT_TO_COMPARE } else { Duration::ZERO };
        self.wait.unwrap_or(default)
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

fn temperature(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "expected a number from 0".to_owned())
}

fn bearer(key: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(&format!("Bearer {key}"));
    let mut value = value.map_err(|_| "a key has visible ASCII characters only".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
