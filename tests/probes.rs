//! Proves that /live and /ready mean different things: a server is live whatever it does, and ready while a request would get a
//! slot in time. The engine is the fake one.

mod common;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::{PATIENCE, World};
use serde_json::{Value, json};

async fn get(world: &World, path: &str) -> (u16, Value, Option<u64>) {
    let response = world.client.get(format!("{}{path}", world.url)).send().await.unwrap();
    let retry_after =
        response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    (response.status().as_u16(), response.json().await.unwrap(), retry_after)
}

/// Waits until `/ready` has this status and word.
async fn wait_for(world: &World, status: u16, word: &str) -> (Value, Option<u64>) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (found, body, retry_after) = get(world, "/ready").await;
        assert_eq!(get(world, "/live").await.0, 200, "it lives");
        if (found, body["status"].as_str()) == (status, Some(word)) {
            return (body, retry_after);
        }
        assert!(tokio::time::Instant::now() < deadline, "{found} {body}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_means_that_a_request_would_get_a_slot_in_time() {
    let rest = "  slots: 1\n  scale: { max_instances: 1, target_queue_wait_ms: 200 }";
    let (world, controls) = World::fake(rest).await;
    // Nothing is loaded, and nobody waits.
    let (body, _) = wait_for(&world, 200, "ready").await;
    assert_eq!(body["models"][&world.model], json!({ "status": "ready", "expected_wait_ms": 0 }));
    // While it loads, nobody else should come.
    controls.load_millis.store(1500, Relaxed);
    controls.decode_micros.store(2000, Relaxed);
    let body = json!({ "model": world.model, "prompt": "hi", "max_tokens": 400, "ignore_eos": true });
    let ask = || {
        let (client, url, body) =
            (world.client.clone(), format!("{}/v1/completions", world.url), body.clone());
        tokio::spawn(async move { common::post(&client, &url, &body).await.status() })
    };
    let first = ask();
    wait_for(&world, 503, "busy").await;
    assert_eq!(first.await.unwrap(), 200);
    wait_for(&world, 200, "ready").await;
    // Others wait for the only slot, for longer than the target.
    let waiting: Vec<_> = (0..4).map(|_| ask()).collect();
    let (body, retry_after) = wait_for(&world, 503, "busy").await;
    assert_eq!(body["models"][&world.model]["status"], "busy");
    assert!(retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{retry_after:?}");
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), 200);
    }
    wait_for(&world, 200, "ready").await;
    let drained = world.post("/admin/drain", &json!({ "drain": true })).await;
    assert_eq!(drained.status(), 200);
    wait_for(&world, 503, "draining").await;
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_not_ready() {
    let (world, controls) = World::fake("  scale: { min_instances: 1 }").await;
    controls.fail_loads.store(true, Relaxed);
    drop(world.post("/v1/completions", &json!({ "model": world.model, "prompt": "hi" })).await);
    let (body, _) = wait_for(&world, 503, "busy").await;
    assert_eq!(body["models"][&world.model]["status"], "crash_loop");
    assert_eq!(get(&world, &format!("/ready?model={}", world.model)).await.0, 503);
    let (status, body, _) = get(&world, "/ready?model=nothing").await;
    assert_eq!((status, body["error"]["code"].as_str()), (404, Some("model_not_found")));
}
