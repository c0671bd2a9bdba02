//! Chooses the instance for the next request.
//!
//! Input: the ready instances of a model. Output: an index. PURE: the caller leases the slot, and asks again if
//! another request was faster.

use crate::view::{InstanceState, InstanceView};

/// The instance with the smallest share of leased slots, the better variant where shares are equal, then the
/// older one; `None` if none is idle.
///
/// Spreading by share keeps batches small while there is room: every sequence decodes faster in a smaller batch.
#[must_use]
pub fn choose(instances: impl IntoIterator<Item = InstanceView>) -> Option<usize> {
    instances
        .into_iter()
        .enumerate()
        .filter(|(_, view)| view.state == InstanceState::Ready && view.leased < view.slots)
        // Shares are compared as leased / slots over the common denominator 2^32, without rounding errors.
        .min_by_key(|(index, view)| {
            ((u64::from(view.leased) << 32) / u64::from(view.slots), view.variant, *index)
        })
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{DeviceId, InstanceId};

    fn check(instances: &[(u32, u32, usize)], expected: Option<usize>) {
        let views = instances.iter().map(|&(slots, leased, variant)| InstanceView {
            id: InstanceId(0),
            variant,
            device: DeviceId::Host,
            state: InstanceState::Ready,
            slots,
            leased,
            threads: 1,
            progress: 0,
            stale: false,
        });
        assert_eq!(choose(views), expected, "(slots, leased, variant): {instances:?}");
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
        for state in [InstanceState::Starting, InstanceState::Draining, InstanceState::Stopping] {
            let view = InstanceView {
                id: InstanceId(0),
                variant: 0,
                device: DeviceId::Host,
                state,
                slots: 4,
                leased: 0,
                threads: 1,
                progress: 0,
                stale: false,
            };
            assert_eq!(choose([view]), None);
        }
    }
}
