//! `modelpool serve`: a server that lives until a signal ends it, and follows its policy's file.

use anyhow::Context as _;
use metrics::counter;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::server::{Server, ServerOptions, ShutDown};
use super::signals::Signals;
use super::watch::PolicyWatch;
use super::{ServeArguments, own_program, print, relaunch};
use crate::policy::Policy;
use crate::telemetry::RELOADS;

/// Runs until SIGTERM or SIGINT; a second one ends the process at once.
///
/// # Errors
///
/// What keeps the server from starting, or a part of it that ended by itself.
pub fn run(arguments: &ServeArguments) -> anyhow::Result<()> {
    relaunch::with_environment();
    let policy = arguments.policy()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(serve(&policy, arguments))
}

/// Follows the policy's file and SIGHUP until a signal ends the server; gives the part that ended by itself, if one
/// did.
async fn run_until_told(
    server: &mut Server,
    signals: &mut Signals,
    hang_up: &mut Signal,
    arguments: &ServeArguments,
) -> Option<&'static str> {
    let mut watch = arguments.policy.as_deref().map(PolicyWatch::new);
    loop {
        let why = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal = signal.name(), "draining; a second signal ends at once");
                return None;
            }
            part = server.broken() => return Some(part),
            _ = hang_up.recv() => "SIGHUP",
            () = changed(watch.as_mut()) => "the policy's file changed",
        };
        reload(server, arguments, why).await;
    }
}

async fn changed(watch: Option<&mut PolicyWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        // The built-in policy never changes.
        None => std::future::pending().await,
    }
}

/// Reads the policy and its model files again. If anything is wrong with them, the old policy stays.
async fn reload(server: &Server, arguments: &ServeArguments, why: &str) {
    let outcome = match arguments.policy() {
        Ok(policy) => server.reload(policy).await,
        Err(error) => Err(error.into()),
    };
    let outcome = match outcome {
        Ok(()) => {
            tracing::info!(why, "the policy was reloaded");
            "reloaded"
        }
        Err(error) => {
            tracing::error!(why, "the policy was not reloaded, the old one stays: {error:#}");
            "refused"
        }
    };
    counter!(RELOADS, "outcome" => outcome).increment(1);
}

async fn serve(policy: &Policy, arguments: &ServeArguments) -> anyhow::Result<()> {
    // Before anything is announced, so that no signal is missed.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let program = own_program().context("cannot find this program's file")?;
    let options = ServerOptions::of_this_machine(policy, &program, Vec::new()).await?;
    let mut server = Server::start(policy, options).await?;
    announce(policy, &server);
    let broken = run_until_told(&mut server, &mut signals, &mut hang_up, arguments).await;
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
