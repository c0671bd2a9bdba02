//! Proves who gets in with which API key and how much, that keys can be replaced while requests run, and what browsers of
//! other origins are told. The engine is the fake one.

#![allow(clippy::float_cmp, reason = "the metrics count things")]

mod common;

use std::path::Path;
use std::sync::atomic::Ordering;

use common::keys::{KeysFile, post_as, secret};
use common::{World, policy};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// A server with these keys.
async fn world(
    rest: &str,
    keys: &[(&str, &str)],
) -> (World, std::sync::Arc<modelpool::engine::fake::Controls>, KeysFile) {
    let file = KeysFile::new(keys);
    let path = file.path.clone();
    let (world, controls) = World::fake_with(rest, |policy| policy.server.api_keys_file = Some(path)).await;
    (world, controls, file)
}

async fn chat_as(world: &World, name: &str, more: &Value) -> reqwest::Response {
    post_as(&world.client, &format!("{}{CHAT}", world.url), name, &world.chat("hi", more)).await
}

async fn code(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("JSON");
    let text = |field: &str| body["error"][field].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}

#[tokio::test]
async fn only_who_has_a_key_gets_in() {
    let (world, _, _file) = world("", &[("a", "")]).await;
    let body = world.chat("hi", &json!({}));
    let url = format!("{}{CHAT}", world.url);
    let refused = world.post(CHAT, &body).await;
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert!(refused.headers().contains_key("x-request-id"));
    let (status, name, message) = code(refused).await;
    assert_eq!((status, name.as_str()), (401, "invalid_api_key"));
    assert!(message.contains("Authorization: Bearer"), "{message}");
    assert_eq!(code(post_as(&world.client, &url, "b", &body).await).await.0, 401);
    // A body that is refused is not read first.
    let bad = world.client.post(&url).body("{").send().await.unwrap();
    assert_eq!(bad.status(), 401);

    assert_eq!(chat_as(&world, "a", &json!({})).await.status(), 200);
    let like_anthropic = world.client.post(&url).header("x-api-key", secret("a")).json(&body);
    assert_eq!(like_anthropic.send().await.unwrap().status(), 200);
    for (path, status) in [("/health", 200), ("/metrics", 200), ("/v1/models", 401)] {
        assert_eq!(
            world.client.get(format!("{}{path}", world.url)).send().await.unwrap().status(),
            status,
            "{path}"
        );
    }
}

#[tokio::test]
async fn metrics_are_open_unless_the_policy_says_otherwise() {
    let file = KeysFile::new(&[("a", "")]);
    let (world, _) = World::fake_with("", |policy| {
        policy.server.api_keys_file = Some(file.path.clone());
        policy.server.metrics_require_key = true;
    })
    .await;
    let metrics = || world.client.get(format!("{}/metrics", world.url));
    assert_eq!(metrics().send().await.unwrap().status(), 401);
    assert_eq!(metrics().bearer_auth(secret("a")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_key_asks_for_the_models_that_it_may() {
    let (world, _, _file) = world("", &[("none", ", models: [other]"), ("all", "")]).await;
    let (status, name, message) = code(chat_as(&world, "none", &json!({})).await).await;
    assert_eq!((status, name.as_str()), (403, "model_not_allowed"));
    assert!(message.contains("\"none\"") && message.contains(&world.model), "{message}");
    let models = async |name: &str| -> usize {
        let request = world.client.get(format!("{}/v1/models", world.url)).bearer_auth(secret(name));
        let list: Value = request.send().await.unwrap().json().await.unwrap();
        list["data"].as_array().unwrap().len()
    };
    assert_eq!((models("none").await, models("all").await), (0, 1));
}

#[tokio::test]
async fn requests_of_a_minute_are_limited_and_what_is_left_is_told() {
    let (world, _, _file) = world("", &[("two", ", requests_per_minute: 2"), ("any", "")]).await;
    let first = chat_as(&world, "two", &json!({})).await;
    let header = |name: &str| first.headers()[name].to_str().unwrap();
    assert_eq!(header("x-ratelimit-limit-requests"), "2");
    assert_eq!(header("x-ratelimit-remaining-requests"), "1");
    assert!(header("x-ratelimit-reset-requests").ends_with('s'));
    assert!(!first.headers().contains_key("x-ratelimit-limit-tokens"));
    assert!(header("openai-processing-ms").parse::<u64>().is_ok());
    assert_eq!(chat_as(&world, "two", &json!({})).await.status(), 200);
    let third = chat_as(&world, "two", &json!({})).await;
    let wait: u64 = third.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let (status, name, message) = code(third).await;
    assert_eq!((status, name.as_str()), (429, "rate_limit_exceeded"));
    assert!(message.contains("requests_per_minute is 2"), "{message}");
    let other = chat_as(&world, "any", &json!({})).await;
    assert_eq!(other.status(), 200);
    assert!(!other.headers().contains_key("x-ratelimit-limit-requests"));
}

#[tokio::test]
async fn tokens_are_taken_back_that_were_only_guessed() {
    let (world, _, _file) = world("", &[("k", ", tokens_per_minute: 1000")]).await;
    let more = json!({ "max_tokens": 900 });
    let first = chat_as(&world, "k", &more).await;
    let left = |response: &reqwest::Response| -> u32 {
        response.headers()["x-ratelimit-remaining-tokens"].to_str().unwrap().parse().unwrap()
    };
    // The answer is complete and counted when its status is sent.
    let after = left(&first);
    let answer: Value = first.json().await.unwrap();
    let used = answer["usage"]["total_tokens"].as_u64().unwrap();
    assert!(u64::from(after) >= 1000 - used && after < 1000, "{after} left after {used}");
    // Otherwise a second one would not fit.
    assert_eq!(chat_as(&world, "k", &more).await.status(), 200);
    let (status, _, message) = code(chat_as(&world, "k", &json!({ "max_tokens": 1000 })).await).await;
    assert_eq!(status, 429);
    assert!(message.contains("tokens_per_minute is 1000"), "{message}");
}

#[tokio::test]
async fn so_many_at_a_time_and_a_place_is_free_when_its_request_ends() {
    let (world, controls, _file) =
        world("  slots: 4", &[("one", ", max_concurrent: 1"), ("other", "")]).await;
    controls.decode_micros.store(200_000, Ordering::Relaxed);
    let running = chat_as(&world, "one", &json!({ "stream": true })).await;
    let (status, name, message) = code(chat_as(&world, "one", &json!({})).await).await;
    assert_eq!((status, name.as_str()), (429, "rate_limit_exceeded"));
    assert!(message.contains("max_concurrent is 1"), "{message}");
    controls.decode_micros.store(0, Ordering::Relaxed);
    assert_eq!(chat_as(&world, "other", &json!({})).await.status(), 200);
    // A client that goes away gives its place back.
    drop(running);
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    while chat_as(&world, "one", &json!({})).await.status() != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the place stays taken");
    }
}

#[tokio::test]
async fn keys_are_replaced_while_requests_run_and_a_bad_file_changes_nothing() {
    let (world, _, file) = world("", &[("old", "")]).await;
    assert_eq!(chat_as(&world, "old", &json!({})).await.status(), 200);
    file.write(&[("new", "")]);
    world.server.reload_keys().unwrap();
    assert_eq!(chat_as(&world, "old", &json!({})).await.status(), 401);
    assert_eq!(chat_as(&world, "new", &json!({})).await.status(), 200);
    file.write(&[("newest", ", weight: 0")]);
    let error = world.server.reload_keys().unwrap_err().to_string();
    assert!(
        error.contains("keys.yaml:2:") && error.contains("keys[0].weight: expected a whole number"),
        "{error}"
    );
    assert_eq!(chat_as(&world, "new", &json!({})).await.status(), 200);
}

#[tokio::test]
async fn a_server_does_not_start_with_a_bad_file_of_keys() {
    for (file, expected) in [("/nowhere/keys.yaml", "there is no such file"), ("Cargo.toml", "fault")] {
        let mut policy = policy("keys-never-served", "");
        policy.server.api_keys_file = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        let options = modelpool::cli::ServerOptions {
            spawner: std::sync::Arc::new(modelpool::worker::thread::ThreadSpawner::new(
                modelpool::engine::fake::FakeLoader::default(),
                1,
            )),
            devices: vec![modelpool::units::DeviceId::Host],
            cpu_threads: 1,
            admin: modelpool::api::AdminAccess::ReadOnly,
            memory: modelpool::gpu::system(),
            remembered: modelpool::measured::Remembered::default(),
        };
        let error =
            modelpool::cli::Server::start(&policy, options).await.err().expect("an error").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn usage_is_counted_by_key() {
    let (world, _, _file) = world("", &[("counted", "")]).await;
    let answer: Value = chat_as(&world, "counted", &json!({})).await.json().await.unwrap();
    let metric = async |series: &str| common::metric(&world.client, &world.url, series).await;
    let prompt = metric("modelpool_key_tokens_total{key=\"counted\",kind=\"prompt\"}").await;
    let generated = metric("modelpool_key_tokens_total{key=\"counted\",kind=\"generated\"}").await;
    assert_eq!(answer["usage"]["prompt_tokens"].as_f64(), Some(prompt));
    assert_eq!(answer["usage"]["completion_tokens"].as_f64(), Some(generated));
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers() {
    let (world, _) =
        World::fake_with("", |policy| policy.server.cors_origins = vec!["https://app.example".into()]).await;
    let url = format!("{}{CHAT}", world.url);
    let preflight = |origin: &str| {
        let request = world.client.request(reqwest::Method::OPTIONS, &url).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization,content-type").send()
    };
    let allowed = preflight("https://app.example").await.unwrap();
    assert!(allowed.status().is_success());
    let header = |name: &str| allowed.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-origin"), "https://app.example");
    assert_eq!(header("access-control-allow-headers"), "authorization,content-type");
    assert!(header("access-control-allow-methods").contains("POST"));
    let other = preflight("https://evil.example").await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    let request =
        world.client.post(&url).header("origin", "https://app.example").json(&world.chat("hi", &json!({})));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
    assert!(answer.headers()["access-control-expose-headers"].to_str().unwrap().contains("x-request-id"));

    let (closed, _) = World::fake("").await;
    let request = closed.client.request(reqwest::Method::OPTIONS, format!("{}{CHAT}", closed.url));
    assert_eq!(request.header("origin", "https://app.example").send().await.unwrap().status(), 405);
}
