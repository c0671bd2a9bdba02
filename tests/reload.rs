//! Proves that a policy can be replaced while requests run: none is dropped, what is invalid changes nothing, and a
//! server that is killed leaves nothing behind.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::process::{Serving, program};
use common::{PATIENCE, client, metric, post, stream};
use rustix::process::Signal;
use serde_json::{Value, json};

const RELOADS: &str = "modelpool_policy_reloads_total";

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model").join(name)
}

/// A folder with a policy, a model file, and a server that follows them.
struct World {
    folder: tempfile::TempDir,
    server: Serving,
    client: reqwest::Client,
}

impl World {
    fn start(models: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(demo("tidepool-3m-q8_0.gguf"), folder.path().join("model.gguf")).unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, text(models)).unwrap();
        let mut command = program(folder.path(), &["--policy", path.to_str().unwrap()]);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let server = Serving::spawn(command.stderr(log));
        Self { folder, server, client: client() }
    }

    fn url(&self) -> String {
        format!("{}/v1/chat/completions", self.server.url)
    }

    fn body(model: &str, max_tokens: u32) -> Value {
        json!({ "model": model, "max_tokens": max_tokens, "temperature": 0,
            "messages": [{ "role": "user", "content": "Tell me a story about a fox." }] })
    }

    /// Puts another policy in the place of the present one, as editors and configuration managers do.
    fn replace_policy(&self, models: &str) {
        let new = self.folder.path().join("new.yaml");
        fs::write(&new, text(models)).unwrap();
        fs::rename(new, self.folder.path().join("policy.yaml")).unwrap();
    }

    async fn metric(&self, series: &str) -> f64 {
        metric(&self.client, &self.server.url, series).await
    }

    async fn wait_for(&self, series: &str, wanted: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(series).await;
            if value >= wanted {
                return;
            }
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(Instant::now() < deadline, "{series} stays at {value}: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Streams one answer after the other until told to stop; each must be whole. Gives their number.
    fn load(&self, model: &str, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<u32> {
        let (client, url, body) = (self.client.clone(), self.url(), Self::body(model, 40));
        let stop = Arc::clone(stop);
        tokio::spawn(async move {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                let streamed = stream(&client, &url, &body).await;
                assert!(streamed.done && streamed.error.is_none(), "{streamed:?}");
                served += 1;
            }
            served
        })
    }
}

fn text(models: &str) -> String {
    format!("server: {{ listen: \"127.0.0.1:0\" }}\nmodels:\n{models}\n")
}

fn model(name: &str, rest: &str) -> String {
    format!("- {{ name: {name}, variants: [{{ path: model.gguf }}], context_tokens: 256, {rest} }}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_is_followed_and_no_request_is_dropped() {
    let world = World::start(&model("m", "slots: 2"));
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..4).map(|_| world.load("m", &stop)).collect();
    world.wait_for("modelpool_slots{model=\"m\"}", 2.0).await;
    // Other slots need other instances; a second model joins.
    world.replace_policy(&(model("m", "slots: 5, scale: { max_instances: 1 }") + &model("n", "slots: 1")));
    world.wait_for(&format!("{RELOADS}{{outcome=\"reloaded\"}}"), 1.0).await;
    world.wait_for("modelpool_slots{model=\"m\"}", 5.0).await;
    let answer = post(&world.client, &world.url(), &World::body("n", 2)).await;
    assert_eq!(answer.status(), 200);
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        assert!(load.await.unwrap() > 0);
    }
    let failed = "modelpool_requests_total{model=\"m\",outcome=\"failed\"}";
    assert!(world.metric(failed).await < 0.5);
    assert!(world.metric("modelpool_resumes_total{model=\"m\"}").await < 0.5, "nothing was interrupted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_model_serves_those_it_accepted_and_no_other() {
    let world =
        World::start(&(model("m", "slots: 1, scale: { max_instances: 1 }") + &model("n", "slots: 1")));
    let accepted: Vec<_> = (0..6)
        .map(|_| {
            let (client, url) = (world.client.clone(), world.url());
            tokio::spawn(async move { stream(&client, &url, &World::body("m", 100)).await })
        })
        .collect();
    world.wait_for("modelpool_requests_in_flight{model=\"m\"}", 1.0).await;
    world.replace_policy(&model("n", "slots: 1"));
    // The file's watcher would do it too, a moment later.
    world.server.signal(Signal::HUP);
    world.wait_for(&format!("{RELOADS}{{outcome=\"reloaded\"}}"), 1.0).await;
    let late = post(&world.client, &world.url(), &World::body("m", 2)).await;
    assert_eq!(late.status(), 404);
    for streamed in accepted {
        let streamed = streamed.await.unwrap();
        assert!(streamed.done && streamed.error.is_none(), "{streamed:?}");
    }
    world.wait_for("modelpool_unloads_total{model=\"m\",variant=\"model\"}", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_invalid_is_refused_and_the_old_policy_stays() {
    let world = World::start(&model("m", "slots: 1"));
    let refused = format!("{RELOADS}{{outcome=\"refused\"}}");
    for (number, broken) in [
        model("m", "slots: none"),
        "- { name: m, variants: [{ path: absent.gguf }] }".to_owned(),
        String::new(),
    ]
    .iter()
    .enumerate()
    {
        world.replace_policy(broken);
        world.server.signal(Signal::HUP);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        world.wait_for(&refused, number as f64 + 1.0).await;
        let answer = post(&world.client, &world.url(), &World::body("m", 2)).await;
        assert_eq!(answer.status(), 200, "{broken}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_model_file_is_rolled_out_on_sighup() {
    let world = World::start(&model("m", "slots: 2, scale: { max_instances: 1 }"));
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..2).map(|_| world.load("m", &stop)).collect();
    let loaded = "modelpool_loads_total{model=\"m\",variant=\"model\",outcome=\"loaded\"}";
    world.wait_for(loaded, 1.0).await;
    let new = world.folder.path().join("new.gguf");
    fs::copy(demo("tidepool-3m-f16.gguf"), &new).unwrap();
    fs::rename(new, world.folder.path().join("model.gguf")).unwrap();
    world.server.signal(Signal::HUP);
    world.wait_for(loaded, 2.0).await;
    world.wait_for("modelpool_unloads_total{model=\"m\",variant=\"model\"}", 1.0).await;
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        assert!(load.await.unwrap() > 0);
    }
}

/// The processes whose environment has `mark`.
#[cfg(target_os = "linux")]
fn marked(mark: &str) -> usize {
    let has_mark = |entry: &fs::DirEntry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|part| part == mark.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().filter(has_mark).count()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_leaves_no_worker_and_serves_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // Inherited by workers, so that theirs are told from those of other tests.
    let mark = format!("OMP_MODELPOOL_TEST={}", folder.path().display());
    let serve = || {
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = program(folder.path(), &["--listen", "127.0.0.1:0"]);
        Serving::spawn(command.env(name, value).stderr(std::process::Stdio::null()))
    };
    let mut server = serve();
    let client = client();
    let body = World::body("tidepool-3m", 200);
    let streaming = {
        let (client, url, mut body) =
            (client.clone(), format!("{}/v1/chat/completions", server.url), body.clone());
        body["stream"] = true.into();
        let mut response = post(&client, &url, &body).await;
        response.chunk().await.unwrap().expect("a chunk");
        response
    };
    assert_eq!(marked(&mark), 2, "the server and its worker");
    server.signal(Signal::KILL);
    server.wait();
    let killed = Instant::now();
    while marked(&mark) > 0 {
        assert!(killed.elapsed() < PATIENCE, "a worker is left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(streaming);
    let server = serve();
    let answer =
        post(&client, &format!("{}/v1/chat/completions", server.url), &World::body("tidepool-3m", 2)).await;
    assert_eq!(answer.status(), 200);
}
