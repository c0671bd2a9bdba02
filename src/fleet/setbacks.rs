//! What failed, how often, and when: why a variant is not tried again at once.
//!
//! A setback is a load that failed, or a worker that died before it had achieved anything. Setbacks in a row mean that
//! the next one is likely; one step that completes ends the row.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::units::{ByteCount, DeviceSet, ModelName, Timestamp};
use crate::view::LoadFailure;

/// So many setbacks in a row are a crash loop: requests are refused instead of held.
const CRASH_LOOP_AFTER: u32 = 3;
/// How long a load that ran out of memory counts as knowledge. Other programs come and go.
const SHORTAGE_HOLDS: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
struct Setback {
    at: Timestamp,
    in_a_row: u32,
    /// The file itself is at fault: trying again soon is of no use.
    refused: bool,
}

impl Setback {
    const fn hopeless(&self) -> bool {
        self.refused || self.in_a_row >= CRASH_LOOP_AFTER
    }
}

#[derive(Clone, Copy, Debug)]
struct Shortage {
    at: Timestamp,
    devices: DeviceSet,
    available: ByteCount,
}

/// What operators are told of a model that has setbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whether requests are refused because of it.
    pub crash_loop: bool,
    /// What happened last.
    pub reason: String,
}

/// Setbacks by model and variant.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    setbacks: BTreeMap<(ModelName, usize), Setback>,
    shortages: BTreeMap<(ModelName, usize), Shortage>,
    /// What last went wrong with a model.
    last: BTreeMap<ModelName, String>,
}

impl Setbacks {
    /// A load failed, or a worker died young. `refused`: the file is at fault.
    pub fn add(&mut self, model: &ModelName, variant: usize, reason: &str, refused: bool, now: Timestamp) {
        let fresh = Setback { at: now, in_a_row: 0, refused };
        let setback = self.setbacks.entry((model.clone(), variant)).or_insert(fresh);
        setback.at = now;
        setback.in_a_row = setback.in_a_row.saturating_add(1);
        setback.refused = refused;
        self.last.insert(model.clone(), reason.to_owned());
    }

    /// A load ran out of memory although `available` bytes could be taken.
    pub fn add_shortage(
        &mut self,
        model: &ModelName,
        variant: usize,
        (devices, available): (DeviceSet, ByteCount),
        reason: &str,
        now: Timestamp,
    ) {
        self.shortages.insert((model.clone(), variant), Shortage { at: now, devices, available });
        self.last.insert(model.clone(), reason.to_owned());
    }

    /// Something was achieved with the variant.
    pub fn overcome(&mut self, model: &ModelName, variant: usize) {
        let key = (model.clone(), variant);
        self.shortages.remove(&key);
        self.setbacks.remove(&key);
        self.last.remove(model);
    }

    /// The model's files or its policy changed.
    pub fn forget(&mut self, model: &ModelName) {
        self.setbacks.retain(|(name, _), _| name != model);
        self.shortages.retain(|(name, _), _| name != model);
        self.last.remove(model);
    }

    /// Old knowledge expires.
    pub fn tick(&mut self, now: Timestamp) {
        self.shortages.retain(|_, shortage| now.since(shortage.at) < SHORTAGE_HOLDS);
    }

    /// What failed with a variant and was not overcome since.
    pub fn failure(&self, model: &ModelName, variant: usize, now: Timestamp) -> Option<LoadFailure> {
        let setback = self.setbacks.get(&(model.clone(), variant))?;
        Some(LoadFailure {
            ago: now.since(setback.at),
            in_a_row: setback.in_a_row,
            hopeless: setback.hopeless(),
        })
    }

    pub fn shortage(&self, model: &ModelName, variant: usize) -> Option<(DeviceSet, ByteCount)> {
        let shortage = self.shortages.get(&(model.clone(), variant))?;
        Some((shortage.devices, shortage.available))
    }

    /// What goes wrong with a model of `variants` variants. As long as one of them can be hoped for, it is no crash
    /// loop.
    pub fn trouble(&self, model: &ModelName, variants: usize) -> Option<Trouble> {
        let reason = self.last.get(model)?.clone();
        let hopeless = |variant| self.setbacks.get(&(model.clone(), variant)).is_some_and(Setback::hopeless);
        Some(Trouble { crash_loop: (0..variants).all(hopeless), reason })
    }
}
