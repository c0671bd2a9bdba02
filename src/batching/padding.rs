//! Makes prompts that are computed together equally long, so that they share passes over the weights.
//!
//! PURE. With a KV cache of its own for each sequence, llama.cpp computes in one pass an equal number of tokens of each
//! of a run of neighbouring slots (`llama_batch_allocr::split_equal` with `sequential`): as soon as the shortest of them
//! ends, the rest of the others needs another pass, for each length that occurs. Some tokens after the shorter prompts,
//! which are forgotten afterwards, make it one. What comes after a token does not change what is computed for it.

use super::Share;

/// Passes over the weights that llama.cpp makes of a batch: tokens by slot, ordered by slot. A pass has at most
/// `pass_tokens` tokens.
#[must_use]
pub fn passes(batch: impl IntoIterator<Item = (usize, usize)>, pass_tokens: usize) -> usize {
    let mut left: Vec<(usize, usize)> = batch.into_iter().filter(|(_, tokens)| *tokens > 0).collect();
    let mut passes = 0;
    while let Some(&(first, _)) = left.first() {
        let run = left.iter().enumerate().take_while(|(at, (slot, _))| *slot == first + at).count();
        let shortest = left[..run].iter().map(|(_, tokens)| *tokens).min().unwrap_or(0);
        let each = shortest.min((pass_tokens / run).max(1));
        left[..run].iter_mut().for_each(|(_, tokens)| *tokens -= each);
        left.retain(|(_, tokens)| *tokens > 0);
        passes += 1;
    }
    passes
}

/// What padding may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Tokens of padding that cost as much as a pass; 0 if nothing may be padded.
    pub price: usize,
    /// Tokens of a pass.
    pub pass_tokens: usize,
    /// Tokens for which the batch has room.
    pub room: usize,
}

/// Pads complete prompts among `shares`, which are ordered by slot, up to longer ones that are computed with them,
/// wherever that costs less than the passes that it saves. `holds(slot)`: how many tokens have room in a slot.
pub fn pad(shares: &mut [Share], terms: Terms, holds: impl Fn(usize) -> usize) {
    let is_prompt = |share: &Share| share.tokens > 1 && share.last;
    if terms.price == 0 || shares.iter().filter(|share| is_prompt(share)).count() < 2 {
        return;
    }
    let mut lengths: Vec<usize> = shares.iter().filter(|s| is_prompt(s)).map(|s| s.tokens).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut room = terms.room;
    // From the longest down: as many lengths as are worth it become one level, the next one begins another.
    while let Some(level) = lengths.pop() {
        let before = count(shares, terms.pass_tokens);
        let joined = (0..lengths.len()).find_map(|from| {
            let joining = |share: &Share| {
                is_prompt(share)
                    && (lengths[from]..level).contains(&share.tokens)
                    && holds(share.slot) >= level
            };
            let cost: usize = shares.iter().filter(|s| joining(s)).map(|share| level - share.tokens).sum();
            if cost > room.min(terms.price * (before - 1)) {
                return None;
            }
            shares.iter_mut().filter(|s| joining(s)).for_each(|share| share.padding = level - share.tokens);
            let saved = before.saturating_sub(count(shares, terms.pass_tokens));
            if cost <= terms.price * saved {
                return Some((from, cost));
            }
            shares.iter_mut().filter(|s| joining(s)).for_each(|share| share.padding = 0);
            None
        });
        if let Some((from, cost)) = joined {
            lengths.truncate(from);
            room -= cost;
        }
    }
}

fn count(shares: &[Share], pass_tokens: usize) -> usize {
    passes(shares.iter().map(|share| (share.slot, share.all_tokens())), pass_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share((slot, tokens): (usize, usize)) -> Share {
        Share { slot, tokens, padding: 0, last: true }
    }

    fn paddings(batch: &[(usize, usize)], terms: Terms) -> Vec<usize> {
        let mut shares: Vec<Share> = batch.iter().copied().map(share).collect();
        pad(&mut shares, terms, |_| 400);
        shares.iter().map(|share| share.padding).collect()
    }

    const TERMS: Terms = Terms { price: 48, pass_tokens: 512, room: 500 };

    #[test]
    fn passes_are_counted_as_llama_cpp_makes_them() {
        for (batch, expected) in [
            (&[][..], 0),
            (&[(0, 1), (1, 1), (2, 1)], 1),
            (&[(0, 1), (1, 1), (3, 1)], 2),
            (&[(0, 1), (1, 200), (2, 1)], 2),
            (&[(4, 200), (5, 190)], 2),
            (&[(4, 300), (5, 300)], 2),
            (&[(4, 256), (5, 256)], 1),
            (&[(0, 3), (1, 5), (2, 4)], 3),
            // The first and the last of what is left are no neighbours.
            (&[(0, 5), (1, 3), (2, 5)], 3),
            (&[(7, 2000)], 4),
        ] {
            assert_eq!(passes(batch.iter().copied(), 512), expected, "{batch:?}");
        }
    }

    #[test]
    fn prompts_that_are_nearly_equal_become_equal() {
        assert_eq!(paddings(&[(0, 100), (1, 90), (2, 95)], TERMS), [0, 10, 5]);
        assert_eq!(paddings(&[(0, 1), (1, 100), (2, 90), (3, 1)], TERMS), [0, 0, 10, 0]);
        // Too different, no neighbours, or no room: nothing is gained.
        assert_eq!(paddings(&[(0, 100), (1, 40)], TERMS), [0, 0]);
        assert_eq!(paddings(&[(0, 100), (2, 90)], TERMS), [0, 0]);
        assert_eq!(paddings(&[(0, 100), (1, 90)], Terms { room: 9, ..TERMS }), [0, 0]);
        assert_eq!(paddings(&[(0, 100), (1, 90)], Terms { price: 0, ..TERMS }), [0, 0]);
        assert_eq!(paddings(&[(0, 401), (1, 395)], TERMS), [0, 0], "a slot holds 400");
        // The long ones are no neighbours once the short ones end.
        assert_eq!(paddings(&[(0, 200), (1, 60), (2, 190), (3, 50)], TERMS), [0, 0, 0, 10]);
        assert_eq!(paddings(&[(0, 200), (1, 190), (2, 60), (3, 50)], TERMS), [0, 10, 0, 10]);
    }

    #[test]
    fn a_part_of_a_prompt_is_never_padded() {
        let mut shares = [share((0, 100)), Share { last: false, ..share((1, 90)) }];
        pad(&mut shares, TERMS, |_| 400);
        assert_eq!(shares.map(|share| share.padding), [0, 0]);
    }

    proptest! {
        #[test]
        fn padding_costs_less_than_it_saves_and_fits(
            lengths in proptest::collection::vec(1usize..400, 1..24),
            price in 0usize..100,
            room in 0usize..500,
        ) {
            let batch: Vec<(usize, usize)> = lengths.into_iter().enumerate().collect();
            let padding = paddings(&batch, Terms { price, room, ..TERMS });
            let total: usize = padding.iter().sum();
            prop_assert!(total <= room);
            let padded = batch.iter().zip(&padding).map(|((slot, tokens), more)| (*slot, tokens + more));
            let saved = passes(batch.iter().copied(), 512) - passes(padded.clone(), 512);
            prop_assert!(total <= price * saved);
            prop_assert!(padded.clone().all(|(_, tokens)| tokens <= 400));
            // Who has one token to compute decodes.
            prop_assert!(batch.iter().zip(&padding).all(|((_, tokens), more)| *tokens > 1 || *more == 0));
        }
    }
}
