//! Divides the CPU between the instances on the host.
//!
//! PURE. llama.cpp's threads wait for each other at every operation: with more of them than cores everything becomes
//! many times slower, and a small model is slower with more threads than with one.

use std::num::NonZeroU32;

use crate::units::ByteCount;

/// Weights that give one more thread enough to do between two meetings with the others. Measured with a model of 7 MiB, of
/// which two threads compute 1.7 times as many tokens as one.
const BYTES_A_THREAD: u64 = 3 << 20;

/// The most threads that one instance computes with: as the policy says, else as its weights are worth.
#[must_use]
pub fn most_useful(policy: Option<NonZeroU32>, weights: ByteCount) -> u32 {
    let by_size = u32::try_from(weights.0 / BYTES_A_THREAD).unwrap_or(u32::MAX).max(1);
    policy.map_or(by_size, NonZeroU32::get)
}

/// Threads for each instance, of which `most` says how many it can use: never more in all than `cpu_threads`, as long
/// as every instance can have one. The first ones get what remains.
#[must_use]
pub fn divide(cpu_threads: u32, most: &[u32]) -> Vec<u32> {
    let mut shares = vec![1; most.len()];
    let count = u32::try_from(most.len()).unwrap_or(u32::MAX);
    let mut left = cpu_threads.saturating_sub(count);
    while left > 0 {
        let mut given = false;
        for (share, most) in shares.iter_mut().zip(most) {
            if *share < *most && left > 0 {
                *share += 1;
                left -= 1;
                given = true;
            }
        }
        if !given {
            break;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_one_cannot_use_goes_to_the_others() {
        let check = |threads, most: &[u32], expected: &[u32]| assert_eq!(divide(threads, most), expected);
        check(4, &[], &[]);
        check(4, &[9], &[4]);
        check(4, &[9, 9, 9], &[2, 1, 1]);
        check(8, &[1, 9, 2], &[1, 5, 2]);
        check(8, &[1, 1], &[1, 1]);
        check(2, &[9, 9, 9], &[1, 1, 1]);
    }

    #[test]
    fn a_small_model_gets_one_thread_unless_the_policy_wants_more() {
        assert_eq!(most_useful(None, ByteCount::from_mib(2)), 1);
        assert_eq!(most_useful(None, ByteCount::from_mib(7)), 2);
        assert_eq!(most_useful(NonZeroU32::new(1), ByteCount::from_mib(7)), 1);
    }

    proptest! {
        #[test]
        fn shares_stay_within_the_machine_and_use_it(
            threads in 1u32..64, most in proptest::collection::vec(1u32..32, 1..16),
        ) {
            let shares = divide(threads, &most);
            let total: u32 = shares.iter().sum();
            let count = u32::try_from(most.len()).unwrap();
            prop_assert!(total <= threads.max(count));
            prop_assert!(shares.iter().zip(&most).all(|(share, most)| (1..=*most).contains(share)));
            prop_assert!(total >= threads.min(most.iter().sum()));
        }
    }
}
