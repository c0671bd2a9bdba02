//! Answers that several servers keep for each other, in Redis. The only user of Redis.
//!
//! It can be gone, slow or full of rubbish: what cannot be had from it in a moment is computed, and what cannot be put
//! there is kept here alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Client, RedisError};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::key::Key;
use crate::generation::Event;
use crate::policy::RedisUrl;
use crate::telemetry::CACHE_ERRORS;
use crate::units::ModelName;

/// How long an answer may take to come from Redis; a request waits for that.
const GET_PATIENCE: Duration = Duration::from_millis(100);
/// How long it may take to be put there; nobody waits for that.
const PUT_PATIENCE: Duration = Duration::from_secs(2);
/// How long Redis is not tried after it failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Larger answers are not shared.
const MAX_BYTES: usize = 16 << 20;
/// Changes when entries are written in another way.
const FORMAT: &str = "modelpool:1";

/// A complete answer as it stands in Redis.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The variant that made it.
    pub variant: String,
    pub events: Vec<Event>,
}

/// A Redis server.
pub(super) struct Remote {
    model: ModelName,
    /// Connects when it is first used, and again when the connection was lost.
    connection: ConnectionManager,
    /// When it may be tried again.
    paused: Mutex<Option<Instant>>,
    /// Whether its last use failed, so that the log tells when that changes.
    failed: AtomicBool,
}

impl Remote {
    /// Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A URL that is none of Redis's.
    pub fn new(model: &ModelName, url: &RedisUrl) -> Result<Self, RedisError> {
        // Whoever came first has set the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(PUT_PATIENCE))
            .set_response_timeout(Some(PUT_PATIENCE));
        let connection = ConnectionManager::new_lazy_with_config(Client::open(&*url.0)?, config)?;
        for operation in ["get", "put"] {
            counter!(CACHE_ERRORS, "model" => model.to_string(), "operation" => operation).increment(0);
        }
        let (paused, failed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { model: model.clone(), connection, paused, failed })
    }

    /// The answer to a request, if it is there and can be had.
    pub async fn get(&self, key: Key) -> Option<Entry> {
        let mut connection = self.connection.clone();
        let name = name(key);
        let get = connection.get::<_, Option<Vec<u8>>>(&name);
        let bytes = self.attempt("get", GET_PATIENCE, get).await??;
        let entry = postcard::from_bytes::<Entry>(&bytes).ok().filter(Entry::is_complete);
        if entry.is_none() {
            tracing::warn!(model = %self.model, entry = name, "an answer in Redis cannot be read; it is computed again");
        }
        entry
    }

    /// Keeps an answer for others.
    pub async fn put(&self, key: Key, entry: &Entry, ttl: Duration) {
        let Ok(bytes) = postcard::to_stdvec(entry) else { return };
        if bytes.len() > MAX_BYTES {
            return;
        }
        let mut connection = self.connection.clone();
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let put = connection.pset_ex::<_, _, ()>(name(key), bytes, millis);
        self.attempt("put", PUT_PATIENCE, put).await;
    }

    /// What became of a use of Redis; `None` if it failed, or was not tried because it failed just now.
    async fn attempt<T>(
        &self,
        operation: &'static str,
        patience: Duration,
        attempt: impl Future<Output = Result<T, RedisError>>,
    ) -> Option<T> {
        let paused = || self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if paused().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let error = match timeout(patience, attempt).await {
            Ok(Ok(done)) => {
                if self.failed.swap(false, Ordering::Relaxed) {
                    tracing::info!(model = %self.model, "Redis is back");
                }
                return Some(done);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", patience.as_millis()),
        };
        *paused() = Some(Instant::now() + PAUSE);
        counter!(CACHE_ERRORS, "model" => self.model.to_string(), "operation" => operation).increment(1);
        if !self.failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(model = %self.model, operation, error, "Redis cannot be used; answers are kept here alone");
        }
        None
    }
}

impl Entry {
    /// Whether it is an answer from its beginning to its end.
    fn is_complete(&self) -> bool {
        let begins = matches!(self.events.first(), Some(Event::Started { .. }));
        let fails = self.events.iter().any(|event| matches!(event, Event::Failed(_)));
        begins && !fails && matches!(self.events.last(), Some(Event::Finished { .. }))
    }
}

fn name(key: Key) -> String {
    format!("{FORMAT}:{}", key.hex())
}
