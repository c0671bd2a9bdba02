//! Random numbers that depend on a request's seed and a token's number alone.
//!
//! PURE. There is no state: whichever instance chooses a token, in whichever batch, draws the same number for it.

/// What a number is drawn for. Numbers for different purposes are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The token.
    Token,
    /// The token, after the first one did not conform to the grammar. The first number would favour what lies
    /// where the refused tokens were.
    SecondToken,
    /// Whether XTC acts.
    Xtc,
}

/// A number in [0, 1) that depends on its arguments alone.
///
/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
/// 2014) over the seed, the purpose and the index; its top 53 bits fill an `f64`'s mantissa.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact in an f64")]
pub(super) fn uniform(seed: u64, purpose: Purpose, index: u32) -> f64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let number = ((purpose as u64) << 32) + u64::from(index) + 1;
    let z = mix(mix(seed).wrapping_add(GAMMA.wrapping_mul(number)));
    (z >> 11) as f64 / (1u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_seed_purpose_and_index_alone() {
        let draw = |seed, purpose, index| uniform(seed, purpose, index).to_bits();
        assert_eq!(draw(1, Purpose::Token, 5), draw(1, Purpose::Token, 5));
        assert_ne!(draw(1, Purpose::Token, 5), draw(1, Purpose::Token, 6));
        assert_ne!(draw(1, Purpose::Token, 5), draw(2, Purpose::Token, 5));
        assert_ne!(draw(1, Purpose::Token, 5), draw(1, Purpose::SecondToken, 5));
        assert_ne!(draw(1, Purpose::Token, 5), draw(1, Purpose::Xtc, 5));
    }

    #[test]
    fn draws_fill_the_unit_interval_evenly() {
        let mut tenths = [0u32; 10];
        for index in 0..100_000 {
            let draw = uniform(3, Purpose::Token, index);
            assert!((0.0..1.0).contains(&draw));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 9")]
            let tenth = (draw * 10.0) as usize;
            tenths[tenth] += 1;
        }
        // Four standard deviations of a binomial with n = 100,000 and p = 0.1 are 379.
        assert!(tenths.iter().all(|count| count.abs_diff(10_000) < 379), "{tenths:?}");
    }
}
