//! How long the decisions take that are made for each token, step or request.
//!
//! ```sh
//! cargo bench --bench decisions              # all
//! cargo bench --bench decisions -- dispatch  # some
//! ```

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use modelpool::batching::padding::{self, Terms};
use modelpool::batching::{self, Allowance, Limits, Need, Share};
use modelpool::dispatch;
use modelpool::dispatch::affinity::{Affinity, Trail};
use modelpool::generation::{Dry, Mirostat, MirostatVersion, Penalties, Prompt, SamplingSettings, Token};
use modelpool::pool::{
    Instance, InstanceCommand, InstanceIdentity, InstancePort, ModelInstances, Pool, PoolSnapshot,
};
use modelpool::sampling::Sampler;
use modelpool::sampling::dry::Breakers;
use modelpool::units::{DeviceSet, InstanceId, ModelName, WorkerId};
use modelpool::view::InstanceLoad;

const INSTANCES: u32 = 64;
const SLOTS: u32 = 8;

/// Numbers that look random, from SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).expect("less than a u32")
    }

    /// Normally distributed (Box and Muller).
    fn normal(&mut self) -> f32 {
        let uniform = |random: &mut Self| {
            (f32::from(u16::try_from(random.below(1 << 16)).expect("16 bits")) + 0.5) / 65_536.0
        };
        (-2.0 * uniform(self).ln()).sqrt() * (std::f32::consts::TAU * uniform(self)).cos()
    }
}

/// One set of settings to measure.
struct Case {
    name: &'static str,
    settings: SamplingSettings,
    logprobs: Option<u32>,
    /// Standard deviation of the logits: with 1 the likeliest of 128k has 0.04 % of the probability and half of all
    /// tokens matter to top_p; with 4 it has a tenth, as in a text.
    deviation: f32,
}

fn cases() -> Vec<Case> {
    let all = || SamplingSettings { temperature: 0.8, seed: 1, ..SamplingSettings::default() };
    let default = || SamplingSettings { top_k: 40, top_p: 0.95, min_p: 0.05, ..all() };
    let case = |name, settings| Case { name, settings, logprobs: None, deviation: 1.0 };
    let text = |name, settings| Case { name, settings, logprobs: None, deviation: 4.0 };
    let penalties = Penalties { last_tokens: 64, repeat: 1.1, frequency: 0.1, presence: 0.1 };
    let mirostat = Mirostat { version: MirostatVersion::V2, tau: 3.0, eta: 0.1 };
    vec![
        case("greedy", SamplingSettings { temperature: 0.0, ..all() }),
        case("default", default()),
        case("penalties", SamplingSettings { penalties, ..default() }),
        case(
            "dry over 4096 tokens",
            SamplingSettings {
                dry: Dry { multiplier: 0.8, last_tokens: Some(4096), ..Dry::default() },
                ..default()
            },
        ),
        Case { logprobs: Some(5), ..case("logprobs", default()) },
        text("all tokens", all()),
        text("top_p", SamplingSettings { top_p: 0.95, ..all() }),
        text("min_p", SamplingSettings { min_p: 0.05, ..all() }),
        text("typical_p", SamplingSettings { typical_p: 0.95, ..all() }),
        text("mirostat 2", SamplingSettings { mirostat: Some(mirostat), ..all() }),
        case("top_p, flat", SamplingSettings { top_p: 0.95, ..all() }),
    ]
}

fn sampling(criterion: &mut Criterion) {
    for vocabulary in [32_000u32, 128_256] {
        let mut group = criterion.benchmark_group(format!("sampling/{vocabulary}"));
        for Case { name, settings, logprobs, deviation } in cases() {
            let mut random = Random(1);
            // More than one, so that no branch predictor learns them by heart.
            let logits: Vec<Vec<f32>> =
                (0..4).map(|_| (0..vocabulary).map(|_| random.normal() * deviation).collect()).collect();
            let mut sampler = Sampler::new(settings, logprobs, &[2], Arc::new(Breakers::default()));
            (0..4096).for_each(|_| sampler.accept(random.below(vocabulary)));
            let mut index = 0;
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    index += 1;
                    let choice = sampler.choose(black_box(&logits[index as usize % 4]), index, None);
                    sampler.accept(choice.as_ref().map_or(0, |choice| choice.token));
                    choice
                });
            });
        }
    }
}

fn breakers(criterion: &mut Criterion) {
    let mut random = Random(1);
    let pieces: Vec<Vec<u8>> = (0..128_256)
        .map(|_| {
            (0..=random.below(10)).map(|_| b' ' + u8::try_from(random.below(95)).expect("a letter")).collect()
        })
        .collect();
    criterion.bench_function("dry breakers of 128256 tokens", |bencher| {
        let strings = Dry::default().sequence_breakers;
        bencher.iter(|| Breakers::new(&strings, &pieces, |rest| rest.bytes().map(Token::from).collect()));
    });
}

fn plan(criterion: &mut Criterion) {
    let limits = Limits { max_batch_tokens: 512, prefill: Allowance { short_tokens: 256, part_tokens: 256 } };
    let mut group = criterion.benchmark_group("step of 64 slots");
    for prompts in [0, 8, 64] {
        let needs: Vec<Need> = (0..64)
            .map(|slot| {
                if slot < prompts {
                    Need { slot, pending_tokens: 900, prefill: true, short: false }
                } else {
                    Need { slot, pending_tokens: 1, prefill: false, short: false }
                }
            })
            .collect();
        group.bench_with_input(BenchmarkId::new("prompts", prompts), &needs, |bencher, needs| {
            bencher.iter(|| batching::plan(black_box(needs), limits));
        });
    }
    for different in [1, 100] {
        let mut random = Random(1);
        let prompt = |random: &mut Random| 250 + random.below(different) as usize;
        let shares: Vec<Share> = (0..64)
            .map(|slot| {
                let tokens = if slot < 7 { prompt(&mut random) } else { 1 };
                Share { slot, tokens, padding: 0, last: true }
            })
            .collect();
        let terms = Terms { price: 48, pass_tokens: 512, room: 1000 };
        group.bench_with_input(
            BenchmarkId::new("padding, lengths", different),
            &shares,
            |bencher, shares| {
                bencher.iter(|| {
                    let mut shares = shares.clone();
                    padding::pad(&mut shares, terms, |_| 1024);
                    shares
                });
            },
        );
    }
}

struct Port;

impl InstancePort for Port {
    fn send(&self, command: InstanceCommand) -> Result<(), InstanceCommand> {
        Err(command)
    }
    fn progress(&self) -> u64 {
        0
    }
}

/// Instances of one model with some slots leased; the leases are kept alive.
fn pool(model: &ModelName) -> (Pool, Vec<modelpool::pool::SlotLease>) {
    let mut random = Random(1);
    let port: Arc<dyn InstancePort> = Arc::new(Port);
    let instance = |number: u32| {
        let identity = InstanceIdentity {
            id: InstanceId(u64::from(number)),
            worker: WorkerId(1),
            model: model.clone(),
            variant: 0,
            variant_name: "f16".into(),
            devices: DeviceSet::HOST,
            files: 0,
        };
        Arc::new(Instance::new(identity, SLOTS, Arc::clone(&port), Box::new(|| {})))
    };
    let instances: Vec<Arc<Instance>> = (0..INSTANCES).map(instance).collect();
    let leases = instances
        .iter()
        .flat_map(|instance| {
            (0..random.below(SLOTS)).filter_map(|_| instance.try_lease()).collect::<Vec<_>>()
        })
        .collect();
    let pool = Pool::default();
    pool.store(PoolSnapshot {
        models: vec![ModelInstances { model: model.clone(), instances }],
        ..PoolSnapshot::default()
    });
    (pool, leases)
}

fn dispatching(criterion: &mut Criterion) {
    let model = ModelName::new("m");
    let (pool, _leases) = pool(&model);
    let mut group = criterion.benchmark_group("dispatch over 64 instances");
    let loads: Vec<InstanceLoad> =
        pool.load().instances(&model).iter().map(|instance| instance.load()).collect();
    group.bench_function("choose", |bencher| {
        bencher.iter(|| dispatch::choose(black_box(&loads).iter().copied(), None));
    });
    group.bench_function("load, choose, lease, give back", |bencher| {
        bencher.iter(|| {
            let snapshot = pool.load();
            let instances = snapshot.instances(black_box(&model));
            let chosen = dispatch::choose(instances.iter().map(|instance| instance.load()), None);
            drop(instances[chosen.expect("some are idle")].try_lease());
        });
    });
    let prompt = Prompt::Text("You answer questions about foxes. ".repeat(120));
    group.bench_function("the trail of 4 KiB", |bencher| bencher.iter(|| Trail::of(black_box(&prompt))));
    let (trail, mut affinity) = (Trail::of(&prompt), Affinity::default());
    affinity.serves(&trail, InstanceId(u64::from(INSTANCES)));
    group.bench_function("who holds a trail, and who does now", |bencher| {
        bencher.iter(|| {
            let holder = affinity.holder(black_box(&trail), |id| id.0 <= u64::from(INSTANCES));
            affinity.serves(&trail, holder.expect("served before").0);
        });
    });
}

criterion_group!(decisions, sampling, breakers, plan, dispatching);
criterion_main!(decisions);
