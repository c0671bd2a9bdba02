//! Proves that nothing is lost when things go wrong around the engine: clients leave, queues fill, loads and
//! decode calls fail, the server drains. The engine is the fake one.

#![allow(clippy::float_cmp, reason = "the gauges count things")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::{World, stream};
use futures_util::future::join_all;
use modelpool::engine::fake::Controls;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const LEASED: &str = "modelpool_slots_busy";

/// One slot, so that everything waits for it.
const ONE_SLOT: &str = "  slots: 1\n  scale: { max_instances: 1 }";

fn slow(controls: &Controls, decode: Duration) {
    controls.decode_micros.store(u64::try_from(decode.as_micros()).unwrap(), Relaxed);
}

#[tokio::test]
async fn requests_for_a_cold_model_are_held_while_it_loads() {
    let (world, controls) = World::fake("  slots: 4\n  scale: { max_instances: 1 }").await;
    controls.load_millis.store(300, Relaxed);
    let url = format!("{}{CHAT}", world.url);
    let body = world.chat("hi", &json!({}));
    let streams = join_all((0..12).map(|_| stream(&world.client, &url, &body))).await;
    for streamed in streams {
        assert!(streamed.done && streamed.text.ends_with('z'), "{streamed:?}");
    }
    assert_eq!(controls.loads.load(Relaxed), 1, "one load serves all who wait");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let (world, controls) = World::fake(ONE_SLOT).await;
    slow(&controls, Duration::from_millis(20));
    let body = world.chat("hi", &json!({ "stream": true }));
    // The first chunk shows that the request has the only slot.
    let mut response = world.post(CHAT, &body).await;
    response.chunk().await.unwrap().expect("a chunk");
    drop(response);
    // As do clients that do not stream, in the slot and in the queue.
    let impatient = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(60)).build().unwrap();
    for _ in 0..3 {
        let request = impatient.post(format!("{}{CHAT}", world.url)).json(&world.chat("hi", &json!({})));
        assert!(request.send().await.is_err());
    }
    slow(&controls, Duration::ZERO);
    let answer: Value =
        world.post(CHAT, &world.chat("hi", &json!({ "max_tokens": 2 }))).await.json().await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "ab");
    world.wait_for(LEASED, "", |leased| leased == 0.0).await;
}

#[tokio::test]
async fn a_full_queue_gives_429_and_retry_after() {
    let (world, controls) = World::fake(&format!("{ONE_SLOT}\n  queue: {{ max_requests: 2 }}")).await;
    slow(&controls, Duration::from_millis(20));
    let world = Arc::new(world);
    let asked = (0..10).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.post(CHAT, &world.chat("hi", &json!({}))).await })
    });
    let mut statuses = Vec::new();
    for asked in join_all(asked).await {
        let response = asked.unwrap();
        statuses.push(response.status().as_u16());
        if response.status() == 429 {
            let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds));
            let answer: Value = response.json().await.unwrap();
            assert_eq!(
                (&answer["error"]["code"], &answer["error"]["type"]),
                (&json!("queue_full"), &json!("rate_limit_error"))
            );
        }
    }
    // The first ones may all be in the queue before there is a slot, so two or three are served.
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((2..=3).contains(&served), "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 10 - served, "{statuses:?}");
}

#[tokio::test]
async fn waiting_too_long_gives_503_with_the_reason() {
    let (world, controls) = World::fake(&format!("{ONE_SLOT}\n  queue: {{ timeout_ms: 400 }}")).await;
    slow(&controls, Duration::from_millis(100));
    let world = Arc::new(world);
    let first = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.post(CHAT, &world.chat("hi", &json!({}))).await.status() })
    };
    world.wait_for(LEASED, "", |leased| leased == 1.0).await;
    let response = world.post(CHAT, &world.chat("hi", &json!({}))).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "queue_timeout");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("at max_instances (1)"), "{message}");
    slow(&controls, Duration::ZERO);
    assert_eq!(first.await.unwrap(), 200);
}

#[tokio::test]
async fn a_load_that_fails_gives_503_and_is_tried_again() {
    let (world, controls) = World::fake("").await;
    controls.fail_loads.store(true, Relaxed);
    let response = world.post(CHAT, &world.chat("hi", &json!({}))).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "model_load_failed");
    assert!(answer["error"]["message"].as_str().unwrap().contains("told to fail"), "{answer}");
    assert_eq!(controls.loads.load(Relaxed), 1);
    controls.fail_loads.store(false, Relaxed);
    // Clients that follow `Retry-After` are served; the wait is over before the tries are.
    for _ in 0..100 {
        if world.post(CHAT, &world.chat("hi", &json!({}))).await.status() == 200 {
            assert_eq!(controls.loads.load(Relaxed), 2);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the model was never loaded again");
}

#[tokio::test]
async fn a_failed_decode_is_repeated_and_its_stream_goes_on() {
    let (world, controls) = World::fake(ONE_SLOT).await;
    slow(&controls, Duration::from_millis(5));
    let url = format!("{}{CHAT}", world.url);
    let failing = {
        let (client, url, body) = (world.client.clone(), url.clone(), world.chat("hi", &json!({})));
        tokio::spawn(async move { stream(&client, &url, &body).await })
    };
    world.wait_for(LEASED, "", |leased| leased == 1.0).await;
    controls.fail_next_decode.store(true, Relaxed);
    let whole = failing.await.unwrap();
    assert!(whole.done && whole.error.is_none(), "{whole:?}");
    assert_eq!(whole.text, "abcdefghijklmnopqrstuvwxyz");
    assert_eq!(world.metric("modelpool_resumes_total", "").await, 1.0);
}

#[tokio::test]
async fn an_engine_that_never_works_ends_a_request_with_an_error_and_refuses_it_for_a_while() {
    let (world, controls) = World::fake(ONE_SLOT).await;
    controls.fail_all_decodes.store(true, Relaxed);
    let url = format!("{}{CHAT}", world.url);
    let body = world.chat("hi", &json!({}));
    let broken = stream(&world.client, &url, &body).await;
    assert!(!broken.done && broken.finish.is_none(), "a broken stream looks complete: {broken:?}");
    assert_eq!(broken.error.unwrap()["error"]["code"], "request_ended_workers");
    let again = world.post(CHAT, &body).await;
    assert_eq!(again.status(), 422);
    let seconds: u64 = again.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=600).contains(&seconds));
    let answer: Value = again.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "request_quarantined");
    controls.fail_all_decodes.store(false, Relaxed);
    let other = stream(&world.client, &url, &world.chat("another one", &json!({}))).await;
    assert!(other.done && other.error.is_none(), "{other:?}");
}

#[tokio::test]
async fn shutting_down_finishes_what_was_accepted_and_refuses_the_rest() {
    let (world, controls) = World::fake("  slots: 2\n  scale: { max_instances: 1 }").await;
    slow(&controls, Duration::from_millis(10));
    let url = format!("{}{CHAT}", world.url);
    let accepted: Vec<_> = (0..6)
        .map(|_| {
            let (client, url, body) = (world.client.clone(), url.clone(), world.chat("hi", &json!({})));
            tokio::spawn(async move { stream(&client, &url, &body).await })
        })
        .collect();
    // Two run, four wait.
    world.wait_for("modelpool_queue_depth", "", |depth| depth == 4.0).await;
    let late = world.chat("hi", &json!({ "max_tokens": 1 }));
    let World { server, client, .. } = world;
    let stopping = tokio::spawn(server.shut_down());
    let refused = loop {
        let response = common::post(&client, &url, &late).await;
        if response.status() != 200 {
            break response;
        }
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    for streamed in join_all(accepted).await {
        let streamed = streamed.unwrap();
        assert!(streamed.done && streamed.text == "abcdefghijklmnopqrstuvwxyz", "{streamed:?}");
    }
    assert_eq!(stopping.await.unwrap().given_up, 0);
    assert_eq!(controls.contexts.load(Relaxed), 0, "contexts left");
    assert!(client.get(&url).send().await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_drain_that_takes_too_long_ends_streams_with_an_error() {
    let (world, controls) = World::fake_with(ONE_SLOT, |policy| {
        policy.server.drain_timeout = Duration::from_millis(200);
    })
    .await;
    slow(&controls, Duration::from_millis(50));
    let url = format!("{}{CHAT}", world.url);
    let (client, body) = (world.client.clone(), world.chat("hi", &json!({})));
    let running = tokio::spawn(async move { stream(&client, &url, &body).await });
    world.wait_for(LEASED, "", |leased| leased == 1.0).await;
    assert_eq!(world.server.shut_down().await.given_up, 1);
    let broken = running.await.unwrap();
    assert!(!broken.done && broken.finish.is_none());
    assert_eq!(broken.error.unwrap()["error"]["code"], "shutting_down");
}

#[tokio::test]
async fn a_drain_that_takes_too_long_answers_those_who_wait() {
    let (world, controls) = World::fake_with(ONE_SLOT, |policy| {
        policy.server.drain_timeout = Duration::from_millis(200);
    })
    .await;
    slow(&controls, Duration::from_millis(50));
    let url = format!("{}{CHAT}", world.url);
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let (client, url, body) = (world.client.clone(), url.clone(), world.chat("hi", &json!({})));
            tokio::spawn(async move { common::post(&client, &url, &body).await })
        })
        .collect();
    world.wait_for("modelpool_queue_depth", "", |depth| depth == 2.0).await;
    assert_eq!(world.server.shut_down().await.given_up, 3);
    for response in join_all(asked).await {
        let response = response.unwrap();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"]["code"], "shutting_down");
    }
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_is_counted_as_cancelled() {
    let (world, controls) = World::fake(ONE_SLOT).await;
    slow(&controls, Duration::from_millis(50));
    let first = world.post(CHAT, &world.chat("hi", &json!({ "stream": true }))).await;
    let impatient =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(100)).build().unwrap();
    let request = impatient.post(format!("{}{CHAT}", world.url)).json(&world.chat("hi", &json!({})));
    assert!(request.send().await.is_err());
    world.wait_for("modelpool_requests_total", ",outcome=\"cancelled\"", |count| count == 1.0).await;
    slow(&controls, Duration::ZERO);
    assert!(first.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}
