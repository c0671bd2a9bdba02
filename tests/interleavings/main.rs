//! Proves that no request is lost, nothing is wedged and nothing leaks, whatever comes together: loads, unloads, deaths,
//! freezes, requests of several keys, clients that leave, reloads. A thousand runs of the real controller, fleet, pool and admission
//! against simulated workers, in virtual time. A seed decides everything in a run, and is printed if it fails.

mod random;
mod worker;

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modelpool::admission::queue::Claim;
use modelpool::admission::{Admission, Arrival, Flight, Rejection};
use modelpool::catalog::Catalog;
use modelpool::clock::Clock;
use modelpool::control::driver::{Controller, Reload, Setup};
use modelpool::generation::{Event, GenerationError, GenerationRequest, Prompt, SamplingSettings};
use modelpool::gpu::FakeMemory;
use modelpool::measured::Remembered;
use modelpool::policy::Policy;
use modelpool::pool::Pool;
use modelpool::telemetry;
use modelpool::units::{ByteCount, DeviceId, KeyName, ModelName};
use random::Random;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use worker::{Odds, POISON, Shared, SimulatedSpawner, lock};

const SEEDS: u64 = 1000;
const REQUESTS: u64 = 60;
/// Virtual time in which requests come.
const ACTION: Duration = Duration::from_secs(6);
/// Virtual time after which a run counts as wedged. Far more than any legal chain of waits.
const WEDGED: Duration = Duration::from_secs(3600);

/// Policies that reloads change between: sizes, models and limits differ.
const POLICIES: [&str; 4] = [
    "[M m, slots: 2, scale: { max_instances: 3, target_queue_wait_ms: 20, SHORT }} , M n, slots: 1, scale: { SHORT }}]",
    "[M m, slots: 3, scale: { max_instances: 1, SHORT }}]",
    "[M n, slots: 2, scale: { min_instances: 1, SHORT }}, M m, slots: 2, scale: { min_instances: 1, SHORT }}]",
    "[M m, slots: 2, isolation: thread, scale: { max_instances: 4, target_queue_wait_ms: 1, SHORT }}, M n, slots: 1}]",
];

fn catalogs() -> Vec<(Arc<Catalog>, Policy)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let model = "{ variants: [{ path: tidepool-3m-f16.gguf }, { path: tidepool-3m-q8_0.gguf }], context_tokens: 64, \
                 watchdog: { no_progress_after_ms: 400, load_timeout_ms: 1000 }, \
                 queue: { timeout_ms: 900000 }, name: ";
    let short = "scale_down_after_ms: 100, idle_unload_after_ms: 200";
    let read = |models: &str| {
        let text = format!("models: {}", models.replace("M ", model).replace("SHORT", short));
        let policy =
            Policy::parse(&text, "the test's policy", &folder).unwrap_or_else(|error| panic!("{error}"));
        let catalog = Catalog::read(&policy.models, &folder);
        assert!(catalog.broken.is_empty());
        (Arc::new(catalog), policy)
    };
    POLICIES.iter().map(|models| read(models)).collect()
}

/// How clients fared.
#[derive(Default)]
struct Tally {
    completed: AtomicU64,
    refused: AtomicU64,
    left: AtomicU64,
    poisoned: AtomicU64,
    waiting: AtomicI64,
}

struct Run {
    seed: u64,
    admission: Arc<Admission>,
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    reloads: mpsc::Sender<Reload>,
}

/// Runs one seed; gives what happened, as text that must be the same each time.
fn run(seed: u64, catalogs: &[(Arc<Catalog>, Policy)]) -> String {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let digest = timeout(WEDGED, simulate(seed, catalogs)).await;
        digest.unwrap_or_else(|_| panic!("seed {seed}: wedged"))
    })
}

async fn simulate(seed: u64, catalogs: &[(Arc<Catalog>, Policy)]) -> String {
    let mut random = Random::new(seed);
    let mut odds = |most| u32::try_from(random.below(most)).unwrap();
    let odds = Odds {
        dies_loading: odds(20),
        hangs_loading: odds(8),
        short_of_memory: odds(8),
        instance_fails: odds(8),
        dies: odds(12),
        freezes: odds(8),
    };
    let shared = Arc::new(Shared {
        random: Mutex::new(random),
        odds,
        sequences: AtomicI64::new(0),
        workers: AtomicI64::new(0),
        faults: AtomicU64::new(0),
    });
    let (catalog, policy) = &catalogs[0];
    let clock = Clock::start();
    let pool = Arc::new(Pool::new(Arc::clone(catalog)));
    let wake = Arc::new(Notify::new());
    let admission =
        Arc::new(Admission::new(Arc::clone(&pool), clock, &catalog.policies(), Arc::clone(&wake)));
    let (reloads, reload_inbox) = mpsc::channel(1);
    let controller = Controller::new(Setup {
        catalog: Arc::clone(catalog),
        devices_policy: policy.devices.clone(),
        devices: vec![DeviceId::Host],
        cpu_threads: 4,
        admission: Arc::clone(&admission),
        pool: Arc::clone(&pool),
        spawner: Arc::new(SimulatedSpawner(Arc::clone(&shared))),
        memory: Box::new(FakeMemory::new(&[(DeviceId::Host, ByteCount::from_mib(1 << 14))])),
        remembered: Remembered::default(),
        clock,
        wake,
        metrics: telemetry::install().unwrap(),
        reloads: reload_inbox,
        errands: mpsc::channel(1).1,
        board: Arc::default(),
    });
    let stop = CancellationToken::new();
    let controlling = tokio::spawn(controller.run(stop.clone()));
    let run = Run { seed, admission, shared, tally: Arc::default(), reloads };
    run.act(catalogs).await;
    let end = run.check_all_served().await;
    stop.cancel();
    controlling.await.unwrap_or_else(|error| panic!("seed {seed}: the controller: {error}"));
    assert!(
        pool.load().models.iter().all(|model| model.instances.is_empty()),
        "seed {seed}: instances are left"
    );
    end
}

impl Run {
    /// Starts requests and reloads at random times, and waits until all of them have begun.
    async fn act(&self, catalogs: &[(Arc<Catalog>, Policy)]) {
        let action = u64::try_from(ACTION.as_millis()).unwrap();
        for number in 0..REQUESTS {
            let at = Duration::from_millis(self.shared.below(action));
            let client = Client {
                seed: self.seed,
                number,
                model: ModelName::new(if self.shared.below(3) == 0 { "n" } else { "m" }),
                poison: self.seed.is_multiple_of(4) && number == 7,
                tokens: 1 + u32::try_from(self.shared.below(50)).unwrap(),
                // Some leave after a while.
                patience: (self.shared.below(5) == 0).then(|| Duration::from_millis(self.shared.below(400))),
                claim: claim(self.shared.below(4)),
                admission: Arc::clone(&self.admission),
                tally: Arc::clone(&self.tally),
            };
            self.tally.waiting.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                sleep(at).await;
                client.live().await;
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < ACTION {
            sleep(Duration::from_millis(200 + self.shared.below(2000))).await;
            let at = usize::try_from(self.shared.below(catalogs.len() as u64)).unwrap();
            self.reload(&catalogs[at]).await;
        }
        // The last policy holds no instances, and may be without a model that requests still wait for.
        self.reload(&catalogs[usize::try_from(self.seed % 2).unwrap()]).await;
    }

    async fn reload(&self, (catalog, policy): &(Arc<Catalog>, Policy)) {
        let (done, followed) = oneshot::channel();
        let reload = Reload { catalog: Arc::clone(catalog), devices: policy.devices.clone(), done };
        self.reloads
            .send(reload)
            .await
            .unwrap_or_else(|_| panic!("seed {}: the controller is gone", self.seed));
        followed.await.unwrap_or_else(|_| panic!("seed {}: a reload was not followed", self.seed));
    }

    /// Waits until every client has its answer and no slot is held.
    async fn check_all_served(&self) -> String {
        while self.tally.waiting.load(Ordering::Relaxed) > 0 || self.admission.demand() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        // Sequences of clients that left go with their worker's next step; a frozen worker is first ended.
        while self.shared.sequences.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        // With nobody to serve, everything is unloaded, and what cannot be is ended as frozen.
        while self.shared.workers.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Tally { completed, refused, left, poisoned, .. } = &*self.tally;
        let mut digest = String::new();
        write!(
            digest,
            "{} completed, {} refused, {} left, {} poisoned, {} faults, next {}",
            count(completed),
            count(refused),
            count(left),
            count(poisoned),
            count(&self.shared.faults),
            lock(&self.shared.random).below(1 << 32)
        )
        .unwrap();
        let total = count(completed) + count(refused) + count(left) + count(poisoned);
        assert_eq!(total, REQUESTS, "seed {}: {digest}", self.seed);
        digest
    }
}

struct Client {
    seed: u64,
    number: u64,
    model: ModelName,
    poison: bool,
    tokens: u32,
    patience: Option<Duration>,
    claim: Claim,
    admission: Arc<Admission>,
    tally: Arc<Tally>,
}

/// Without a key, or with one of three that differ in weight and priority.
fn claim(of: u64) -> Claim {
    let key = |name, weight, priority| Claim { flow: Some(KeyName::new(name)), weight, priority };
    match of {
        0 => Claim::default(),
        1 => key("light", 1, 50),
        2 => key("heavy", 9, 50),
        _ => key("urgent", 1, 100),
    }
}

impl Client {
    async fn live(self) {
        let outcome = match self.patience {
            Some(patience) => timeout(patience, self.ask()).await.unwrap_or(&self.tally.left),
            None => self.ask().await,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        self.tally.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    async fn ask(&self) -> &AtomicU64 {
        let prompt = if self.poison { POISON } else { "x" };
        let request = GenerationRequest {
            sampling: SamplingSettings { temperature: 0.0, ..SamplingSettings::default() },
            max_tokens: Some(self.tokens),
            ..GenerationRequest::new(Prompt::Text(prompt.into()))
        };
        let arrival = Arrival { claim: self.claim.clone(), ..Arrival::from(std::time::Instant::now()) };
        match self.admission.submit(&self.model, request, arrival).await {
            Ok(flight) => self.read(flight).await,
            // Refused in words before it was accepted: the model is gone, or fails again and again.
            Err(Rejection::Removed { .. } | Rejection::CannotLoad { .. }) => &self.tally.refused,
            Err(other) => panic!("seed {}, request {}: {other}", self.seed, self.number),
        }
    }

    /// An accepted request ends with all its tokens in order, whatever happens.
    async fn read(&self, mut flight: Flight) -> &AtomicU64 {
        let mut text = String::new();
        loop {
            match flight.next().await {
                Event::Embedding(_) | Event::Cached { .. } => {
                    panic!("seed {}: nobody asked for that", self.seed)
                }
                Event::Started { .. } => assert!(text.is_empty(), "seed {}: started twice", self.seed),
                Event::Token { text: more, .. } => text.push_str(&more),
                Event::Finished { text: last, .. } => {
                    text.push_str(&last);
                    let expected =
                        (0..self.tokens).fold(String::new(), |text, number| text + &format!("{number},"));
                    assert_eq!(text, expected, "seed {}, request {}", self.seed, self.number);
                    return &self.tally.completed;
                }
                Event::Failed(GenerationError::Poison { .. } | GenerationError::Lost { .. })
                    if self.poison =>
                {
                    return &self.tally.poisoned;
                }
                Event::Failed(error) => panic!("seed {}, request {}: lost: {error}", self.seed, self.number),
            }
        }
    }
}

#[test]
fn nothing_is_lost_wedged_or_leaked_in_a_thousand_interleavings() {
    let catalogs = catalogs();
    let one =
        std::env::var("MODELPOOL_SEED").ok().map(|seed| seed.parse().expect("MODELPOOL_SEED: a number"));
    if let Some(seed) = one {
        println!("seed {seed}: {}", run(seed, &catalogs));
        return;
    }
    let (mut faults, mut last) = (0, String::new());
    for seed in 0..SEEDS {
        last = run(seed, &catalogs);
        faults += u64::from(!last.contains(" 0 faults"));
        if seed % 100 == 0 {
            // What a seed does, it does again.
            assert_eq!(run(seed, &catalogs), last, "seed {seed} ran differently the second time");
        }
    }
    assert!(faults > SEEDS * 9 / 10, "only {faults} runs had faults: the simulation is too kind");
    println!("the last of {SEEDS}: {last}");
}
