//! Proves, with llama.cpp and the embedded model, that a burst on a cold server is served in full: nothing broken,
//! nothing refused, instances come and go with the traffic.

#![allow(clippy::float_cmp, reason = "the gauges count things")]

mod common;

use common::{World, stream};
use futures_util::future::join_all;
use serde_json::json;

const CHAT: &str = "/v1/chat/completions";
const INSTANCES: &str = "modelpool_instances";
const READY: &str = ",variant=\"tidepool-3m-f16\",state=\"ready\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_streams_on_a_cold_server_all_complete() {
    let world = World::real("  slots: 8\n  scale: { max_instances: 2, target_queue_wait_ms: 50 }").await;
    let url = format!("{}{CHAT}", world.url);
    let questions =
        ["Count from 1 to 20.", "Tell me a story about a fox.", "What is 12 + 30?", "Name two tools."];
    let bodies: Vec<_> = (0..64).map(|i| world.chat(questions[i % 4], &json!({ "seed": i }))).collect();
    let streams = join_all(bodies.iter().map(|body| stream(&world.client, &url, body))).await;
    for streamed in &streams {
        assert_eq!(streamed.status, 200, "{streamed:?}");
        assert!(streamed.done && streamed.error.is_none(), "{streamed:?}");
        assert!(streamed.finish.is_some() && streamed.text.len() > 5, "{streamed:?}");
    }
    world.wait_for("modelpool_requests_total", ",outcome=\"completed\"", |count| count == 64.0).await;
    assert_eq!(world.server.shut_down().await, modelpool::cli::ShutDown { given_up: 0, workers_ended: true });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_come_with_a_burst_and_go_after_it() {
    let scale = "{ min_instances: 0, max_instances: 2, target_queue_wait_ms: 20, scale_down_after_ms: 500, \
                 idle_unload_after_ms: 1000 }";
    let world = World::real(&format!("  slots: 4\n  scale: {scale}")).await;
    assert_eq!(world.metric(INSTANCES, READY).await, 0.0);
    let url = format!("{}{CHAT}", world.url);
    let body = world.chat("Tell me a story about a fox.", &json!({}));
    // Two CPU threads are enough for two instances; on a machine with one, the second is never started.
    let most = modelpool::gpu::cpu_threads().get().min(2);
    let burst = async {
        let streams = join_all((0..32).map(|_| stream(&world.client, &url, &body))).await;
        assert!(streams.iter().all(|streamed| streamed.done), "{streams:?}");
    };
    let grown = world.wait_for(INSTANCES, READY, |ready| ready == f64::from(most));
    tokio::join!(burst, grown);
    world.wait_for(INSTANCES, READY, |ready| ready == 0.0).await;
    assert!(world.metric("modelpool_instance_stops_total", ",reason=\"idle\"").await >= 1.0);
    world.wait_for("modelpool_unloads_total", ",variant=\"tidepool-3m-f16\"", |count| count == 1.0).await;
    // Cold again, and served again.
    assert!(stream(&world.client, &url, &body).await.done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minimum_is_there_before_anybody_asks() {
    let world = World::real("  slots: 2\n  scale: { min_instances: 1, max_instances: 1 }").await;
    world.wait_for(INSTANCES, READY, |ready| ready == 1.0).await;
    let body = json!({ "model": world.model, "temperature": 0, "max_tokens": 40,
        "prompt": "<|im_start|>user\nWhich day comes after Wednesday<|im_end|>\n<|im_start|>assistant\n" });
    let answer: serde_json::Value = world.post("/v1/completions", &body).await.json().await.unwrap();
    assert_eq!(answer["choices"][0]["text"], "The day after Wednesday is Thursday.");
}
