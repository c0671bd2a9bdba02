//! Proves, over every interleaving that loom can find, that leases never exceed slots, that none starts after
//! drain began, and that slots returned while draining are counted.

/// The lease word of the product, compiled with loom's atomics.
#[path = "../src/pool/word.rs"]
mod word;

/// What `word` finds under `super::atomic`.
mod atomic {
    pub use loom::sync::atomic::{AtomicU32, Ordering};
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;
use word::LeaseWord;

#[test]
fn leases_never_exceed_slots() {
    loom::model(|| {
        let word = Arc::new(LeaseWord::new(1));
        let held = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (word, held) = (Arc::clone(&word), Arc::clone(&held));
                thread::spawn(move || {
                    if word.try_take() {
                        assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0);
                        held.fetch_sub(1, Ordering::SeqCst);
                        word.give_back();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(word.read(), (0, false));
    });
}

#[test]
fn no_lease_starts_after_drain_began() {
    loom::model(|| {
        let word = Arc::new(LeaseWord::new(2));
        let drained = Arc::new(AtomicBool::new(false));
        let taker = {
            let (word, drained) = (Arc::clone(&word), Arc::clone(&drained));
            thread::spawn(move || {
                let after_drain = drained.load(Ordering::SeqCst);
                let taken = word.try_take();
                assert!(!(after_drain && taken), "a lease started after drain had ended");
                taken
            })
        };
        let leased = word.drain();
        drained.store(true, Ordering::SeqCst);
        assert!(word.read().1);
        let taken = taker.join().unwrap();
        assert_eq!(leased == 1, taken, "drain counts exactly the leases that began before it");
    });
}

#[test]
fn slots_returned_while_draining_are_counted_and_not_granted_again() {
    loom::model(|| {
        let word = Arc::new(LeaseWord::new(2));
        assert!(word.try_take() && word.try_take());
        let holders: Vec<_> = (0..2)
            .map(|_| {
                let word = Arc::clone(&word);
                thread::spawn(move || word.give_back())
            })
            .collect();
        assert!(word.drain() <= 2);
        assert!(!word.try_take());
        for holder in holders {
            holder.join().unwrap();
        }
        assert_eq!(word.read(), (0, true));
    });
}
