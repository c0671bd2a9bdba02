//! Which instances go so that others, or other programs, have room.
//!
//! Input: all models, how much is wanted where, and why. Output: instances to drain. PURE.
//!
//! An instance is worth keeping by what it costs to load again, by how soon it will be wanted, and by its model's
//! priority; and less, the more memory it holds:
//!
//! ```text
//! value = 2^(priority / 10) · load seconds / ((1 + idle seconds) · bytes)
//! ```
//!
//! Cost by size is Greedy-Dual-Size (P. Cao, S. Irani: Cost-Aware WWW Proxy Caching Algorithms, USITS 1997), and the
//! idle time stands for its ageing, as the best guess of when somebody asks again that needs no model of arrivals. Ten
//! steps of priority weigh as much as twice the load time.

use std::time::Duration;

use super::place::freed_bytes;
use crate::units::{ByteCount, DeviceId, InstanceId};
use crate::view::{InstanceState, InstanceView, ModelObservation};

/// The pool gives way to other programs only if it has at least one part in so many of what is missing: to stop serving
/// for the sake of a drop in the ocean would help nobody.
const HELPS_FROM: u64 = 10;

/// What decides about a model's instances, besides what is observed.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// `priority`.
    pub priority: u32,
    /// `min_instances`.
    pub min_instances: u32,
    /// How long its instances stay at least.
    pub min_residence: Duration,
    /// Time since somebody last asked for it.
    pub idle: Duration,
}

/// Who wants room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A model that has an instance and wants another one: only what nobody uses goes.
    More {
        /// Its index.
        model: usize,
    },
    /// A model that has none, and requests that wait: what nobody uses goes, also below the minimum of models that are
    /// not more important.
    First {
        /// Its index.
        model: usize,
    },
    /// The same, after a wait: one that serves finishes what it has, and goes. Models that cannot be there together take
    /// turns, of at least the residence time of the one that goes; twice that for each ten steps of priority that it is
    /// ahead.
    Turn {
        /// Its index.
        model: usize,
        /// How long its requests have waited.
        waited: Duration,
    },
    /// Other programs have taken the memory that should stay free: anything goes.
    Yield,
}

/// How much an instance is worth keeping, by the byte.
#[must_use]
pub fn value(priority: u32, load_time: Duration, idle: Duration, bytes: ByteCount) -> f64 {
    let weight = (f64::from(priority) / 10.0).exp2();
    // A load that was quick once may not be the next time.
    let cost = load_time.as_secs_f64().max(0.01);
    weight * cost / ((1.0 + idle.as_secs_f64()) * as_float(bytes).max(1.0))
}

/// Bytes that come free on a device when these instances go.
fn freed(models: &[ModelObservation], gone: &[InstanceId], device: DeviceId) -> ByteCount {
    let of_model = models.iter().map(|model| {
        let mut kept: Vec<&InstanceView> = model.instances.iter().collect();
        let leaving = model.instances.iter().filter(|instance| gone.contains(&instance.id));
        let bytes = leaving.map(|instance| {
            kept.retain(|other| other.id != instance.id);
            freed_bytes(instance, model, device, kept.iter().copied())
        });
        bytes.sum::<ByteCount>()
    });
    of_model.sum()
}

/// Bytes on a device that come free without anything more being done.
#[must_use]
pub fn coming_free(models: &[ModelObservation], device: DeviceId) -> ByteCount {
    let leaving = |i: &&InstanceView| matches!(i.state, InstanceState::Draining | InstanceState::Stopping);
    let instances = models.iter().flat_map(|model| &model.instances);
    let gone: Vec<InstanceId> = instances.filter(leaving).map(|instance| instance.id).collect();
    freed(models, &gone, device)
}

/// The instances on `device` that go so that at least `needed` bytes come free, the least valuable first; `None` if that
/// cannot be, and then none goes.
#[must_use]
pub fn make(
    models: &[ModelObservation],
    standings: &[Standing],
    device: DeviceId,
    needed: ByteCount,
    claim: Claim,
) -> Option<Vec<InstanceId>> {
    let mut gone = choose(models, standings, device, needed, claim);
    if freed(models, &gone, device) < needed {
        return None;
    }
    // A large one that had to go may make a small one before it unnecessary.
    for at in (0..gone.len()).rev() {
        let fewer = [&gone[..at], &gone[at + 1..]].concat();
        if freed(models, &fewer, device) >= needed {
            gone = fewer;
        }
    }
    Some(gone)
}

/// The instances on `device` that go because other programs want `needed` bytes: as many as there are, if need be; but
/// none where all of them would hardly help.
#[must_use]
pub fn give(
    models: &[ModelObservation],
    standings: &[Standing],
    device: DeviceId,
    needed: ByteCount,
) -> Vec<InstanceId> {
    let gone = choose(models, standings, device, needed, Claim::Yield);
    let helps = freed(models, &gone, device).0.saturating_mul(HELPS_FROM) >= needed.0;
    if helps { gone } else { Vec::new() }
}

fn choose(
    models: &[ModelObservation],
    standings: &[Standing],
    device: DeviceId,
    needed: ByteCount,
    claim: Claim,
) -> Vec<InstanceId> {
    let mut kept: Vec<Vec<&InstanceView>> =
        models.iter().map(|model| model.instances.iter().collect()).collect();
    let (mut gone, mut freed) = (Vec::new(), ByteCount::ZERO);
    while freed < needed {
        let candidates = (0..models.len()).flat_map(|at| {
            let (model, standing, kept) = (&models[at], &standings[at], &kept[at]);
            let may_go = move |instance: &&&InstanceView| {
                instance.devices.contains(device)
                    && may_go(instance, model, standing, kept, at, claim, standings)
            };
            kept.iter().filter(may_go).map(move |instance| {
                let bytes = freed_bytes(instance, model, device, kept.iter().copied());
                let load_time = model.variants.get(instance.variant).map_or(Duration::ZERO, |v| v.load_time);
                let value = value(standing.priority, load_time, standing.idle, bytes);
                let below_minimum = count_live(kept) <= standing.min_instances as usize;
                ((below_minimum, instance.leased > 0, value), at, instance.id, bytes)
            })
        });
        let least = candidates.min_by(|(a, _, id, _), (b, _, other, _)| {
            (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)).then(other.cmp(id))
        });
        let Some((_, at, id, bytes)) = least else { break };
        kept[at].retain(|instance| instance.id != id);
        gone.push(id);
        freed += bytes;
    }
    gone
}

fn may_go(
    instance: &InstanceView,
    model: &ModelObservation,
    standing: &Standing,
    kept: &[&InstanceView],
    at: usize,
    claim: Claim,
    standings: &[Standing],
) -> bool {
    if instance.state != InstanceState::Ready {
        return false;
    }
    let settled = instance.age >= standing.min_residence;
    let unused = instance.leased == 0 && model.queue.depth == 0;
    let spare = count_live(kept) > standing.min_instances as usize;
    match claim {
        Claim::Yield => true,
        Claim::More { model: by } => {
            at != by && settled && unused && spare && standing.priority <= standings[by].priority
        }
        Claim::First { model: by } => {
            at != by && settled && unused && (spare || standing.priority <= standings[by].priority)
        }
        Claim::Turn { model: by, waited } => {
            let ahead = standing.priority.saturating_sub(standings[by].priority) / 10;
            let turn = standing.min_residence.saturating_mul(1 << ahead.min(6));
            at != by && settled && waited >= turn
        }
    }
}

fn count_live(kept: &[&InstanceView]) -> usize {
    let live = |i: &&&InstanceView| matches!(i.state, InstanceState::Ready | InstanceState::Starting);
    kept.iter().filter(live).count()
}

#[expect(clippy::cast_precision_loss, reason = "a value is a rough figure")]
fn as_float(bytes: ByteCount) -> f64 {
    bytes.0 as f64
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
