//! What the decisions of one step share: memory and CPU that earlier ones have taken.
//!
//! PURE; see [`step`](super::step).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::census::{Counts, count, drain, is_bare, replace_stale};
use super::place::{Placement, Site, Wanted};
use super::quality::Move;
use super::room::{self, Claim, Standing};
use super::step::{Action, ModelState, ModelStep};
use crate::policy::{ModelPolicy, Quality, Split};
use crate::scaling::{self, Reason};
use crate::units::{ByteCount, DeviceId, DeviceSet, InstanceId, ModelName, Timestamp};
use crate::view::{InstanceState, LoadFailure, ModelObservation, Observation, VariantView};

/// Wait after the first failed load; doubles with each failure in a row.
const LOAD_RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest wait between two tries to load a variant.
const LOAD_RETRY_MAX: Duration = Duration::from_secs(60);

/// The step as far as it is decided.
pub(super) struct Plan<'a> {
    policies: &'a [Arc<ModelPolicy>],
    observation: &'a Observation,
    now: Timestamp,
    sites: Vec<Site>,
    standings: Vec<Standing>,
    /// Instances that were told to go in this step.
    gone: Vec<InstanceId>,
    /// Variants that operators want alone.
    pins: Vec<Option<usize>>,
    cpu_threads: u32,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        policies: &'a [Arc<ModelPolicy>],
        states: &HashMap<ModelName, ModelState>,
        observation: &'a Observation,
        now: Timestamp,
    ) -> Self {
        let on = |device| {
            let instances = observation.models.iter().flat_map(|model| &model.instances);
            count(instances.filter(|instance| instance.devices.contains(device)))
        };
        let sites = observation.devices.iter().map(|view| Site {
            device: view.device,
            free: view.free,
            available: view.available,
            capacity: view.capacity,
            instances: on(view.device),
        });
        let standings = policies.iter().map(|policy| Standing {
            priority: policy.priority,
            min_instances: states
                .get(&policy.name)
                .map_or(policy.scale.min_instances, |state| state.scaling.least(&policy.scale)),
            min_residence: policy.scale.min_residence,
            idle: states.get(&policy.name).map_or(Duration::ZERO, |state| state.scaling.idle(now)),
        });
        Self {
            policies,
            observation,
            now,
            sites: sites.collect(),
            standings: standings.collect(),
            gone: Vec::new(),
            pins: policies.iter().map(|policy| states.get(&policy.name)?.orders.variant()).collect(),
            cpu_threads: observation.cpu_threads.max(1),
        }
    }

    /// What one model needs.
    pub(super) fn model(&mut self, at: usize, state: &mut ModelState) -> ModelStep {
        let policy = &self.policies[at];
        let mut model = self.observation.models[at].clone();
        // Those of other variants than a pinned one are replaced as if the policy had changed.
        let other = |variant| state.orders.variant().is_some_and(|pinned| pinned != variant);
        model.instances.iter_mut().for_each(|instance| instance.stale |= other(instance.variant));
        let mut step = ModelStep::steady(&model.model);
        let upgrading = self.upgrade(at, &mut model, state, &mut step);
        let counted = Counts::of(&model);
        let devices = self.wanted(at, &model, &[], &[]).devices_allowed(&self.sites);
        let signals = counted.signals(policy, &model, devices, self.observation.wall_clock);
        let decision = scaling::decide(&policy.scale, &mut state.scaling, &signals, self.now);
        step.target_instances = decision.target_instances;
        if !(upgrading && decision.reason == Reason::Steady) {
            step.reason = match (decision.reason, state.orders.least()) {
                (
                    Reason::BelowMinimum { min_instances } | Reason::Schedule { min_instances },
                    Some(instances),
                ) if instances >= min_instances => Reason::Ordered { instances },
                (reason, _) => reason,
            };
        }
        let live = counted.ready + counted.starting;
        if decision.target_instances > live {
            self.start(at, decision.target_instances - live, live, &model, &mut step);
        } else {
            let surplus = (live - decision.target_instances).min(counted.ready);
            step.actions.extend(drain(&model, surplus as usize, false));
        }
        if counted.stale_ready > 0 && step.reason == Reason::Steady {
            step.reason = Reason::Replacing { stale: counted.stale_ready };
        }
        replace_stale(&counted, decision.target_instances, &model, &mut step);
        step
    }

    /// Goes on with the replacement of a worse variant; what takes part in it and is no capacity leaves `model`. Whether
    /// one is under way.
    fn upgrade(
        &mut self,
        at: usize,
        model: &mut ModelObservation,
        state: &mut ModelState,
        step: &mut ModelStep,
    ) -> bool {
        let policy = &self.policies[at];
        let calm = model.queue.depth == 0
            && !self.is_contended(at)
            && model.instances.iter().all(|i| i.state == InstanceState::Ready && !i.stale);
        let loaded = loaded(model);
        let better = |than: usize| {
            let usable: Vec<usize> = self.usable(at, model).into_iter().filter(|v| *v < than).collect();
            self.wanted(at, model, &usable, &loaded).place(&self.sites)
        };
        let fits = |than| better(than).is_some();
        let hold = policy.scale.upgrade_after;
        match state.upgrade.next(&model.instances, fits, calm, hold, self.now) {
            Move::Stay => return false,
            Move::Await { new } => model.instances.retain(|instance| instance.id != new),
            Move::Finish { old } => {
                step.actions.push(Action::Drain { instance: old });
                model.instances.retain(|instance| instance.id != old);
            }
            Move::Start { old } => {
                let Some(found) = better(old.variant) else { return false };
                self.take(&found);
                state.upgrade.started(old.id, found.variant, &model.instances);
                step.actions.push(start_action(&found));
            }
        }
        step.reason = Reason::Upgrading;
        true
    }

    /// Starts up to `wanted` instances; where one cannot be, `step` says why.
    fn start(&mut self, at: usize, wanted: u32, live: u32, model: &ModelObservation, step: &mut ModelStep) {
        let mut loaded = loaded(model);
        for started in 0..wanted {
            match self.place(at, model, &loaded, live + started, step) {
                Ok(found) => {
                    self.take(&found);
                    loaded.push((found.variant, found.devices));
                    step.actions.push(start_action(&found));
                }
                Err(limit) => {
                    step.target_instances = live + started;
                    let hopeless = match limit {
                        Reason::LoadsFailing { .. } => model.variants.iter().all(is_hopeless),
                        Reason::NeverFits { .. } => true,
                        _ => false,
                    };
                    if step.target_instances == 0 && hopeless {
                        step.actions.push(Action::RefuseWaiting);
                    }
                    if started > 0 {
                        step.limit = Some(limit);
                    } else {
                        step.reason = limit;
                    }
                    break;
                }
            }
        }
    }

    /// The best variant that fits, where it fits best; or what is in the way, and if others make room, that.
    fn place(
        &mut self,
        at: usize,
        model: &ModelObservation,
        loaded: &[(usize, DeviceSet)],
        live: u32,
        step: &mut ModelStep,
    ) -> Result<Placement, Reason> {
        let mut usable = self.usable(at, model);
        if self.is_contended(at) {
            // The smaller each is, the more are there.
            usable.reverse();
        }
        if usable.is_empty() {
            let retry_in = model.variants.iter().filter_map(retry_in).min().unwrap_or_default();
            return Err(Reason::LoadsFailing { retry_in });
        }
        let wanted = self.wanted(at, model, &usable, loaded);
        let sites: Vec<Site> =
            self.sites.iter().copied().filter(|site| live == 0 || !self.is_full(site)).collect();
        if !self.sites.iter().any(|site| wanted.allows(site.device, &self.sites)) {
            return Err(Reason::NoDevice);
        }
        if !sites.iter().any(|site| wanted.allows(site.device, &self.sites)) {
            return Err(Reason::CpuSaturated { cpu_threads: self.cpu_threads });
        }
        if let Some(found) = wanted.place(&sites) {
            return Ok(found);
        }
        let needed = wanted.smallest(&self.sites);
        let allowed = self.sites.iter().filter(|site| wanted.allows(site.device, &self.sites));
        if wanted.never_fits(&self.sites) {
            let capacity = most(allowed.filter_map(|site| site.capacity), wanted.split);
            return Err(Reason::NeverFits { needed, capacity });
        }
        let available = most(allowed.filter_map(|site| site.available), wanted.split);
        // Where a stale instance is in the way of its replacement, that one goes, and nobody else's.
        let stale = model.instances.iter().any(|instance| instance.stale);
        let room = if stale { None } else { self.make_room(at, &wanted, live) };
        if let Some((instances, place)) = room {
            step.actions.extend(instances.iter().map(|instance| Action::Evict { instance: *instance }));
            self.gone.extend(instances);
            // What is free there is a part of it: who is less urgent must not take it.
            self.reserve(&place);
            return Err(Reason::MakingRoom { needed: place.total(), devices: place.devices });
        }
        Err(Reason::NoHeadroom { needed, available })
    }

    /// Instances of others that go so that one of this model fits, and where; none if enough is on its way out already.
    fn make_room(&self, at: usize, wanted: &Wanted<'_>, live: u32) -> Option<(Vec<InstanceId>, Placement)> {
        let models = self.remaining();
        let queue = wanted.model.queue;
        let claims = if live > 0 {
            vec![Claim::More { model: at }]
        } else if queue.depth > 0 {
            vec![Claim::First { model: at }, Claim::Turn { model: at, waited: queue.oldest_wait }]
        } else {
            // A minimum that nobody waits for.
            vec![Claim::More { model: at }]
        };
        let places = wanted.usable.iter().flat_map(|variant| wanted.candidates(*variant, &self.sites));
        let places: Vec<Placement> = places.filter(|place| self.missing(place).is_some()).collect();
        // Whatever is leaving already is waited for.
        let comes = |place: &&Placement| {
            let missing = self.missing(place).unwrap_or_default();
            let coming = |device| room::coming_free(&models, device);
            missing.iter().any(|(device, _)| coming(*device) > ByteCount::ZERO)
                && missing.iter().all(|(device, bytes)| *bytes <= coming(*device))
        };
        if let Some(place) = places.iter().find(comes) {
            return Some((Vec::new(), place.clone()));
        }
        claims.into_iter().find_map(|claim| {
            places.iter().find_map(|place| {
                let mut models = models.clone();
                let mut gone = Vec::new();
                for (device, bytes) in self.missing(place)? {
                    // What goes for one device may lie on the next one, too.
                    let needed = if gone.is_empty() {
                        bytes
                    } else {
                        bytes.saturating_sub(room::coming_free(&models, device))
                    };
                    let more = room::make(&models, &self.standings, device, needed, claim)?;
                    models.iter_mut().for_each(|model| mark(model, |id| more.contains(&id)));
                    gone.extend(more);
                }
                Some((gone, place.clone()))
            })
        })
    }

    /// What is missing to a place on each of its devices; `None` if it is not known.
    fn missing(&self, place: &Placement) -> Option<Vec<(DeviceId, ByteCount)>> {
        let missing = place.costs.iter().map(|(device, cost)| {
            let site = self.sites.iter().find(|site| site.device == *device)?;
            Some((*device, cost.saturating_sub(site.available?)))
        });
        missing.collect()
    }

    /// Where other programs took what should stay free, instances go, after all that was decided before.
    pub(super) fn yield_memory(&mut self, steps: &mut [ModelStep]) {
        for view in &self.observation.devices {
            let mut models = self.remaining();
            // What this step drains anyway counts, too.
            for (model, step) in models.iter_mut().zip(steps.iter()) {
                let drained = |id| step.actions.contains(&Action::Drain { instance: id });
                mark(model, drained);
            }
            let needed = view.deficit.saturating_sub(room::coming_free(&models, view.device));
            if needed == ByteCount::ZERO {
                continue;
            }
            for instance in room::give(&models, &self.standings, view.device, needed) {
                let of = |model: &ModelObservation| model.instances.iter().any(|i| i.id == instance);
                if let Some(at) = models.iter().position(of) {
                    steps[at].reason = Reason::Yielding { device: view.device, bytes: view.deficit };
                    steps[at].actions.push(Action::Evict { instance });
                }
                self.gone.push(instance);
            }
        }
    }

    /// The models, with what was told to go in this step as draining.
    fn remaining(&self) -> Vec<ModelObservation> {
        let mut models = self.observation.models.clone();
        models.iter_mut().for_each(|model| mark(model, |id| self.gone.contains(&id)));
        models
    }

    /// Variants that may be tried now, best first; only one if an operator or the policy says so.
    fn usable(&self, at: usize, model: &ModelObservation) -> Vec<usize> {
        let best_alone = self.policies[at].scale.quality == Quality::Pinned;
        let wanted = |variant: &usize| match self.pins[at] {
            Some(pinned) => *variant == pinned,
            None => *variant == 0 || !best_alone,
        };
        let untried = |variant: &usize| retry_in(&model.variants[*variant]).is_none();
        (0..model.variants.len()).filter(wanted).filter(untried).collect()
    }

    fn wanted<'b>(
        &self,
        at: usize,
        model: &'b ModelObservation,
        usable: &'b [usize],
        loaded: &'b [(usize, DeviceSet)],
    ) -> Wanted<'b>
    where
        'a: 'b,
    {
        let policy = &self.policies[at];
        Wanted { model, usable, devices: policy.devices.as_deref(), split: policy.engine.split, loaded }
    }

    /// Whether requests wait for another model that has nothing.
    fn is_contended(&self, at: usize) -> bool {
        let others = self.observation.models.iter().enumerate().filter(|(other, _)| *other != at);
        others.map(|(_, model)| model).any(is_bare)
    }

    /// Whether each CPU thread has an instance already.
    fn is_full(&self, site: &Site) -> bool {
        site.device == DeviceId::Host && site.instances >= self.cpu_threads
    }

    fn take(&mut self, found: &Placement) {
        self.reserve(found);
        for site in self.sites.iter_mut().filter(|site| found.devices.contains(site.device)) {
            site.instances += 1;
        }
    }

    /// Nobody else gets what this takes.
    fn reserve(&mut self, place: &Placement) {
        for (device, cost) in &place.costs {
            for site in self.sites.iter_mut().filter(|site| site.device == *device) {
                site.available = site.available.map(|available| available.saturating_sub(*cost));
            }
        }
    }
}

/// The most that one place can have: of one device, or of all if they may be taken together.
fn most(bytes: impl Iterator<Item = ByteCount>, split: Split) -> ByteCount {
    if split == Split::Off { bytes.max().unwrap_or_default() } else { bytes.sum() }
}

fn start_action(found: &Placement) -> Action {
    Action::Start { variant: found.variant, devices: found.devices, threads: 1 }
}

/// What the model has, where; stale instances share nothing.
fn loaded(model: &ModelObservation) -> Vec<(usize, DeviceSet)> {
    model.instances.iter().filter(|i| !i.stale).map(|i| (i.variant, i.devices)).collect()
}

fn mark(model: &mut ModelObservation, leaves: impl Fn(InstanceId) -> bool) {
    for instance in model.instances.iter_mut().filter(|instance| leaves(instance.id)) {
        instance.state = InstanceState::Draining;
    }
}

fn is_hopeless(variant: &VariantView) -> bool {
    variant.failed.is_some_and(|failure| failure.hopeless)
}

/// Time until a variant whose load failed is tried again; `None` if it may be tried now.
fn retry_in(variant: &VariantView) -> Option<Duration> {
    let LoadFailure { ago, in_a_row, .. } = variant.failed?;
    let doublings = in_a_row.saturating_sub(1).min(16);
    let wait = LOAD_RETRY_FIRST.saturating_mul(1 << doublings).min(LOAD_RETRY_MAX);
    wait.checked_sub(ago).filter(|left| !left.is_zero())
}
