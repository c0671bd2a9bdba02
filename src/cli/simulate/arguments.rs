//! The arguments of `modelpool simulate`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use jiff::Timestamp;

use crate::sim::Shape;
use crate::units::ByteCount;

/// What `modelpool simulate` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct SimulateArguments {
    /// The policy, a YAML file [default: the built-in policy]. Its model files need not be there.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Recorded traffic: CSV with timestamp, context tokens and generated tokens, as in the Azure LLM inference traces, or
    /// JSON lines with timestamp, prompt_tokens, completion_tokens and, if there are several, model.
    #[arg(long, value_name = "FILE", required_unless_present = "synthetic", conflicts_with = "synthetic")]
    pub trace: Option<PathBuf>,
    /// Traffic that is made up.
    #[arg(long, value_name = "SHAPE", value_parser = shapes())]
    pub synthetic: Option<Shape>,
    /// Length of made-up traffic in seconds.
    #[arg(long, value_name = "S", default_value_t = 3600.0, value_parser = positive)]
    pub seconds: f64,
    /// Times the rate of made-up traffic.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    pub rate: f64,
    /// When the traffic begins, such as 2026-11-30T08:00Z, for what the policy schedules [default: as recorded; without
    /// dates, a Monday at midnight, UTC].
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub begins: Option<Timestamp>,
    /// Seconds without requests at the end, to see how the pool goes down.
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = seconds)]
    pub tail_seconds: f64,
    /// Decides made-up traffic: the same seed, the same requests.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// What is known of the machine, as modelpool bench engine --calibrate writes it [default: an 8B model in round figures].
    #[arg(long, value_name = "FILE")]
    pub machine: Option<PathBuf>,
    /// Seconds until an instance is ready whose weights must be loaded, instead of the machine's.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub load_seconds: Option<f64>,
    /// Seconds until a further one is ready [default: as --load-seconds, or the machine's].
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub instance_seconds: Option<f64>,
    /// GPUs of the machine.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub gpus: u32,
    /// Memory of each [default: no limit].
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<ByteCount>,
    /// Slots of an instance, instead of the policy's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub slots: Option<u32>,
    /// The most instances, instead of the policy's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_instances: Option<u32>,
    /// Milliseconds within which the first token counts as in time.
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    pub slo_ttft_ms: u64,
    /// Seconds at the beginning that do not count: time to learn in.
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = seconds)]
    pub count_from: f64,
    /// Print the comparison as JSON.
    #[arg(long)]
    pub json: bool,
    /// Write a report, one HTML file that needs no network: what happened when, and why.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Look for settings of `scale` that cost less and still serve enough requests in time, and print them.
    #[arg(long, conflicts_with = "html")]
    pub tune: bool,
    /// With --tune: the share of requests whose first token must come in time.
    #[arg(long, value_name = "SHARE", default_value_t = 0.99, value_parser = share, requires = "tune")]
    pub slo_share: f64,
    /// With --tune: look at this first part of the trace alone, and show what the settings come to on the rest.
    #[arg(long, value_name = "FRACTION", default_value_t = 1.0, value_parser = share, requires = "tune")]
    pub tune_on: f64,
}

fn shapes() -> impl TypedValueParser<Value = Shape> {
    PossibleValuesParser::new(Shape::ALL.map(Shape::name)).map(|name| {
        let found = Shape::ALL.into_iter().find(|shape| shape.name() == name);
        found.expect("the parser accepts no other name")
    })
}

fn positive(text: &str) -> Result<f64, String> {
    let number =
        text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0 && *number < 1e9);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= 1.0);
    number.ok_or_else(|| "expected a number above 0, and at most 1".to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "expected a date with time and zone, such as 2026-11-30T08:00Z".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=86_400.0).contains(number));
    number.ok_or_else(|| "expected a number of seconds from 0 to 86400".to_owned())
}
