//! Where instances go, as tables.

use std::time::Duration;

use super::*;
use crate::units::ModelName;
use crate::view::{QueueSignals, VariantView};

fn variant(weights: u64) -> VariantView {
    VariantView {
        takes: Takes { worker: ByteCount(weights), instance: ByteCount(10) },
        each: Takes { worker: ByteCount(20), instance: ByteCount(2) },
        max_threads: 1,
        load_time: Duration::from_secs(1),
        start_time: Duration::from_millis(50),
        failed: None,
        shortage: None,
    }
}

fn model(weights: &[u64]) -> ModelObservation {
    ModelObservation {
        model: ModelName::new("m"),
        queue: QueueSignals::default(),
        instances: Vec::new(),
        variants: weights.iter().map(|weights| variant(*weights)).collect(),
        spreads: Vec::new(),
    }
}

fn wanted<'a>(model: &'a ModelObservation, usable: &'a [usize]) -> Wanted<'a> {
    Wanted { model, usable, devices: None, split: Split::Layer, loaded: &[] }
}

fn site(device: DeviceId, available: u64, instances: u32) -> Site {
    let available = Some(ByteCount(available));
    Site { device, free: available, available, capacity: Some(ByteCount(500)), instances }
}

const GPU: [DeviceId; 3] = [DeviceId::Gpu(0), DeviceId::Gpu(1), DeviceId::Gpu(2)];

fn check(sites: &[Site], loaded: &[(usize, DeviceId)], expected: Option<(usize, DeviceId)>) {
    let model = model(&[100, 40]);
    let loaded: Vec<_> = loaded.iter().map(|(variant, device)| (*variant, (*device).into())).collect();
    let wanted = Wanted { loaded: &loaded, ..wanted(&model, &[0, 1]) };
    let found = wanted.place(sites).map(|placement| (placement.variant, placement.devices));
    let expected = expected.map(|(variant, device)| (variant, device.into()));
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
    let model = model(&[100]);
    let sites = [site(GPU[0], 200, 0), site(GPU[1], 200, 5), site(DeviceId::Host, 500, 0)];
    for (devices, expected) in [([GPU[1]], GPU[1]), ([DeviceId::Host], DeviceId::Host)] {
        let wanted = Wanted { devices: Some(&devices), ..wanted(&model, &[0]) };
        assert_eq!(wanted.place(&sites).unwrap().devices, expected.into());
    }
    let wanted = Wanted { devices: Some(&[GPU[2]]), ..wanted(&model, &[0]) };
    assert_eq!(wanted.place(&sites), None);
}

#[test]
fn what_is_larger_than_every_device_never_fits() {
    let model = model(&[600, 495]);
    let wanted = |usable| wanted(&model, usable);
    let sites = [site(GPU[0], 0, 0), site(DeviceId::Host, 500, 0)];
    assert!(wanted(&[0, 1]).never_fits(&sites));
    let sites = [Site { capacity: Some(ByteCount(505)), ..sites[0] }];
    assert!(!wanted(&[0, 1]).never_fits(&sites));
    assert!(wanted(&[0]).never_fits(&sites));
    assert!(!wanted(&[0]).never_fits(&[Site { capacity: None, ..sites[0] }]));
}

/// Devices with so many bytes free and in all, and the set that a variant of 600 bytes goes to.
fn check_split(split: Split, sites: &[(u64, u64)], loaded: &[(usize, DeviceSet)], expected: &[u32]) {
    let mut model = model(&[600]);
    model.spreads = loaded.iter().map(|(_, set)| spread(split, *set, |_| None)).collect();
    let numbered = sites.iter().zip(0..);
    let sites: Vec<Site> = numbered
        .map(|((free, total), at)| Site {
            capacity: Some(ByteCount(*total)),
            ..site(DeviceId::Gpu(at), *free, 0)
        })
        .collect();
    let found = Wanted { split, loaded, ..wanted(&model, &[0]) }.place(&sites);
    let expected: DeviceSet = expected.iter().copied().map(DeviceId::Gpu).collect();
    let expected = Some(expected).filter(|set| !set.is_empty());
    assert_eq!(found.map(|placement| placement.devices), expected, "{split:?} {sites:?} {loaded:?}");
}

#[test]
fn what_is_larger_than_each_gpu_goes_to_the_fewest_that_hold_it() {
    let empty = (500, 500);
    check_split(Split::Layer, &[empty, empty, empty], &[], &[0, 1]);
    check_split(Split::Layer, &[(200, 500), empty, empty], &[], &[1, 2]);
    check_split(Split::Layer, &[(250, 250), (250, 250), (250, 250)], &[], &[0, 1, 2]);
    check_split(Split::Layer, &[(100, 500), (100, 500), (100, 500)], &[], &[]);
    check_split(Split::Off, &[empty, empty], &[], &[]);
    check_split(Split::Row, &[empty, empty, empty], &[], &[0, 1, 2]);
    // It has room on one: others are in the way, and must go.
    check_split(Split::Layer, &[(400, 800), (400, 800)], &[], &[]);
    // Another one goes to other GPUs, or shares the weights.
    let there: DeviceSet = [DeviceId::Gpu(0), DeviceId::Gpu(1)].into_iter().collect();
    check_split(Split::Layer, &[(100, 500), (100, 500), empty, empty], &[(0, there)], &[2, 3]);
    check_split(Split::Layer, &[(100, 500), (100, 500), (400, 500)], &[(0, there)], &[0, 1]);
    check_split(Split::Layer, &[(5, 500), (100, 500)], &[(0, there)], &[]);
}

#[test]
fn each_of_several_gpus_takes_its_share_and_what_all_take() {
    let model = model(&[620]);
    let sites = [site(GPU[0], 300, 0), site(GPU[1], 500, 0)];
    let both = GPU[..2].iter().copied().collect();
    let placement = wanted(&model, &[0]).on(0, both, &sites);
    // 600 bytes of weights and 8 of an instance are divided 3 to 5.
    assert_eq!(
        placement.costs,
        [(GPU[0], ByteCount(20 + 225 + 2 + 3)), (GPU[1], ByteCount(20 + 375 + 2 + 5))]
    );
    assert!(!wanted(&model, &[0]).never_fits(&sites));
    assert!(Wanted { split: Split::Off, ..wanted(&model, &[0]) }.never_fits(&sites));
}
