//! What makes two requests the same, and which requests always get the same answer.
//!
//! PURE.

use sha2::{Digest, Sha256};

use crate::catalog::CatalogModel;
use crate::generation::{GenerationRequest, SamplingSettings};
use crate::policy::CachedRequests;

/// Tells a request to a model, by everything that its answer depends on, from any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

/// All that the answers of a model depend on besides the request: its files, and how they are computed.
#[derive(Clone, Debug)]
pub(super) struct Origin(String);

impl Origin {
    pub fn of(model: &CatalogModel) -> Self {
        let policy = &model.policy;
        let (name, files) = (&policy.name, model.files());
        Self(format!("{name} {files} {} {:?}", policy.context_tokens, policy.engine))
    }

    /// The same for other servers, whose files of the same names and sizes are taken for the same.
    pub fn anywhere(model: &CatalogModel) -> Self {
        let policy = &model.policy;
        let variants = model.variants.iter().map(|variant| (&variant.name, variant.weights_bytes.0));
        let variants: Vec<_> = variants.collect();
        let version = env!("CARGO_PKG_VERSION");
        Self(format!("{version} {} {variants:?} {} {:?}", policy.name, policy.context_tokens, policy.engine))
    }
}

impl Key {
    /// As text.
    pub fn hex(self) -> String {
        hex::encode(self.0)
    }

    /// The key of a request; `None` if the policy keeps no answers of its kind. `seeded`: the client gave the seed.
    /// `choice`: which of several answers to the same prompt it is.
    pub fn of(
        origin: &Origin,
        request: &GenerationRequest,
        choice: usize,
        seeded: bool,
        kept: CachedRequests,
    ) -> Option<Self> {
        let mut request = request.clone();
        match (draws(&request.sampling), seeded, kept) {
            (false, _, _) => request.sampling.seed = 0,
            (true, true, _) => {}
            // Several choices shall not be one.
            (true, false, CachedRequests::All) => request.sampling.seed = choice as u64,
            (true, false, CachedRequests::Deterministic) => return None,
        }
        let mut digest = Sha256::new();
        digest.update(serde_json::to_vec(&(&origin.0, seeded, request)).ok()?);
        Some(Self(digest.finalize().into()))
    }
}

/// Whether an answer depends on random draws.
fn draws(sampling: &SamplingSettings) -> bool {
    let takes_the_likeliest =
        sampling.temperature <= 0.0 || (sampling.top_k == 1 && sampling.mirostat.is_none());
    !takes_the_likeliest || sampling.xtc.probability > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{Prompt, Xtc};

    fn request(change: impl FnOnce(&mut GenerationRequest)) -> GenerationRequest {
        let mut request = GenerationRequest::new(Prompt::Text("a".into()));
        request.sampling.temperature = 0.0;
        request.sampling.seed = rand();
        change(&mut request);
        request
    }

    /// A seed as the server draws it.
    fn rand() -> u64 {
        uuid::Uuid::new_v4().as_u64_pair().1
    }

    fn key(request: &GenerationRequest, choice: usize, seeded: bool, kept: CachedRequests) -> Option<Key> {
        Key::of(&Origin("m".into()), request, choice, seeded, kept)
    }

    #[test]
    fn what_leaves_nothing_to_chance_is_the_same_whatever_its_seed() {
        let of = |request: &GenerationRequest| key(request, 0, false, CachedRequests::Deterministic);
        let plain = of(&request(|_| {}));
        assert!(plain.is_some());
        assert_eq!(of(&request(|_| {})), plain);
        let likeliest = request(|r| (r.sampling.temperature, r.sampling.top_k) = (1.0, 1));
        assert!(of(&likeliest).is_some_and(|found| Some(found) != plain));
        assert_ne!(of(&request(|r| r.prompt = Prompt::Text("b".into()))), plain);
        assert_ne!(of(&request(|r| r.max_tokens = Some(9))), plain);
        assert_ne!(of(&request(|r| r.stop.push("x".into()))), plain);
        assert_ne!(of(&request(|r| r.logprobs = Some(0))), plain);
        let other = Origin("another model".into());
        assert_ne!(Key::of(&other, &request(|_| {}), 0, false, CachedRequests::Deterministic), plain);
    }

    #[test]
    fn what_is_drawn_has_a_key_by_its_seed_or_if_all_have_one() {
        let warm = |seed| request(|r| (r.sampling.temperature, r.sampling.seed) = (1.0, seed));
        let [deterministic, all] = [CachedRequests::Deterministic, CachedRequests::All];
        assert_eq!(key(&warm(1), 0, false, deterministic), None);
        let excludes = request(|r| r.sampling.xtc = Xtc { probability: 0.5, threshold: 0.1 });
        assert_eq!(key(&excludes, 0, false, deterministic), None);
        assert_eq!(key(&warm(1), 0, true, deterministic), key(&warm(1), 1, true, all));
        assert_ne!(key(&warm(1), 0, true, deterministic), key(&warm(2), 0, true, deterministic));
        assert_eq!(key(&warm(1), 0, false, all), key(&warm(2), 0, false, all));
        assert_ne!(key(&warm(1), 0, false, all), key(&warm(1), 1, false, all));
        assert_ne!(key(&warm(0), 0, false, all), key(&warm(0), 0, true, all), "a seed of 0 is a seed");
    }
}
