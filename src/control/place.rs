//! Where an instance goes, and which variant it is.
//!
//! Input: what is free on each device, what a model's variants take. Output: variant, device and cost. PURE.

use crate::units::{ByteCount, DeviceId};
use crate::view::{InstanceView, VariantView};

/// A device as the decisions of one step see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Which.
    pub device: DeviceId,
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
    /// All variants of the model, best first.
    pub variants: &'a [VariantView],
    /// Those that may be taken, best first.
    pub usable: &'a [usize],
    /// Devices that may be taken; `None` for the GPUs, or the host where there are none.
    pub devices: Option<&'a [DeviceId]>,
    /// Variants and devices of the model's instances: weights that are there already cost nothing.
    pub loaded: &'a [(usize, DeviceId)],
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Index of the variant.
    pub variant: usize,
    /// The device.
    pub device: DeviceId,
    /// Bytes that it takes there.
    pub cost: ByteCount,
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

    /// Bytes that an instance of a variant takes on a device.
    #[must_use]
    pub fn cost(&self, variant: usize, device: DeviceId) -> ByteCount {
        let view = &self.variants[variant];
        let shared = self.loaded.contains(&(variant, device));
        let weights = if shared { ByteCount::ZERO } else { view.weights_bytes };
        let cost = weights + view.instance_bytes;
        match view.shortage {
            // A measured fact beats a prediction.
            Some((at, sufficed_not)) if at == device => cost.max(sufficed_not + ByteCount(1)),
            _ => cost,
        }
    }

    /// The best variant that fits, and the device for it; `None` if none fits.
    ///
    /// Of the devices where it fits: the one with the fewest instances of this model, then with the fewest of all models,
    /// because two that compute at the same time halve each other; then the one where the least remains, which keeps room
    /// for large ones elsewhere (best fit); then the first.
    #[must_use]
    pub fn place(&self, sites: &[Site]) -> Option<Placement> {
        self.usable.iter().find_map(|&variant| {
            let fitting = sites.iter().filter(|site| self.allows(site.device, sites)).filter_map(|site| {
                let cost = self.cost(variant, site.device);
                let left = match site.available {
                    Some(available) if cost > available => return None,
                    Some(available) => available.saturating_sub(cost),
                    None => ByteCount::ZERO,
                };
                let own = self.loaded.iter().filter(|(_, device)| *device == site.device).count();
                Some(((own, site.instances, left), Placement { variant, device: site.device, cost }))
            });
            fitting.min_by_key(|(rank, _)| *rank).map(|(_, placement)| placement)
        })
    }

    /// The smallest cost on any device that may be used.
    #[must_use]
    pub fn smallest(&self, sites: &[Site]) -> ByteCount {
        let allowed = sites.iter().filter(|site| self.allows(site.device, sites));
        let costs = allowed.flat_map(|site| self.usable.iter().map(|at| self.cost(*at, site.device)));
        costs.min().unwrap_or_default()
    }

    /// Whether no variant would fit even if all others were gone.
    #[must_use]
    pub fn never_fits(&self, sites: &[Site]) -> bool {
        let mut allowed = sites.iter().filter(|site| self.allows(site.device, sites));
        let alone = Wanted { loaded: &[], ..*self };
        allowed.all(|site| {
            let capacity = site.capacity.unwrap_or(ByteCount(u64::MAX));
            self.usable.iter().all(|at| alone.cost(*at, site.device) > capacity)
        })
    }
}

/// Bytes that come free on its device when an instance ends: its own, and the weights if it is the last of `others` that
/// shares them.
#[must_use]
pub fn freed_bytes<'a>(
    instance: &InstanceView,
    variants: &[VariantView],
    others: impl IntoIterator<Item = &'a InstanceView>,
) -> ByteCount {
    // A stale instance's variant may be gone.
    let Some(view) = variants.get(instance.variant) else { return ByteCount::ZERO };
    let shares = |other: &InstanceView| {
        other.id != instance.id
            && (other.variant, other.device, other.stale)
                == (instance.variant, instance.device, instance.stale)
    };
    let shared = others.into_iter().any(shares);
    view.instance_bytes + if shared { ByteCount::ZERO } else { view.weights_bytes }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn variant(weights: u64) -> VariantView {
        VariantView {
            weights_bytes: ByteCount(weights),
            instance_bytes: ByteCount(10),
            max_threads: 1,
            load_time: Duration::from_secs(1),
            failed: None,
            shortage: None,
        }
    }

    fn site(device: DeviceId, available: u64, instances: u32) -> Site {
        Site { device, available: Some(ByteCount(available)), capacity: Some(ByteCount(500)), instances }
    }

    const GPU: [DeviceId; 3] = [DeviceId::Gpu(0), DeviceId::Gpu(1), DeviceId::Gpu(2)];

    fn check(sites: &[Site], loaded: &[(usize, DeviceId)], expected: Option<(usize, DeviceId)>) {
        let variants = [variant(100), variant(40)];
        let wanted = Wanted { variants: &variants, usable: &[0, 1], devices: None, loaded };
        let found = wanted.place(sites).map(|placement| (placement.variant, placement.device));
        assert_eq!(found, expected, "{sites:?} {loaded:?}");
    }

    #[test]
    fn the_best_variant_goes_to_the_idlest_gpu_then_where_it_fits_best() {
        check(&[site(GPU[0], 200, 1), site(GPU[1], 200, 0)], &[], Some((0, GPU[1])));
        check(&[site(GPU[0], 200, 0), site(GPU[1], 120, 0)], &[], Some((0, GPU[1])));
        check(&[site(GPU[0], 200, 0), site(GPU[1], 200, 0)], &[], Some((0, GPU[0])));
        // Quality before place.
        check(&[site(GPU[0], 60, 0), site(GPU[1], 200, 3)], &[], Some((0, GPU[1])));
        check(&[site(GPU[0], 60, 0), site(GPU[1], 100, 0)], &[], Some((1, GPU[0])));
        check(&[site(GPU[0], 49, 0)], &[], None);
        // Another GPU first, although the weights are here.
        check(&[site(GPU[0], 200, 1), site(GPU[1], 200, 0)], &[(0, GPU[0])], Some((0, GPU[1])));
        check(&[site(GPU[0], 20, 1), site(GPU[1], 99, 0)], &[(0, GPU[0])], Some((0, GPU[0])));
        // The host only where there is no GPU.
        check(&[site(GPU[0], 0, 0), site(DeviceId::Host, 500, 0)], &[], None);
        check(&[site(DeviceId::Host, 500, 0)], &[], Some((0, DeviceId::Host)));
    }

    #[test]
    fn a_model_stays_on_the_devices_that_its_policy_names() {
        let variants = [variant(100)];
        let sites = [site(GPU[0], 200, 0), site(GPU[1], 200, 5), site(DeviceId::Host, 500, 0)];
        for (devices, expected) in [([GPU[1]], GPU[1]), ([DeviceId::Host], DeviceId::Host)] {
            let wanted = Wanted { variants: &variants, usable: &[0], devices: Some(&devices), loaded: &[] };
            assert_eq!(wanted.place(&sites).unwrap().device, expected);
        }
        let wanted = Wanted { variants: &variants, usable: &[0], devices: Some(&[GPU[2]]), loaded: &[] };
        assert_eq!(wanted.place(&sites), None);
    }

    #[test]
    fn what_is_larger_than_every_device_never_fits() {
        let variants = [variant(600), variant(495)];
        let wanted = |usable| Wanted { variants: &variants, usable, devices: None, loaded: &[] };
        let sites = [site(GPU[0], 0, 0), site(DeviceId::Host, 500, 0)];
        assert!(wanted(&[0, 1]).never_fits(&sites));
        let sites = [Site { capacity: Some(ByteCount(505)), ..sites[0] }];
        assert!(!wanted(&[0, 1]).never_fits(&sites));
        assert!(wanted(&[0]).never_fits(&sites));
        assert!(!wanted(&[0]).never_fits(&[Site { capacity: None, ..sites[0] }]));
    }
}
