//! What a worker's process tells the server.
//!
//! The events of a step are collected and written at once: one write, and one wake-up of the server, for each step.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::generation::{Event, EventSink, Loss};
use crate::ipc::{self, FromWorker, News, SequenceId};
use crate::units::InstanceId;

/// The way to the server, for all threads.
pub(super) struct Outlet {
    writer: Mutex<Writer>,
}

struct Writer {
    stream: UnixStream,
    frame: Vec<u8>,
}

impl Outlet {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { writer: Mutex::new(Writer { stream, frame: Vec::new() }) }
    }

    /// Writes one message. Ends the process when the server is gone: there is nobody to work for.
    pub(super) fn send(&self, message: &FromWorker) {
        let mut writer = lock(&self.writer);
        let Writer { stream, frame } = &mut *writer;
        frame.clear();
        if let Err(error) = ipc::encode(message, ipc::MAX_BYTES_FROM_WORKER, frame) {
            tracing::error!(%error, "a message cannot be sent");
            signal_hook::low_level::exit(1);
        }
        if stream.write_all(frame).is_err() {
            super::end();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is complete before anything that could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// News of one instance's sequences since its last step.
pub(super) struct InstanceOutlet {
    id: InstanceId,
    news: Mutex<Vec<(SequenceId, News)>>,
    /// Whether somebody listens, by sequence.
    wanted: Mutex<HashMap<SequenceId, Arc<AtomicBool>>>,
}

impl InstanceOutlet {
    pub(super) fn new(id: InstanceId) -> Self {
        Self { id, news: Mutex::default(), wanted: Mutex::default() }
    }

    /// Tells the server that the instance completed a step, and what came of it.
    pub(super) fn flush(&self, outlet: &Outlet) {
        let news = std::mem::take(&mut *lock(&self.news));
        outlet.send(&FromWorker::Step { instance: self.id, news });
    }

    /// Nobody listens to a sequence any more.
    pub(super) fn cancel(&self, sequence: SequenceId) {
        if let Some(wanted) = lock(&self.wanted).get(&sequence) {
            wanted.store(false, Ordering::Relaxed);
        }
    }

    fn push(&self, sequence: SequenceId, news: News) {
        lock(&self.news).push((sequence, news));
    }
}

/// Stands for a request of the server in the engine.
pub(super) struct RemoteSink {
    sequence: SequenceId,
    outlet: Arc<InstanceOutlet>,
    wanted: Arc<AtomicBool>,
    /// Whether its end was told.
    ended: bool,
}

impl RemoteSink {
    pub(super) fn new(sequence: SequenceId, outlet: Arc<InstanceOutlet>) -> Self {
        let wanted = Arc::new(AtomicBool::new(true));
        lock(&outlet.wanted).insert(sequence, Arc::clone(&wanted));
        Self { sequence, outlet, wanted, ended: false }
    }
}

impl EventSink for RemoteSink {
    fn emit(&mut self, event: Event) {
        self.ended |= matches!(event, Event::Finished { .. } | Event::Failed(_));
        self.outlet.push(self.sequence, News::Event(event));
    }

    fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    fn lost(mut self: Box<Self>, loss: Loss) {
        self.ended = true;
        self.outlet.push(self.sequence, News::Lost(loss));
    }
}

impl Drop for RemoteSink {
    fn drop(&mut self) {
        lock(&self.outlet.wanted).remove(&self.sequence);
        if !self.ended {
            self.outlet.push(self.sequence, News::Gone);
        }
    }
}
