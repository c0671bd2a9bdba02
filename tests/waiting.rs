//! Proves what clients see while their request waits, and when they give it too little time or go away: streams tell where
//! they stand, deadlines hold, and nobody who left is served. The engine is the fake one.

#![allow(clippy::float_cmp, reason = "the metrics count things")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{PATIENCE, World};
use modelpool::engine::fake::Controls;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const ONE_SLOT: &str = "  slots: 1\n  scale: { max_instances: 1 }\n";

/// A server whose only slot is held by a request that takes several seconds.
async fn busy(rest: &str) -> (World, Arc<Controls>, reqwest::Response) {
    let (world, controls) = World::fake(&format!("{ONE_SLOT}{rest}")).await;
    controls.decode_micros.store(300_000, Ordering::Relaxed);
    let body = world.chat("hi", &json!({ "stream": true }));
    let running = world.post(CHAT, &body).await;
    assert_eq!(running.status(), 200);
    (world, controls, running)
}

async fn text(response: reqwest::Response) -> String {
    tokio::time::timeout(PATIENCE, response.text()).await.expect("an end in time").expect("text")
}

async fn error(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&text(response).await).expect("JSON");
    let text = |field: &str| body["error"][field].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}

#[tokio::test]
async fn a_stream_that_waits_tells_its_place_and_then_its_answer() {
    let (world, controls, _running) = busy("").await;
    let body = world.chat("hi", &json!({ "stream": true }));
    let mut waiting = world.post(CHAT, &body).await;
    assert_eq!(
        (waiting.status().as_u16(), waiting.headers().contains_key("x-modelpool-instance")),
        (200, false)
    );
    let first = tokio::time::timeout(PATIENCE, waiting.chunk()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, ": queue position 1\n\n");
    controls.decode_micros.store(0, Ordering::Relaxed);
    let rest = text(waiting).await;
    assert!(rest.contains("\"role\":\"assistant\"") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

#[tokio::test]
async fn what_is_refused_after_a_wait_is_told_in_the_stream() {
    let (world, _controls, _running) = busy("  queue: { timeout_ms: 1500 }").await;
    let body = world.chat("hi", &json!({ "stream": true }));
    let waiting = world.post(CHAT, &body).await;
    assert_eq!(waiting.status(), 200);
    let told = text(waiting).await;
    assert!(told.starts_with(": queue position 1\n\n"), "{told}");
    assert!(told.contains("\"code\":\"queue_timeout\"") && !told.contains("[DONE]"), "{told}");
}

#[tokio::test]
async fn a_stream_tells_that_its_model_loads() {
    let (world, controls) = World::fake(ONE_SLOT).await;
    controls.load_millis.store(2500, Ordering::Relaxed);
    let body = world.chat("hi", &json!({ "stream": true }));
    let told = text(world.post(CHAT, &body).await).await;
    assert!(told.starts_with(": loading model"), "{told}");
    assert!(told.ends_with("data: [DONE]\n\n"), "{told}");
}

#[tokio::test]
async fn a_request_waits_no_longer_than_its_client() {
    let (world, _controls, _running) = busy("").await;
    for (more, header) in [(json!({ "timeout": 0.3 }), None), (json!({}), Some("0.3"))] {
        let request = world.client.post(format!("{}{CHAT}", world.url)).json(&world.chat("hi", &more));
        let request =
            if let Some(time) = header { request.header("x-request-timeout", time) } else { request };
        let (status, code, message) = error(request.send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (504, "deadline_exceeded"), "{message}");
        assert!(
            message.contains("timeout of 300 ms") && message.contains("no slot became free"),
            "{message}"
        );
    }
    assert!(world.metric("modelpool_rejections_total", ",reason=\"deadline_exceeded\"").await >= 2.0);
}

#[tokio::test]
async fn an_answer_takes_no_longer_than_its_client_gives_it() {
    let (world, controls) = World::fake(ONE_SLOT).await;
    controls.decode_micros.store(300_000, Ordering::Relaxed);
    let (status, code, _) = error(world.post(CHAT, &world.chat("hi", &json!({ "timeout": 1 }))).await).await;
    assert_eq!((status, code.as_str()), (504, "deadline_exceeded"));
    let told =
        text(world.post(CHAT, &world.chat("hi", &json!({ "timeout": 1.2, "stream": true }))).await).await;
    assert!(
        told.contains("\"role\":\"assistant\"") && told.contains("\"code\":\"deadline_exceeded\""),
        "{told}"
    );
    // Both slots were given back.
    world.wait_for("modelpool_requests_in_flight", "", |running| running == 0.0).await;
}

#[tokio::test]
async fn a_time_that_is_none_is_named() {
    let (world, _) = World::fake("").await;
    for time in [json!(0), json!(-1), json!("soon"), json!([1])] {
        let (status, _, message) =
            error(world.post(CHAT, &world.chat("hi", &json!({ "timeout": time }))).await).await;
        assert_eq!(status, 400);
        assert!(message.starts_with("timeout: expected a number of seconds above 0"), "{message}");
    }
    let more = json!({ "timeout": null });
    assert_eq!(world.post(CHAT, &world.chat("hi", &more)).await.status(), 200);
}

#[tokio::test]
async fn who_goes_away_while_waiting_leaves_the_queue() {
    let (world, controls, running) = busy("").await;
    let url = format!("{}{CHAT}", world.url);
    let waiting: Vec<_> = (0..3)
        .map(|number| {
            let body = world.chat("hi", &json!({ "stream": number == 0 }));
            tokio::spawn(world.client.post(&url).json(&body).send())
        })
        .collect();
    world.wait_for("modelpool_queue_depth", "", |depth| depth == 3.0).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    world.wait_for("modelpool_queue_depth", "", |depth| depth == 0.0).await;
    controls.decode_micros.store(0, Ordering::Relaxed);
    drop(running);
    world.wait_for("modelpool_requests_in_flight", "", |running| running == 0.0).await;
    // The one that ran may have come to its end; those that waited never ran.
    assert!(world.metric("modelpool_requests_total", ",outcome=\"cancelled\"").await >= 3.0);
}

#[tokio::test]
async fn a_full_queue_says_when_it_will_have_moved() {
    let (world, controls, _running) = busy("  queue: { max_requests: 2 }").await;
    let url = format!("{}{CHAT}", world.url);
    let body = world.chat("hi", &json!({}));
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(world.client.post(&url).json(&body).send())).collect();
    world.wait_for("modelpool_queue_depth", "", |depth| depth == 2.0).await;
    let refused = world.post(CHAT, &body).await;
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(error(refused).await.1, "queue_full");
    controls.decode_micros.store(0, Ordering::Relaxed);
    for answer in waiting {
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.status(), 200);
    }
}
