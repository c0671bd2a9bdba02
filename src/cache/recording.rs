//! An answer as it comes, for any number of listeners: each hears it from its beginning.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::remote::Entry;
use crate::admission::{Arrival, Pace, Place, Rejection, Served};
use crate::generation::{Event, GenerationError};

/// An answer, as far as it has come.
#[derive(Debug)]
pub(super) struct Recording {
    /// Who serves it.
    pub served: OnceLock<Served>,
    /// Where its request waits.
    pub place: Place,
    /// How urgent that request is.
    pub priority: u32,
    /// Whether another server made it.
    pub is_foreign: AtomicBool,
    /// Who listens; changes under the lock of the model's cache.
    pub listeners: AtomicUsize,
    /// Ends its computation.
    pub computation: OnceLock<AbortHandle>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    events: Vec<Event>,
    bytes: u64,
    pace: Pace,
    refused: Option<Rejection>,
    ended: bool,
    /// Whom to wake, by the number of the listener.
    wakers: HashMap<usize, Waker>,
}

impl Recording {
    /// One of the answer to a request of which nothing has come yet.
    pub fn new(arrival: &Arrival) -> Self {
        Self {
            served: OnceLock::new(),
            place: arrival.place.clone(),
            priority: arrival.claim.priority,
            is_foreign: AtomicBool::new(false),
            listeners: AtomicUsize::new(0),
            computation: OnceLock::new(),
            progress: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Every change below is complete before anything that could panic.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what the engine tells.
    pub fn push(&self, event: Event, pace: Pace) {
        self.change(|progress| {
            progress.ended = matches!(event, Event::Finished { .. } | Event::Failed(_));
            progress.bytes += event.kept_bytes();
            progress.pace = pace;
            progress.events.push(event);
        });
    }

    /// Adds all of an answer that another server made. `files`: the model's.
    pub fn replay(&self, entry: Entry, files: u64) {
        self.is_foreign.store(true, Ordering::Relaxed);
        let variant: Arc<str> = entry.variant.into();
        self.served.get_or_init(|| Served { instance: None, variant, files, waited: Duration::ZERO });
        self.change(|progress| {
            progress.ended = true;
            progress.bytes = entry.events.iter().map(Event::kept_bytes).sum();
            progress.events = entry.events;
        });
    }

    /// What other servers need to know of an answer that is complete.
    pub fn entry(&self) -> Option<Entry> {
        let variant = self.served.get()?.variant.to_string();
        Some(Entry { variant, events: self.lock().events.clone() })
    }

    /// There is no slot for it.
    pub fn refuse(&self, rejection: Rejection) {
        self.change(|progress| (progress.refused, progress.ended) = (Some(rejection), true));
    }

    /// Nothing more comes. An answer that has no end then ends with an error.
    pub fn close(&self) {
        let ended = self.lock().ended;
        if !ended {
            let pace = self.pace();
            self.push(Event::Failed(GenerationError::Stopped), pace);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        let wakers = {
            let mut progress = self.lock();
            change(&mut progress);
            std::mem::take(&mut progress.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// The event with this index, for the listener with this number.
    pub fn poll(
        &self,
        index: usize,
        listener: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Event, Rejection>> {
        let mut progress = self.lock();
        if let Some(event) = progress.events.get(index) {
            return Poll::Ready(Ok(event.clone()));
        }
        if let Some(rejection) = &progress.refused {
            return Poll::Ready(Err(rejection.clone()));
        }
        progress.wakers.insert(listener, context.waker().clone());
        Poll::Pending
    }

    /// How the computation went so far.
    pub fn pace(&self) -> Pace {
        self.lock().pace
    }

    /// About how much memory it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        size_of::<Self>() as u64 + self.lock().bytes
    }

    /// One more listens; its number.
    pub fn join(&self) -> usize {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        self.listeners.fetch_add(1, Ordering::Relaxed);
        NUMBER.fetch_add(1, Ordering::Relaxed)
    }

    /// One listens no more; whether it was the last.
    pub fn leave(&self, listener: usize) -> bool {
        self.lock().wakers.remove(&listener);
        self.listeners.fetch_sub(1, Ordering::Relaxed) == 1
    }
}
