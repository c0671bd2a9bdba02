//! How a request went so far: when what the server saw happened, and how many tokens there were.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::generation::Usage;

/// Counts and times of one request, as the server saw them: an instance's news count when they reach the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Tokens so far.
    pub usage: Usage,
    /// When it got its first slot.
    slot: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl Pace {
    /// The same times with other counts.
    #[must_use]
    pub fn with_usage(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    /// From the slot to the first token: the prompt's way to the instance, its turn there, and its computation. `None`
    /// before the first token.
    #[must_use]
    pub fn prompt_time(&self) -> Option<Duration> {
        Some(self.first_token?.saturating_duration_since(self.slot?))
    }

    /// From the first token to the latest one, pauses included; `None` before the first token.
    #[must_use]
    pub fn generation_time(&self) -> Option<Duration> {
        Some(self.last_token?.saturating_duration_since(self.first_token?))
    }
}

/// A pace that a journey writes and its client's end reads.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedPace(Arc<Mutex<Pace>>);

impl SharedPace {
    pub(super) fn read(&self) -> Pace {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut Pace)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It has a slot; a later one does not count.
    pub(super) fn got_slot(&self) {
        self.write(|pace| {
            pace.slot.get_or_insert_with(Instant::now);
        });
    }

    pub(super) fn started(&self, prompt_tokens: u32) {
        self.write(|pace| pace.usage.prompt_tokens = prompt_tokens);
    }

    /// So much of the prompt need not be computed.
    pub(super) fn cached(&self, tokens: u32) {
        self.write(|pace| pace.usage.cached_tokens = tokens);
    }

    /// `tokens` more came, at `now`.
    pub(super) fn generated(&self, tokens: u32, now: Instant) {
        self.write(|pace| {
            pace.usage.completion_tokens = pace.usage.completion_tokens.saturating_add(tokens);
            pace.first_token.get_or_insert(now);
            pace.last_token = Some(now);
        });
    }

    /// It ended with these counts.
    pub(super) fn finished(&self, usage: Usage) {
        self.write(|pace| pace.usage = usage);
    }
}
