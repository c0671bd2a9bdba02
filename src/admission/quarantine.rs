//! Remembers requests that ended workers, so that the same request cannot do it again and again.
//!
//! PURE: a bounded table from a request's fingerprint to the end of its quarantine.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use crate::generation::GenerationRequest;
use crate::units::Timestamp;

/// How long a request that ended workers is refused.
pub const QUARANTINE_TIME: Duration = Duration::from_secs(600);
/// Requests remembered; each has ended two workers, so there are never many.
const MAX_ENTRIES: usize = 1024;

/// What makes two requests the same: everything but the seed, which the server draws for most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a request.
    #[must_use]
    pub fn of(request: &GenerationRequest) -> Self {
        let mut request = request.clone();
        request.sampling.seed = 0;
        let mut hasher = DefaultHasher::new();
        hasher.write(&serde_json::to_vec(&request).unwrap_or_default());
        Self(hasher.finish())
    }
}

/// The requests that are refused for a while.
#[derive(Debug, Default)]
pub struct Quarantine {
    until: BTreeMap<Fingerprint, Timestamp>,
}

impl Quarantine {
    /// Refuses a request from now on.
    pub fn add(&mut self, fingerprint: Fingerprint, now: Timestamp) {
        self.until.retain(|_, until| *until > now);
        while self.until.len() >= MAX_ENTRIES {
            let first = self.until.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key);
            self.until.remove(&first.expect("a full table has an entry"));
        }
        self.until.insert(fingerprint, now + QUARANTINE_TIME);
    }

    /// How long a request is still refused; `None` if it is not. Costs nothing while nothing is refused.
    #[must_use]
    pub fn remaining(&self, request: &GenerationRequest, now: Timestamp) -> Option<Duration> {
        if self.until.is_empty() {
            return None;
        }
        let until = self.until.get(&Fingerprint::of(request))?;
        Some(until.since(now)).filter(|remaining| !remaining.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{Prompt, SamplingSettings};

    fn request(text: &str, seed: u64) -> GenerationRequest {
        GenerationRequest {
            sampling: SamplingSettings {
                temperature: 0.7,
                top_k: 40,
                top_p: 0.9,
                seed,
                ..SamplingSettings::default()
            },
            max_tokens: None,
            stop: Vec::new(),
            ..GenerationRequest::new(Prompt::Text(text.into()))
        }
    }

    #[test]
    fn the_same_request_is_refused_for_a_while_whatever_its_seed() {
        let (mut quarantine, start) = (Quarantine::default(), Timestamp::from_millis(5));
        assert_eq!(quarantine.remaining(&request("a", 1), start), None);
        quarantine.add(Fingerprint::of(&request("a", 1)), start);
        assert_eq!(quarantine.remaining(&request("a", 2), start), Some(QUARANTINE_TIME));
        assert_eq!(quarantine.remaining(&request("b", 1), start), None);
        assert_eq!(quarantine.remaining(&request("a", 1), start + QUARANTINE_TIME), None);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut quarantine = Quarantine::default();
        for number in 0..=MAX_ENTRIES as u64 {
            quarantine.add(Fingerprint(number), Timestamp::from_millis(number));
        }
        assert_eq!(quarantine.until.len(), MAX_ENTRIES);
        assert!(!quarantine.until.contains_key(&Fingerprint(0)));
    }
}
