//! Chooses the instance for the next request.
//!
//! Input: the ready instances of a model. Output: an index. PURE: the caller leases the slot, and asks again if
//! another request was faster.

use crate::view::InstanceLoad;

/// The instance with the smallest share of leased slots, the better variant where shares are equal, then the
/// older one; `None` if none is idle.
///
/// Spreading by share keeps batches small while there is room: every sequence decodes faster in a smaller batch.
#[must_use]
pub fn choose(instances: impl IntoIterator<Item = InstanceLoad>) -> Option<usize> {
    let mut best: Option<(usize, InstanceLoad)> = None;
    for (index, load) in instances.into_iter().enumerate() {
        let idle = load.ready && load.leased < load.slots;
        if idle && best.is_none_or(|(_, best)| is_better(load, best)) {
            best = Some((index, load));
        }
    }
    best.map(|(index, _)| index)
}

/// Whether an instance should be taken rather than an older one. Shares are compared over the common denominator,
/// without rounding.
fn is_better(load: InstanceLoad, than: InstanceLoad) -> bool {
    let share = u64::from(load.leased) * u64::from(than.slots);
    let other = u64::from(than.leased) * u64::from(load.slots);
    share < other || (share == other && load.variant < than.variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(instances: &[(u32, u32, usize)], expected: Option<usize>) {
        let loads = instances.iter().map(|&(slots, leased, variant)| InstanceLoad {
            variant,
            ready: true,
            slots,
            leased,
        });
        assert_eq!(choose(loads), expected, "(slots, leased, variant): {instances:?}");
    }

    #[test]
    fn takes_the_least_loaded_idle_instance() {
        check(&[], None);
        check(&[(2, 2, 0)], None);
        check(&[(2, 2, 0), (2, 1, 0)], Some(1));
        check(&[(4, 2, 0), (4, 1, 0), (4, 3, 0)], Some(1));
        check(&[(4, 2, 0), (16, 4, 0)], Some(1));
    }

    #[test]
    fn equal_load_goes_to_the_better_variant_then_to_the_older_instance() {
        check(&[(4, 1, 1), (4, 1, 0)], Some(1));
        check(&[(4, 1, 0), (4, 1, 0)], Some(0));
    }

    #[test]
    fn an_instance_that_is_not_ready_is_never_chosen() {
        let load = InstanceLoad { variant: 0, ready: false, slots: 4, leased: 0 };
        assert_eq!(choose([load]), None);
        assert_eq!(choose([load, InstanceLoad { ready: true, leased: 3, ..load }]), Some(1));
    }
}
