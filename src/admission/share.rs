//! Who has had how much: the accounts by which a model's slots are shared between keys.
//!
//! PURE: told who takes a slot and gives it back, and when.
//!
//! Each key has a virtual time: the slot time that its requests have taken, divided by its weight. The key that is
//! furthest behind is served next. That is fair queueing by virtual time (Demers, Keshav, Shenker, "Analysis and
//! Simulation of a Fair Queueing Algorithm", SIGCOMM 1989), for requests whose cost shows only while they run, as in the
//! virtual token counter of Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024. What is shared here is
//! slot time, because slots are what requests wait for. Of a request that runs, the longer of its time so far and of the
//! mean of its key is counted, so that one key does not get all slots that become free at once; in the end, what it took.
//!
//! A key that asks for nothing saves nothing up: when it begins to wait, its virtual time is brought up to that of the
//! key that is furthest behind of those who wait, or of the one that was served last.

use std::collections::BTreeMap;
use std::time::Duration;

use super::queue::{Claim, Ticket};
use crate::units::{KeyName, Timestamp};

/// Who shares: the requests of one key, or all that come without one.
pub type Flow = Option<KeyName>;

/// What a request counts as before any has ended.
const FIRST_GUESS_SECONDS: f64 = 1.0;
/// What the latest request weighs in the mean of its key.
const LATEST: f64 = 0.1;
/// Accounts of keys that have nothing waiting or running are kept up to this many: more keys than a file of keys has.
const MAX_ACCOUNTS: usize = 2048;

/// What one flow has had.
#[derive(Clone, Debug, Default)]
struct Account {
    weight: f64,
    /// Seconds of slot time by weight, of requests that have ended; and what it was brought up by.
    settled: f64,
    /// Mean seconds that its requests held a slot.
    mean: Option<f64>,
    /// Since when requests hold a slot.
    running: BTreeMap<Ticket, Timestamp>,
}

/// What all flows of a model have had.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    accounts: BTreeMap<Flow, Account>,
    /// Whose request holds a slot.
    holders: BTreeMap<Ticket, Flow>,
    /// The virtual time of the flow that was served last; never falls.
    served: f64,
    /// Mean seconds that requests of all flows held a slot.
    mean: Option<f64>,
}

impl Shares {
    /// The virtual time of a flow, in seconds.
    #[must_use]
    pub fn virtual_time(&self, flow: &Flow, now: Timestamp) -> f64 {
        let Some(account) = self.accounts.get(flow) else { return self.served };
        let guess = self.guess(account);
        let running = account.running.values().map(|since| now.since(*since).as_secs_f64().max(guess));
        account.settled + running.sum::<f64>() / account.weight
    }

    /// Virtual seconds that one more request of a flow is expected to add.
    #[must_use]
    pub fn step(&self, flow: &Flow) -> f64 {
        self.accounts
            .get(flow)
            .map_or(FIRST_GUESS_SECONDS, |account| self.guess(account).max(1e-6) / account.weight)
    }

    /// Mean time that requests hold a slot; `None` before one has ended.
    #[must_use]
    pub fn mean_hold(&self) -> Option<Duration> {
        self.mean.map(Duration::from_secs_f64)
    }

    fn guess(&self, account: &Account) -> f64 {
        account.mean.or(self.mean).unwrap_or(FIRST_GUESS_SECONDS)
    }

    /// A flow of which nothing waited has a request that waits, or that takes a slot at once. `others`: the flows that
    /// wait already.
    pub(super) fn join<'a>(
        &mut self,
        claim: &Claim,
        others: impl Iterator<Item = &'a Flow> + Clone,
        now: Timestamp,
    ) {
        if self.accounts.len() >= MAX_ACCOUNTS {
            self.accounts.retain(|flow, account| {
                !account.running.is_empty() || others.clone().any(|other| other == flow)
            });
        }
        let behind = others.map(|flow| self.virtual_time(flow, now)).reduce(f64::min);
        let floor = behind.unwrap_or(self.served);
        let account = self.accounts.entry(claim.flow.clone()).or_default();
        account.weight = f64::from(claim.weight.max(1));
        let lift = floor - self.virtual_time(&claim.flow, now);
        if let Some(account) = self.accounts.get_mut(&claim.flow).filter(|_| lift > 0.0) {
            account.settled += lift;
        }
    }

    /// A request takes a slot.
    pub(super) fn begin(&mut self, ticket: Ticket, flow: &Flow, now: Timestamp) {
        self.served = self.served.max(self.virtual_time(flow, now));
        if let Some(account) = self.accounts.get_mut(flow) {
            account.running.insert(ticket, now);
            self.holders.insert(ticket, flow.clone());
        }
    }

    /// A request that was to have a slot did not take it.
    pub(super) fn decline(&mut self, ticket: Ticket) {
        let Some(flow) = self.holders.remove(&ticket) else { return };
        if let Some(account) = self.accounts.get_mut(&flow) {
            account.running.remove(&ticket);
        }
    }

    /// A request gives its slot back. Nothing, if it had none.
    pub(super) fn end(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(flow) = self.holders.remove(&ticket) else { return };
        let Some(account) = self.accounts.get_mut(&flow) else { return };
        let Some(since) = account.running.remove(&ticket) else { return };
        let took = now.since(since).as_secs_f64();
        account.settled += took / account.weight;
        for mean in [&mut account.mean, &mut self.mean] {
            *mean = Some(mean.map_or(took, |mean| mean + LATEST * (took - mean)));
        }
    }

    /// Nobody waits: if nothing runs either, nobody owes anybody anything.
    pub(super) fn rest(&mut self) {
        if self.holders.is_empty() {
            self.served = 0.0;
            for account in self.accounts.values_mut() {
                account.settled = 0.0;
            }
        }
    }
}
