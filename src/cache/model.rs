//! The answers of one model: those that are kept, and those that are being computed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, counter, gauge};
use moka::sync::Cache;

use super::CacheStatus;
use super::key::Key;
use super::recording::Recording;
use super::remote::Remote;
use crate::admission::Arrival;
use crate::policy::CachePolicy;
use crate::telemetry::{CACHE_BYTES, CACHE_REQUESTS};
use crate::units::ModelName;

/// The answers of one model.
pub(super) struct ModelCache {
    pub policy: CachePolicy,
    /// Where other servers keep theirs.
    pub remote: Option<Remote>,
    /// Complete answers. Which stay where memory is short is up to moka: those asked for most and latest.
    kept: Cache<Key, Arc<Recording>>,
    /// Answers that are being computed and that others may share.
    flying: Mutex<HashMap<Key, Arc<Recording>>>,
    metrics: Metrics,
}

struct Metrics {
    hit: Counter,
    shared: Counter,
    miss: Counter,
    uncacheable: Counter,
    bytes: Gauge,
}

/// What there is of an answer.
pub(super) struct Found {
    pub recording: Arc<Recording>,
    /// The number of the one who asked, among its listeners.
    pub listener: usize,
    pub status: CacheStatus,
}

impl ModelCache {
    pub fn new(model: &ModelName, policy: CachePolicy) -> Self {
        let kept = Cache::builder()
            .max_capacity(policy.memory.0)
            .weigher(|_, recording: &Arc<Recording>| u32::try_from(recording.bytes()).unwrap_or(u32::MAX))
            .time_to_live(policy.ttl)
            .build();
        let requests =
            |result: &'static str| counter!(CACHE_REQUESTS, "model" => model.to_string(), "result" => result);
        let metrics = Metrics {
            hit: requests("hit"),
            shared: requests("shared"),
            miss: requests("miss"),
            uncacheable: requests("uncacheable"),
            bytes: gauge!(CACHE_BYTES, "model" => model.to_string()),
        };
        let remote = policy.redis.as_ref().and_then(|url| match Remote::new(model, url) {
            Ok(remote) => Some(remote),
            Err(error) => {
                tracing::error!(%model, %error, "Redis cannot be used; answers are kept here alone");
                None
            }
        });
        Self { policy, remote, kept, flying: Mutex::default(), metrics }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Recording>>> {
        // Every change below is complete before anything that could panic.
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that has no key.
    pub fn pass_by(&self) {
        self.metrics.uncacheable.increment(1);
    }

    /// Counts a request by what there was for it.
    pub fn count(&self, status: CacheStatus) {
        let counter = match status {
            CacheStatus::Hit => &self.metrics.hit,
            CacheStatus::Shared => &self.metrics.shared,
            CacheStatus::Miss => &self.metrics.miss,
        };
        counter.increment(1);
    }

    /// The answer to a request: kept, or being computed, or one that the caller has to look for elsewhere. `anew`: only the
    /// last will do.
    pub fn find(&self, key: Key, arrival: &Arrival, anew: bool) -> Found {
        // Under one lock with what `landed` does, so that no answer is missed between two places.
        let mut flying = self.lock();
        let found = |recording: &Arc<Recording>, status| {
            let listener = recording.join();
            Found { recording: Arc::clone(recording), listener, status }
        };
        if let Some(recording) = self.kept.get(&key).filter(|_| !anew) {
            self.count(CacheStatus::Hit);
            return found(&recording, CacheStatus::Hit);
        }
        // Nobody waits behind those who are less urgent.
        let suits =
            |other: &Recording| other.served.get().is_some() || other.priority >= arrival.claim.priority;
        match flying.entry(key) {
            Entry::Occupied(entry) if !anew && suits(entry.get()) => {
                arrival.place.follow(&entry.get().place);
                self.count(CacheStatus::Shared);
                found(entry.get(), CacheStatus::Shared)
            }
            entry => {
                let recording = Arc::new(Recording::new(arrival));
                entry.insert_entry(Arc::clone(&recording));
                found(&recording, CacheStatus::Miss)
            }
        }
    }

    /// Keeps an answer that is complete but for its end, which follows at once.
    pub fn keep(&self, key: Key, recording: &Arc<Recording>) {
        self.kept.insert(key, Arc::clone(recording));
        self.kept.run_pending_tasks();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        self.metrics.bytes.set(self.kept.weighted_size() as f64);
    }

    /// A computation is over.
    pub fn landed(&self, key: Key, recording: &Arc<Recording>) {
        remove(&mut self.lock(), key, recording);
        recording.close();
    }

    /// A listener goes. The last takes the computation along.
    pub fn leave(&self, key: Key, recording: &Arc<Recording>, listener: usize) {
        {
            let mut flying = self.lock();
            if !recording.leave(listener) {
                return;
            }
            remove(&mut flying, key, recording);
        }
        // Not under the lock, which the computation takes when it ends.
        if let Some(computation) = recording.computation.get() {
            computation.abort();
        }
    }
}

/// Another one may have taken its place.
fn remove(flying: &mut HashMap<Key, Arc<Recording>>, key: Key, recording: &Arc<Recording>) {
    if flying.get(&key).is_some_and(|found| Arc::ptr_eq(found, recording)) {
        flying.remove(&key);
    }
}
