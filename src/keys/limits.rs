//! The limits of one API key: how many requests at a time, how many requests and tokens a minute.
//!
//! PURE: told what comes and when. A limit of a minute is a token bucket (RFC 2697 has one) that holds a minute's worth
//! and fills evenly. How many tokens a request takes is guessed when it comes, and corrected when it ends; what was more
//! than guessed is a debt that is waited for.

use std::time::Duration;

use crate::policy::KeyPolicy;
use crate::units::Timestamp;

/// What the latest request weighs in the mean time that requests take.
const LATEST: f64 = 0.1;

/// A bucket that holds a minute's worth.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_minute: u32,
    /// What is in it; negative while more was taken than there was.
    level: f64,
    at: Timestamp,
}

impl Bucket {
    fn new(per_minute: u32, now: Timestamp) -> Self {
        Self { per_minute, level: per_minute.into(), at: now }
    }

    fn full(&self) -> f64 {
        self.per_minute.into()
    }

    fn fill(&mut self, now: Timestamp) {
        let gained = now.since(self.at).as_secs_f64() * self.full() / 60.0;
        self.level = (self.level + gained).min(self.full());
        self.at = self.at.max(now);
    }

    /// The time until there is `amount`; `None` if there is. More than the bucket holds is there when it is full.
    fn wait_for(&self, amount: f64) -> Option<Duration> {
        self.time_to(amount.min(self.full())).filter(|wait| !wait.is_zero())
    }

    fn time_to(&self, level: f64) -> Option<Duration> {
        let missing = level - self.level;
        // What is lost to rounding shall not make anybody wait.
        (missing > 1e-9 * self.full()).then(|| Duration::from_secs_f64(missing * 60.0 / self.full()))
    }

    fn standing(&self) -> Allowance {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a u32")]
        let remaining = self.level.max(0.0).floor() as u32;
        let reset = self.time_to(self.full()).unwrap_or_default();
        Allowance { limit: self.per_minute, remaining, reset }
    }
}

/// How much of a minute's limit is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The limit.
    pub limit: u32,
    /// What is left now.
    pub remaining: u32,
    /// When all of it is there again, if nothing more is taken.
    pub reset: Duration,
}

/// What is left of a key's limits of a minute, for those that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of requests.
    pub requests: Option<Allowance>,
    /// Of tokens.
    pub tokens: Option<Allowance>,
}

/// Which limit a request would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max_concurrent`
    Concurrency,
    /// `requests_per_minute`
    Requests,
    /// `tokens_per_minute`
    Tokens,
}

impl Limit {
    /// Its name in the file of keys and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "max_concurrent",
            Self::Requests => "requests_per_minute",
            Self::Tokens => "tokens_per_minute",
        }
    }
}

/// A request is more than its key may ask for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API key's {} is {max}, which this request would exceed; try again in {} s, or ask for a higher limit",
    .limit.name(), .retry_after.as_secs()
)]
pub struct Exceeded {
    /// Which limit.
    pub limit: Limit,
    /// What it is.
    pub max: u32,
    /// When to come back, in whole seconds.
    pub retry_after: Duration,
}

/// What a key has used of its limits.
#[derive(Clone, Debug)]
pub struct Limits {
    max_concurrent: Option<u32>,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    running: u32,
    /// Mean seconds that requests take.
    mean: Option<f64>,
}

impl Limits {
    /// Limits of which nothing is used.
    #[must_use]
    pub fn new(policy: &KeyPolicy, now: Timestamp) -> Self {
        let bucket = |per_minute: Option<u32>| per_minute.map(|per_minute| Bucket::new(per_minute, now));
        Self {
            max_concurrent: policy.max_concurrent,
            requests: bucket(policy.requests_per_minute),
            tokens: bucket(policy.tokens_per_minute),
            running: 0,
            mean: None,
        }
    }

    /// Follows another policy; what was used stays used.
    pub fn follow(&mut self, policy: &KeyPolicy, now: Timestamp) {
        let follow = |bucket: Option<Bucket>, per_minute: Option<u32>| {
            let mut new = Bucket::new(per_minute?, now);
            if let Some(mut old) = bucket {
                old.fill(now);
                new.level -= old.full() - old.level;
            }
            Some(new)
        };
        self.max_concurrent = policy.max_concurrent;
        self.requests = follow(self.requests, policy.requests_per_minute);
        self.tokens = follow(self.tokens, policy.tokens_per_minute);
    }

    /// A request comes that will take about `tokens`. If it is let in, [`Limits::leave`] follows.
    ///
    /// # Errors
    ///
    /// The limit that it would exceed. Nothing is taken then.
    pub fn enter(&mut self, tokens: f64, now: Timestamp) -> Result<(), Exceeded> {
        self.fill(now);
        if let Some(max) = self.max_concurrent.filter(|max| self.running >= *max) {
            // One of those that run is likely to end after its share of the mean.
            let wait = self.mean.unwrap_or(0.0) / f64::from(self.running.max(1));
            return Err(exceeded(Limit::Concurrency, max, Duration::from_secs_f64(wait)));
        }
        for (bucket, limit, amount) in
            [(&self.requests, Limit::Requests, 1.0), (&self.tokens, Limit::Tokens, tokens)]
        {
            if let Some(bucket) = bucket
                && let Some(wait) = bucket.wait_for(amount)
            {
                return Err(exceeded(limit, bucket.per_minute, wait));
            }
        }
        if let Some(requests) = &mut self.requests {
            requests.level -= 1.0;
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.level -= tokens;
        }
        self.running += 1;
        Ok(())
    }

    /// A request is over that was taken to need `guessed` tokens, took `used`, and lasted for `took`.
    pub fn leave(&mut self, guessed: f64, used: f64, took: Duration, now: Timestamp) {
        self.fill(now);
        self.running = self.running.saturating_sub(1);
        if let Some(bucket) = &mut self.tokens {
            bucket.level = (bucket.level + guessed - used).min(bucket.full());
        }
        let took = took.as_secs_f64();
        self.mean = Some(self.mean.map_or(took, |mean| mean + LATEST * (took - mean)));
    }

    /// What is left.
    #[must_use]
    pub fn standing(&mut self, now: Timestamp) -> Standing {
        self.fill(now);
        let standing = |bucket: &Option<Bucket>| bucket.as_ref().map(Bucket::standing);
        Standing { requests: standing(&self.requests), tokens: standing(&self.tokens) }
    }

    fn fill(&mut self, now: Timestamp) {
        self.requests.iter_mut().chain(&mut self.tokens).for_each(|bucket| bucket.fill(now));
    }
}

fn exceeded(limit: Limit, max: u32, wait: Duration) -> Exceeded {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Exceeded { limit, max, retry_after: Duration::from_secs(seconds.max(1)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::KeyName;

    fn policy(max_concurrent: Option<u32>, requests: Option<u32>, tokens: Option<u32>) -> KeyPolicy {
        KeyPolicy {
            name: KeyName::new("k"),
            sha256: [0; 32],
            weight: 1,
            priority: 50,
            max_concurrent,
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            models: None,
            admin: false,
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn limits(max_concurrent: Option<u32>, requests: Option<u32>, tokens: Option<u32>) -> Limits {
        Limits::new(&policy(max_concurrent, requests, tokens), at(0))
    }

    fn refused(limit: Limit, max: u32, seconds: u64) -> Result<(), Exceeded> {
        Err(Exceeded { limit, max, retry_after: Duration::from_secs(seconds) })
    }

    #[test]
    fn so_many_at_a_time() {
        let mut limits = limits(Some(2), None, None);
        assert_eq!((limits.enter(5.0, at(0)), limits.enter(5.0, at(0))), (Ok(()), Ok(())));
        assert_eq!(limits.enter(5.0, at(0)), refused(Limit::Concurrency, 2, 1));
        limits.leave(5.0, 5.0, Duration::from_secs(12), at(12_000));
        assert_eq!(limits.enter(5.0, at(12_000)), Ok(()));
        assert_eq!(limits.enter(5.0, at(12_000)), refused(Limit::Concurrency, 2, 6));
        assert_eq!(limits.standing(at(0)), Standing::default());
    }

    #[test]
    fn so_many_requests_a_minute_evenly() {
        let mut limits = limits(None, Some(4), None);
        assert!((0..4).all(|_| limits.enter(0.0, at(0)).is_ok()));
        assert_eq!(limits.enter(0.0, at(0)), refused(Limit::Requests, 4, 15));
        assert_eq!(limits.enter(0.0, at(14_000)), refused(Limit::Requests, 4, 1));
        assert_eq!(limits.enter(0.0, at(15_000)), Ok(()));
        let left =
            |remaining, seconds| Some(Allowance { limit: 4, remaining, reset: Duration::from_secs(seconds) });
        assert_eq!(limits.standing(at(15_000)).requests, left(0, 60));
        assert_eq!(limits.standing(at(45_000)).requests, left(2, 30));
        assert_eq!(limits.standing(at(900_000)).requests, left(4, 0));
    }

    #[test]
    fn tokens_are_guessed_first_and_corrected_at_the_end() {
        let mut limits = limits(None, None, Some(600));
        assert_eq!(limits.enter(500.0, at(0)), Ok(()));
        assert_eq!(limits.enter(500.0, at(0)), refused(Limit::Tokens, 600, 40));
        limits.leave(500.0, 100.0, Duration::ZERO, at(0));
        assert_eq!(limits.enter(500.0, at(0)), Ok(()));
        // It took twice as much: that is waited for.
        limits.leave(500.0, 1000.0, Duration::ZERO, at(0));
        assert_eq!(limits.standing(at(0)).tokens.map(|left| left.remaining), Some(0));
        assert_eq!(limits.enter(100.0, at(0)), refused(Limit::Tokens, 600, 60));
        // More than a minute's worth is let in when the bucket is full, and then paid for.
        assert_eq!(limits.enter(1200.0, at(110_000)), Ok(()));
        assert_eq!(limits.enter(1.0, at(110_000)), refused(Limit::Tokens, 600, 61));
    }

    #[test]
    fn other_limits_leave_used_what_was_used() {
        let mut limits = limits(None, Some(10), None);
        assert!((0..8).all(|_| limits.enter(0.0, at(0)).is_ok()));
        limits.follow(&policy(Some(9), Some(20), Some(5)), at(0));
        let standing = limits.standing(at(0));
        assert_eq!(standing.requests.map(|left| left.remaining), Some(12));
        assert_eq!(standing.tokens.map(|left| left.remaining), Some(5));
        limits.follow(&policy(None, Some(4), None), at(0));
        assert_eq!(limits.enter(0.0, at(0)), refused(Limit::Requests, 4, 75));
    }

    proptest! {
        /// Whoever comes back when told is let in, and over a long time nobody gets more than the limit.
        #[test]
        fn coming_back_when_told_suffices(
            per_minute in 1_u32..500,
            guesses in prop::collection::vec((1_u32..2000, 1_u32..2000), 1..60),
        ) {
            let mut limits = limits(None, None, Some(per_minute));
            let (mut now, mut used) = (at(0), 0.0);
            let mut last = 0.0;
            for (guess, real) in guesses {
                let (guess, real) = (f64::from(guess), f64::from(real));
                if let Err(Exceeded { retry_after, .. }) = limits.enter(guess, now) {
                    now = now + retry_after;
                    prop_assert_eq!(limits.enter(guess, now), Ok(()));
                }
                limits.leave(guess, real, Duration::ZERO, now);
                used += real;
                last = real;
            }
            let minutes = now.since_start().as_secs_f64() / 60.0;
            let allowed = f64::from(per_minute) * (minutes + 1.0) + last + 2000.0;
            prop_assert!(used <= allowed, "{used} of {allowed}");
        }
    }
}
