//! Proves that a request for several choices is one request: they come in order with their index, are counted
//! together, stand or fall together, and leave no slot behind. The engine is the fake one.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use common::{Streamed, World, stream};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// The text of each choice of a stream, which must have begun with its role and ended with its reason, in this order.
fn texts(streamed: &Streamed) -> BTreeMap<u64, String> {
    let mut texts = BTreeMap::new();
    let mut ended = Vec::new();
    for choice in streamed.chunks.iter().filter_map(|chunk| chunk["choices"].get(0)) {
        let index = choice["index"].as_u64().unwrap();
        assert!(!ended.contains(&index), "{choice} comes after the end of its choice");
        if choice["delta"]["role"] == "assistant" {
            assert_eq!(texts.insert(index, String::new()), None, "one role for each");
        }
        let text = texts.get_mut(&index).expect("the role comes first");
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        if choice["finish_reason"].is_string() {
            ended.push(index);
        }
    }
    assert!(streamed.error.is_some() || ended.len() == texts.len(), "{ended:?}");
    texts
}

#[tokio::test]
async fn choices_come_in_order_and_are_counted_together() {
    let (world, _) = World::fake("").await;
    let body = json!({ "model": world.model, "prompt": "w", "n": 3, "temperature": 0 });
    let answer: Value = world.post(COMPLETIONS, &body).await.json().await.unwrap();
    let choice =
        |index: u32| json!({ "index": index, "text": "xyz", "logprobs": null, "finish_reason": "stop" });
    assert_eq!(answer["choices"], json!([choice(0), choice(1), choice(2)]));
    let usage = &answer["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(1), &json!(12), &json!(13)),
    );
}

#[tokio::test]
async fn streamed_choices_have_their_index_and_one_end() {
    let (world, _) = World::fake("  slots: 2").await;
    // More choices than slots: the others follow.
    let fields = json!({ "n": 5, "max_tokens": 3, "stream_options": { "include_usage": true } });
    let url = format!("{}{CHAT}", world.url);
    let streamed = stream(&world.client, &url, &world.chat("hi", &fields)).await;
    assert!(streamed.done && streamed.error.is_none());
    assert_eq!(texts(&streamed), (0..5).map(|index| (index, "abc".to_owned())).collect());
    let last = streamed.chunks.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(15)));
    let counted = streamed.chunks.iter().filter(|chunk| chunk["usage"].is_object()).count();
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn one_refused_choice_refuses_all_and_leaves_nothing_behind() {
    let (world, controls) =
        World::fake("  slots: 1\n  scale: {max_instances: 1}\n  queue: {max_requests: 2}").await;
    // Loads: who waits while nothing is loaded waits in the queue.
    let loaded = world.post(CHAT, &world.chat("hi", &json!({ "max_tokens": 1 }))).await;
    assert_eq!(loaded.status(), 200);
    controls.decode_micros.store(2_000, Relaxed);
    for fields in [json!({ "n": 4 }), json!({ "n": 4, "stream": true })] {
        let response = world.post(CHAT, &world.chat("hi", &fields)).await;
        assert_eq!(response.status(), 429);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"]["code"], "queue_full");
    }
    // As many as there is room for, once the slot of the choice that had begun is free: within one iteration.
    let fits = world.chat("hi", &json!({ "n": 3, "max_tokens": 2 }));
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    while world.post(CHAT, &fits).await.status() != 200 {
        assert!(tokio::time::Instant::now() < deadline, "a refused request keeps its slots");
    }
    // Two fit into the queue, whether or not the slot of the answer just read is free already.
    let prompt = world.chat(&"x".repeat(2000), &json!({ "n": 2 }));
    let answer: Value = world.post(CHAT, &prompt).await.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn one_failed_choice_ends_the_stream_with_one_error() {
    let (world, controls) = World::fake("  slots: 4").await;
    controls.decode_micros.store(20_000, Relaxed);
    let url = format!("{}{CHAT}", world.url);
    let body = world.chat("hi", &json!({ "n": 3 }));
    let client = world.client.clone();
    let streaming = tokio::spawn(async move { stream(&client, &url, &body).await });
    world.wait_for("modelpool_generated_tokens_total", "", |tokens| tokens >= 6.0).await;
    controls.fail_all_decodes.store(true, Relaxed);
    let streamed = streaming.await.unwrap();
    assert_eq!(
        streamed.error.as_ref().map(|error| &error["error"]["code"]),
        Some(&json!("request_ended_workers"))
    );
    assert!(!streamed.done);
    assert!(texts(&streamed).values().all(|text| "abcdefghijklmnopqrstuvwxyz".starts_with(text.as_str())));
    controls.fail_all_decodes.store(false, Relaxed);
    controls.decode_micros.store(0, Relaxed);
    world.wait_for("modelpool_requests_in_flight", "", |running| running == 0.0).await;
    let response = world.post(CHAT, &world.chat("hi", &json!({ "n": 4, "max_tokens": 2 }))).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_slots_of_all_choices() {
    let (world, controls) = World::fake("  slots: 4").await;
    controls.decode_micros.store(20_000, Relaxed);
    let response = world.post(CHAT, &world.chat("hi", &json!({ "n": 4, "stream": true }))).await;
    world.wait_for("modelpool_slots_busy", "", |busy| busy >= 4.0).await;
    drop(response);
    world.wait_for("modelpool_slots_busy", "", |busy| busy == 0.0).await;
}
