//! Proves on a host without a GPU that memory decides which variant serves: the best that fits, a smaller one while
//! another program holds the memory, the best again afterwards, and that models which do not fit together take turns; with
//! the real engine, the demo model's three variants, and memory that the test sets. No stream breaks on the way.

mod common;

use std::path::Path;

use common::{PATIENCE, World, stream};
use modelpool::cli::ServerOptions;
use modelpool::gpu::FakeMemory;
use modelpool::policy::Policy;
use modelpool::units::{ByteCount, DeviceId};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const TOTAL: ByteCount = ByteCount::from_mib(1000);

fn policy(text: &str) -> Policy {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let head = "server: { listen: \"127.0.0.1:0\" }\n";
    Policy::parse(&format!("{head}{text}"), "the test's policy", &files).unwrap_or_else(|e| panic!("{e}"))
}

async fn serve(text: &str, memory: &FakeMemory) -> World {
    let policy = policy(text);
    let program = Path::new(env!("CARGO_BIN_EXE_modelpool"));
    let options = ServerOptions::of_this_machine(&policy, program, Vec::new()).await.expect("options");
    World::start(&policy, ServerOptions { memory: Box::new(memory.clone()), ..options }).await
}

/// The variant that answers a short request.
async fn variant(world: &World, model: &str) -> String {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 2 });
    let response = world.post(CHAT, &body).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let name = headers["x-modelpool-variant"].to_str().unwrap().to_owned();
    assert_eq!(answer["system_fingerprint"], format!("fp_{name}"));
    name
}

async fn becomes(world: &World, expected: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let name = variant(world, &world.model).await;
        if name == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{name} still serves");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn another_program_gets_memory_and_quality_returns_with_it() {
    let memory = FakeMemory::new(&[(DeviceId::Host, TOTAL)]);
    let world = serve(
        "models:\n- name: ladder\n  context_tokens: 1024\n  scale: { min_instances: 1, max_instances: 1, \
         upgrade_after_ms: 300 }\n  variants: [ { path: tidepool-3m-f16.gguf }, { path: tidepool-3m-q8_0.gguf }, \
         { path: tidepool-3m-q4_k_m.gguf } ]",
        &memory,
    )
    .await;
    let talk = json!({ "model": "ladder", "max_tokens": 900, "ignore_eos": true, "temperature": 0.8,
        "messages": [{ "role": "user", "content": "Tell me a long story." }] });
    let begin = || {
        let (client, url, body) = (world.client.clone(), format!("{}{CHAT}", world.url), talk.clone());
        tokio::spawn(async move { stream(&client, &url, &body).await })
    };
    let busy = |busy: f64| world.wait_for("modelpool_slots_busy", "", move |value| value >= busy);
    assert_eq!(variant(&world, "ladder").await, "tidepool-3m-f16");

    // Nearly all is taken while a text is written: the instance finishes it and goes, and nothing fits.
    let first = begin();
    busy(1.0).await;
    memory.set_used(DeviceId::Host, ByteCount::from_mib(990));
    let first = first.await.unwrap();
    assert!(first.done && first.finish.as_deref() == Some("length"), "{first:?}");
    for state in ["ready", "draining", "stopping"] {
        let label = format!(",variant=\"tidepool-3m-f16\",state=\"{state}\"");
        world.wait_for("modelpool_instances", &label, |count| count == 0.0).await;
    }

    // A little comes back: enough for the smallest. The headroom is 50 MiB.
    let check = modelpool_bytes("tidepool-3m-q4_k_m", 8);
    memory.set_used(DeviceId::Host, ByteCount(TOTAL.0 - ByteCount::from_mib(50).0 - check));
    assert_eq!(variant(&world, "ladder").await, "tidepool-3m-q4_k_m");

    // All of it: the best takes over while the smallest still writes.
    let second = begin();
    busy(1.0).await;
    memory.set_used(DeviceId::Host, ByteCount::ZERO);
    becomes(&world, "tidepool-3m-f16").await;
    let second = second.await.unwrap();
    assert!(second.done && second.finish.as_deref() == Some("length"), "{second:?}");
    assert_eq!(second.chunks[0]["system_fingerprint"], "fp_tidepool-3m-q4_k_m");
}

/// Bytes that a variant takes with one instance, as the catalog predicts them, and one more.
fn modelpool_bytes(variant: &str, slots: u32) -> u64 {
    let variants = format!("variants: [ {{ path: {variant}.gguf }} ]");
    let text = format!("models:\n- {{ name: one, context_tokens: 1024, slots: {slots}, {variants} }}");
    let policy = policy(&text);
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let catalog = modelpool::catalog::Catalog::read(&policy.models, &files);
    let found = &catalog.models[0].variants[0];
    (found.weights_bytes + found.on_host.instance().host).0 + 1
}

#[tokio::test]
async fn models_that_do_not_fit_together_take_turns() {
    let memory = FakeMemory::new(&[(DeviceId::Host, TOTAL)]);
    let model = |name: &str, more: &str| {
        format!(
            "- {{ name: {name}, context_tokens: 1024, slots: 64, variants: [ {{ path: tidepool-3m-f16.gguf }} ], scale: \
             {{ quality: pinned, min_residence_ms: 50, max_instances: 1{more} }} }}\n"
        )
    };
    // A worker's process may hold no more than this, and takes a little more than is predicted.
    let limit = modelpool_bytes("tidepool-3m-f16", 64) * 3 / 2;
    let models = [model("one", ", min_instances: 1"), model("two", ""), model("three", "")].concat();
    let text = format!("devices: {{ host_memory_limit: {limit} }}\nmodels:\n{models}");
    let world = serve(&text, &memory).await;
    for _ in 0..3 {
        for name in ["one", "two", "three"] {
            assert_eq!(variant(&world, name).await, "tidepool-3m-f16");
        }
    }
    // All at once.
    let names = ["one", "two", "three", "two", "one", "three"];
    let asked = names.map(|name| variant(&world, name));
    assert_eq!(futures_util::future::join_all(asked).await.len(), names.len());
}

#[tokio::test]
async fn what_can_never_fit_is_refused_at_once() {
    let memory = FakeMemory::new(&[(DeviceId::Host, ByteCount::from_mib(20))]);
    let world = serve(
        "models:\n- name: large\n  context_tokens: 1024\n  variants: [ { path: tidepool-3m-f16.gguf } ]",
        &memory,
    )
    .await;
    let body = world.chat("Hi", &json!({}));
    let response = world.post(CHAT, &body).await;
    assert_eq!(response.status(), 503);
    let answer: Value = response.json().await.unwrap();
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("never fits"), "{message}");
}
