//! The API keys that are known, and what each has used.
//!
//! Keys are looked up by their hash, in the same time whichever it is and whether or not it is one. The set is replaced as
//! a whole when its file changed; what a key has used stays with its name. [`limits`] is PURE.

pub mod limits;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use metrics::{Counter, Gauge, counter, gauge};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Clock;
use crate::policy::{ApiKeys, KeyHash, KeyPolicy};
use crate::telemetry::{KEY_REJECTIONS, KEY_REQUESTS, KEY_RUNNING, KEY_TOKENS};
use crate::units::{KeyName, Timestamp};
use limits::{Exceeded, Limits, Standing};

/// What a key hashes to in the file of keys.
#[must_use]
pub fn hash(secret: &str) -> KeyHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// The keys there are; none are needed while there is no set.
#[derive(Debug)]
pub struct Keyring {
    keys: ArcSwapOption<Vec<Arc<Key>>>,
    clock: Clock,
}

impl Keyring {
    /// These keys; `None` needs no key.
    #[must_use]
    pub fn new(keys: Option<ApiKeys>, clock: Clock) -> Self {
        let ring = Self { keys: ArcSwapOption::empty(), clock };
        if let Some(keys) = keys {
            ring.replace(keys);
        }
        ring
    }

    /// Knows these keys from now on. Who is being served goes on.
    pub fn replace(&self, keys: ApiKeys) {
        let old = self.keys.load();
        let old: &[Arc<Key>] = old.as_deref().map_or(&[], Vec::as_slice);
        let key = |policy: KeyPolicy| {
            let known = old.iter().find(|key| key.policy.name == policy.name);
            let usage =
                known.map_or_else(|| Arc::new(Usage::new(&policy, self.clock)), |key| Arc::clone(&key.usage));
            usage.lock().follow(&policy, self.clock.now());
            Arc::new(Key { policy, usage })
        };
        self.keys.store(Some(Arc::new(keys.into_keys().into_iter().map(key).collect())));
    }

    /// Whether nobody needs a key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.keys.load().is_none()
    }

    /// The key of which this is the secret. All are compared, in constant time.
    #[must_use]
    pub fn find(&self, secret: &str) -> Option<Arc<Key>> {
        let hash = hash(secret);
        let keys = self.keys.load();
        let keys = keys.as_deref()?;
        // Goes on where it has found it.
        keys.iter().fold(None, |found, key| {
            if bool::from(key.policy.sha256.ct_eq(&hash)) { Some(Arc::clone(key)) } else { found }
        })
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// What it may do.
    pub policy: KeyPolicy,
    usage: Arc<Usage>,
}

/// What was used under a key's name.
struct Usage {
    name: KeyName,
    clock: Clock,
    limits: Mutex<Limits>,
    requests: Counter,
    prompt_tokens: Counter,
    generated_tokens: Counter,
    running: Gauge,
}

impl Usage {
    fn new(policy: &KeyPolicy, clock: Clock) -> Self {
        let label = policy.name.to_string();
        Self {
            name: policy.name.clone(),
            clock,
            limits: Mutex::new(Limits::new(policy, clock.now())),
            requests: counter!(KEY_REQUESTS, "key" => label.clone()),
            prompt_tokens: counter!(KEY_TOKENS, "key" => label.clone(), "kind" => "prompt"),
            generated_tokens: counter!(KEY_TOKENS, "key" => label.clone(), "kind" => "generated"),
            running: gauge!(KEY_RUNNING, "key" => label),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Limits> {
        // Every change is complete before anything that could panic.
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Usage").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Key {
    /// A request comes that will take about `tokens`, of its prompt and its answer.
    ///
    /// # Errors
    ///
    /// The limit that it would exceed.
    pub fn enter(&self, tokens: u64) -> Result<Pass, Exceeded> {
        let now = self.usage.clock.now();
        match self.usage.lock().enter(float(tokens), now) {
            Ok(()) => {
                self.usage.requests.increment(1);
                self.usage.running.increment(1.0);
                let (usage, used) = (Arc::clone(&self.usage), AtomicU64::new(0));
                Ok(Pass { usage, guessed: tokens, used, since: now })
            }
            Err(exceeded) => {
                self.rejected(exceeded.limit.name());
                Err(exceeded)
            }
        }
    }

    /// Counts a request that was refused because of its key.
    pub fn rejected(&self, reason: &'static str) {
        counter!(KEY_REJECTIONS, "key" => self.policy.name.to_string(), "reason" => reason).increment(1);
    }

    /// What is left of its limits.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.usage.lock().standing(self.usage.clock.now())
    }
}

/// A request that its key's limits let in. It counts as one at a time until it is dropped; then its tokens are corrected.
#[derive(Debug)]
pub struct Pass {
    usage: Arc<Usage>,
    guessed: u64,
    used: AtomicU64,
    since: Timestamp,
}

impl Pass {
    /// Tokens of the prompt that were accepted.
    pub fn prompt(&self, tokens: u32) {
        self.used.fetch_add(tokens.into(), Ordering::Relaxed);
        self.usage.prompt_tokens.increment(tokens.into());
    }

    /// Tokens that were generated.
    pub fn generated(&self, tokens: u32) {
        self.used.fetch_add(tokens.into(), Ordering::Relaxed);
        self.usage.generated_tokens.increment(tokens.into());
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = self.usage.clock.now();
        let used = float(self.used.load(Ordering::Relaxed));
        self.usage.lock().leave(float(self.guessed), used, now.since(self.since), now);
        self.usage.running.decrement(1.0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "tokens of a request are far below 2^52")]
fn float(tokens: u64) -> f64 {
    tokens as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> ApiKeys {
        ApiKeys::parse(text, "keys.yaml").unwrap_or_else(|error| panic!("{error}"))
    }

    fn entry(name: &str, secret: &str, rest: &str) -> String {
        format!("- {{ name: {name}, sha256: \"{}\"{rest} }}\n", hex::encode(hash(secret)))
    }

    #[test]
    fn only_the_secret_finds_its_key() {
        let text = format!("keys:\n{}{}", entry("a", "mp-1", ""), entry("b", "mp-2", ""));
        let ring = Keyring::new(Some(ring(&text)), Clock::start());
        let found = |secret| ring.find(secret).map(|key| key.policy.name.to_string());
        assert_eq!((found("mp-1"), found("mp-2")), (Some("a".into()), Some("b".into())));
        assert_eq!((found("mp-3"), found(""), found("a")), (None, None, None));
        assert!(!ring.is_open() && Keyring::new(None, Clock::start()).is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_used_stays_with_the_name_when_the_file_changes() {
        let limit = ", requests_per_minute: 2, max_concurrent: 2";
        let keys = Keyring::new(Some(ring(&format!("keys:\n{}", entry("a", "old", limit)))), Clock::start());
        let running = keys.find("old").unwrap().enter(0).unwrap();
        keys.replace(ring(&format!("keys:\n{}", entry("a", "new", limit))));
        assert!(keys.find("old").is_none());
        let key = keys.find("new").unwrap();
        let other = key.enter(0).unwrap();
        assert_eq!(key.enter(0).unwrap_err().limit, limits::Limit::Concurrency);
        drop((running, other));
        assert_eq!(key.enter(0).unwrap_err().limit, limits::Limit::Requests);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_counted_as_they_come_and_corrected_at_the_end() {
        let keys = ring(&format!("keys:\n{}", entry("a", "s", ", tokens_per_minute: 100")));
        let key = Keyring::new(Some(keys), Clock::start()).find("s").unwrap();
        let pass = key.enter(90).unwrap();
        let left = || key.standing().tokens.unwrap().remaining;
        assert_eq!(left(), 10);
        pass.prompt(20);
        pass.generated(1);
        drop(pass);
        assert_eq!(left(), 79);
    }
}
