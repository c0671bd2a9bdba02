//! The waiting room of one model: first come, first served, bounded. Those whose instance was lost come before
//! those who were never served, and always find a place: they were accepted.
//!
//! PURE: no clock and no channel; what waits is the caller's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::Timestamp;

/// The number of somebody who waits; grows with each arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Entry<T> {
    ticket: Ticket,
    since: Timestamp,
    item: T,
}

/// A bounded queue in order of arrival.
#[derive(Debug)]
pub struct WaitQueue<T> {
    /// Those who lost their slot, in the order in which they lost it.
    returned: VecDeque<Entry<T>>,
    entries: VecDeque<Entry<T>>,
    max: usize,
    next: u64,
}

impl<T> WaitQueue<T> {
    /// An empty queue for at most `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { returned: VecDeque::new(), entries: VecDeque::new(), max, next: 0 }
    }

    /// Joins the end of the queue; gives `item` back if the queue is full.
    ///
    /// # Errors
    ///
    /// The item, if the queue is full.
    pub fn push(&mut self, item: T, now: Timestamp) -> Result<Ticket, T> {
        if self.entries.len() >= self.max {
            return Err(item);
        }
        let ticket = self.ticket();
        self.entries.push_back(Entry { ticket, since: now, item });
        Ok(ticket)
    }

    /// Comes back after a slot was lost: before all who never had one, and whatever the bound.
    pub fn push_returned(&mut self, item: T, now: Timestamp) -> Ticket {
        let ticket = self.ticket();
        self.returned.push_back(Entry { ticket, since: now, item });
        ticket
    }

    /// Changes the bound. Who waits already stays.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        ticket
    }

    /// Who is taken next.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.returned.front().or_else(|| self.entries.front()).map(|entry| &entry.item)
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<T> {
        self.returned.pop_front().or_else(|| self.entries.pop_front()).map(|entry| entry.item)
    }

    /// Takes the first of those who never had a slot.
    pub fn pop_arrival(&mut self) -> Option<T> {
        self.entries.pop_front().map(|entry| entry.item)
    }

    /// Takes somebody who gave up, wherever they stand; `None` if their turn had come already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        [&mut self.returned, &mut self.entries].into_iter().find_map(|entries| {
            let at = entries.binary_search_by_key(&ticket, |entry| entry.ticket).ok()?;
            entries.remove(at).map(|entry| entry.item)
        })
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.returned.len() + self.entries.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.entries.is_empty()
    }

    /// How long the one who waits longest has waited; zero if nobody waits.
    #[must_use]
    pub fn oldest_wait(&self, now: Timestamp) -> Duration {
        let fronts = [self.returned.front(), self.entries.front()].into_iter().flatten();
        fronts.map(|entry| now.since(entry.since)).max().unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn serves_in_order_of_arrival_and_lets_people_leave() {
        let mut queue = WaitQueue::new(10);
        let tickets: Vec<_> = "abcd".chars().map(|c| queue.push(c, at(0)).unwrap()).collect();
        assert_eq!(queue.remove(tickets[1]), Some('b'));
        assert_eq!(queue.remove(tickets[1]), None);
        assert_eq!(queue.pop(), Some('a'));
        assert_eq!(queue.remove(tickets[0]), None);
        assert_eq!(queue.remove(tickets[3]), Some('d'));
        assert_eq!((queue.pop(), queue.pop()), (Some('c'), None));
    }

    #[test]
    fn is_bounded() {
        let mut queue = WaitQueue::new(1);
        assert!(queue.push('a', at(0)).is_ok());
        assert_eq!(queue.push('b', at(0)), Err('b'));
        queue.pop();
        assert!(queue.push('b', at(0)).is_ok());
    }

    #[test]
    fn who_lost_a_slot_comes_before_those_who_never_had_one() {
        let mut queue = WaitQueue::new(1);
        queue.push('a', at(0)).unwrap();
        let first = queue.push_returned('x', at(5));
        queue.push_returned('y', at(6));
        assert_eq!((queue.len(), queue.oldest_wait(at(10))), (3, Duration::from_millis(10)));
        assert_eq!(queue.pop_arrival(), Some('a'));
        queue.push('a', at(0)).unwrap();
        assert_eq!(queue.remove(first), Some('x'));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some('y'), Some('a'), None));
        assert!(queue.is_empty());
    }

    #[test]
    fn knows_how_long_the_first_has_waited() {
        let mut queue = WaitQueue::new(10);
        assert_eq!(queue.oldest_wait(at(9)), Duration::ZERO);
        queue.push('a', at(10)).unwrap();
        queue.push('b', at(30)).unwrap();
        assert_eq!(queue.oldest_wait(at(50)), Duration::from_millis(40));
        queue.pop();
        assert_eq!(queue.oldest_wait(at(50)), Duration::from_millis(20));
    }
}
