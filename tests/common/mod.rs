//! A server inside the test, and a client that reads what comes.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod events;
pub mod hermes;
pub mod keys;
pub mod process;
pub mod redis;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use modelpool::api::AdminAccess;
use modelpool::cli::{Server, ServerOptions};
use modelpool::engine::fake::{Controls, FakeLoader};
use modelpool::gpu::FakeMemory;
use modelpool::measured::Remembered;
use modelpool::policy::Policy;
use modelpool::units::{ByteCount, DeviceId};
use modelpool::worker::thread::ThreadSpawner;
use serde_json::{Value, json};

/// How long anything may take before a test gives up. Far more than is ever needed: tests wait for conditions.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A policy that serves the demo model as `name`, with `rest` as the other keys of the model.
pub fn policy(name: &str, rest: &str) -> Policy {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let text = format!(
        "server: {{ listen: \"127.0.0.1:0\", drain_timeout_ms: 20000, max_body_bytes: 100kB }}\n\
         models:\n- name: {name}\n  context_tokens: 1024\n  variants:\n  - path: tidepool-3m-f16.gguf\n{rest}\n"
    );
    Policy::parse(&text, "the test's policy", &files).unwrap_or_else(|error| panic!("{error}"))
}

/// A server and a client for it. The tests of one program share one registry of metrics, so each server's model has
/// a name of its own.
pub struct World {
    pub model: String,
    /// In the environment of its workers, to tell them from others.
    pub mark: String,
    pub server: Server,
    pub url: String,
    pub client: reqwest::Client,
}

impl World {
    /// llama.cpp with the demo model.
    pub async fn real(rest: &str) -> Self {
        Self::with_fault(rest, "").await
    }

    /// As [`World::real`], with workers that fail as `fault` says; see `src/engine/faulty.rs`.
    pub async fn with_fault(rest: &str, fault: &str) -> Self {
        Self::serve(&policy(&next_name(), rest), fault).await
    }

    /// Any policy, with workers that fail as `fault` says.
    pub async fn serve(policy: &Policy, fault: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_modelpool"));
        let mark = ("MODELPOOL_TEST".into(), mark(policy).into());
        let environment = vec![mark, ("MODELPOOL_FAULT".into(), fault.into())];
        let options = ServerOptions::of_this_machine(policy, program, environment).await;
        let mut options = options.unwrap_or_else(|error| panic!("{error:#}"));
        options.admin = AdminAccess::Full;
        Self::start(policy, options).await
    }

    /// The fake engine on four CPU threads and 64 GiB.
    pub async fn fake(rest: &str) -> (Self, Arc<Controls>) {
        Self::fake_with(rest, |_| {}).await
    }

    /// As [`World::fake`], with a policy that is changed first.
    pub async fn fake_with(rest: &str, change: impl FnOnce(&mut Policy)) -> (Self, Arc<Controls>) {
        let mut policy = policy(&next_name(), rest);
        change(&mut policy);
        let loader = FakeLoader::default();
        let controls = Arc::clone(&loader.controls);
        let options = ServerOptions {
            spawner: Arc::new(ThreadSpawner::new(loader, 4)),
            devices: vec![DeviceId::Host],
            cpu_threads: 4,
            memory: Box::new(FakeMemory::new(&[(DeviceId::Host, ByteCount::from_mib(64 << 10))])),
            remembered: Remembered::default(),
            admin: AdminAccess::Full,
        };
        (Self::start(&policy, options).await, controls)
    }

    pub async fn start(policy: &Policy, options: ServerOptions) -> Self {
        let server = Server::start(policy, options).await.unwrap_or_else(|error| panic!("{error:#}"));
        let url = format!("http://{}", server.address());
        let model = policy.models[0].name.to_string();
        Self { model, mark: mark(policy), server, url, client: client() }
    }

    /// A chat request with one message of a user.
    pub fn chat(&self, content: &str, more: &Value) -> Value {
        let mut body = json!({ "model": self.model, "messages": [{ "role": "user", "content": content }] });
        merge(&mut body, more);
        body
    }

    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        post(&self.client, &format!("{}{path}", self.url), body).await
    }

    /// The value of one of the model's series at `/metrics`, with `labels` besides the model's; zero while it
    /// does not exist.
    /// A chat with these fields is a 400 that names `param`, streamed or not.
    pub async fn check_refused(&self, fields: &Value, param: &str) {
        for stream in [false, true] {
            let mut body = self.chat("hi", fields);
            body["stream"] = stream.into();
            let response = self.post("/v1/chat/completions", &body).await;
            assert_eq!(response.status(), 400, "{fields}");
            let answer: Value = response.json().await.unwrap();
            assert_eq!(answer["error"]["param"], param, "{answer}");
        }
    }

    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let series = format!("{name}{{model=\"{}\"{labels}}}", self.model);
        metric(&self.client, &self.url, &series).await
    }

    /// Waits until one of the model's series has a value that `wanted` accepts.
    pub async fn wait_for(&self, name: &str, labels: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, labels).await;
            if wanted(value) {
                return value;
            }
            assert!(tokio::time::Instant::now() < deadline, "{name} stays at {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn next_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("model-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn mark(policy: &Policy) -> String {
    format!("{}-{}", std::process::id(), policy.models[0].name)
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

pub async fn post(client: &reqwest::Client, url: &str, body: &Value) -> reqwest::Response {
    let sent = client.post(url).json(body).send();
    tokio::time::timeout(PATIENCE, sent).await.expect("an answer in time").expect("an answer")
}

pub async fn metric(client: &reqwest::Client, url: &str, series: &str) -> f64 {
    let text = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

pub fn merge(body: &mut Value, more: &Value) {
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
}

/// What came over a stream.
#[derive(Debug, Default)]
pub struct Streamed {
    pub status: u16,
    pub text: String,
    pub chunks: Vec<Value>,
    /// `finish_reason` of the last chunk that had one.
    pub finish: Option<String>,
    /// An error event.
    pub error: Option<Value>,
    /// Whether `[DONE]` came, as the last event.
    pub done: bool,
}

/// Posts a streaming request and reads the stream to its end.
pub async fn stream(client: &reqwest::Client, url: &str, body: &Value) -> Streamed {
    let mut body = body.clone();
    body["stream"] = true.into();
    let response = post(client, url, &body).await;
    let mut streamed = Streamed { status: response.status().as_u16(), ..Streamed::default() };
    let reading = tokio::time::timeout(PATIENCE, response.text());
    let text = reading.await.expect("the stream ends in time").expect("the stream is not cut off");
    if streamed.status != 200 {
        streamed.error = serde_json::from_str(&text).ok();
        return streamed;
    }
    for event in text.split_terminator("\n\n") {
        assert!(!streamed.done, "something follows [DONE]: {event}");
        if event.starts_with(": ") {
            continue;
        }
        let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("not an event: {event:?}"));
        if data == "[DONE]" {
            streamed.done = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        if chunk.get("error").is_some() {
            streamed.error = Some(chunk);
            continue;
        }
        if let Some(choice) = chunk["choices"].get(0) {
            let piece = choice["delta"]["content"].as_str().or_else(|| choice["text"].as_str());
            streamed.text.push_str(piece.unwrap_or_default());
            if let Some(finish) = choice["finish_reason"].as_str() {
                streamed.finish = Some(finish.to_owned());
            }
        }
        streamed.chunks.push(chunk);
    }
    streamed
}
