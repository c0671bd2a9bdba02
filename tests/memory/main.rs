//! 500 random worlds of devices, models, loads and other programs, in virtual time: the controller's own step never
//! promises a byte twice, leaves no model waiting for ever, takes nothing back that it just did, and gives other programs
//! their memory.

mod world;

use modelpool::units::{ByteCount, DeviceId};
use world::{Random, World};

/// Length of a world, in steps of half a second.
const STEPS: u64 = 1_800;
/// From here on nothing changes outside, and the same clients ask.
const FLAT_FROM: u64 = 800;
/// By then everything must have settled.
const SETTLED_FROM: u64 = 1_600;

fn run(seed: u64) -> World {
    let mut world = World::random(Random(seed));
    for step in 0..STEPS {
        if step <= FLAT_FROM && step % 160 == 0 {
            world.change();
        }
        world.step();
    }
    world
}

#[test]
fn nothing_is_promised_twice_nobody_starves_and_a_flat_load_settles() {
    let [
        mut restless,
        mut starts,
        mut divided,
        mut evictions,
        mut upgrades,
        mut yields,
        mut turns,
        mut settled,
    ] = [0; 8];
    for seed in 0..500 {
        let world = run(seed);
        assert!(world.overcommitted.is_empty(), "seed {seed}: {:?}", world.overcommitted);
        let longest = world.longest_wait();
        assert!(longest < world.patience(), "seed {seed}: a model waited {longest} steps\n{world}");
        let late = world.starts.iter().filter(|at| **at >= SETTLED_FROM).count();
        if world.took_turns_since(FLAT_FROM) {
            turns += 1;
            assert!(late <= world.turns_in(STEPS - SETTLED_FROM), "seed {seed}: {late} starts\n{world}");
        } else {
            settled += 1;
            // How long answers take is random: an estimate may be corrected once, seldom.
            assert!(late <= 1, "seed {seed}: starts on a flat load\n{world}");
            restless += late;
        }
        starts += world.starts.len();
        divided += world.divided;
        evictions += world.reasons("making_room");
        upgrades += world.reasons("upgrading");
        yields += world.reasons("yielding");
    }
    assert!(restless <= 3, "{restless} starts on flat loads");
    // The worlds are such that all of it happens.
    println!(
        "{starts} starts, {divided} on several devices, room made {evictions}, upgrades {upgrades}, yields {yields}, turns {turns}, flat {settled}"
    );
    assert!(
        starts > 2_000
            && divided > 100
            && evictions > 200
            && upgrades > 100
            && yields > 100
            && turns >= 5
            && settled > 250
    );
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [3, 77] {
        assert_eq!(run(seed).to_string(), run(seed).to_string());
    }
}

#[test]
fn memory_that_another_program_takes_is_given_up_and_quality_returns() {
    let mut world = World::of(
        &[(DeviceId::Gpu(0), ByteCount(1000))],
        "models: [{ name: m, slots: 4, variants: [{ path: a.gguf }, { path: b.gguf }], scale: { min_instances: 1, \
         max_instances: 1, upgrade_after_ms: 30000 } }]",
        &[&[(600, 50), (250, 50)]],
    );
    world.clients = vec![3];
    (0..60).for_each(|_| world.step());
    assert_eq!(world.serving(0), [0]);
    world.outside[0] = ByteCount(500);
    (0..60).for_each(|_| world.step());
    assert_eq!(world.serving(0), [1], "the smaller one fits beside it");
    world.outside[0] = ByteCount::ZERO;
    (0..40).for_each(|_| world.step());
    assert_eq!(world.serving(0), [1], "not before it has been free for 30 s");
    let done = world.answered;
    (0..60).for_each(|_| world.step());
    assert_eq!(world.serving(0), [0]);
    assert!(world.answered > done);
    assert_eq!(world.overcommitted, Vec::<String>::new());
}

#[test]
fn a_model_larger_than_each_gpu_gets_several_and_others_make_room_on_them() {
    let gpus = [0, 1, 2].map(|number| (DeviceId::Gpu(number), ByteCount(1000)));
    let mut world = World::of(
        &gpus,
        "models: [{ name: small, slots: 4, variants: [{ path: a.gguf }], scale: { max_instances: 3, min_residence_ms: \
         5000 } }, { name: large, slots: 4, variants: [{ path: b.gguf }], scale: { max_instances: 1 } }]",
        &[&[(600, 50)], &[(1600, 100)]],
    );
    world.clients = vec![12, 0];
    (0..120).for_each(|_| world.step());
    assert_eq!((world.serving(0).len(), world.divided), (3, 0), "one on each");
    world.clients = vec![0, 3];
    (0..120).for_each(|_| world.step());
    assert_eq!((world.serving(0).len(), world.serving(1).len()), (1, 1), "two of three have made room");
    assert_eq!((world.divided, world.overcommitted.len()), (1, 0));
}
