//! The waiting room of one model: bounded, fair between keys, first come, first served within each. Those whose
//! instance was lost come before those who were never served, and always find a place: they were accepted.
//!
//! PURE: no clock and no channel; what waits is the caller's.
//!
//! Two rules choose who is next among the first of each key:
//!
//! 1. **Priority, with ageing.** A request of priority *p* that has waited for *w* has the rank *p* + *w* / [`AGEING`].
//!    Whose rank has reached the highest priority of any key that waits may be served. So a lower priority waits, at most
//!    [`AGEING`] for each point that it is lower, and then stands beside the others.
//! 2. **Fair shares.** Of those, the key is served that is furthest behind its share by weight: see [`super::share`]. At a
//!    tie, the one who came first.
//!
//! With one key, or none, that is first come, first served.
//!
//! Places are shared, too: who finds the queue full and has less than their share of it takes the place of the last of the
//! key that has the most by weight (longest queue drop: McKenney, "Stochastic Fairness Queueing", INFOCOM 1990).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::share::{Flow, Shares};
use crate::units::Timestamp;

/// By how long a wait a request makes up for one point of priority. The range is 0 to 100, so none waits for more than
/// 20 s because of its priority.
pub const AGEING: Duration = Duration::from_millis(200);
/// The priority of those who have none of their own: the middle.
pub const DEFAULT_PRIORITY: u32 = 50;

/// The largest weight; finer differences than one part of it do not count.
const MAX_WEIGHT: u32 = 1000;

/// The number of somebody who waits or was served; grows with each arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The ticket of a number.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self(number)
    }
}

/// On what terms a request waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// With whom it shares.
    pub flow: Flow,
    /// The flow's share beside those of others; at least 1.
    pub weight: u32,
    /// 0 to 100, higher first.
    pub priority: u32,
}

impl Default for Claim {
    /// A request without a key.
    fn default() -> Self {
        Self { flow: None, weight: 1, priority: DEFAULT_PRIORITY }
    }
}

#[derive(Debug)]
struct Entry<T> {
    ticket: Ticket,
    since: Timestamp,
    item: T,
}

/// Those of one flow who wait, in order of arrival; never empty.
#[derive(Debug)]
struct Line<T> {
    priority: u32,
    weight: u32,
    entries: VecDeque<Entry<T>>,
}

impl<T> Line<T> {
    /// Whether the first has made up for a priority below `top`.
    fn is_due(&self, top: u32, now: Timestamp) -> bool {
        let missing = top.saturating_sub(self.priority);
        self.entries.front().is_some_and(|first| now.since(first.since) >= AGEING * missing)
    }
}

/// A bounded queue, and what those who were served have had.
#[derive(Debug)]
pub struct WaitQueue<T> {
    /// Those who lost their slot, in the order in which they lost it.
    returned: VecDeque<(Claim, Entry<T>)>,
    lines: BTreeMap<Flow, Line<T>>,
    /// How many wait in all lines.
    waiting: usize,
    shares: Shares,
    max: usize,
    next: u64,
}

impl<T> WaitQueue<T> {
    /// An empty queue for at most `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            returned: VecDeque::new(),
            lines: BTreeMap::new(),
            waiting: 0,
            shares: Shares::default(),
            max,
            next: 0,
        }
    }

    /// Joins the queue. Gives with the ticket who had to leave for it.
    ///
    /// # Errors
    ///
    /// The item, if the queue is full and its flow has its share of the places.
    pub fn push(&mut self, item: T, claim: &Claim, now: Timestamp) -> Result<(Ticket, Option<T>), T> {
        let mut pushed_out = None;
        if self.waiting >= self.max {
            let Some(flow) = self.too_long(claim).cloned() else { return Err(item) };
            pushed_out = self.take_last(&flow).map(|entry| entry.item);
        }
        if !self.lines.contains_key(&claim.flow) {
            self.shares.join(claim, self.lines.keys(), now);
        }
        let ticket = self.ticket();
        let line = self.lines.entry(claim.flow.clone()).or_insert_with(|| Line {
            priority: claim.priority,
            weight: 1,
            entries: VecDeque::new(),
        });
        (line.priority, line.weight) = (claim.priority, claim.weight.max(1));
        line.entries.push_back(Entry { ticket, since: now, item });
        self.waiting += 1;
        Ok((ticket, pushed_out))
    }

    /// The flow with the most places by weight, if one more request of `claim` would not have as many.
    fn too_long(&self, claim: &Claim) -> Option<&Flow> {
        let places =
            |count: usize, weight: u32| count as u64 * u64::from(MAX_WEIGHT) / u64::from(weight.max(1));
        let longest = self.lines.iter().filter(|(flow, _)| **flow != claim.flow);
        let (flow, line) = longest.max_by_key(|(_, line)| places(line.entries.len(), line.weight))?;
        let own = places(self.len_of(&claim.flow) + 1, claim.weight);
        (places(line.entries.len(), line.weight) > own).then_some(flow)
    }

    /// Comes back after a slot was lost: before all who never had one, and whatever the bound.
    pub fn push_returned(&mut self, item: T, claim: &Claim, now: Timestamp) -> Ticket {
        let ticket = self.ticket();
        self.returned.push_back((claim.clone(), Entry { ticket, since: now, item }));
        ticket
    }

    /// Somebody takes a free slot without a wait; who gives it back says so with [`WaitQueue::end`].
    pub fn pass(&mut self, claim: &Claim, now: Timestamp) -> Ticket {
        let ticket = self.ticket();
        if !self.lines.contains_key(&claim.flow) {
            self.shares.join(claim, self.lines.keys(), now);
        }
        self.shares.begin(ticket, &claim.flow, now);
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

    /// The flow whose turn it is.
    fn due(&self, now: Timestamp) -> Option<&Flow> {
        if self.lines.len() <= 1 {
            return self.lines.keys().next();
        }
        let top = self.lines.values().map(|line| line.priority).max()?;
        let due = self.lines.iter().filter(|(_, line)| line.is_due(top, now));
        let due = due.filter_map(|(flow, line)| {
            Some((self.shares.virtual_time(flow, now), line.entries.front()?.ticket, flow))
        });
        let next = due.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        next.map(|(_, _, flow)| flow)
    }

    /// Who is taken next.
    #[must_use]
    pub fn first(&self, now: Timestamp) -> Option<&T> {
        if let Some((_, entry)) = self.returned.front() {
            return Some(&entry.item);
        }
        self.lines.get(self.due(now)?)?.entries.front().map(|entry| &entry.item)
    }

    /// The first takes a slot; who gives it back says so with [`WaitQueue::end`].
    pub fn serve(&mut self, now: Timestamp) -> Option<(Ticket, T)> {
        if let Some((claim, entry)) = self.returned.pop_front() {
            if !self.lines.contains_key(&claim.flow) {
                self.shares.join(&claim, self.lines.keys(), now);
            }
            self.shares.begin(entry.ticket, &claim.flow, now);
            return Some((entry.ticket, entry.item));
        }
        let flow = self.due(now)?.clone();
        let entry = self.take_first(&flow)?;
        self.shares.begin(entry.ticket, &flow, now);
        Some((entry.ticket, entry.item))
    }

    /// The first leaves without a slot.
    pub fn pop(&mut self, now: Timestamp) -> Option<T> {
        match self.returned.pop_front() {
            Some((_, entry)) => Some(entry.item),
            None => self.pop_arrival(now),
        }
    }

    /// The first of those who never had a slot leaves without one.
    pub fn pop_arrival(&mut self, now: Timestamp) -> Option<T> {
        let flow = self.due(now)?.clone();
        self.take_first(&flow).map(|entry| entry.item)
    }

    /// Who was to have a slot did not take it. Nothing, if this ticket has none.
    pub fn decline(&mut self, ticket: Ticket) {
        self.shares.decline(ticket);
    }

    /// A slot was given back. Nothing, if this ticket has none.
    pub fn end(&mut self, ticket: Ticket, now: Timestamp) {
        self.shares.end(ticket, now);
        if self.is_empty() {
            self.shares.rest();
        }
    }

    fn take_first(&mut self, flow: &Flow) -> Option<Entry<T>> {
        self.take(flow, VecDeque::pop_front)
    }

    fn take_last(&mut self, flow: &Flow) -> Option<Entry<T>> {
        self.take(flow, VecDeque::pop_back)
    }

    fn take(
        &mut self,
        flow: &Flow,
        take: impl FnOnce(&mut VecDeque<Entry<T>>) -> Option<Entry<T>>,
    ) -> Option<Entry<T>> {
        let line = self.lines.get_mut(flow)?;
        let entry = take(&mut line.entries);
        if line.entries.is_empty() {
            self.lines.remove(flow);
        }
        self.waiting -= usize::from(entry.is_some());
        entry
    }

    /// Takes somebody who gave up, wherever they stand; `None` if their turn had come already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        if let Some(at) = self.returned.iter().position(|(_, entry)| entry.ticket == ticket) {
            return self.returned.remove(at).map(|(_, entry)| entry.item);
        }
        let (flow, at) = self.find(ticket)?;
        let flow = flow.clone();
        self.take(&flow, |entries| entries.remove(at)).map(|entry| entry.item)
    }

    /// In which line somebody stands, and how many stand before them there.
    fn find(&self, ticket: Ticket) -> Option<(&Flow, usize)> {
        self.lines.iter().find_map(|(flow, line)| {
            let at = line.entries.binary_search_by_key(&ticket, |entry| entry.ticket).ok()?;
            Some((flow, at))
        })
    }

    /// How many are likely to be served before this one, if all go on as they do; `None` if it does not wait. Priorities
    /// are left out: they only matter for a while.
    #[must_use]
    pub fn ahead(&self, ticket: Ticket, now: Timestamp) -> Option<usize> {
        if let Some(at) = self.returned.iter().position(|(_, entry)| entry.ticket == ticket) {
            return Some(at);
        }
        let (own, at) = self.find(ticket)?;
        #[expect(clippy::cast_precision_loss, reason = "a place in a queue is small")]
        let turn = self.shares.virtual_time(own, now) + at as f64 * self.shares.step(own);
        // The turns of a line are evenly spaced.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates where it should"
        )]
        let before = |(flow, line): (&Flow, &Line<T>)| {
            if flow == own {
                return at;
            }
            let lead = (turn - self.shares.virtual_time(flow, now)) / self.shares.step(flow);
            (lead.ceil() as usize).min(line.entries.len())
        };
        Some(self.returned.len() + self.lines.iter().map(before).sum::<usize>())
    }

    /// How many wait with the same key.
    #[must_use]
    pub fn len_of(&self, flow: &Flow) -> usize {
        self.lines.get(flow).map_or(0, |line| line.entries.len())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.returned.len() + self.waiting
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Mean time that requests hold a slot; `None` before one has ended.
    #[must_use]
    pub fn mean_hold(&self) -> Option<Duration> {
        self.shares.mean_hold()
    }

    /// How long the one who waits longest has waited; zero if nobody waits.
    #[must_use]
    pub fn oldest_wait(&self, now: Timestamp) -> Duration {
        let returned = self.returned.front().map(|(_, entry)| entry.since);
        let firsts = self.lines.values().filter_map(|line| line.entries.front()).map(|entry| entry.since);
        firsts.chain(returned).map(|since| now.since(since)).max().unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
