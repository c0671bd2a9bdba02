//! How many connections there are. One that comes when there are as many as may be takes the place of the one that has
//! been idle for longest; if none is, it is not taken.
//!
//! A connection is idle while no request of it is being answered: before its first request, between two of them, and
//! while it sends headers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::CONNECTIONS;

#[derive(Debug)]
struct Entry {
    /// Requests that are being answered.
    answers: u32,
    idle_since: Instant,
    close: CancellationToken,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Open {
    fn tell(&self) {
        gauge!(CONNECTIONS).set(f64::from(u32::try_from(self.entries.len()).unwrap_or(u32::MAX)));
    }
}

/// The connections that are open.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    open: Mutex<Open>,
}

impl Connections {
    /// None yet, of at most `max`.
    #[must_use]
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { max: max as usize, open: Mutex::default() })
    }

    /// Counts one more connection. The second value says whether an idle one was closed for it. `None` if there is no
    /// room.
    pub fn admit(self: &Arc<Self>) -> Option<(Connection, bool)> {
        let mut open = self.lock();
        let mut made_room = false;
        if open.entries.len() >= self.max {
            let idle = open.entries.iter().filter(|(_, entry)| entry.answers == 0);
            let longest = idle.min_by_key(|(_, entry)| entry.idle_since).map(|(number, _)| *number)?;
            if let Some(entry) = open.entries.remove(&longest) {
                entry.close.cancel();
                made_room = true;
            }
        }
        let number = open.next;
        open.next += 1;
        let close = CancellationToken::new();
        let entry = Entry { answers: 0, idle_since: Instant::now(), close: close.clone() };
        open.entries.insert(number, entry);
        open.tell();
        drop(open);
        Some((Connection { of: Arc::clone(self), number, close }, made_room))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Every change is complete before anything that could panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().entries.get_mut(&number) {
            change(entry);
        }
    }
}

/// One connection; it is counted until it is dropped.
#[derive(Debug)]
pub struct Connection {
    of: Arc<Connections>,
    number: u64,
    close: CancellationToken,
}

impl Connection {
    /// Ends when the connection is to be closed.
    pub async fn closed(&self) {
        self.close.cancelled().await;
    }

    /// A request is being answered until the guard is dropped.
    #[must_use]
    pub fn answers(self: &Arc<Self>) -> Answering {
        self.of.change(self.number, |entry| entry.answers += 1);
        Answering(Arc::clone(self))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.of.lock();
        open.entries.remove(&self.number);
        open.tell();
    }
}

/// A request of a connection that is being answered.
#[derive(Debug)]
pub struct Answering(Arc<Connection>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.of.change(self.0.number, |entry| {
            entry.answers -= 1;
            entry.idle_since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_one_that_was_idle_for_longest_makes_room() {
        let connections = Connections::new(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(Arc::new(connections.admit().unwrap().0));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first is busy, the second was busy a moment ago.
        let busy = open[0].answers();
        drop(open[1].answers());
        let closed = |open: &[Arc<Connection>]| -> Vec<bool> {
            open.iter().map(|one| one.close.is_cancelled()).collect()
        };
        open.push(Arc::new(
            connections
                .admit()
                .map(|(one, made_room)| {
                    assert!(made_room);
                    one
                })
                .unwrap(),
        ));
        assert_eq!(closed(&open), [false, false, true, false]);
        let others = (open[1].answers(), open[3].answers());
        assert!(connections.admit().is_none(), "all are busy");
        drop(others.0);
        assert!(connections.admit().is_some());
        assert_eq!(closed(&open), [false, true, true, false]);
        drop((busy, others.1, open));
        assert_eq!(connections.lock().entries.len(), 0);
    }
}
