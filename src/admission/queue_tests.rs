//! Order, bounds, and fair shares. No property depends on a clock: time is an argument.

use proptest::prelude::*;

use super::*;
use crate::units::KeyName;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn claim(name: &str, weight: u32, priority: u32) -> Claim {
    Claim { flow: Some(KeyName::new(name)), weight, priority }
}

#[test]
fn serves_in_order_of_arrival_and_lets_people_leave() {
    let mut queue = WaitQueue::new(10);
    let anonymous = Claim::default();
    let tickets: Vec<_> = "abcd".chars().map(|c| queue.push(c, &anonymous, at(0)).unwrap().0).collect();
    assert_eq!(queue.remove(tickets[1]), Some('b'));
    assert_eq!(queue.remove(tickets[1]), None);
    assert_eq!(queue.pop(at(1)), Some('a'));
    assert_eq!(queue.remove(tickets[0]), None);
    assert_eq!(queue.remove(tickets[3]), Some('d'));
    assert_eq!((queue.pop(at(1)), queue.pop(at(1))), (Some('c'), None));
}

#[test]
fn is_bounded() {
    let mut queue = WaitQueue::new(1);
    assert!(queue.push('a', &Claim::default(), at(0)).is_ok());
    assert_eq!(queue.push('b', &claim("k", 1, 50), at(0)), Err('b'));
    queue.pop(at(0));
    assert!(queue.push('b', &Claim::default(), at(0)).is_ok());
}

#[test]
fn a_full_queue_has_places_for_every_key_by_weight() {
    let mut queue = WaitQueue::new(6);
    let (busy, new) = (claim("busy", 1, 50), claim("new", 2, 50));
    for number in 0..6 {
        assert!(queue.push(number, &busy, at(0)).is_ok());
    }
    assert_eq!(queue.push(6, &busy, at(0)), Err(6));
    // The latest of the other key goes, until both have what they weigh.
    let pushed_out: Vec<_> =
        (10..16).map(|number| queue.push(number, &new, at(1)).ok().and_then(|(_, out)| out)).collect();
    assert_eq!(pushed_out, [Some(5), Some(4), Some(3), Some(2), None, None]);
    assert_eq!((queue.len_of(&busy.flow), queue.len_of(&new.flow), queue.len()), (2, 4, 6));
    assert_eq!(queue.push(7, &busy, at(2)), Err(7));
}

#[test]
fn who_lost_a_slot_comes_before_those_who_never_had_one() {
    let mut queue = WaitQueue::new(1);
    let low = claim("low", 1, 0);
    queue.push('a', &claim("high", 9, 100), at(0)).unwrap();
    let first = queue.push_returned('x', &low, at(5));
    let second = queue.push_returned('y', &low, at(6));
    assert_eq!((queue.len(), queue.oldest_wait(at(10))), (3, Duration::from_millis(10)));
    assert_eq!((queue.ahead(first, at(10)), queue.ahead(second, at(10))), (Some(0), Some(1)));
    assert_eq!(queue.pop_arrival(at(10)), Some('a'));
    queue.push('a', &Claim::default(), at(0)).unwrap();
    assert_eq!(queue.remove(first), Some('x'));
    let mut serve = || queue.serve(at(10)).map(|(_, item)| item);
    assert_eq!((serve(), serve(), serve()), (Some('y'), Some('a'), None));
    assert!(queue.is_empty());
}

#[test]
fn knows_how_long_the_first_has_waited() {
    let mut queue = WaitQueue::new(10);
    let anonymous = Claim::default();
    assert_eq!(queue.oldest_wait(at(9)), Duration::ZERO);
    queue.push('a', &anonymous, at(10)).unwrap();
    queue.push('b', &anonymous, at(30)).unwrap();
    assert_eq!(queue.oldest_wait(at(50)), Duration::from_millis(40));
    queue.pop(at(50));
    assert_eq!(queue.oldest_wait(at(50)), Duration::from_millis(20));
}

#[test]
fn a_lower_priority_waits_longer_and_then_stands_beside_the_others() {
    let mut queue = WaitQueue::new(100);
    let (high, low) = (claim("high", 1, 60), claim("low", 1, 50));
    queue.push('l', &low, at(0)).unwrap();
    let late = AGEING * 10;
    queue.push('h', &high, at(1)).unwrap();
    let first = |queue: &WaitQueue<char>, now| queue.first(now).copied();
    assert_eq!(first(&queue, at(1)), Some('h'), "ten points more come first");
    let soon = Timestamp::new(late);
    assert_eq!(first(&queue, soon - Duration::from_millis(1)), Some('h'));
    assert_eq!(first(&queue, soon), Some('l'), "ten points are made up for, and it came first");
    queue.pop(soon);
    assert_eq!(first(&queue, soon), Some('h'));
}

#[test]
fn slots_that_become_free_at_once_are_shared_too() {
    let mut queue = WaitQueue::new(100);
    let claims = [claim("one", 1, 50), claim("three", 3, 50)];
    for number in 0..16 {
        // The first key's requests all come before the other's.
        queue.push(number / 8, &claims[number / 8], at(0)).unwrap();
    }
    let served: Vec<_> = (0..8).filter_map(|_| queue.serve(at(1)).map(|(_, item)| item)).collect();
    assert_eq!(served.iter().filter(|item| **item == 1).count(), 6, "{served:?}");
}

#[test]
fn a_key_that_was_away_saves_nothing_up() {
    let mut queue = WaitQueue::new(100);
    let (busy, idle) = (claim("busy", 1, 50), claim("idle", 1, 50));
    for second in 0..100 {
        let ticket = queue.pass(&busy, at(second * 1000));
        // Somebody always waits, so that nothing is forgotten.
        queue.push('b', &busy, at(second * 1000)).unwrap();
        queue.end(ticket, at(second * 1000 + 1000));
        if second > 0 {
            queue.pop(at(second * 1000));
        }
    }
    let now = at(100_000);
    for _ in 0..10 {
        queue.push('i', &idle, now).unwrap();
        queue.push('b', &busy, now).unwrap();
    }
    let served: String = (0..10).filter_map(|_| queue.serve(now).map(|(_, item)| item)).collect();
    assert_eq!(served.matches('i').count(), 5, "{served}");
}

#[test]
fn tells_how_many_are_served_before() {
    let mut queue = WaitQueue::new(100);
    let (one, three) = (claim("one", 1, 50), claim("three", 3, 50));
    let ones: Vec<_> = (0..4).map(|_| queue.push('1', &one, at(0)).unwrap().0).collect();
    let threes: Vec<_> = (0..12).map(|_| queue.push('3', &three, at(0)).unwrap().0).collect();
    let ahead = |ticket| queue.ahead(ticket, at(0)).unwrap();
    assert_eq!((ahead(ones[0]), ahead(ones[1]), ahead(ones[3])), (0, 4, 12));
    assert_eq!((ahead(threes[0]), ahead(threes[11])), (0, 15));
    assert_eq!((queue.len_of(&one.flow), queue.len_of(&None)), (4, 0));
}

/// A model with slots that are always wanted, for as long as `hold` says of each key.
struct Saturated {
    queue: WaitQueue<usize>,
    claims: Vec<Claim>,
    /// Requests of each key that are always there.
    clients: usize,
    slots: usize,
}

impl Saturated {
    /// Slot time by key, and the longest wait of each in milliseconds.
    fn run(mut self, hold: impl Fn(usize, u64) -> u64, until: u64) -> (Vec<u64>, Vec<u64>) {
        let keys = self.claims.len();
        let (mut had, mut longest) = (vec![0; keys], vec![0; keys]);
        let mut since = BTreeMap::new();
        let mut running: Vec<(u64, Ticket, usize, u64)> = Vec::new();
        for _ in 0..self.clients {
            for key in 0..keys {
                since.insert(self.queue.push(key, &self.claims[key], at(0)).unwrap().0, 0);
            }
        }
        let (mut now, mut number) = (0, 0);
        while now < until {
            while running.len() < self.slots {
                // Work-conserving: with somebody waiting no slot stays free.
                let (ticket, key) = self.queue.serve(at(now)).expect("somebody waits");
                let waited = now - since.remove(&ticket).unwrap();
                longest[key] = longest[key].max(waited);
                number += 1;
                running.push((now + hold(key, number), ticket, key, now));
            }
            running.sort_unstable();
            let (end, ticket, key, begun) = running.remove(0);
            now = end;
            had[key] += end - begun;
            self.queue.end(ticket, at(now));
            since.insert(self.queue.push(key, &self.claims[key], at(now)).unwrap().0, now);
        }
        (had, longest)
    }
}

fn shares(
    weights: &[u32],
    slots: usize,
    hold: impl Fn(usize, u64) -> u64,
    until: u64,
) -> (Vec<f64>, Vec<u64>) {
    let claims: Vec<_> =
        weights.iter().enumerate().map(|(key, weight)| claim(&key.to_string(), *weight, 50)).collect();
    let world = Saturated { queue: WaitQueue::new(100_000), claims, clients: 40, slots };
    let (had, longest) = world.run(hold, until);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a test")]
    let had: Vec<f64> = had.into_iter().map(|millis| millis as f64).collect();
    let total: f64 = had.iter().sum();
    let weight: u32 = weights.iter().sum();
    let of_share = |(had, own): (&f64, &u32)| had / total * f64::from(weight) / f64::from(*own);
    (had.iter().zip(weights).map(of_share).collect(), longest)
}

#[test]
fn keys_with_long_and_short_requests_get_the_same_slot_time() {
    let (shares, _) = shares(&[1, 1], 4, |key, _| if key == 0 { 5000 } else { 200 }, 2_000_000);
    assert!(shares.iter().all(|share| (share - 1.0).abs() < 0.05), "{shares:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shares_converge_to_the_weights_and_nobody_starves(
        weights in prop::collection::vec(1_u32..9, 2..5),
        slots in 1_usize..9,
        lengths in prop::collection::vec(50_u64..3000, 7),
    ) {
        let hold = |key: usize, number: u64| lengths[(key + usize::try_from(number).unwrap()) % lengths.len()];
        let until = 3_000_000;
        let (shares, longest) = shares(&weights, slots, hold, until);
        for share in &shares {
            prop_assert!((share - 1.0).abs() < 0.1, "{weights:?} {shares:?}");
        }
        // Who waits behind 39 of the same key is served once those were, at the key's share of the slots.
        let total: u32 = weights.iter().sum();
        for (key, longest) in longest.iter().enumerate() {
            let rounds = 3000 * 60 * u64::from(total) / u64::from(weights[key]);
            prop_assert!(*longest <= rounds / slots as u64 + 6000, "{key}: {longest}");
        }
    }

    /// With one key and one priority nothing but the order of arrival counts, whatever was charged.
    #[test]
    fn one_key_is_served_first_come_first_served(
        steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut queue = WaitQueue::new(50);
        let (claim, mut model, mut held) = (Claim::default(), VecDeque::new(), Vec::new());
        for (number, (step, place)) in steps.into_iter().enumerate() {
            let now = at(number as u64 * 37);
            match step {
                0 | 1 => {
                    if let Ok((ticket, _)) = queue.push(number, &claim, now) {
                        model.push_back((ticket, number));
                    } else {
                        prop_assert_eq!(model.len(), 50);
                    }
                }
                2 => {
                    prop_assert_eq!(queue.first(now).copied(), model.front().map(|(_, number)| *number));
                    let served = queue.serve(now);
                    prop_assert_eq!(served, model.pop_front());
                    held.extend(served);
                }
                _ if !model.is_empty() => {
                    let at = place.index(model.len());
                    let (ticket, number) = model.remove(at).unwrap();
                    prop_assert_eq!(queue.ahead(ticket, now), Some(at));
                    prop_assert_eq!(queue.remove(ticket), Some(number));
                }
                _ => held.drain(..).for_each(|(ticket, _)| queue.end(ticket, now)),
            }
            prop_assert_eq!(queue.len(), model.len());
        }
    }

    /// Whatever their priorities, who came more than 20 s earlier is not overtaken for ever.
    #[test]
    fn a_priority_only_delays_for_a_while(low in 0_u32..100, high in 0_u32..=100) {
        prop_assume!(low < high);
        let mut queue = WaitQueue::new(100_000);
        let (ticket, _) = queue.push(0, &claim("low", 1, low), at(0)).unwrap();
        let mut now = 0;
        let mut running: Option<Ticket> = None;
        while queue.ahead(ticket, at(now)).is_some() {
            queue.push(1, &claim("high", 100, high), at(now)).unwrap();
            running.into_iter().for_each(|ticket| queue.end(ticket, at(now)));
            running = queue.serve(at(now)).map(|(ticket, _)| ticket);
            now += 50;
            prop_assert!(now <= 20_000 + 1000, "still waits after {now} ms");
        }
    }
}
