//! `modelpool serve`: a server that lives until a signal ends it, and follows its policy's file.

use std::path::Path;

use anyhow::Context as _;
use metrics::counter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::server::{Server, ServerOptions, ShutDown};
use super::signals::Signals;
use super::watch::FileWatch;
use super::{ServeArguments, notify, own_program, print, relaunch};
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

/// Follows the files of the policy and of the keys, and SIGHUP, until a signal ends the server; gives the part that ended
/// by itself, if one did.
async fn run_until_told(
    server: &mut Server,
    signals: &mut Signals,
    hang_up: &mut Signal,
    arguments: &ServeArguments,
    keys_file: Option<&Path>,
) -> Option<&'static str> {
    let mut policy_watch = arguments.policy.as_deref().map(FileWatch::new);
    let mut keys_watch = keys_file.map(FileWatch::new);
    loop {
        let (why, what) = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal = signal.name(), "draining; a second signal ends at once");
                return None;
            }
            part = server.broken() => return Some(part),
            _ = hang_up.recv() => ("SIGHUP", Changed::Both),
            () = changed(policy_watch.as_mut()) => ("the policy's file changed", Changed::Policy),
            () = changed(keys_watch.as_mut()) => ("the file of API keys changed", Changed::Keys),
        };
        notify::reloading();
        if what != Changed::Policy && keys_file.is_some() {
            tell("the API keys were", "the old ones stay", why, server.reload_keys());
        }
        if what != Changed::Keys {
            tell("the policy was", "the old one stays", why, reload(server, arguments).await);
        }
        notify::ready();
    }
}

/// What is to be read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    Policy,
    Keys,
    Both,
}

async fn changed(watch: Option<&mut FileWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        // The built-in policy never changes.
        None => std::future::pending().await,
    }
}

/// Reads the policy and its model files again. If anything is wrong with them, the old policy stays.
async fn reload(server: &Server, arguments: &ServeArguments) -> anyhow::Result<()> {
    server.reload(arguments.policy()?).await
}

/// Logs and counts how a reload went.
fn tell(what: &str, otherwise: &str, why: &str, outcome: anyhow::Result<()>) {
    let outcome = match outcome {
        Ok(()) => {
            tracing::info!(why, "{what} reloaded");
            "reloaded"
        }
        Err(error) => {
            tracing::error!(why, "{what} not reloaded, {otherwise}: {error:#}");
            "refused"
        }
    };
    counter!(RELOADS, "outcome" => outcome).increment(1);
}

/// Each connection is a file, and the usual limit of 1,024 is made for `select`, which nothing here calls.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

async fn serve(policy: &Policy, arguments: &ServeArguments) -> anyhow::Result<()> {
    raise_file_limit();
    // Before anything is announced, so that no signal is missed.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let program = own_program().context("cannot find this program's file")?;
    let options = ServerOptions::of_this_machine(policy, &program, Vec::new()).await?;
    let mut server = Server::start(policy, options).await?;
    announce(policy, &server);
    notify::ready();
    notify::keep_alive();
    let keys_file = policy.server.api_keys_file.as_deref();
    let broken = run_until_told(&mut server, &mut signals, &mut hang_up, arguments, keys_file).await;
    tokio::spawn(async move {
        let signal = signals.next().await;
        tracing::warn!(signal = signal.name(), "second signal: ending at once");
        end_at_once(signal.exit_code());
    });
    notify::stopping();
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
