//! Keeps the CPU threads that compute at the same time within those there are.
//!
//! The controller divides the CPU between instances, but while their number changes the shares can sum to more.
//! llama.cpp's threads spin at barriers: with more of them than cores everything becomes many times slower. So
//! each decode call first takes as many permits as it has threads, first come first served.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A fair counting semaphore for threads that may block.
#[derive(Debug)]
pub struct CpuGate {
    threads: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: u32,
    /// The next number to draw, as in a waiting room.
    next: u64,
    /// The number whose turn it is.
    serving: u64,
}

impl CpuGate {
    /// A gate for `threads` CPU threads, at least one.
    #[must_use]
    pub fn new(threads: u32) -> Self {
        let threads = threads.max(1);
        let state = State { free: threads, next: 0, serving: 0 };
        Self { threads, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Blocks until `threads` permits are free; more than there are counts as all.
    pub fn enter(&self, threads: u32) -> Permits<'_> {
        let wanted = threads.clamp(1, self.threads);
        let mut state = self.lock();
        let ticket = state.next;
        state.next += 1;
        while state.serving != ticket || state.free < wanted {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.serving += 1;
        state.free -= wanted;
        drop(state);
        // The next in line may fit beside this one.
        self.changed.notify_all();
        Permits { gate: self, count: wanted }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent at every point where a holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permits to compute; dropping returns them.
#[derive(Debug)]
pub struct Permits<'gate> {
    gate: &'gate CpuGate,
    count: u32,
}

impl Drop for Permits<'_> {
    fn drop(&mut self) {
        self.gate.lock().free += self.count;
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn never_more_than_the_threads_there_are_and_everyone_gets_a_turn() {
        let gate = CpuGate::new(3);
        let running = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for threads in [1, 2, 3, 9] {
                let (gate, running) = (&gate, &running);
                scope.spawn(move || {
                    for _ in 0..500 {
                        let permits = gate.enter(threads);
                        let now = running.fetch_add(permits.count, Ordering::SeqCst) + permits.count;
                        assert!(now <= 3, "{now} threads at once");
                        running.fetch_sub(permits.count, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(gate.lock().free, 3);
    }
}
