//! Proves that broken model files harm nobody: hundreds of them, truncated, with impossible sizes or flipped bits, are
//! loaded beside a good one. Each gets a clear error or an answer, and the good model answers throughout.

#[path = "../common/mod.rs"]
mod common;
mod corrupt;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use common::{World, post};
use corrupt::Corrupt;
use futures_util::future::join_all;
use modelpool::policy::Policy;
use serde_json::{Value, json};

const SEED: u64 = 7;
/// Files served at a time.
const BATCH: usize = 48;
/// Of the many truncations, one in this many.
const THINNING: usize = 6;

fn policy(folder: &Path, count: usize) -> Policy {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-q4_k_m.gguf");
    let mut text = format!(
        "server: {{ listen: \"127.0.0.1:0\" }}\nmodels:\n- {{ name: good, context_tokens: 256, slots: 2, variants: \
         [{{ path: {} }}] }}\n",
        demo.display()
    );
    for number in 0..count {
        writeln!(
            text,
            "- {{ name: bad-{number}, context_tokens: 64, slots: 1, scale: {{ max_instances: 1 }}, variants: [{{ path: \
             {number}.gguf }}], queue: {{ timeout_ms: 20000 }} }}"
        )
        .unwrap();
    }
    Policy::parse(&text, "the test's policy", folder).unwrap_or_else(|error| panic!("{error}"))
}

/// Asks a model for a few tokens; gives the status, the error's code and its message.
async fn ask(world: &World, model: &str) -> (u16, String, String) {
    let body = json!({ "model": model, "prompt": "The fox", "max_tokens": 3 });
    let response = post(&world.client, &format!("{}/v1/completions", world.url), &body).await;
    let status = response.status().as_u16();
    let answer: Value = response.json().await.expect("JSON");
    let text = |key: &str| answer["error"][key].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}

/// Serves one batch of broken files; counts what became of them.
async fn check_batch(batch: &[Corrupt], outcomes: &mut BTreeMap<String, u32>) {
    let folder = tempfile::tempdir().unwrap();
    for (number, file) in batch.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number}.gguf")), &file.bytes).unwrap();
    }
    let world = World::serve(&policy(folder.path(), batch.len()), "").await;
    let answers = join_all(batch.iter().enumerate().map(async |(number, _)| {
        let bad = ask(&world, &format!("bad-{number}")).await;
        // The good one answers in the midst of it.
        let good = ask(&world, "good").await;
        assert_eq!(good.0, 200, "{good:?}");
        bad
    }))
    .await;
    for (file, (status, code, message)) in batch.iter().zip(answers) {
        let name = &file.name;
        match status {
            200 => assert!(!file.must_fail, "{name}: served"),
            // One that claims to need terabytes waits for memory that never comes.
            503 if code == "queue_timeout" => assert!(message.contains("no headroom"), "{name}: {message}"),
            503 => {
                assert!(
                    matches!(code.as_str(), "model_broken" | "model_load_failed"),
                    "{name}: {code} {message}"
                );
            }
            500 => assert_eq!(code, "request_ended_workers", "{name}: {message}"),
            _ => panic!("{name}: {status} {code} {message}"),
        }
        assert!(status == 200 || message.len() > 20, "{name}: says nothing: {message:?}");
        *outcomes.entry(format!("{status} {code}")).or_default() += 1;
    }
    world.server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_files_get_clear_errors_and_harm_no_other_model() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-q4_k_m.gguf");
    let valid = std::fs::read(demo).unwrap();
    let (mut files, mut truncated) = (Vec::new(), 0);
    corrupt::for_each(&valid, SEED, &mut |file| {
        truncated += usize::from(file.name.starts_with("truncated"));
        if !file.name.starts_with("truncated") || truncated % THINNING == 0 {
            files.push(file);
        }
    });
    let names: HashSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert!(names.len() == files.len() && names.len() >= 300, "{} files", names.len());
    let mut outcomes = BTreeMap::new();
    for batch in files.chunks(BATCH) {
        check_batch(batch, &mut outcomes).await;
    }
    println!("{} files: {outcomes:?}", files.len());
    // The header's reader refuses most; some get as far as a worker, and some of those end it.
    for outcome in ["503 model_broken", "503 model_load_failed", "500 request_ended_workers", "200 "] {
        assert!(outcomes.contains_key(outcome), "no file ended as {outcome:?}: {outcomes:?}");
    }
}
