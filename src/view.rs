//! What decisions see of the world: plain values without handles, clocks or atomics.
//!
//! Drivers make them from the live objects, tests make them up; decisions take nothing else.

use std::time::Duration;

use crate::units::{ByteCount, DeviceId, DeviceSet, InstanceId, ModelName};

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceState {
    /// Being made: its weights load, or its context is created.
    Starting,
    /// Takes requests.
    Ready,
    /// Finishes what it has and takes nothing new.
    Draining,
    /// Has nothing any more and was told to end.
    Stopping,
}

impl InstanceState {
    /// All states, for metrics that report each.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::Draining, Self::Stopping];

    /// The state's name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }
}

/// One instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceView {
    /// Its number.
    pub id: InstanceId,
    /// Index of its variant in the policy's list.
    pub variant: usize,
    /// Where its memory is.
    pub devices: DeviceSet,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Slots it has.
    pub slots: u32,
    /// Slots leased.
    pub leased: u32,
    /// CPU threads that it computes with.
    pub threads: u32,
    /// Grows with every step that completed; see [`crate::control::watchdog`].
    pub progress: u64,
    /// Time since it was decided to start it.
    pub age: Duration,
    /// Made by a policy, or from a file, that was replaced since; it serves until its replacement is ready.
    pub stale: bool,
}

/// What dispatch needs to know of an instance; made for each instance and request, and so no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLoad {
    /// Index of its variant in the policy's list.
    pub variant: usize,
    /// Whether it takes requests.
    pub ready: bool,
    /// Slots it has.
    pub slots: u32,
    /// Slots leased.
    pub leased: u32,
}

/// One variant of a model, before or after it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariantView {
    /// What a worker with one instance takes of one device.
    pub takes: Takes,
    /// The part of it that each of several devices takes in full; the rest is divided between them.
    pub each: Takes,
    /// The most CPU threads that an instance on the host can use.
    pub max_threads: u32,
    /// How long its weights took to load the last time; before that, a guess from their size.
    pub load_time: Duration,
    /// How long an instance took to start the last time where the weights were there; before that, a guess.
    pub start_time: Duration,
    /// It failed, and this is how long ago; `None` once it worked.
    pub failed: Option<LoadFailure>,
    /// The last load ran out of memory although this much could be taken on the device; `None` if it did not, or
    /// long ago.
    pub shortage: Option<(DeviceSet, ByteCount)>,
}

/// Bytes that a worker and each of its instances take, predicted or measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// The worker, its weights above all.
    pub worker: ByteCount,
    /// Each instance besides: KV cache and compute buffers.
    pub instance: ByteCount,
}

impl Takes {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { worker: self.worker.max(other.worker), instance: self.instance.max(other.instance) }
    }

    /// What one of several devices takes that holds `share` (0 to 1) of the layers: `each` in full, and its share of the
    /// rest. All of it if there is one device, whose share is 1.
    #[must_use]
    pub fn part(self, each: Self, share: f64) -> Self {
        let part = |whole: ByteCount, each: ByteCount| {
            let each = each.min(whole);
            each + whole.saturating_sub(each).fraction(share)
        };
        Self { worker: part(self.worker, each.worker), instance: part(self.instance, each.instance) }
    }
}

/// How the layers of a worker on several devices are divided between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The devices.
    pub devices: DeviceSet,
    /// A weight for each of them: llama.cpp divides by the memory that was free when it loaded.
    pub weights: Vec<(DeviceId, u64)>,
}

impl Spread {
    /// The share of the layers that a device holds, 0 to 1; equal ones where nothing is known.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    pub fn share(&self, device: DeviceId) -> f64 {
        let total: u64 = self.weights.iter().map(|(_, weight)| *weight).sum();
        let own = self.weights.iter().find(|(of, _)| *of == device).map_or(0, |(_, weight)| *weight);
        if total == 0 { 1.0 / f64::from(self.devices.len().max(1)) } else { own as f64 / total as f64 }
    }
}

/// A load that failed, or a worker that died before it had achieved anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadFailure {
    /// Time since it failed.
    pub ago: Duration,
    /// Failures in a row.
    pub in_a_row: u32,
    /// Nobody should wait for it: the file cannot be loaded, or it was tried often enough.
    pub hopeless: bool,
}

/// What a model's queue tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSignals {
    /// Requests that wait for a slot.
    pub depth: u32,
    /// How long the first of them has waited; zero if none waits.
    pub oldest_wait: Duration,
    /// Requests that hold a slot.
    pub in_flight: u32,
    /// The most requests at once, waiting or in flight, since the last observation: short requests that came
    /// and went in between count, too.
    pub peak_demand: u32,
    /// What happened since the last observation.
    pub flow: Flow,
}

/// What happened to a model's requests since the last observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Requests that came.
    pub arrivals: u32,
    /// Requests that gave their slot back.
    pub completions: u32,
    /// Requests that are known to be in time or late: they got a slot, or gave up waiting for one; if the policy sets
    /// `target_ttft`, they got their first token.
    pub started: u32,
    /// Those of them that are late.
    pub late: u32,
    /// Requests that got their first token.
    pub first_tokens: u32,
    /// Time from slot to first token, summed over these.
    pub prefill_time: Duration,
    /// Gaps between the tokens of answers that ended.
    pub gaps: u32,
    /// Their time, summed.
    pub decode_time: Duration,
    /// Time that slots were held, summed over the slots.
    pub slot_time: Duration,
}

/// One model at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelObservation {
    /// The model.
    pub model: ModelName,
    /// Its queue.
    pub queue: QueueSignals,
    /// Its instances in any state, oldest first.
    pub instances: Vec<InstanceView>,
    /// Its variants, best first.
    pub variants: Vec<VariantView>,
    /// How those of its workers that lie on several devices are divided.
    pub spreads: Vec<Spread>,
}

impl ModelObservation {
    /// The share of an instance on `devices` that lies on one of them, 0 to 1.
    #[must_use]
    pub fn share(&self, devices: DeviceSet, device: DeviceId) -> f64 {
        if !devices.contains(device) {
            return 0.0;
        }
        let known = self.spreads.iter().find(|spread| spread.devices == devices);
        known.map_or_else(|| 1.0 / f64::from(devices.len()), |spread| spread.share(device))
    }
}

/// One device that instances can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// The device.
    pub device: DeviceId,
    /// Bytes that nobody uses; `None` where it cannot be measured.
    pub free: Option<ByteCount>,
    /// Bytes that may still be taken: what is free, less headroom and what is being loaded at the moment;
    /// `None` where it cannot be measured.
    pub available: Option<ByteCount>,
    /// Bytes that could ever be taken: all there are, less headroom.
    pub capacity: Option<ByteCount>,
    /// Bytes that are missing to the headroom because other programs took them; zero while enough of it is left.
    pub deficit: ByteCount,
}

/// Everything the controller decides from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The models, in the policy's order.
    pub models: Vec<ModelObservation>,
    /// Devices to place instances on, best first; never empty.
    pub devices: Vec<DeviceView>,
    /// CPU threads to divide between instances on the host.
    pub cpu_threads: u32,
    /// Date and time of day, for schedules alone; everything else is measured by a clock that is never set.
    pub wall_clock: jiff::Timestamp,
}
