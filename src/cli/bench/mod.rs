//! `modelpool bench`: measures what a machine can do.

mod engine;
mod server;
mod statistics;
pub(super) mod table;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after Ctrl-C: 128 and the signal's number, as shells report it.
const INTERRUPTED: u8 = 130;

#[derive(Args, Debug)]
pub(super) struct BenchArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Engine(Box<engine::EngineArguments>),
    Server(Box<server::ServerArguments>),
}

/// Measures and prints.
///
/// # Errors
///
/// What keeps it from measuring at all.
pub(super) fn run(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    match &arguments.what {
        What::Engine(arguments) => engine::run(arguments),
        What::Server(arguments) => server::run(arguments),
    }
}

/// Reads a number of seconds, fractions included, up to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok().filter(|number| (0.0..=86_400.0).contains(number));
    number
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a number of seconds from 0 to 86400".to_owned())
}

/// Ctrl-C: once, to end with what was measured so far; a second time, to end at once.
struct Interrupt;

impl Interrupt {
    /// A token that the first one cancels.
    fn cancels() -> anyhow::Result<CancellationToken> {
        let mut signals = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let stop = CancellationToken::new();
        let told = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            told.cancel();
            signals.recv().await;
            signal_hook::low_level::exit(INTERRUPTED.into());
        });
        Ok(stop)
    }
}
