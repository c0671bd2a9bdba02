//! Chooses the instance for the next request.
//!
//! Input: the ready instances of a model. Output: an index. PURE: the caller leases the slot, and asks again if
//! another request was faster.

pub mod affinity;

use crate::view::InstanceLoad;

/// How many slots more than the least loaded instance one may have leased, and still be chosen because it holds a prompt:
/// this many, or this share of its slots, for the whole prompt, fewer for a part. More, and the instances beside it would
/// idle while answers crowd where a common system prompt is.
const DETOUR_SLOTS: f64 = 2.0;
const DETOUR_SHARE: f64 = 0.25;

/// An instance that has computed a part of the prompt before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Holder {
    /// Its index.
    pub index: usize,
    /// The part, from 0 to 1.
    pub share: f64,
}

/// The instance with the smallest share of leased slots, the better variant where shares are equal, then the
/// older one; `None` if none is idle. `holder`, if it is idle and hardly more loaded, is taken before.
///
/// Spreading by share keeps batches small while there is room: every sequence decodes faster in a smaller batch.
#[must_use]
pub fn choose(instances: impl IntoIterator<Item = InstanceLoad>, holder: Option<Holder>) -> Option<usize> {
    let mut best: Option<(usize, InstanceLoad)> = None;
    let mut held = None;
    for (index, load) in instances.into_iter().enumerate() {
        let idle = load.ready && load.leased < load.slots;
        if idle && best.is_none_or(|(_, best)| is_better(load, best)) {
            best = Some((index, load));
        }
        if idle && let Some(holder) = holder.filter(|holder| holder.index == index) {
            held = Some((holder, load));
        }
    }
    let (index, best) = best?;
    let (holder, load) = held.unwrap_or((Holder { index, share: 0.0 }, best));
    let slots = f64::from(load.slots);
    let detour = f64::from(load.leased) - slots * f64::from(best.leased) / f64::from(best.slots.max(1));
    let worth = holder.share * DETOUR_SLOTS.max(DETOUR_SHARE * slots);
    Some(if load.variant <= best.variant && detour <= worth { holder.index } else { index })
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
        assert_eq!(choose(loads, None), expected, "(slots, leased, variant): {instances:?}");
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
    fn who_holds_the_prompt_is_taken_unless_it_is_much_more_loaded_full_or_a_lesser_variant() {
        let check = |leased: [u32; 2], variant, share, expected| {
            let load = |leased, variant| InstanceLoad { variant, ready: true, slots: 8, leased };
            let holder = Some(Holder { index: 1, share });
            let chosen = choose([load(leased[0], 0), load(leased[1], variant)], holder);
            assert_eq!(chosen, Some(expected), "{leased:?} {variant} {share}");
        };
        check([0, 0], 0, 0.1, 1);
        check([0, 2], 0, 1.0, 1);
        check([0, 2], 0, 0.9, 0);
        check([0, 3], 0, 1.0, 0);
        check([5, 6], 0, 0.5, 1);
        check([7, 8], 0, 1.0, 0);
        check([0, 0], 1, 1.0, 0);
        let gone = Some(Holder { index: 5, share: 1.0 });
        assert_eq!(choose([InstanceLoad { variant: 0, ready: true, slots: 1, leased: 0 }], gone), Some(0));
    }

    #[test]
    fn an_instance_that_is_not_ready_is_never_chosen() {
        let load = InstanceLoad { variant: 0, ready: false, slots: 4, leased: 0 };
        assert_eq!(choose([load], None), None);
        assert_eq!(choose([load, InstanceLoad { ready: true, leased: 3, ..load }], None), Some(1));
    }
}
