//! Waiting for a slot: order, bounds, and that nothing is lost when things happen at once.

use std::sync::Weak;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use super::*;
use crate::generation::{GenerationRequest, Prompt, SamplingSettings};
use crate::policy::Policy;
use crate::pool::{Instance, InstanceCommand, InstanceIdentity, InstancePort, ModelInstances, PoolSnapshot};
use crate::units::{DeviceSet, InstanceId, WorkerId};

pub(super) struct World {
    pub(super) admission: Arc<Admission>,
    pool: Arc<Pool>,
    pub(super) model: ModelName,
    pub(super) instances: Vec<Arc<Instance>>,
    /// The files of instances that are added.
    pub(super) files: u64,
}

struct Port(SyncSender<InstanceCommand>);

impl InstancePort for Port {
    fn send(&self, command: InstanceCommand) -> Result<(), InstanceCommand> {
        self.0.try_send(command).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(c) | std::sync::mpsc::TrySendError::Disconnected(c) => c,
        })
    }
    fn progress(&self) -> u64 {
        0
    }
}

/// A slot and the demand that it answers.
pub(super) struct Granted {
    _grant: Grant,
    _demand: Option<Demand>,
}

impl World {
    pub(super) fn new(queue: &str) -> Self {
        let text = format!("models: [{{ name: m, variants: [{{ path: a.gguf }}], queue: {queue} }}]");
        let policies =
            Policy::parse(&text, "test", std::path::Path::new("/")).expect("a valid policy").models;
        let pool = Arc::new(Pool::default());
        let wake = Arc::new(Notify::new());
        let admission = Arc::new(Admission::new(Arc::clone(&pool), Clock::start(), &policies, wake));
        Self { admission, pool, model: ModelName::new("m"), instances: Vec::new(), files: 0 }
    }

    /// Adds an instance; its thread is the receiver.
    pub(super) fn add_instance(&mut self, slots: u32) -> Receiver<InstanceCommand> {
        let (port, inbox) = sync_channel(slots as usize + 1);
        let identity = InstanceIdentity {
            id: InstanceId(self.instances.len() as u64),
            worker: WorkerId(0),
            model: self.model.clone(),
            variant: 0,
            variant_name: "a".into(),
            devices: DeviceSet::HOST,
            files: self.files,
        };
        let admission: Weak<Admission> = Arc::downgrade(&self.admission);
        let model = self.model.clone();
        let on_free = Box::new(move || {
            if let Some(admission) = admission.upgrade() {
                admission.dispatch(&model);
            }
        });
        self.instances.push(Arc::new(Instance::new(identity, slots, Arc::new(Port(port)), on_free)));
        let instances = self.instances.clone();
        let models = vec![ModelInstances { model: self.model.clone(), instances }];
        self.pool.store(PoolSnapshot { models, ..PoolSnapshot::default() });
        self.admission.dispatch(&self.model);
        inbox
    }

    /// Starts to wait for a slot, and has begun to when this returns.
    pub(super) async fn ask(&self) -> tokio::task::JoinHandle<Result<Granted, Rejection>> {
        let admission = Arc::clone(&self.admission);
        let model = self.model.clone();
        let task = tokio::spawn(async move { acquire(&admission, &model).await });
        tokio::task::yield_now().await;
        task
    }

    pub(super) async fn grant(&self) -> Granted {
        self.ask().await.await.unwrap().expect("a slot")
    }

    pub(super) fn depth(&self) -> u32 {
        self.admission.observe(&self.model).depth
    }
}

async fn acquire(admission: &Admission, model: &ModelName) -> Result<Granted, Rejection> {
    let queue = admission.queue(model).expect("a queue");
    let (mut demand, arrived) = (None, Arrival::from(Instant::now()));
    let grant =
        admission.acquire(&queue, &mut demand, Turn::Arrival(&request()), &Arc::default(), &arrived).await?;
    Ok(Granted { _grant: grant, _demand: demand })
}

pub(super) fn request() -> GenerationRequest {
    GenerationRequest {
        sampling: SamplingSettings { temperature: 0.0, ..SamplingSettings::default() },
        max_tokens: None,
        ..GenerationRequest::new(Prompt::Text("x".into()))
    }
}

#[tokio::test(start_paused = true)]
async fn slots_go_to_those_who_wait_in_order_of_arrival() {
    let mut world = World::new("{}");
    let _inbox = world.add_instance(1);
    let first = world.grant().await;
    let (second, third) = (world.ask().await, world.ask().await);
    assert_eq!(world.depth(), 2);
    drop(first);
    let second = second.await.unwrap().unwrap();
    assert!(!third.is_finished());
    drop(second);
    assert!(third.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_the_queue() {
    let mut world = World::new("{}");
    let waiting = world.ask().await;
    let _inbox = world.add_instance(1);
    // The slot was handed over when the instance came; the newcomer finds none, although it asks first.
    let newcomer = world.ask().await;
    let grant = waiting.await.unwrap().unwrap();
    assert!(!newcomer.is_finished());
    drop(grant);
    assert!(newcomer.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let world = World::new("{ max_requests: 2 }");
    let _waiting = (world.ask().await, world.ask().await);
    let rejection = world.ask().await.await.unwrap().err().unwrap();
    assert_eq!(rejection, Rejection::QueueFull { waiting: 2, retry_after: Duration::from_secs(1) });
    assert_eq!(world.admission.observe(&world.model).peak_demand, 2);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_ends_with_the_controllers_reason() {
    let world = World::new("{ timeout_ms: 5000 }");
    let condition =
        Condition { explanation: "no headroom".into(), trouble: None, crash_loop: false, loading: None };
    world.admission.explain(&world.model, condition);
    let rejection = world.ask().await.await.unwrap().err().unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(
        rejection,
        Rejection::TimedOut {
            waited: seconds(5),
            explanation: "no headroom".into(),
            retry_after: seconds(5)
        }
    );
    assert_eq!((world.depth(), world.admission.demand()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_the_queue_and_loses_no_slot() {
    let mut world = World::new("{}");
    let _inbox = world.add_instance(1);
    let first = world.grant().await;
    let (second, third) = (world.ask().await, world.ask().await);
    second.abort();
    assert!(second.await.is_err());
    assert_eq!((world.depth(), world.admission.demand()), (1, 2));
    drop(first);
    let third = third.await.unwrap().unwrap();
    // A slot that was handed over and never picked up comes back.
    let fourth = world.ask().await;
    drop(third);
    fourth.abort();
    assert!(fourth.await.is_err());
    assert_eq!(world.instances[0].leased(), 0);
    drop(world.grant().await);
}

#[tokio::test(start_paused = true)]
async fn a_closed_door_refuses_newcomers_and_serves_those_inside() {
    let mut world = World::new("{}");
    let inside = world.ask().await;
    world.admission.close();
    let newcomer = world.ask().await.await.unwrap();
    assert_eq!(newcomer.err(), Some(Rejection::ShuttingDown { retry_after: RESTART_TIME }));
    let _inbox = world.add_instance(1);
    assert!(inside.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_be_loaded_refuses_all_who_wait() {
    let world = World::new("{}");
    let waiting = (world.ask().await, world.ask().await);
    world.admission.refuse_waiting(&world.model, "broken", Duration::from_millis(2500));
    let expected = Rejection::CannotLoad { reason: "broken".into(), retry_after: Duration::from_secs(3) };
    assert_eq!(waiting.0.await.unwrap().err(), Some(expected.clone()));
    assert_eq!(waiting.1.await.unwrap().err(), Some(expected));
    assert_eq!(world.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn demand_that_came_and_went_is_observed_once() {
    let mut world = World::new("{}");
    let _inbox = world.add_instance(2);
    drop((world.grant().await, world.grant().await));
    assert_eq!(world.admission.observe(&world.model).peak_demand, 2);
    assert_eq!(world.admission.observe(&world.model).peak_demand, 0);
}

/// Many tasks on several threads take and return few slots, some giving up: everyone gets an answer, and nothing
/// is leased at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_under_contention() {
    let mut world = World::new("{ max_requests: 100000 }");
    let _inbox = (world.add_instance(2), world.add_instance(1));
    let mut tasks = Vec::new();
    for number in 0..2000u32 {
        let admission = Arc::clone(&world.admission);
        let model = world.model.clone();
        tasks.push(tokio::spawn(async move {
            let acquire = acquire(&admission, &model);
            if number % 7 == 0 {
                // Gives up somewhere on the way.
                drop(tokio::time::timeout(Duration::from_micros(u64::from(number)), acquire).await);
            } else {
                let grant = acquire.await.expect("a slot in the end");
                tokio::task::yield_now().await;
                drop(grant);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((world.depth(), world.admission.demand()), (0, 0));
    assert_eq!(world.instances.iter().map(|instance| instance.leased()).sum::<u32>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_goes_to_the_instance_that_has_computed_its_beginning() {
    let mut world = World::new("{}");
    let inboxes = [world.add_instance(4), world.add_instance(4)];
    let chat = |topic: &str, turns: usize| {
        GenerationRequest::new(Prompt::Text(format!("You know all about {topic}. ").repeat(20 * turns)))
    };
    // Which instance it was sent to, and that is done with it.
    let ask = async |request: GenerationRequest| {
        let flight = world.admission.submit(&world.model, request, Instant::now()).await.unwrap();
        let sent = inboxes.each_ref().map(|inbox| inbox.try_recv().is_ok());
        drop(flight);
        sent
    };
    let (first, second) = ([true, false], [false, true]);
    assert_eq!(ask(chat("foxes", 1)).await, first);
    let _busy = world.grant().await;
    assert_eq!(ask(chat("owls", 1)).await, second);
    // The least loaded one would be the second now, then the first.
    assert_eq!(ask(chat("foxes", 2)).await, first);
    assert_eq!(ask(chat("owls", 2)).await, second);
    let unshared = GenerationRequest { reuse_prefix: false, ..chat("foxes", 3) };
    assert_eq!(ask(unshared).await, second);
}
