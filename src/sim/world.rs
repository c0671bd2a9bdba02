//! A host in virtual time: requests come, wait, are served; instances load and go.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, Job, Number, Told};
use super::outcome::{Filling, Note, Outcome, Slo, millis};
use super::service::{Service, count};
use super::trace::{Request, Trace};
use crate::admission::flow::FlowMeter;
use crate::admission::queue::{Claim, WaitQueue};
use crate::control::step::{Action, ModelStep};
use crate::dispatch;
use crate::policy::ModelPolicy;
use crate::units::{ByteCount, DeviceId, InstanceId, Timestamp};
use crate::view::{InstanceLoad, InstanceState, InstanceView, Observation};

/// Time between two rounds of the controller, as in its driver.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Stretches into which a replay is divided for reports.
const MOMENTS: u32 = 360;

/// What is simulated besides the traffic.
#[derive(Clone, Debug)]
pub struct Machine {
    /// How long things take with each variant, best first; at least one. Variants that a policy has besides are left out.
    pub services: Vec<Service>,
    /// GPUs there are.
    pub gpus: u32,
    /// What may be taken of each; `None` for no limit.
    pub memory: Option<ByteCount>,
}

impl Machine {
    /// How long things take with a variant.
    #[must_use]
    pub fn service(&self, variant: usize) -> &Service {
        &self.services[variant.min(self.services.len() - 1)]
    }
}

/// Who decides.
pub(super) trait Decider {
    fn decide(&mut self, seen: &Observation, now: Timestamp) -> Vec<ModelStep>;
}

pub(super) struct Instance {
    pub view: InstanceView,
    pub born: Timestamp,
    pub ready_at: Timestamp,
    pub engine: Engine,
}

pub(super) struct Model {
    pub policy: Arc<ModelPolicy>,
    pub queue: WaitQueue<Number>,
    pub instances: Vec<Instance>,
    pub in_flight: u32,
    pub peak_demand: u32,
    pub flow: FlowMeter,
    under_way: HashMap<Number, UnderWay>,
}

/// When a request got its slot, and its first token.
struct UnderWay {
    leased: Timestamp,
    first: Timestamp,
}

impl Model {
    fn live(&self) -> bool {
        let live = |i: &Instance| matches!(i.view.state, InstanceState::Starting | InstanceState::Ready);
        self.instances.iter().any(live)
    }

    pub fn demand(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX).saturating_add(self.in_flight)
    }
}

/// What happens at a time: an instance tells something, or becomes ready.
pub(super) type Event = Reverse<(Timestamp, InstanceId, usize)>;

/// The host.
pub(super) struct World<'a> {
    pub(super) machine: &'a Machine,
    pub(super) trace: &'a Trace,
    slo: Slo,
    pub(super) models: Vec<Model>,
    pub(super) events: BinaryHeap<Event>,
    pub(super) now: Timestamp,
    pub(super) next_id: u64,
    pub(super) outcome: Outcome,
    pub(super) filling: Filling,
    told: Vec<Told>,
}

impl<'a> World<'a> {
    pub fn new(policies: &[Arc<ModelPolicy>], machine: &'a Machine, trace: &'a Trace, slo: Slo) -> Self {
        let model = |policy: &Arc<ModelPolicy>| Model {
            policy: Arc::clone(policy),
            queue: WaitQueue::new(policy.queue.max_requests as usize),
            instances: Vec::new(),
            in_flight: 0,
            peak_demand: 0,
            flow: FlowMeter::default(),
            under_way: HashMap::new(),
        };
        let stretch = (trace.length / MOMENTS).max(Duration::from_secs(1));
        Self {
            machine,
            trace,
            slo,
            models: policies.iter().map(model).collect(),
            events: BinaryHeap::new(),
            now: Timestamp::default(),
            next_id: 1,
            outcome: Outcome::new(stretch),
            filling: Filling::default(),
            told: Vec::new(),
        }
    }

    /// So many instances of the first model that are there from the beginning; their loads are paid for.
    pub fn begin_with(&mut self, instances: u32) {
        for _ in 0..instances {
            let is_loaded = !self.models[0].instances.is_empty();
            if self.slo.from.is_zero() {
                self.outcome.instance_seconds += self.machine.service(0).start(is_loaded).as_secs_f64();
            }
            self.start(0, 0, DeviceId::Gpu(0).into());
            let instance = self.models[0].instances.last_mut().expect("it was started");
            instance.ready_at = self.now;
            instance.view.state = InstanceState::Ready;
        }
    }

    /// Runs until the trace is over and everybody has an answer or was refused.
    pub fn run(mut self, decider: &mut dyn Decider) -> Outcome {
        let horizon = Timestamp::new(self.trace.length);
        let (mut arrivals, mut round) =
            (self.trace.requests.iter().zip(0..).peekable(), Timestamp::default());
        let mut moment = self.now + self.outcome.stretch;
        loop {
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let arrival = arrivals.peek().map(|(request, _)| Timestamp::new(request.at));
            let next = [event, arrival, Some(round), Some(moment)].into_iter().flatten().min();
            let next = next.expect("rounds go on for ever");
            if arrival.is_none() && next >= horizon && self.models.iter().all(|model| model.demand() == 0) {
                self.pass(horizon, horizon);
                break;
            }
            self.pass(next, horizon);
            if event == Some(next) {
                self.event(decider);
            } else if arrival == Some(next) {
                if let Some((request, number)) = arrivals.next() {
                    self.arrive(request, number, decider);
                }
            } else if round == next {
                self.give_up();
                self.round(decider);
                round = round + TICK;
            } else {
                self.close_moment();
                moment = moment + self.outcome.stretch;
            }
        }
        self.close_moment();
        self.outcome
    }

    /// Time passes; what exists costs, as long as the trace is.
    fn pass(&mut self, to: Timestamp, horizon: Timestamp) {
        let counted = |at: Timestamp| at.clamp(Timestamp::new(self.slo.from).min(horizon), horizon);
        let seconds = counted(to).since(counted(self.now)).as_secs_f64();
        if seconds > 0.0 {
            let instances: usize = self.models.iter().map(|model| model.instances.len()).sum();
            self.outcome.instance_seconds += seconds * f64::from(count(instances));
            #[expect(clippy::cast_precision_loss, reason = "bytes of a machine are exact in an f64")]
            let held = self.held(None).0 as f64;
            self.outcome.byte_seconds += seconds * held;
        }
        self.now = self.now.max(to);
    }

    fn arrive(&mut self, request: &Request, number: Number, decider: &mut dyn Decider) {
        let at = (request.model as usize).min(self.models.len() - 1);
        let counts = request.at >= self.slo.from;
        self.outcome.requests += u64::from(counts);
        self.filling.moment.arrivals += 1;
        let model = &mut self.models[at];
        model.flow.arrived();
        if model.queue.is_empty() && self.lease(at, number) {
            // It never waited.
        } else if self.models[at].queue.push(number, &Claim::default(), self.now).is_err() {
            self.outcome.refused += u64::from(counts);
        }
        let model = &mut self.models[at];
        model.peak_demand = model.peak_demand.max(model.demand());
        let waiting = count(self.models[at].queue.len());
        self.filling.moment.waiting = self.filling.moment.waiting.max(waiting);
        if waiting > 0 && !self.models[at].live() {
            self.round(decider);
        }
    }

    /// Gives a request a slot, if one is free.
    fn lease(&mut self, at: usize, number: Number) -> bool {
        let model = &mut self.models[at];
        let load = |i: &Instance| InstanceLoad {
            variant: i.view.variant,
            ready: i.view.state == InstanceState::Ready,
            slots: i.view.slots,
            leased: i.view.leased,
        };
        let Some(index) = dispatch::choose(model.instances.iter().map(load), None) else { return false };
        let request = &self.trace.requests[number as usize];
        let (prompt_tokens, answer_tokens) = (request.prompt_tokens, request.answer_tokens);
        let instance = &mut model.instances[index];
        let before = instance.engine.next();
        instance.view.leased += 1;
        let busy = self.busy();
        let model = &mut self.models[at];
        let instance = &mut model.instances[index];
        let service = self.machine.service(instance.view.variant);
        let job = Job { number, prompt_tokens, answer_tokens };
        instance.engine.admit(job, service, service.slowdown(busy), self.now);
        model.in_flight += 1;
        let waited = self.now.since(Timestamp::new(request.at));
        model.flow.waited(waited, true, &model.policy.scale);
        model.flow.taken(self.now);
        model.under_way.insert(number, UnderWay { leased: self.now, first: self.now });
        let (id, next) = (instance.view.id, instance.engine.next());
        if next != before {
            self.events.extend(next.map(|next| Reverse((next, id, at))));
        }
        if request.at >= self.slo.from {
            self.outcome.waited(waited);
        }
        true
    }

    /// An instance is ready, or tells something.
    fn event(&mut self, decider: &mut dyn Decider) {
        let Some(Reverse((due, id, at))) = self.events.pop() else { return };
        let model = &mut self.models[at];
        let Some(index) = model.instances.iter().position(|instance| instance.view.id == id) else { return };
        let instance = &mut model.instances[index];
        if instance.view.state == InstanceState::Starting && due == instance.ready_at {
            instance.view.state = InstanceState::Ready;
            self.hand_out(at);
            // A worker's report makes the driver look.
            self.round(decider);
            return;
        }
        // A newcomer may have changed what comes next.
        if instance.engine.next() != Some(due) {
            return;
        }
        let mut told = std::mem::take(&mut self.told);
        let busy = self.busy();
        let instance = &mut self.models[at].instances[index];
        let service = self.machine.service(instance.view.variant);
        instance.engine.advance(service, service.slowdown(busy), &mut told);
        instance.view.progress += 1;
        let next = instance.engine.next();
        self.events.extend(next.map(|next| Reverse((next, id, at))));
        let mut freed = 0;
        for said in told.drain(..) {
            match said {
                Told::First(number) => {
                    let came = self.trace.requests[number as usize].at;
                    let ttft = self.now.since(Timestamp::new(came));
                    if came >= self.slo.from {
                        self.outcome.first_token(ttft, self.slo);
                    }
                    self.filling.first_token(ttft);
                    let model = &mut self.models[at];
                    if let Some(under_way) = model.under_way.get_mut(&number) {
                        under_way.first = self.now;
                        model.flow.first_token(ttft, self.now.since(under_way.leased), &model.policy.scale);
                    }
                }
                Told::Done(number) => {
                    freed += 1;
                    let gaps = self.trace.requests[number as usize].answer_tokens.saturating_sub(1);
                    let model = &mut self.models[at];
                    if let Some(UnderWay { first, .. }) = model.under_way.remove(&number) {
                        model.flow.decoded(gaps, self.now.since(first));
                    }
                }
            }
        }
        self.told = told;
        self.release(at, index, freed);
    }

    /// Slots of an instance have become free.
    fn release(&mut self, at: usize, index: usize, freed: u32) {
        let model = &mut self.models[at];
        let view = &mut model.instances[index].view;
        view.leased -= freed;
        model.in_flight -= freed;
        (0..freed).for_each(|_| model.flow.given_back(true, self.now));
        if view.state == InstanceState::Draining && view.leased == 0 {
            model.instances.remove(index);
        } else if freed > 0 {
            self.hand_out(at);
        }
    }

    /// Free slots go to those who wait.
    fn hand_out(&mut self, at: usize) {
        while let Some(&number) = self.models[at].queue.first(self.now) {
            if !self.lease(at, number) {
                return;
            }
            self.models[at].queue.pop(self.now);
        }
    }

    /// Who has waited too long is refused.
    fn give_up(&mut self) {
        for model in &mut self.models {
            while model.queue.oldest_wait(self.now) > model.policy.queue.timeout {
                let gave_up = model.queue.pop(self.now);
                let came = gave_up.map(|number| self.trace.requests[number as usize].at);
                model.flow.waited(model.policy.queue.timeout, false, &model.policy.scale);
                self.outcome.refused += u64::from(came >= Some(self.slo.from));
            }
        }
    }

    /// The controller looks and acts.
    fn round(&mut self, decider: &mut dyn Decider) {
        let observation = self.observe();
        let counts = self.now >= Timestamp::new(self.slo.from);
        for (at, step) in decider.decide(&observation, self.now).into_iter().enumerate() {
            let (mut starts, mut drains) = (0, 0);
            for action in &step.actions {
                match *action {
                    Action::Start { variant, devices, .. } => {
                        starts += 1;
                        self.start(at, variant, devices);
                    }
                    Action::Drain { instance } | Action::Evict { instance } => {
                        drains += 1;
                        self.drain(instance);
                    }
                    Action::RefuseWaiting => {
                        while self.models[at].queue.pop(self.now).is_some() {
                            self.outcome.refused += 1;
                        }
                    }
                    // Nothing here computes on the CPU, nor freezes.
                    Action::SetThreads { .. } | Action::Kill { .. } => {}
                }
            }
            // What the end of the trace brings about is not its doing.
            if starts + drains > 0 && self.now < Timestamp::new(self.trace.length) {
                if counts {
                    self.outcome.starts += u64::from(starts);
                    self.outcome.drains += u64::from(drains);
                }
                let millis = millis(self.now);
                self.outcome.note(|| Note {
                    millis,
                    model: step.model.to_string(),
                    target_instances: step.target_instances,
                    starts,
                    drains,
                    reason: step.reason.name(),
                    why: step.reason.to_string(),
                });
            }
        }
        if counts {
            let instances: usize = self.models.iter().map(|model| model.instances.len()).sum();
            self.outcome.peak_instances = self.outcome.peak_instances.max(count(instances));
        }
    }
}
