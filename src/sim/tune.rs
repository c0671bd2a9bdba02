//! Looks for the settings of a policy's `scale` that cost least and still keep the SLO on a trace.
//!
//! A coordinate search: one setting of one model after the other goes up and down the values that are tried, as long as that
//! helps, until nothing helps any more. Without chance: the same trace gives the same settings.

use std::sync::Arc;
use std::time::Duration;

use super::clairvoyant::Clairvoyant;
use super::outcome::{Outcome, Slo};
use super::plan::{Plan, replay};
use super::trace::Trace;
use super::world::Machine;
use crate::policy::{ModelPolicy, ScalePolicy};
use crate::units::ModelName;

/// A key of `scale` that is tuned.
#[derive(Debug)]
pub struct Parameter {
    /// The key in a policy.
    pub key: &'static str,
    /// What is tried, ascending; the first and the last are its bounds.
    pub values: &'static [f64],
    /// The setting.
    pub get: fn(&ScalePolicy) -> f64,
    /// Changes it.
    pub set: fn(&mut ScalePolicy, f64),
    /// As a policy has it.
    pub yaml: fn(f64) -> String,
}

/// All keys that are tuned, in the order in which they are tried. To add one, or take one away, change this table alone.
/// `forecast` is none of them: what patterns are worth shows after longer than most traces last.
pub const PARAMETERS: [Parameter; 4] = [
    Parameter {
        key: "scale_down_after_ms",
        values: &[0.0, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 24e4],
        get: |scale| millis(scale.scale_down_after),
        set: |scale, value| scale.scale_down_after = duration(value),
        yaml: plain,
    },
    Parameter {
        key: "idle_unload_after_ms",
        values: &[5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 9e5, 18e5, 36e5],
        get: |scale| millis(scale.idle_unload_after),
        set: |scale, value| scale.idle_unload_after = duration(value),
        yaml: plain,
    },
    Parameter {
        key: "late_share",
        values: &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1],
        get: |scale| scale.late_share,
        set: |scale, value| scale.late_share = value,
        yaml: plain,
    },
    Parameter {
        key: "target_queue_wait_ms",
        values: &[10.0, 50.0, 100.0, 200.0, 500.0, 750.0, 1e3, 1.5e3, 2e3, 5e3],
        get: |scale| millis(scale.target_queue_wait),
        set: |scale, value| scale.target_queue_wait = duration(value),
        yaml: plain,
    },
];

/// Whether a policy could have these settings together.
fn is_legal(scale: &ScalePolicy) -> bool {
    scale.scale_down_after <= scale.idle_unload_after
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn duration(millis: f64) -> Duration {
    Duration::from_secs_f64(millis / 1e3)
}

fn plain(value: f64) -> String {
    value.to_string()
}

/// The most replays of a search.
pub const REPLAYS_MAX: u32 = 60;
/// Values beyond one that did not help that are tried as well: neighbours often come to the same.
const MISSES_MAX: u32 = 2;

/// What is wanted, and where.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// What is replayed.
    pub trace: &'a Trace,
    /// When a request is served well.
    pub slo: Slo,
    /// The share of requests that must be, 0 to 1.
    pub share: f64,
}

impl Goal<'_> {
    /// What these policies come to.
    #[must_use]
    pub fn replay(&self, policies: &[Arc<ModelPolicy>]) -> Outcome {
        let unused = Clairvoyant::default();
        replay(Plan::Policy, policies, self.machine, self.trace, self.slo, &unused)
    }

    /// Whether enough requests were served well.
    #[must_use]
    pub fn is_kept(&self, outcome: &Outcome) -> bool {
        outcome.attainment() >= self.share
    }

    /// Keeping the SLO comes first, then the cost; while nothing keeps it, coming nearer.
    fn is_better(&self, new: &Outcome, old: &Outcome) -> bool {
        let costs_less = new.instance_seconds < old.instance_seconds;
        match (self.is_kept(new), self.is_kept(old)) {
            (true, true) => costs_less,
            (false, false) => {
                let (new, old) = (new.attainment(), old.attainment());
                new > old || (new >= old && costs_less)
            }
            (new, _) => new,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The policies with the best settings.
    pub policies: Vec<Arc<ModelPolicy>>,
    /// What the policies came to as they were.
    pub before: Outcome,
    /// What they come to now.
    pub after: Outcome,
    /// Replays that it took.
    pub replays: u32,
}

/// Searches, from the settings that `policies` have. `told` hears of each replay: how many there were, and the best so far.
#[must_use]
pub fn tune(policies: &[Arc<ModelPolicy>], goal: &Goal, told: &mut dyn FnMut(u32, &Outcome)) -> Tuned {
    let before = goal.replay(policies);
    told(1, &before);
    let mut search = Search {
        goal,
        policies: policies.to_vec(),
        best: before.clone(),
        tried: vec![settings(policies)],
        told,
    };
    while search.round() {}
    let replays = search.replays();
    Tuned { policies: search.policies, before, after: search.best, replays }
}

/// The values of all parameters of all models.
fn settings(policies: &[Arc<ModelPolicy>]) -> Vec<f64> {
    let of = |policy: &Arc<ModelPolicy>| PARAMETERS.map(|parameter| (parameter.get)(&policy.scale));
    policies.iter().flat_map(of).collect()
}

struct Search<'a> {
    goal: &'a Goal<'a>,
    policies: Vec<Arc<ModelPolicy>>,
    best: Outcome,
    /// What was replayed; none is replayed twice.
    tried: Vec<Vec<f64>>,
    told: &'a mut dyn FnMut(u32, &Outcome),
}

impl Search<'_> {
    fn replays(&self) -> u32 {
        u32::try_from(self.tried.len()).unwrap_or(u32::MAX)
    }

    /// Each parameter of each model once; says whether anything helped.
    fn round(&mut self) -> bool {
        let mut has_helped = false;
        for model in 0..self.policies.len() {
            for parameter in &PARAMETERS {
                // Where one direction helped, the other one leads back.
                has_helped |= self.walk(model, parameter, false) || self.walk(model, parameter, true);
            }
        }
        has_helped
    }

    /// Up or down from where it is, as long as that helps.
    fn walk(&mut self, model: usize, parameter: &Parameter, up: bool) -> bool {
        let start = (parameter.get)(&self.policies[model].scale);
        let ahead: Vec<f64> = if up {
            parameter.values.iter().copied().filter(|value| *value > start).collect()
        } else {
            parameter.values.iter().rev().copied().filter(|value| *value < start).collect()
        };
        let (mut misses, mut has_helped) = (0, false);
        for value in ahead {
            if misses == MISSES_MAX || self.replays() >= REPLAYS_MAX {
                break;
            }
            if self.helps(model, parameter, value) {
                (misses, has_helped) = (0, true);
            } else {
                misses += 1;
            }
        }
        has_helped
    }

    /// Tries a value, and keeps it if it is better.
    fn helps(&mut self, model: usize, parameter: &Parameter, value: f64) -> bool {
        let mut policy = ModelPolicy::clone(&self.policies[model]);
        (parameter.set)(&mut policy.scale, value);
        if !is_legal(&policy.scale) {
            return false;
        }
        let mut policies = self.policies.clone();
        policies[model] = Arc::new(policy);
        let settings = settings(&policies);
        if self.tried.contains(&settings) {
            return false;
        }
        self.tried.push(settings);
        let outcome = self.goal.replay(&policies);
        let is_better = self.goal.is_better(&outcome, &self.best);
        if is_better {
            (self.policies, self.best) = (policies, outcome);
        }
        let replays = self.replays();
        (self.told)(replays, &self.best);
        is_better
    }
}

/// A setting that is another one now.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The model.
    pub model: ModelName,
    /// The key of its `scale`.
    pub key: &'static str,
    /// As a policy has it: before.
    pub old: String,
    /// Now.
    pub new: String,
}

/// What differs between policies, model by model, in the order of [`PARAMETERS`].
#[must_use]
pub fn changes(before: &[Arc<ModelPolicy>], after: &[Arc<ModelPolicy>]) -> Vec<Change> {
    let mut found = Vec::new();
    for (model, tuned) in before.iter().zip(after) {
        for Parameter { key, get, yaml, .. } in &PARAMETERS {
            let (was, is) = (yaml(get(&model.scale)), yaml(get(&tuned.scale)));
            if was != is {
                found.push(Change { model: model.name.clone(), key, old: was, new: is });
            }
        }
    }
    found
}

#[cfg(test)]
#[path = "tune_tests.rs"]
mod tests;
