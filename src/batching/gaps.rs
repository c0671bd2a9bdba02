//! Which slots share one pass over the weights, and what fills the gaps between them.
//!
//! PURE. With a KV cache of its own for each sequence, llama.cpp computes sequences together only if their numbers
//! follow each other without a gap (`llama_batch_allocr::split_equal` with `sequential`): a batch for slots 0, 1, 3 and
//! 4 is two passes, each of which reads all weights. A token for slot 2, which is forgotten afterwards, makes it one.

use std::ops::Range;

use super::Share;

/// The slots in which one more sequence leaves no gap of more than `max_gap` to those that serve, from `first` to
/// `last`; all if none serves.
#[must_use]
pub fn window(first: Option<usize>, last: Option<usize>, max_gap: usize, slots: usize) -> Range<usize> {
    match (first, last) {
        (Some(first), Some(last)) => first.saturating_sub(max_gap + 1)..(last + max_gap + 2).min(slots),
        _ => 0..slots,
    }
}

/// Adds fillers to `shares`, which are ordered by slot: one token for each slot in a gap of at most `max_gap` of which
/// every slot `can_fill`, as long as the batch has room for `room` more tokens.
pub fn fill(shares: &mut Vec<Share>, max_gap: usize, mut room: usize, can_fill: impl Fn(usize) -> bool) {
    let gaps: Vec<Range<usize>> =
        shares.windows(2).map(|pair| pair[0].slot + 1..pair[1].slot).filter(|gap| !gap.is_empty()).collect();
    for gap in gaps {
        if gap.len() <= max_gap.min(room) && gap.clone().all(&can_fill) {
            room -= gap.len();
            shares.extend(gap.map(Share::filler));
        }
    }
    shares.sort_unstable_by_key(|share| share.slot);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(slots: &[usize], max_gap: usize, room: usize, expected: &[usize]) {
        let mut shares: Vec<Share> =
            slots.iter().map(|&slot| Share { slot, tokens: 1, padding: 0, last: true }).collect();
        fill(&mut shares, max_gap, room, |slot| slot != 9);
        assert!(shares.is_sorted_by_key(|share| share.slot));
        let fillers: Vec<_> =
            shares.iter().filter(|share| share.tokens == 0).map(|share| share.slot).collect();
        assert_eq!(fillers, expected, "{slots:?}, gaps of {max_gap}, room for {room}");
    }

    #[test]
    fn short_gaps_are_filled_while_there_is_room() {
        check(&[], 2, 8, &[]);
        check(&[0, 1, 2], 2, 8, &[]);
        check(&[0, 1, 3, 4], 2, 8, &[2]);
        check(&[0, 3, 7], 2, 8, &[1, 2]);
        check(&[0, 3, 6], 2, 3, &[1, 2]);
        check(&[0, 2], 0, 8, &[]);
        check(&[8, 10, 12], 2, 8, &[11]);
    }

    #[test]
    fn the_window_reaches_one_gap_beyond_those_that_serve() {
        assert_eq!(window(None, None, 2, 8), 0..8);
        assert_eq!(window(Some(0), Some(1), 2, 8), 0..5);
        assert_eq!(window(Some(5), Some(6), 0, 8), 4..8);
    }
}
