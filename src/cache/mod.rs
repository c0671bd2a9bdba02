//! Answers for those who ask the same: kept ones, and ones that are being computed.
//!
//! Between the API and admission. Where a model's policy keeps answers, an answer is computed by a task of its own, which
//! records what the engine tells; everybody who asks the same hears the recording from its beginning. The computation goes
//! on for as long as anybody listens, whoever asked first. When it is complete, the recording is kept.

mod key;
mod listener;
mod model;
mod recording;
mod remote;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::admission::{Admission, Arrival, Rejection};
use crate::catalog::CatalogModel;
use crate::generation::{Event, GenerationRequest};
use crate::units::ModelName;
use key::{Key, Origin};
pub use listener::{Listener, Shared};
use model::ModelCache;
use recording::Recording;
use remote::Entry;

/// Where an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheStatus {
    /// It was kept.
    Hit,
    /// It was being computed for somebody else.
    Shared,
    /// It was computed.
    Miss,
}

impl CacheStatus {
    /// Its name in headers, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Shared => "shared",
            Self::Miss => "miss",
        }
    }
}

/// What a client wants of the cache (RFC 9111's request directives).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// Whatever answer there is.
    #[default]
    Full,
    /// An answer that is computed now, and kept (`no-cache`).
    Renew,
    /// An answer that nobody else gets (`no-store`).
    Bypass,
}

/// The answers of all models.
pub struct ResponseCache {
    admission: Arc<Admission>,
    models: Mutex<HashMap<ModelName, Arc<ModelCache>>>,
}

impl ResponseCache {
    /// Nothing is kept yet; what is computed goes through `admission`.
    #[must_use]
    pub fn new(admission: Arc<Admission>) -> Self {
        Self { admission, models: Mutex::default() }
    }

    /// What computes answers.
    #[must_use]
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Where the answers to a request to `model` come from. `seeded`: the client gave the seed of the random draws.
    #[must_use]
    pub fn source(&self, model: &CatalogModel, cache_use: CacheUse, seeded: bool) -> Source {
        let name = model.policy.name.clone();
        let cache = (cache_use != CacheUse::Bypass).then(|| self.of_model(model)).flatten();
        let kept = cache.map(|cache| Kept {
            cache,
            elsewhere: model.policy.cache.redis.is_some().then(|| Origin::anywhere(model)),
            origin: Origin::of(model),
            files: model.files(),
            anew: cache_use == CacheUse::Renew,
            seeded,
        });
        Source { admission: Arc::clone(&self.admission), model: name, kept }
    }

    /// The cache of a model, as its policy is now.
    fn of_model(&self, model: &CatalogModel) -> Option<Arc<ModelCache>> {
        let name = &model.policy.name;
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = &model.policy.cache;
        if !policy.enabled {
            models.remove(name);
            return None;
        }
        match models.get(name) {
            Some(cache) if cache.policy == *policy => Some(Arc::clone(cache)),
            _ => {
                let cache = Arc::new(ModelCache::new(name, policy.clone()));
                models.insert(name.clone(), Arc::clone(&cache));
                Some(cache)
            }
        }
    }
}

/// Where the answers to one request come from: a model, or what is kept of its answers.
#[derive(Clone)]
pub struct Source {
    admission: Arc<Admission>,
    model: ModelName,
    kept: Option<Kept>,
}

/// How kept answers may be used.
#[derive(Clone)]
struct Kept {
    cache: Arc<ModelCache>,
    origin: Origin,
    /// The same for other servers, where there is something to share.
    elsewhere: Option<Origin>,
    files: u64,
    anew: bool,
    seeded: bool,
}

impl Kept {
    /// The key of a request; `None` if no answers of its kind are kept.
    fn key(&self, request: &GenerationRequest, choice: usize) -> Option<Key> {
        let key = self.key_of(&self.origin, request, choice);
        if key.is_none() {
            self.cache.pass_by();
        }
        key
    }

    fn key_of(&self, origin: &Origin, request: &GenerationRequest, choice: usize) -> Option<Key> {
        Key::of(origin, request, choice, self.seeded, self.cache.policy.requests)
    }
}

impl Source {
    /// A model of whose answers none are kept.
    #[must_use]
    pub fn uncached(admission: Arc<Admission>, model: ModelName) -> Self {
        Self { admission, model, kept: None }
    }

    /// What computes answers.
    #[must_use]
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// The model asked.
    #[must_use]
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// Waits until there is an answer to hear, or until it is about to be computed. `choice`: which of several answers to
    /// the same prompt.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if there is no slot for it.
    pub async fn ask(
        &self,
        request: GenerationRequest,
        choice: usize,
        arrival: Arrival,
    ) -> Result<Listener, Rejection> {
        let keyed = self.kept.as_ref().and_then(|kept| Some((kept, kept.key(&request, choice)?)));
        let Some((kept, key)) = keyed else {
            return self.admission.submit(&self.model, request, arrival).await.map(Listener::Alone);
        };
        self.admission.refuse_when_closed()?;
        let found = kept.cache.find(key, &arrival, kept.anew);
        if found.status == CacheStatus::Miss {
            let foreign = kept.elsewhere.as_ref().and_then(|origin| kept.key_of(origin, &request, choice));
            let recording = Arc::clone(&found.recording);
            let computation =
                Computation { source: self.clone(), kept: kept.clone(), key, foreign, recording };
            // Others may wait for longer and read more slowly than who came first.
            let arrival = Arrival { deadline: None, send_buffer_bytes: u64::MAX, ..arrival.clone() };
            let task = tokio::spawn(computation.run(request, arrival));
            drop(found.recording.computation.set(task.abort_handle()));
        }
        let cache = Arc::clone(&kept.cache);
        let mut shared = Shared::new(cache, key, self.model.clone(), found, arrival);
        shared.accepted().await?;
        Ok(Listener::Shared(Box::new(shared)))
    }
}

/// Makes one answer: has it from another server, or computes it.
struct Computation {
    source: Source,
    kept: Kept,
    key: Key,
    /// Its key for other servers.
    foreign: Option<Key>,
    recording: Arc<Recording>,
}

impl Computation {
    async fn run(self, request: GenerationRequest, arrival: Arrival) {
        let cache = &self.kept.cache;
        if let Some(entry) = self.found_elsewhere().await {
            cache.count(CacheStatus::Hit);
            self.recording.replay(entry, self.kept.files);
            return cache.keep(self.key, &self.recording);
        }
        cache.count(CacheStatus::Miss);
        let mut flight = match self.source.admission.submit(&self.source.model, request, arrival).await {
            Ok(flight) => flight,
            Err(rejection) => return self.recording.refuse(rejection),
        };
        loop {
            let event = flight.next().await;
            if let Some(served) = flight.served() {
                self.recording.served.get_or_init(|| served.clone());
            }
            let (completes, fails) =
                (matches!(event, Event::Finished { .. }), matches!(event, Event::Failed(_)));
            let keeps = completes && self.is_of_these_files();
            if keeps {
                // Before anybody hears the end: who then asks again finds it.
                cache.keep(self.key, &self.recording);
            }
            self.recording.push(event, flight.pace());
            if keeps {
                self.tell_others();
            }
            if completes || fails {
                return;
            }
        }
    }

    async fn found_elsewhere(&self) -> Option<Entry> {
        let (remote, key) = (self.kept.cache.remote.as_ref()?, self.foreign?);
        if self.kept.anew { None } else { remote.get(key).await }
    }

    /// While its files are replaced, a model may still be served by an instance that has the old ones.
    fn is_of_these_files(&self) -> bool {
        self.recording.served.get().is_some_and(|served| served.files == self.kept.files)
    }

    /// Nobody waits for that.
    fn tell_others(&self) {
        let (cache, recording) = (Arc::clone(&self.kept.cache), Arc::clone(&self.recording));
        let Some(key) = self.foreign.filter(|_| cache.remote.is_some()) else { return };
        tokio::spawn(async move {
            if let (Some(remote), Some(entry)) = (&cache.remote, recording.entry()) {
                remote.put(key, &entry, cache.policy.ttl).await;
            }
        });
    }
}

impl Drop for Computation {
    fn drop(&mut self) {
        self.kept.cache.landed(self.key, &self.recording);
    }
}
