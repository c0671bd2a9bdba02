//! Proves that nothing that happens to a worker's process reaches a client: it is killed, stopped, aborts, hangs, talks
//! nonsense or runs out of memory, and every request goes on without a gap or a repetition.

#![cfg(feature = "fault-injection")]
#![allow(clippy::float_cmp, reason = "the gauges count things")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use common::{PATIENCE, Streamed, World, stream};
use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
/// Two instances of 16 slots; frozen workers are noticed soon.
const ROOMY: &str = "  slots: 16\n  scale: { max_instances: 2, target_queue_wait_ms: 1 }\n  watchdog: { no_progress_after_ms: 1500 }";
const QUESTIONS: [&str; 8] = [
    "Tell me a story about a fox.",
    "Tell me a story about a bear.",
    "Tell me a story about an owl.",
    "Tell me a story about a cat.",
    "What is 12 + 30?",
    "Tell me a story about a mouse.",
    "Tell me a story about a whale.",
    "Tell me a story about a horse.",
];

/// What an undisturbed server answers to the question number `at`, at temperature 0.
fn body(world: &World, at: usize) -> Value {
    let more = json!({ "temperature": 0, "max_tokens": 120, "stream_options": { "include_usage": true } });
    world.chat(QUESTIONS[at % QUESTIONS.len()], &more)
}

type Streams = Vec<tokio::task::JoinHandle<Streamed>>;

fn start(world: &World, count: usize) -> Streams {
    let url = format!("{}{CHAT}", world.url);
    (0..count)
        .map(|at| {
            let (client, url, body) = (world.client.clone(), url.clone(), body(world, at));
            tokio::spawn(async move { stream(&client, &url, &body).await })
        })
        .collect()
}

/// Waits for all streams and checks that each is whole: no error, an end, and a chunk of text for each token.
async fn check_whole(streams: Streams) -> Vec<String> {
    let mut texts = Vec::new();
    for streamed in join_all(streams).await {
        let streamed = streamed.unwrap();
        assert!(streamed.done && streamed.error.is_none(), "{streamed:?}");
        let tokens = streamed.chunks.iter().find_map(|chunk| chunk["usage"]["completion_tokens"].as_u64());
        let text =
            |chunk: &&Value| chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty());
        let with_text = streamed.chunks.iter().filter(text).count() as u64;
        let ends_itself = u64::from(streamed.finish.as_deref() == Some("stop"));
        assert_eq!(tokens, Some(with_text + ends_itself), "a token is missing or was repeated: {streamed:?}");
        texts.push(streamed.text);
    }
    texts
}

/// As [`check_whole`], and the texts are those of an undisturbed server but for a rare tie: the shape of a batch changes
/// the arithmetic's rounding.
async fn check(streams: Streams) {
    let texts = check_whole(streams).await;
    let undisturbed = World::real("  slots: 1\n  scale: { max_instances: 1 }").await;
    let expected = check_whole(start(&undisturbed, QUESTIONS.len())).await;
    let equal = texts.iter().enumerate().filter(|(at, text)| **text == expected[at % expected.len()]).count();
    assert!(
        equal * 10 >= texts.len() * 7,
        "only {equal} of {} texts are as expected: {texts:#?}",
        texts.len()
    );
}

/// The world's workers: processes that were started with its mark.
fn workers(world: &World) -> BTreeSet<i32> {
    let mark = format!("MODELPOOL_TEST={}", world.mark);
    let has_mark = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has_mark).collect()
}

fn signal(world: &World, signal: Signal) {
    let found = workers(world);
    assert!(!found.is_empty(), "there is no worker");
    for pid in found {
        // One that ended in the meantime is none to signal.
        let _gone = kill_process(Pid::from_raw(pid).unwrap(), signal);
    }
}

/// Waits until `count` requests have a slot and some have generated a good deal.
async fn wait_until_busy(world: &World, count: f64) {
    world.wait_for("modelpool_slots_busy", "", |busy| busy >= count).await;
    world.wait_for("modelpool_generated_tokens_total", "", |tokens| tokens >= count * 5.0).await;
}

async fn exits(world: &World, reason: &str) -> f64 {
    let labels = format!(",variant=\"tidepool-3m-f16\",reason=\"{reason}\"");
    world.metric("modelpool_worker_exits_total", &labels).await
}

#[tokio::test]
async fn streams_go_on_when_their_worker_is_killed() {
    let world = World::with_fault(ROOMY, "slow:10").await;
    let streams = start(&world, 32);
    wait_until_busy(&world, 32.0).await;
    signal(&world, Signal::KILL);
    check(streams).await;
    assert_eq!(exits(&world, "killed").await, 1.0);
    assert!(world.metric("modelpool_resumes_total", "").await >= 16.0);
}

#[tokio::test]
async fn streams_go_on_when_their_worker_freezes() {
    let world = World::with_fault(ROOMY, "slow:10").await;
    let streams = start(&world, 32);
    wait_until_busy(&world, 32.0).await;
    signal(&world, Signal::STOP);
    check(streams).await;
    assert_eq!(exits(&world, "frozen").await, 1.0);
}

#[tokio::test]
async fn streams_go_on_however_their_worker_ends() {
    for (fault, reason) in [
        ("abort-at-step@1:25,slow:4", "aborted"),
        ("exit-at-step@1:25,slow:4", "exited"),
        ("freeze-at-step@1:25,slow:4", "frozen"),
        ("garble-at-step@1:25,slow:4", "protocol_error"),
    ] {
        let world = World::with_fault(ROOMY, fault).await;
        check(start(&world, 32)).await;
        assert_eq!(exits(&world, reason).await, 1.0, "{fault}");
    }
}

#[tokio::test]
async fn requests_wait_while_a_load_that_aborted_or_hung_is_repeated() {
    for (fault, reason) in [("abort-at-load@1", "aborted"), ("hang-at-load@1", "load_timeout")] {
        let short = ROOMY.replace("watchdog: {", "watchdog: { load_timeout_ms: 1000,");
        let world = World::with_fault(&short, fault).await;
        check(start(&world, 32)).await;
        assert_eq!(exits(&world, reason).await, 1.0, "{fault}");
        let failed = ",variant=\"tidepool-3m-f16\",outcome=\"failed\"";
        assert_eq!(world.metric("modelpool_loads_total", failed).await, 1.0, "{fault}");
    }
}

#[tokio::test]
async fn workers_that_are_killed_again_and_again_lose_nothing() {
    let world = World::with_fault(ROOMY, "slow:10").await;
    let streams = start(&world, 64);
    for _ in 0..6 {
        wait_until_busy(&world, 1.0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        for pid in workers(&world) {
            let _gone = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
    check(streams).await;
    assert_eq!(world.metric("modelpool_requests_total", ",outcome=\"completed\"").await, 64.0);
}

#[tokio::test]
async fn a_request_that_ends_workers_is_found_among_many_and_takes_none_along() {
    let world = World::with_fault(ROOMY, "slow:10").await;
    let streams = start(&world, 16);
    wait_until_busy(&world, 16.0).await;
    let poison = world.chat("[fault:abort]", &json!({}));
    let broken = world.post(CHAT, &poison).await;
    assert_eq!(broken.status(), 500);
    let answer: Value = broken.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "request_ended_workers");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("ended 2 workers") && message.contains("GGML_ASSERT(told) failed"), "{message}");
    assert!(!message.contains("/build"), "a folder of the build's machine: {message}");
    let again = world.post(CHAT, &poison).await;
    assert_eq!(again.status(), 422);
    check(streams).await;
    assert_eq!(exits(&world, "aborted").await, 2.0);
    assert_eq!(world.metric("modelpool_quarantined_requests_total", "").await, 1.0);
}

#[tokio::test]
async fn slow_work_is_not_taken_for_frozen() {
    let short = "  slots: 4\n  scale: { max_instances: 1 }\n  watchdog: { no_progress_after_ms: 2000 }";
    let world = World::with_fault(short, "slow:400").await;
    // A prompt of several parts, each of which is progress.
    let long = "Tell me a story about a fox. ".repeat(60);
    let body = world.chat(&long, &json!({ "max_tokens": 8 }));
    let slow = stream(&world.client, &format!("{}{CHAT}", world.url), &body).await;
    assert!(slow.done && slow.error.is_none(), "{slow:?}");
    assert_eq!(exits(&world, "frozen").await, 0.0);
}

#[tokio::test]
async fn a_load_that_runs_out_of_memory_makes_way_for_a_smaller_variant() {
    let variants = "  - path: tidepool-3m-q8_0.gguf\n  slots: 4";
    let world = World::with_fault(variants, "out-of-memory-at-load@1").await;
    let response = world.post(CHAT, &world.chat("hi", &json!({ "max_tokens": 4 }))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-modelpool-variant"], "tidepool-3m-q8_0");
    assert_eq!(world.metric("modelpool_crash_loop", "").await, 0.0);
}

#[tokio::test]
async fn a_model_whose_workers_always_die_is_refused_with_the_reason_and_health_says_so() {
    let world = World::with_fault("  slots: 4", "abort-at-load").await;
    let response = world.post(CHAT, &world.chat("hi", &json!({}))).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "model_load_failed");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("GGML_ASSERT(told) failed"), "{message}");
    world.wait_for("modelpool_crash_loop", "", |looping| looping == 1.0).await;
    let health: Value =
        world.client.get(format!("{}/health", world.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["models"][&world.model]["status"], "crash_loop", "{health}");
    assert!(
        health["models"][&world.model]["last_failure"].as_str().unwrap().contains("GGML_ASSERT"),
        "{health}"
    );
}

/// A worker inherits neither descriptors nor secrets and cannot gain privileges.
#[tokio::test]
async fn a_worker_gets_only_what_it_needs() {
    let world = World::with_fault("  slots: 4", "slow:0").await;
    world.post(CHAT, &world.chat("hi", &json!({ "max_tokens": 2 }))).await;
    let found = workers(&world);
    let pid = found.first().expect("a worker");
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let names: Vec<&str> =
        environment.split('\0').filter_map(|entry| Some(entry.split_once('=')?.0)).collect();
    // Cargo sets many for its tests; none of them is a worker's business.
    assert!(
        std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !names.iter().any(|n| n.starts_with("CARGO")),
        "{names:?}"
    );
    assert!(!names.contains(&"PATH"), "{names:?}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let own = |pid: &str| -> BTreeSet<String> {
        let listed = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
        listed.filter_map(target).map(|path| path.display().to_string()).collect()
    };
    let of_worker = own(&pid.to_string());
    let sockets: Vec<_> = of_worker.iter().filter(|target| target.starts_with("socket:")).collect();
    assert_eq!(sockets.len(), 1, "its socket to the server: {of_worker:?}");
    let log = fs::read_link(format!("/proc/{pid}/fd/2")).unwrap().display().to_string();
    let shared: Vec<_> = own("self")
        .intersection(&of_worker)
        .filter(|t| !t.starts_with("/dev") && **t != log)
        .cloned()
        .collect();
    assert!(shared.is_empty(), "shared with the server: {shared:?}");
}

/// A worker that is told to end by a service manager leaves that to its server.
#[tokio::test]
async fn workers_leave_signals_to_the_server() {
    let world = World::with_fault(ROOMY, "slow:10").await;
    let streams = start(&world, 4);
    wait_until_busy(&world, 4.0).await;
    for sent in [Signal::TERM, Signal::INT, Signal::HUP] {
        signal(&world, sent);
    }
    check_whole(streams).await;
    assert_eq!(exits(&world, "killed").await, 0.0);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot_in_a_worker() {
    let one = "  slots: 1\n  scale: { max_instances: 1 }";
    let world = World::with_fault(one, "slow:20").await;
    let mut response = world.post(CHAT, &world.chat("Tell me a story.", &json!({ "stream": true }))).await;
    response.chunk().await.unwrap().expect("a chunk");
    drop(response);
    let next = world.post(CHAT, &world.chat("hi", &json!({ "max_tokens": 2 }))).await;
    assert_eq!(next.status(), 200);
    world.wait_for("modelpool_slots_busy", "", |busy| busy == 0.0).await;
}

/// No worker is left when the server has shut down, whatever it does at the time.
#[tokio::test]
async fn shutting_down_ends_workers_that_load_or_freeze() {
    for fault in ["hang-at-load", "freeze-at-step:3"] {
        let world = World::with_fault("  slots: 2", fault).await;
        let streams = start(&world, 2);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while workers(&world).is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "no worker was started");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (mark, model) = (world.mark.clone(), world.model.clone());
        let World { server, url, client, .. } = world;
        let ended = server.shut_down_within(Duration::from_millis(100)).await;
        assert!(ended.workers_ended, "{fault}");
        let left = |mark: &str| {
            let name = format!("MODELPOOL_TEST={mark}");
            let processes = fs::read_dir("/proc").unwrap().flatten();
            processes
                .filter(|entry| {
                    let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
                    environment.split(|byte| *byte == 0).any(|part| part == name.as_bytes())
                })
                .count()
        };
        assert_eq!(left(&mark), 0, "{fault}");
        drop((url, client, model));
        for streamed in join_all(streams).await {
            assert!(!streamed.unwrap().done, "nobody takes a broken stream for complete");
        }
    }
}
