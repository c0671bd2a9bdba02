//! Keeps the policy that runs: follows another one, whoever brings it, and writes the one that came over HTTP into the
//! policy's file.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::counter;
use tempfile::NamedTempFile;
use tokio::sync::{mpsc, oneshot};

use super::server::{faults, read_catalog};
use crate::catalog::{BrokenModel, Catalog};
use crate::control::driver::Reload;
use crate::operator::{FileFault, PolicyKeeper, Refusal, Replaced};
use crate::policy::{Policy, PolicyError, PolicySource, ServerPolicy};
use crate::pool::Pool;
use crate::telemetry::RELOADS;

/// What such a policy is called in messages.
const ORIGIN: &str = "the policy";

/// What is read at the start alone.
type Fixed = (ServerPolicy, Option<NonZeroU32>);

/// The policy that runs, and the way to another one.
pub(super) struct Keeper {
    running: Mutex<PolicySource>,
    fixed: Fixed,
    pool: Arc<Pool>,
    reloads: mpsc::Sender<Reload>,
    /// One policy after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Keeper {
    pub(super) fn new(policy: &Policy, pool: Arc<Pool>, reloads: mpsc::Sender<Reload>) -> Self {
        Self {
            running: Mutex::new(policy.source.clone()),
            fixed: fixed(policy),
            pool,
            reloads,
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, PolicySource> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`super::Server::reload`].
    pub(super) async fn follow(&self, policy: Policy) -> anyhow::Result<()> {
        let _one_at_a_time = self.turn.lock().await;
        let (policy, catalog) = self.read(policy).await?;
        self.hand_over(policy, catalog).await
    }

    /// Reads a policy's files.
    async fn read(&self, policy: Policy) -> anyhow::Result<(Policy, Catalog)> {
        let (policy, catalog) = tokio::task::spawn_blocking(move || {
            let catalog = read_catalog(&policy);
            (policy, catalog)
        })
        .await?;
        let catalog = catalog?;
        let known = Arc::clone(&self.pool.load().catalog);
        let new: Vec<BrokenModel> =
            catalog.broken.iter().filter(|model| !known.broken.contains(model)).cloned().collect();
        if !new.is_empty() || catalog.models.is_empty() {
            anyhow::bail!("{}", faults(if new.is_empty() { &catalog.broken } else { &new }));
        }
        Ok((policy, catalog))
    }

    /// Lets the controller follow a policy whose files were read.
    async fn hand_over(&self, policy: Policy, catalog: Catalog) -> anyhow::Result<()> {
        if fixed(&policy) != self.fixed {
            tracing::warn!(
                "server or devices.cpu_threads changed in the policy; that takes effect at the next start"
            );
        }
        let (done, followed) = oneshot::channel();
        let reload = Reload { catalog: Arc::new(catalog), devices: policy.devices, done };
        self.reloads.send(reload).await.map_err(|_| anyhow::anyhow!("the controller has ended"))?;
        followed.await?;
        *self.running() = policy.source;
        Ok(())
    }

    fn parse(&self, text: &str) -> Result<Policy, Refusal> {
        let folder = self.running().folder.clone();
        Policy::parse(text, ORIGIN, &folder).map_err(|error| {
            let message = error.to_string();
            let faults = match error {
                PolicyError::Invalid { faults, .. } => faults,
                PolicyError::Unreadable { .. } => Vec::new(),
            };
            let faults = faults.into_iter().map(|fault| FileFault {
                path: fault.path,
                line: fault.line,
                column: fault.column,
                message: fault.message,
            });
            Refusal::Invalid { message, faults: faults.collect() }
        })
    }

    async fn judge(&self, text: &str) -> Result<(Policy, Catalog), Refusal> {
        let policy = self.parse(text)?;
        let unusable =
            |error: anyhow::Error| Refusal::Invalid { message: format!("{error:#}"), faults: Vec::new() };
        self.read(policy).await.map_err(unusable)
    }

    async fn put(&self, text: String) -> Result<Replaced, Refusal> {
        let _one_at_a_time = self.turn.lock().await;
        let (mut policy, catalog) = self.judge(&text).await?;
        let PolicySource { text: old, file, .. } = self.running().clone();
        policy.source.file.clone_from(&file);
        // What a flag changed since is no part of the text.
        let restart_needed = self.parse(&old).is_ok_and(|old| fixed(&old) != fixed(&policy));
        // Before the policy is followed, so that a folder that cannot be written refuses it.
        let prepared = file.as_deref().map(|file| prepare(file, &text)).transpose();
        let prepared = prepared.map_err(|error| Refusal::NotWritable(format!("{error:#}")))?;
        self.hand_over(policy, catalog).await.map_err(|_| Refusal::ShuttingDown)?;
        let written = prepared.is_some();
        if let Some((new, place)) = prepared {
            new.persist(&place).map_err(|error| Refusal::NotWritten(error.error.to_string()))?;
        }
        Ok(Replaced { written, restart_needed })
    }
}

fn fixed(policy: &Policy) -> Fixed {
    (policy.server.clone(), policy.devices.cpu_threads)
}

/// Writes what is to take the place of a file beside it, complete and on the disk; and the place, which a link at `file`
/// may give elsewhere.
fn prepare(file: &Path, text: &str) -> anyhow::Result<(NamedTempFile, std::path::PathBuf)> {
    let place = std::fs::canonicalize(file).with_context(|| file.display().to_string())?;
    let folder = place.parent().context("it has no folder")?;
    let mut new = NamedTempFile::new_in(folder).with_context(|| folder.display().to_string())?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(std::fs::metadata(&place)?.permissions())?;
    new.as_file().sync_all()?;
    Ok((new, place))
}

impl PolicyKeeper for Keeper {
    fn text(&self) -> Arc<str> {
        Arc::clone(&self.running().text)
    }

    fn validate(&self, text: String) -> BoxFuture<'_, Result<(), Refusal>> {
        async move { self.judge(&text).await.map(|_| ()) }.boxed()
    }

    fn replace(&self, text: String) -> BoxFuture<'_, Result<Replaced, Refusal>> {
        async move {
            let replaced = self.put(text).await;
            let outcome = match &replaced {
                Ok(_) | Err(Refusal::NotWritten(_)) => "reloaded",
                Err(_) => "refused",
            };
            tracing::info!(outcome, "an operator's policy");
            counter!(RELOADS, "outcome" => outcome).increment(1);
            replaced
        }
        .boxed()
    }
}
