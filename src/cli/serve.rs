//! `modelpool serve`: a server that lives until a signal ends it.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::server::{Server, ServerOptions, ShutDown};
use super::{ServeArguments, print, read_policy, relaunch};
use crate::policy::Policy;

/// Runs until SIGTERM or SIGINT; a second one ends the process at once.
///
/// # Errors
///
/// What keeps the server from starting, or a part of it that ended by itself.
pub fn run(arguments: &ServeArguments) -> anyhow::Result<()> {
    relaunch::with_environment();
    let mut policy = read_policy(arguments.policy.as_ref())?;
    if let Some(listen) = arguments.listen {
        policy.server.listen = listen;
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(serve(&policy))
}

async fn serve(policy: &Policy) -> anyhow::Result<()> {
    // Before anything is announced, so that no signal is missed.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let mut server = Server::start(policy, ServerOptions::of_this_machine(policy)).await?;
    announce(policy, &server);
    let broken = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal = signal.name(), "draining; a second signal ends at once");
            None
        }
        part = server.broken() => Some(part),
    };
    tokio::spawn(async move {
        let signal = signals.next().await;
        tracing::warn!(signal = signal.name(), "second signal: ending at once");
        end_at_once(signal.exit_code());
    });
    let ShutDown { given_up, workers_ended } = server.shut_down().await;
    if given_up > 0 {
        tracing::warn!(given_up, "requests were given up because drain_timeout_ms was over");
    }
    if !workers_ended {
        tracing::warn!("workers were still busy, most likely loading; they end with the process");
        end_at_once(i32::from(broken.is_some()));
    }
    match broken {
        Some(part) => anyhow::bail!("{part} ended unexpectedly; the log says why"),
        None => Ok(()),
    }
}

/// Ends the process without running llama.cpp's destructors, which crash while its threads still compute.
fn end_at_once(code: i32) -> ! {
    signal_hook::low_level::exit(code)
}

/// Where it listens and a command that works, on standard output.
fn announce(policy: &Policy, server: &Server) {
    let model = &policy.models[0].name;
    let mut address = server.address();
    let text = format!("modelpool {} listens on http://{address}\n", env!("CARGO_PKG_VERSION"));
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let body = format!(
        r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Tell me a story about a fox."}}]}}"#
    );
    let text = format!(
        "{text}\n  curl -N http://{address}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'\n\n"
    );
    print(&text);
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending(SignalKind::terminate()),
            _ = self.interrupt.recv() => Ending(SignalKind::interrupt()),
        }
    }
}

/// A signal that came.
struct Ending(SignalKind);

impl Ending {
    fn name(&self) -> &'static str {
        if self.0 == SignalKind::terminate() { "SIGTERM" } else { "SIGINT" }
    }

    /// 128 and the signal's number, as shells report a program that a signal ended.
    fn exit_code(&self) -> i32 {
        128 + self.0.as_raw_value()
    }
}
