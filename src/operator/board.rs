//! What the controller tells: which instances there are, and what it decided last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::Serialize;

/// The most decisions that are remembered.
pub const MAX_DECISIONS: usize = 512;

/// One instance, in any state.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct InstanceReport {
    /// Its number, for example `i2`.
    pub id: String,
    /// The worker that holds its weights, for example `w1`.
    pub worker: String,
    /// The worker's process, if it has one of its own.
    pub process: Option<u32>,
    /// The model it serves.
    pub model: String,
    /// Its variant.
    pub variant: String,
    /// Where its memory is.
    pub devices: String,
    /// `starting`, `ready`, `draining` or `stopping`.
    pub state: &'static str,
    /// Whether another policy or file has taken its place.
    pub stale: bool,
    /// Slots it has.
    pub slots: u32,
    /// Slots leased.
    pub slots_busy: u32,
    /// CPU threads that it computes with.
    pub threads: u32,
    /// Time since it was decided to start it.
    pub age_ms: u64,
    /// What it takes of its devices: KV cache and compute buffers, predicted or, where that is known, measured.
    pub memory_bytes: u64,
    /// What its worker takes besides, with all its instances together: the weights above all.
    pub worker_memory_bytes: u64,
}

/// One decision for a model.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct DecisionReport {
    /// When, in seconds since 1970.
    pub at: f64,
    /// The model.
    pub model: String,
    /// Instances there should be.
    pub target_instances: u32,
    /// Why, as in the metrics.
    pub reason: &'static str,
    /// Why, with the figures.
    pub explanation: String,
    /// What kept some of the instances that should start from starting.
    pub limit: Option<String>,
    /// What was done about it.
    pub actions: Vec<ActionReport>,
}

/// What was done.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ActionReport {
    /// An instance was started.
    Start {
        /// Of this variant.
        variant: String,
        /// There.
        devices: String,
    },
    /// An instance finishes what it has and goes.
    Drain {
        /// Which.
        instance: String,
    },
    /// An instance, of any model, goes because its memory is wanted.
    Evict {
        /// Which.
        instance: String,
    },
    /// A frozen instance's worker was ended.
    Kill {
        /// Which.
        instance: String,
    },
    /// The requests that waited were refused.
    RefuseWaiting,
}

/// Where the controller writes and the API reads.
#[derive(Debug, Default)]
pub struct Board {
    instances: ArcSwap<Vec<InstanceReport>>,
    decisions: Mutex<VecDeque<DecisionReport>>,
}

impl Board {
    /// The instances, oldest first, as the controller last saw them.
    #[must_use]
    pub fn instances(&self) -> Arc<Vec<InstanceReport>> {
        self.instances.load_full()
    }

    /// These are the instances now.
    pub fn show(&self, instances: Vec<InstanceReport>) {
        self.instances.store(Arc::new(instances));
    }

    /// The latest decisions, newest first: at most `limit`, of one model or of all.
    #[must_use]
    pub fn decisions(&self, model: Option<&str>, limit: usize) -> Vec<DecisionReport> {
        let decisions = self.lock();
        let of_model =
            decisions.iter().rev().filter(|decision| model.is_none_or(|model| decision.model == model));
        of_model.take(limit).cloned().collect()
    }

    /// Notes a decision; the oldest is forgotten.
    pub fn note(&self, decision: DecisionReport) {
        let mut decisions = self.lock();
        if decisions.len() >= MAX_DECISIONS {
            decisions.pop_front();
        }
        decisions.push_back(decision);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<DecisionReport>> {
        // Every change is complete before anything that could panic.
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_decisions_are_kept_and_come_first() {
        let board = Board::default();
        for number in (0..=MAX_DECISIONS).map(|number| u32::try_from(number).unwrap()) {
            board.note(DecisionReport {
                at: f64::from(number),
                model: if number.is_multiple_of(2) { "even" } else { "odd" }.into(),
                target_instances: number,
                reason: "steady",
                explanation: String::new(),
                limit: None,
                actions: Vec::new(),
            });
        }
        let targets = |model, limit| -> Vec<u32> {
            board.decisions(model, limit).iter().map(|decision| decision.target_instances).collect()
        };
        assert_eq!(targets(None, 3), [512, 511, 510]);
        assert_eq!(targets(Some("odd"), 2), [511, 509]);
        assert_eq!(targets(None, 9999).len(), MAX_DECISIONS);
        assert!(targets(Some("none"), 9).is_empty());
    }
}
