//! What workers on GPUs really took, so that the next prediction is no guess.
//!
//! PURE, but for `file.rs`, which keeps it across restarts. Input: what the driver of a GPU says that each worker's
//! process uses, and how many instances it has. Output: what a worker takes, and each of its instances.
//!
//! A worker is looked at while nothing about it changes, and believed when it says the same twice in a row. All that is
//! known of one is a sum; two sums, with one instance and with several, tell the worker from its instances. What was
//! seen can only grow: a back end takes more with the first large batches, and does not give it back.
//!
//! Nothing is learned of the host. There, weights are pages of a file, which the kernel lends to any number of processes
//! and takes back at will: no figure of a process says what it would take from others.

mod file;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::{CatalogVariant, FileIdentity};
use crate::policy::{FlashAttention, KvCacheType, ModelPolicy, Pooling};
use crate::units::{ByteCount, DeviceSet, WorkerId};
use crate::view::Takes;
pub use file::Remembered;

/// So many sizes of models are remembered; the oldest go. Each takes about 500 bytes of the file.
const ENTRIES_MAX: usize = 1000;

/// The program whose figures these are: another llama.cpp takes other amounts.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What decides how much a worker takes: other values are another figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    file: FileIdentity,
    device: String,
    gpu_layers: Option<u32>,
    slots: u32,
    context_tokens: u32,
    batch_tokens: u32,
    kv_cache_type: KvCacheType,
    flash_attention: FlashAttention,
    pooling: Option<Pooling>,
}

impl Key {
    /// Of a variant, with instances as the policy wants them, on devices of which the first is called `name`. `None` on
    /// the host, and if it is not known which file it is.
    #[must_use]
    pub fn new(
        variant: &CatalogVariant,
        policy: &ModelPolicy,
        (devices, name): (DeviceSet, &str),
    ) -> Option<Self> {
        if devices == DeviceSet::HOST {
            return None;
        }
        let engine = &policy.engine;
        Some(Self {
            file: variant.identity.clone()?,
            device: if devices.len() > 1 { format!("{name}, divided") } else { name.to_owned() },
            gpu_layers: engine.gpu_layers,
            slots: policy.slots,
            context_tokens: policy.context_tokens,
            batch_tokens: engine.batch_tokens,
            kv_cache_type: engine.kv_cache_type,
            flash_attention: engine.flash_attention,
            pooling: engine.pooling,
        })
    }
}

/// A worker at one moment, with all its instances ready and none on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which worker.
    pub worker: WorkerId,
    /// What it holds.
    pub key: Key,
    /// Its instances, at least one.
    pub instances: u32,
    /// What its process uses of the device.
    pub bytes: ByteCount,
}

/// What was seen of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    /// The most that a worker with one instance used.
    one: Option<ByteCount>,
    /// The most that a worker with more instances used, and how many they were.
    several: Option<(u32, ByteCount)>,
}

impl Entry {
    /// Whether this is news.
    fn take(&mut self, instances: u32, bytes: ByteCount) -> bool {
        if instances == 1 {
            let news = self.one.is_none_or(|known| bytes > known);
            self.one = self.one.max(Some(bytes));
            return news;
        }
        let news = self.several.is_none_or(|(_, known)| bytes > known);
        if news {
            self.several = Some((instances, bytes));
        }
        news
    }

    /// What follows for a worker and for an instance; what the sums do not tell apart is as predicted.
    fn takes(&self, predicted: Takes) -> Option<Takes> {
        let divide = |instance: ByteCount, instances: u32, sum: ByteCount| {
            let instance = instance.min(ByteCount(sum.0 / u64::from(instances.max(1))));
            let all = ByteCount(instance.0.saturating_mul(instances.into()));
            Takes { worker: sum.saturating_sub(all), instance }
        };
        match (self.one, self.several) {
            (None, None) => None,
            (Some(one), Some((instances, sum))) if sum > one && instances > 1 => {
                let instance = ByteCount((sum.0 - one.0).div_ceil(u64::from(instances) - 1));
                Some(Takes { worker: one.saturating_sub(instance), instance })
            }
            (Some(one), _) => Some(divide(predicted.instance, 1, one)),
            (None, Some((instances, sum))) => Some(divide(predicted.instance, instances, sum)),
        }
    }
}

/// All that was learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Oldest news first.
    entries: Vec<Entry>,
    /// What was last seen of each worker that is looked at.
    last: BTreeMap<WorkerId, (u32, ByteCount)>,
}

/// The file's contents.
#[derive(Serialize, Deserialize)]
struct Document {
    version: String,
    entries: Vec<Entry>,
}

impl Measured {
    /// Takes what one reading shows of all workers that can be looked at; whether anything was learned.
    pub fn see(&mut self, sightings: Vec<Sighting>) -> bool {
        let mut learned = false;
        let before = std::mem::take(&mut self.last);
        for Sighting { worker, key, instances, bytes } in sightings {
            let seen = (instances, bytes);
            self.last.insert(worker, seen);
            if bytes > ByteCount::ZERO && before.get(&worker) == Some(&seen) {
                learned |= self.learn(key, instances, bytes);
            }
        }
        learned
    }

    fn learn(&mut self, key: Key, instances: u32, bytes: ByteCount) -> bool {
        let known = self.entries.iter().position(|entry| entry.key == key);
        let at = known.unwrap_or_else(|| {
            self.entries.push(Entry { key, one: None, several: None });
            self.entries.len() - 1
        });
        if !self.entries[at].take(instances, bytes) {
            return false;
        }
        let entry = self.entries.remove(at);
        self.entries.push(entry);
        self.forget_the_oldest();
        true
    }

    fn forget_the_oldest(&mut self) {
        self.entries.drain(..self.entries.len().saturating_sub(ENTRIES_MAX));
    }

    /// What a worker and an instance took, if it was seen. `predicted` divides a sum that is all that is known.
    #[must_use]
    pub fn takes(&self, key: &Key, predicted: Takes) -> Option<Takes> {
        self.entries.iter().find(|entry| entry.key == *key)?.takes(predicted)
    }

    /// All of it as text.
    ///
    /// # Panics
    ///
    /// Never: all of it can be written as JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let document = Document { version: VERSION.to_owned(), entries: self.entries.clone() };
        serde_json::to_string_pretty(&document).expect("numbers, texts and lists of them")
    }

    /// What [`to_text`](Self::to_text) wrote. Nothing, if another version of the program wrote it.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        if serde_json::from_str::<Version>(text)?.version != VERSION {
            return Ok(Self::default());
        }
        let Document { entries, .. } = serde_json::from_str(text)?;
        let mut measured = Self { entries, last: BTreeMap::new() };
        measured.forget_the_oldest();
        Ok(measured)
    }
}

#[cfg(test)]
mod tests;
