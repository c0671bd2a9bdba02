//! A host in virtual time: devices, other programs, clients, and instances that load and serve.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use modelpool::admission::flow::FlowMeter;
use modelpool::control::place::spread;
use modelpool::control::step::{Action, ControlState, step};
use modelpool::policy::{ModelPolicy, Policy};
use modelpool::units::{ByteCount, DeviceId, DeviceSet, InstanceId, Timestamp};
use modelpool::view::{
    DeviceView, Flow, InstanceState, InstanceView, ModelObservation, Observation, QueueSignals, Spread,
    Takes, VariantView,
};

#[path = "shown.rs"]
mod shown;

const STEP: Duration = Duration::from_millis(500);
const HEADROOM: f64 = 0.05;
/// What each of several devices takes in full, of a worker and of an instance.
const EACH: u64 = 10;

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

struct Instance {
    view: InstanceView,
    born: u64,
    ready_at: u64,
    /// When each of its requests is answered.
    busy_until: Vec<u64>,
}

pub struct World {
    random: Random,
    policies: Vec<Arc<ModelPolicy>>,
    variants: Vec<Vec<VariantView>>,
    devices: Vec<(DeviceId, ByteCount)>,
    /// What other programs hold, by device.
    pub outside: Vec<ByteCount>,
    /// Requests that are under way at any time, by model.
    pub clients: Vec<u64>,
    /// Since when each of a model's requests waits.
    waiting: Vec<Vec<u64>>,
    instances: Vec<Vec<Instance>>,
    /// How what lies on several devices is divided, by model.
    spreads: Vec<Vec<Spread>>,
    /// What happens to each model's requests.
    flows: Vec<FlowMeter>,
    state: ControlState,
    now: u64,
    next_id: u64,
    pub answered: u64,
    /// Starts for which there was no memory.
    pub overcommitted: Vec<String>,
    /// When instances were started.
    pub starts: Vec<u64>,
    /// Starts on several devices.
    pub divided: usize,
    longest_wait: u64,
    /// Whose it was, and when it ended.
    waited: (usize, u64),
    /// When a model with requests last had nothing that served.
    bare: u64,
    reasons: BTreeMap<&'static str, usize>,
    last_reasons: Vec<&'static str>,
}

impl World {
    /// Devices with their bytes, a policy, and for each model the bytes of its variants: weights and instance.
    pub fn of(devices: &[(DeviceId, ByteCount)], policy: &str, variants: &[&[(u64, u64)]]) -> Self {
        let policies = Policy::parse(policy, "test", Path::new("/")).expect("a valid policy").models;
        let view = |&(weights, instance): &(u64, u64)| VariantView {
            takes: Takes { worker: ByteCount(weights), instance: ByteCount(instance) },
            each: Takes { worker: ByteCount(EACH), instance: ByteCount(EACH) },
            max_threads: 4,
            load_time: Duration::from_millis(weights * 5),
            start_time: STEP,
            failed: None,
            shortage: None,
        };
        Self {
            random: Random(1),
            variants: variants.iter().map(|variants| variants.iter().map(view).collect()).collect(),
            outside: vec![ByteCount::ZERO; devices.len()],
            clients: vec![0; policies.len()],
            waiting: vec![Vec::new(); policies.len()],
            instances: policies.iter().map(|_| Vec::new()).collect(),
            spreads: vec![Vec::new(); policies.len()],
            flows: vec![FlowMeter::default(); policies.len()],
            last_reasons: vec![""; policies.len()],
            devices: devices.to_vec(),
            policies,
            state: ControlState::default(),
            now: 0,
            next_id: 1,
            answered: 0,
            overcommitted: Vec::new(),
            starts: Vec::new(),
            divided: 0,
            longest_wait: 0,
            waited: (0, 0),
            bare: 0,
            reasons: BTreeMap::new(),
        }
    }

    /// One to three devices, and one to four models each of which fits on the smallest of them; some have a variant that
    /// fits on none, but on several together.
    pub fn random(mut random: Random) -> Self {
        let on_host = random.below(4) == 0;
        let devices: Vec<(DeviceId, ByteCount)> = (0..if on_host { 1 } else { 1 + random.below(3) })
            .map(|number| {
                let device =
                    if on_host { DeviceId::Host } else { DeviceId::Gpu(u32::try_from(number).unwrap()) };
                (device, ByteCount(1000 + random.below(3) * 1000))
            })
            .collect();
        let models = 1 + random.below(4);
        let (mut policy, mut variants) = (String::from("models:\n"), Vec::new());
        for model in 0..models {
            let min = u32::from(random.below(4) == 0);
            let is_large = devices.len() > 1 && random.below(3) == 0;
            let _written = writeln!(
                policy,
                "- {{ name: m{model}, slots: {}, priority: {}, variants: [{}{{ path: a.gguf }}, {{ path: b.gguf }}], \
                 scale: {{ min_instances: {min}, max_instances: {}, min_residence_ms: {}, upgrade_after_ms: {}, \
                 scale_down_after_ms: 20000, idle_unload_after_ms: 60000 }} }}",
                2 + random.below(7),
                40 + 10 * random.below(3),
                if is_large { "{ path: large.gguf }, " } else { "" },
                1 + random.below(4),
                5_000 + 5_000 * random.below(3),
                20_000 + 20_000 * random.below(2),
            );
            let (full, instance) = (200 + random.below(400), 20 + random.below(100));
            let large = devices.iter().map(|(_, total)| total.0).max().unwrap_or(0) + full;
            let sizes = [(large, instance), (full, instance), (full / 2, instance)];
            variants.push(sizes[usize::from(!is_large)..].to_vec());
        }
        let sizes: Vec<&[(u64, u64)]> = variants.iter().map(Vec::as_slice).collect();
        let mut world = Self::of(&devices, &policy, &sizes);
        world.random = random;
        world
    }

    /// Other programs come and go, and so do clients. They never leave too little for the smallest variant.
    pub fn change(&mut self) {
        for (outside, (_, total)) in self.outside.iter_mut().zip(&self.devices) {
            let most = total.0 / 2;
            *outside = ByteCount(if self.random.below(2) == 0 { 0 } else { self.random.below(most) });
        }
        for clients in &mut self.clients {
            *clients = if self.random.below(3) == 0 { 0 } else { self.random.below(20) };
        }
    }

    /// Half a second.
    pub fn step(&mut self) {
        self.now += 1;
        self.serve();
        let now = Timestamp::from_millis(self.now * 500);
        let flows: Vec<Flow> = self.flows.iter_mut().map(|flow| flow.take(now)).collect();
        let observation = self.observe(&flows);
        for (at, decided) in step(&self.policies, &mut self.state, &observation, now).into_iter().enumerate()
        {
            let reason = decided.reason.name();
            if reason != self.last_reasons[at] {
                *self.reasons.entry(reason).or_default() += 1;
                self.last_reasons[at] = reason;
            }
            for action in decided.actions {
                match action {
                    Action::Start { variant, devices, .. } => self.start(at, variant, devices),
                    Action::Drain { instance } | Action::Evict { instance } => self.drain(instance),
                    _ => {}
                }
            }
        }
    }

    /// Loads end, answers are finished, requests come and are given slots.
    fn serve(&mut self) {
        let now = self.now;
        let time = Timestamp::from_millis(now * 500);
        for (model, instances) in self.instances.iter_mut().enumerate() {
            // What stopped at the last look is gone at this one.
            instances.retain(|instance| instance.view.state != InstanceState::Stopping);
            for instance in instances.iter_mut() {
                let before = instance.busy_until.len();
                instance.busy_until.retain(|end| *end > now);
                let done = before - instance.busy_until.len();
                self.answered += done as u64;
                (0..done).for_each(|_| self.flows[model].given_back(true, time));
                let view = &mut instance.view;
                view.progress += u64::from(before > 0);
                view.leased = u32::try_from(instance.busy_until.len()).unwrap();
                view.age = STEP * u32::try_from(now - instance.born).unwrap();
                view.state = match view.state {
                    InstanceState::Starting if now >= instance.ready_at => InstanceState::Ready,
                    InstanceState::Draining if view.leased == 0 => InstanceState::Stopping,
                    state => state,
                };
            }
            let running: u64 = instances.iter().map(|i| i.busy_until.len() as u64).sum();
            let waiting = &mut self.waiting[model];
            let asked = running + waiting.len() as u64;
            waiting.truncate(usize::try_from(self.clients[model].saturating_sub(running)).unwrap());
            (asked..self.clients[model]).for_each(|_| {
                waiting.push(now);
                self.flows[model].arrived();
            });
            while !waiting.is_empty() {
                let free = instances
                    .iter_mut()
                    .filter(|i| i.view.state == InstanceState::Ready && i.view.leased < i.view.slots);
                let Some(instance) = free.min_by_key(|i| i.view.leased) else { break };
                let waited = STEP * u32::try_from(now - waiting.remove(0)).unwrap();
                self.flows[model].waited(waited, true, &self.policies[model].scale);
                self.flows[model].taken(time);
                instance.busy_until.push(now + 2 + self.random.below(8));
                instance.view.leased += 1;
            }
            if let Some(since) = waiting.first() {
                if now - since > self.longest_wait {
                    self.longest_wait = now - since;
                    self.waited = (model, now);
                }
                if instances.iter().all(|i| i.view.state != InstanceState::Ready) {
                    self.bare = now;
                }
            }
        }
    }

    fn observe(&self, flows: &[Flow]) -> Observation {
        let models = self.policies.iter().enumerate().map(|(at, policy)| {
            let running: usize = self.instances[at].iter().map(|i| i.busy_until.len()).sum();
            let (depth, in_flight) = (self.waiting[at].len(), running);
            let since = self.waiting[at].first().map_or(0, |since| self.now - since);
            let count = |number: usize| u32::try_from(number).unwrap();
            ModelObservation {
                model: policy.name.clone(),
                queue: QueueSignals {
                    depth: count(depth),
                    oldest_wait: STEP * u32::try_from(since).unwrap(),
                    in_flight: count(in_flight),
                    peak_demand: count(depth + in_flight),
                    flow: flows[at],
                },
                instances: self.instances[at].iter().map(|instance| instance.view).collect(),
                variants: self.variants[at].clone(),
                spreads: self.spreads[at].clone(),
            }
        });
        // As the driver does: what starts is not there yet, and is counted as coming.
        let devices = self.devices.iter().zip(&self.outside).map(|(&(device, total), outside)| {
            let headroom = total.fraction(HEADROOM);
            let there = self.held(device, |state| state != InstanceState::Starting);
            let coming = self.held(device, |_| true).saturating_sub(there);
            let free = total.saturating_sub(*outside).saturating_sub(there);
            let missing = headroom.saturating_sub(free);
            DeviceView {
                device,
                free: Some(free),
                available: Some(free.saturating_sub(headroom).saturating_sub(coming)),
                capacity: Some(total.saturating_sub(headroom)),
                deficit: if missing > headroom.fraction(0.5) { missing } else { ByteCount::ZERO },
            }
        });
        Observation {
            models: models.collect(),
            devices: devices.collect(),
            cpu_threads: 16,
            wall_clock: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    /// Bytes that instances in such states hold on a device, their weights once.
    fn held(&self, device: DeviceId, counts: impl Fn(InstanceState) -> bool) -> ByteCount {
        let models = self.instances.iter().zip(&self.variants).zip(&self.spreads);
        let of_model = models.map(|((instances, variants), spreads)| {
            let mut workers: Vec<(usize, DeviceSet)> = Vec::new();
            let mut bytes = ByteCount::ZERO;
            let here = |i: &&Instance| i.view.devices.contains(device) && counts(i.view.state);
            for Instance { view, .. } in instances.iter().filter(here) {
                let variant = &variants[view.variant];
                let share = spreads.iter().find(|spread| spread.devices == view.devices);
                let share = share.map_or(1.0, |spread| spread.share(device));
                let takes = variant.takes.part(variant.each, share);
                bytes += takes.instance;
                if !workers.contains(&(view.variant, view.devices)) {
                    workers.push((view.variant, view.devices));
                    bytes += takes.worker;
                }
            }
            bytes
        });
        of_model.sum()
    }

    fn start(&mut self, model: usize, variant: usize, devices: DeviceSet) {
        let steps = 1 + self.variants[model][variant].takes.worker.0 / 100;
        let known =
            self.instances[model].iter().any(|i| (i.view.variant, i.view.devices) == (variant, devices));
        if devices.len() > 1 && !known {
            let none = vec![Flow::default(); self.policies.len()];
            let free = |device| self.observe(&none).devices.iter().find(|view| view.device == device)?.free;
            let spread = spread(self.policies[model].engine.split, devices, free);
            self.spreads[model].retain(|old| old.devices != devices);
            self.spreads[model].push(spread);
        }
        let view = InstanceView {
            id: InstanceId(self.next_id),
            variant,
            devices,
            state: InstanceState::Starting,
            slots: self.policies[model].slots,
            leased: 0,
            threads: 2,
            progress: 0,
            age: Duration::ZERO,
            stale: false,
        };
        self.next_id += 1;
        let instance = Instance { view, born: self.now, ready_at: self.now + steps, busy_until: Vec::new() };
        self.instances[model].push(instance);
        self.starts.push(self.now);
        self.divided += usize::from(devices.len() > 1);
        for (&(device, total), outside) in self.devices.iter().zip(&self.outside) {
            let promised = self.held(device, |_| true) + *outside;
            if devices.contains(device) && promised > total.saturating_sub(total.fraction(HEADROOM)) {
                self.overcommitted.push(format!("step {}: {promised:?} of {total:?} on {device}", self.now));
            }
        }
    }

    fn drain(&mut self, id: InstanceId) {
        let all = self.instances.iter_mut().flatten();
        let instance = all.into_iter().find(|i| i.view.id == id).expect("an instance that is there");
        instance.view.state = match instance.view.state {
            InstanceState::Ready => InstanceState::Draining,
            InstanceState::Starting => InstanceState::Stopping,
            state => state,
        };
    }

    /// Variants that serve.
    pub fn serving(&self, model: usize) -> Vec<usize> {
        let ready = self.instances[model].iter().filter(|i| i.view.state == InstanceState::Ready);
        ready.map(|instance| instance.view.variant).collect()
    }

    pub fn longest_wait(&self) -> u64 {
        self.longest_wait
    }

    /// Steps within which every model has had its turn: four residences of a more important one, and those of all others,
    /// with loads and answers.
    pub fn patience(&self) -> u64 {
        let residence = self.policies.iter().map(|policy| policy.scale.min_residence.as_millis() / 500).max();
        let residence = u64::try_from(residence.unwrap_or(0)).unwrap();
        let models = self.policies.len() as u64;
        4 * residence + models * (residence + 40) + 40
    }

    /// Whether a model had to wait for another to go, since a step.
    pub fn took_turns_since(&self, step: u64) -> bool {
        self.bare > step + 200
    }

    /// The most starts that taking turns makes in so many steps.
    pub fn turns_in(&self, steps: u64) -> usize {
        let residence = self.policies.iter().map(|policy| policy.scale.min_residence.as_millis() / 500).min();
        let turns = steps / u64::try_from(residence.unwrap_or(1)).unwrap().max(1) + 1;
        usize::try_from(turns).unwrap() * self.policies.len() * 2
    }

    /// How often a model's reason became this one.
    pub fn reasons(&self, name: &str) -> usize {
        self.reasons.get(name).copied().unwrap_or(0)
    }
}
