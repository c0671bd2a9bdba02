//! Where an instance goes, and which variant it is.
//!
//! Input: what is free on each device, what a model's variants take. Output: variant, devices and costs. PURE.

use crate::policy::Split;
use crate::units::{ByteCount, DeviceId, DeviceSet};
use crate::view::{DeviceView, InstanceView, ModelObservation, Spread, Takes};

/// A device as the decisions of one step see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Which.
    pub device: DeviceId,
    /// Bytes that nobody uses; `None` where that is not known.
    pub free: Option<ByteCount>,
    /// Bytes that may be taken; `None` where that is not known and everything counts as fitting.
    pub available: Option<ByteCount>,
    /// Bytes that could ever be taken.
    pub capacity: Option<ByteCount>,
    /// Instances on it, of all models and in all states.
    pub instances: u32,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The model.
    pub model: &'a ModelObservation,
    /// Those of its variants that may be taken, best first.
    pub usable: &'a [usize],
    /// Devices that may be taken; `None` for the GPUs, or the host where there are none.
    pub devices: Option<&'a [DeviceId]>,
    /// How a variant that is larger than each GPU may be divided between several.
    pub split: Split,
    /// Variants and devices of the model's instances: weights that are there already cost nothing.
    pub loaded: &'a [(usize, DeviceSet)],
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Index of the variant.
    pub variant: usize,
    /// The devices.
    pub devices: DeviceSet,
    /// Bytes that it takes of each.
    pub costs: Vec<(DeviceId, ByteCount)>,
}

impl Placement {
    /// Bytes that it takes in all.
    #[must_use]
    pub fn total(&self) -> ByteCount {
        self.costs.iter().map(|(_, bytes)| *bytes).sum()
    }
}

/// How llama.cpp will divide what it loads on several devices at this moment: layers by what is free on each, anything
/// else equally.
#[must_use]
pub fn spread(split: Split, devices: DeviceSet, free: impl Fn(DeviceId) -> Option<ByteCount>) -> Spread {
    let by_free = || devices.iter().map(|device| Some((device, free(device)?.0))).collect();
    let known: Option<Vec<_>> = if split == Split::Layer { by_free() } else { None };
    let equal = || devices.iter().map(|device| (device, 1)).collect();
    Spread { devices, weights: known.unwrap_or_else(equal) }
}

/// As [`spread`], from what the driver saw.
#[must_use]
pub fn spread_over(split: Split, devices: DeviceSet, views: &[DeviceView]) -> Spread {
    spread(split, devices, |device| views.iter().find(|view| view.device == device)?.free)
}

impl Wanted<'_> {
    /// Whether the model may use a device at all.
    #[must_use]
    pub fn allows(&self, device: DeviceId, sites: &[Site]) -> bool {
        match self.devices {
            Some(devices) => devices.contains(&device),
            None => device != DeviceId::Host || sites.iter().all(|site| site.device == DeviceId::Host),
        }
    }

    /// How many devices it may use.
    #[must_use]
    pub fn devices_allowed(&self, sites: &[Site]) -> u32 {
        let allowed = sites.iter().filter(|site| self.allows(site.device, sites));
        u32::try_from(allowed.count()).unwrap_or(u32::MAX)
    }

    /// An instance of a variant on these devices.
    #[must_use]
    pub fn on(&self, variant: usize, devices: DeviceSet, sites: &[Site]) -> Placement {
        let view = &self.model.variants[variant];
        let shared = self.loaded.contains(&(variant, devices));
        let spread = match self.model.spreads.iter().find(|spread| spread.devices == devices) {
            Some(known) => known.clone(),
            None => {
                spread(self.split, devices, |device| sites.iter().find(|site| site.device == device)?.free)
            }
        };
        let costs = devices.iter().map(|device| {
            let Takes { worker, instance } = view.takes.part(view.each, spread.share(device));
            (device, if shared { instance } else { worker + instance })
        });
        let mut placement = Placement { variant, devices, costs: costs.collect() };
        // A measured fact beats a prediction.
        if let Some((at, sufficed_not)) = view.shortage
            && at == devices
        {
            let missing = (sufficed_not + ByteCount(1)).saturating_sub(placement.total());
            for (device, cost) in &mut placement.costs {
                *cost += ByteCount(missing.fraction(spread.share(*device)).0 + u64::from(missing.0 > 0));
            }
        }
        placement
    }

    /// The best variant that fits, and where; `None` if none fits.
    ///
    /// Of the devices where it fits: the one with the fewest instances of this model, then with the fewest of all models,
    /// because two that compute at the same time halve each other; then the one where the least remains, which keeps room
    /// for large ones elsewhere (best fit); then the first. What is larger than each device goes to as few GPUs as hold
    /// it, if it may.
    #[must_use]
    pub fn place(&self, sites: &[Site]) -> Option<Placement> {
        let usable = self.usable.iter();
        usable.copied().find_map(|at| {
            self.place_alone(at, sites)
                .or_else(|| self.sets(at, sites).map(|set| self.on(at, set, sites)).find(|p| fits(p, sites)))
        })
    }

    fn place_alone(&self, variant: usize, sites: &[Site]) -> Option<Placement> {
        let allowed = sites.iter().filter(|site| self.allows(site.device, sites));
        let fitting = allowed.filter_map(|site| {
            let placement = self.on(variant, site.device.into(), sites);
            let left = match site.available {
                Some(available) => ByteCount(available.0.checked_sub(placement.total().0)?),
                None => ByteCount::ZERO,
            };
            let own = self.loaded.iter().filter(|(_, devices)| devices.contains(site.device)).count();
            Some(((own, site.instances, left), placement))
        });
        fitting.min_by_key(|(rank, _)| *rank).map(|(_, placement)| placement)
    }

    /// The sets of GPUs over which a variant may be divided, in the order in which they are tried: GPUs where this model
    /// has nothing, the idlest and emptiest first, the fewest that will do; then where it lies already. None for a variant
    /// that has room on one device.
    fn sets(&self, variant: usize, sites: &[Site]) -> impl Iterator<Item = DeviceSet> {
        let is_gpu = |site: &&Site| site.device != DeviceId::Host;
        let allowed = |site: &&Site| self.allows(site.device, sites);
        let has_none = |site: &&Site| self.loaded.iter().all(|(_, devices)| !devices.contains(site.device));
        let mut empty: Vec<&Site> = sites.iter().filter(is_gpu).filter(allowed).filter(has_none).collect();
        empty.sort_by_key(|site| {
            (site.instances, std::cmp::Reverse(site.available), std::cmp::Reverse(site.capacity))
        });
        let gpus = sites.iter().filter(is_gpu).count();
        let least = match self.split {
            Split::Off => usize::MAX,
            Split::Layer | Split::Tensor => 2,
            // llama.cpp cuts the rows for all GPUs that it sees.
            Split::Row => gpus.max(2),
        };
        let least = if self.has_room_alone(variant, sites) { usize::MAX } else { least };
        let devices: Vec<DeviceId> = empty.into_iter().map(|site| site.device).collect();
        let fresh = (least..=devices.len()).map(move |count| devices[..count].iter().copied().collect());
        let there = self.loaded.iter().filter(move |(at, set)| *at == variant && set.len() > 1);
        fresh.chain(there.map(|(_, set)| *set).collect::<Vec<_>>())
    }

    /// Where room can be made for a variant: one device, or several.
    #[must_use]
    pub fn candidates(&self, variant: usize, sites: &[Site]) -> Vec<Placement> {
        let allowed = sites.iter().filter(|site| self.allows(site.device, sites));
        let alone = allowed.map(|site| site.device.into());
        let with_room = |placement: &Placement| within(placement, |device| capacity(sites, device));
        let all = alone.chain(self.sets(variant, sites)).map(|set| self.on(variant, set, sites));
        all.filter(with_room).collect()
    }

    fn has_room_alone(&self, variant: usize, sites: &[Site]) -> bool {
        let bare = Self { loaded: &[], ..*self };
        let mut allowed = sites.iter().filter(|site| self.allows(site.device, sites));
        allowed.any(|site| {
            let placement = bare.on(variant, site.device.into(), sites);
            within(&placement, |device| capacity(sites, device))
        })
    }

    /// The smallest cost of any place that may be used, other instances or not.
    #[must_use]
    pub fn smallest(&self, sites: &[Site]) -> ByteCount {
        let places = self.usable.iter().flat_map(|at| self.candidates(*at, sites));
        let alone = || {
            let allowed = sites.iter().filter(|site| self.allows(site.device, sites));
            let costs = allowed.flat_map(|site| {
                self.usable.iter().map(|at| self.on(*at, site.device.into(), sites).total())
            });
            costs.min().unwrap_or_default()
        };
        places.map(|placement| placement.total()).min().unwrap_or_else(alone)
    }

    /// Whether no variant would fit even if all others were gone.
    #[must_use]
    pub fn never_fits(&self, sites: &[Site]) -> bool {
        let bare = Self { loaded: &[], ..*self };
        // Nothing of others is in the way of how it would be divided, either.
        let empty =
            |site: &Site| Site { free: site.capacity, available: site.capacity, instances: 0, ..*site };
        let empty: Vec<Site> = sites.iter().map(empty).collect();
        self.usable.iter().all(|at| bare.candidates(*at, &empty).is_empty())
    }
}

fn within(placement: &Placement, limit: impl Fn(DeviceId) -> Option<ByteCount>) -> bool {
    placement.costs.iter().all(|(device, cost)| limit(*device).is_none_or(|limit| *cost <= limit))
}

fn fits(placement: &Placement, sites: &[Site]) -> bool {
    within(placement, |device| sites.iter().find(|site| site.device == device)?.available)
}

fn capacity(sites: &[Site], device: DeviceId) -> Option<ByteCount> {
    sites.iter().find(|site| site.device == device)?.capacity
}

/// Bytes that come free on a device when an instance ends: its own, and the weights if it is the last of `others` that
/// shares them.
#[must_use]
pub fn freed_bytes<'a>(
    instance: &InstanceView,
    model: &ModelObservation,
    device: DeviceId,
    others: impl IntoIterator<Item = &'a InstanceView>,
) -> ByteCount {
    // A stale instance's variant may be gone.
    let Some(view) = model.variants.get(instance.variant) else { return ByteCount::ZERO };
    if !instance.devices.contains(device) {
        return ByteCount::ZERO;
    }
    let shares = |other: &InstanceView| {
        other.id != instance.id
            && (other.variant, other.devices, other.stale)
                == (instance.variant, instance.devices, instance.stale)
    };
    let shared = others.into_iter().any(shares);
    let takes = view.takes.part(view.each, model.share(instance.devices, device));
    takes.instance + if shared { ByteCount::ZERO } else { takes.worker }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
