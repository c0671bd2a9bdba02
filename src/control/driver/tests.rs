//! Proves what the controller takes for available on devices that can be read, and on those that cannot.

use std::path::Path;

use super::*;
use crate::engine::fake::FakeLoader;
use crate::gpu::FakeMemory;
use crate::policy::Policy;
use crate::telemetry;
use crate::units::ByteCount;
use crate::worker::thread::ThreadSpawner;

const GPU: DeviceId = DeviceId::Gpu(0);

/// A controller that has not looked yet, and places on a GPU.
fn controller(memory: &FakeMemory) -> Controller {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let text = "devices: {headroom_fraction: 0.1}\n\
                models:\n- name: m\n  context_tokens: 1024\n  variants: [{path: tidepool-3m-f16.gguf}]\n";
    let policy = Policy::parse(text, "p", &files).unwrap_or_else(|error| panic!("{error}"));
    let catalog = Arc::new(Catalog::read(&policy.models, &files));
    let (clock, wake) = (Clock::start(), Arc::new(Notify::new()));
    let pool = Arc::new(Pool::new(Arc::clone(&catalog)));
    let admission =
        Arc::new(Admission::new(Arc::clone(&pool), clock, &catalog.policies(), Arc::clone(&wake)));
    Controller::new(Setup {
        catalog,
        devices_policy: policy.devices,
        devices: vec![GPU],
        cpu_threads: 1,
        admission,
        pool,
        spawner: Arc::new(ThreadSpawner::new(FakeLoader::default(), 1)),
        memory: Box::new(memory.clone()),
        remembered: Remembered::default(),
        clock,
        wake,
        metrics: telemetry::install().expect("one recorder for all tests"),
        reloads: mpsc::channel(1).1,
        errands: mpsc::channel(1).1,
        board: Arc::default(),
    })
}

/// What may be taken, in a look at this second.
fn available(controller: &mut Controller, second: u64) -> Option<ByteCount> {
    controller.read_memory(Timestamp::from_millis(second * 1000));
    let observation = controller.observe(Timestamp::from_millis(second * 1000));
    observation.devices.first().expect("one device").available
}

#[tokio::test]
async fn a_device_that_vanished_takes_nothing_until_it_is_back() {
    let memory = FakeMemory::new(&[(GPU, ByteCount(1000))]);
    let mut controller = controller(&memory);
    assert_eq!(available(&mut controller, 1), Some(ByteCount(900)));
    let reading = controller.memory.clone();
    memory.remove(GPU);
    assert_eq!(available(&mut controller, 2), Some(ByteCount::ZERO));
    memory.replace(reading);
    assert_eq!(available(&mut controller, 3), Some(ByteCount(900)));
}

#[tokio::test]
async fn a_device_that_was_never_read_takes_everything() {
    let memory = FakeMemory::new(&[(DeviceId::Host, ByteCount(1000))]);
    assert_eq!(available(&mut controller(&memory), 1), None);
}

#[tokio::test]
async fn decisions_see_what_lies_on_the_device_that_computes() {
    let memory = FakeMemory::new(&[(GPU, ByteCount(1000))]);
    let mut controller = controller(&memory);
    available(&mut controller, 1);
    let observation = controller.observe(Timestamp::default());
    let (variant, expected) = (&observation.models[0].variants[0], &controller.models[0].variants[0].on_gpu);
    assert_eq!(variant.takes.worker, expected.worker.gpu);
    assert_eq!(variant.takes.instance, expected.kv_cache.gpu + expected.compute.gpu);
}

#[tokio::test]
async fn readings_of_a_device_that_vanished_are_no_numbers() {
    // All tests share one registry of metrics: a device that no other has.
    let gpu = DeviceId::Gpu(7);
    let memory = FakeMemory::new(&[(gpu, ByteCount(1000))]);
    let mut controller = controller(&memory);
    let mut look = |second: u64| {
        let now = Timestamp::from_millis(second * 1000);
        controller.read_memory(now);
        let observation = controller.observe(now);
        controller.report(&observation);
        let text = controller.setup.metrics.render();
        let of_gpu = text.lines().filter(|line| line.contains("{device=\"gpu7\"}"));
        let readings: Vec<(String, String)> = of_gpu
            .filter_map(|line| line.split_once("{device=\"gpu7\"} "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        move |name: &str| readings.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    };
    let mut reading = memory.clone().read(&[]);
    reading[0].sensors.utilization_percent = Some(40);
    reading[0].sensors.temperature_celsius = Some(61);
    reading[0].sensors.power_milliwatts = Some(250_500);
    memory.replace(reading);
    let there = look(1);
    for (name, value) in [
        ("modelpool_memory_total_bytes", "1000"),
        ("modelpool_gpu_utilization_ratio", "0.4"),
        ("modelpool_gpu_temperature_celsius", "61"),
        ("modelpool_gpu_power_watts", "250.5"),
    ] {
        assert_eq!(there(name).as_deref(), Some(value), "{name}");
    }
    memory.remove(gpu);
    let gone = look(2);
    for name in ["modelpool_memory_free_bytes", "modelpool_gpu_power_watts"] {
        assert_eq!(gone(name).as_deref(), Some("NaN"), "{name}");
    }
}
