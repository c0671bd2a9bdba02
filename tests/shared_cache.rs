//! Proves that servers keep answers for each other in a real Redis server, and that nothing that happens to Redis fails a
//! request or makes it wait.

#![allow(clippy::float_cmp, reason = "the metrics count things")]

mod common;

use std::time::{Duration, Instant};

use common::redis::Redis;
use common::{PATIENCE, World, policy, post, stream};
use serde_json::{Value, json};

const COMPLETIONS: &str = "/v1/completions";

/// Two servers of the same model, that keep answers in `url`.
async fn two(name: &str, url: &str) -> [World; 2] {
    let policy = policy(name, &format!("  cache: {{ enabled: true, redis: \"{url}\" }}"));
    [World::serve(&policy, "").await, World::serve(&policy, "").await]
}

/// The text of an answer, where it was from, and who served it.
async fn ask(world: &World, prompt: &str) -> (String, String, Option<String>) {
    let body =
        json!({ "model": world.model, "prompt": prompt, "temperature": 0, "max_tokens": 12, "logprobs": 1 });
    let response = post(&world.client, &format!("{}{COMPLETIONS}", world.url), &body).await;
    assert_eq!(response.status(), 200);
    let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
    let (cache, instance) = (header("x-modelpool-cache").expect("it says"), header("x-modelpool-instance"));
    assert_eq!(header("x-modelpool-variant").as_deref(), Some("tidepool-3m-f16"));
    let answer: Value = response.json().await.unwrap();
    (answer["choices"][0]["text"].as_str().unwrap().to_owned(), cache, instance)
}

/// Waits until as many answers are in Redis.
async fn wait_for_entries(redis: &Redis, count: &str) {
    let deadline = Instant::now() + PATIENCE;
    while redis.ask(&["DBSIZE"]) != count {
        assert!(Instant::now() < deadline, "{} entries", redis.ask(&["DBSIZE"]));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_computed_another_one_has() {
    let redis = Redis::start(&[]);
    let [first, second] = two("shared", &redis.url()).await;
    let (text, cache, instance) = ask(&first, "The fox").await;
    assert_eq!((cache.as_str(), instance.is_some()), ("miss", true));
    wait_for_entries(&redis, "1").await;
    let ttl: i64 = redis.ask(&["PTTL", &redis.ask(&["KEYS", "modelpool:*"])]).parse().unwrap();
    assert!((1..=3_600_000).contains(&ttl), "{ttl}");
    assert_eq!(ask(&second, "The fox").await, (text.clone(), "hit".into(), None));
    // It has its own copy from then on.
    assert_eq!(redis.ask(&["FLUSHALL"]), "OK");
    assert_eq!(ask(&second, "The fox").await, (text.clone(), "hit".into(), None));
    let body = json!({ "model": second.model, "prompt": "The fox", "temperature": 0, "max_tokens": 12, "logprobs": 1 });
    let streamed = stream(&second.client, &format!("{}{COMPLETIONS}", second.url), &body).await;
    assert_eq!((streamed.text, streamed.done), (text, true));
    assert_eq!(first.metric("modelpool_cache_requests_total", ",result=\"miss\"").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_computed() {
    let redis = Redis::start(&[]);
    let [first, second] = two("rubbish", &redis.url()).await;
    let (text, ..) = ask(&first, "The fox").await;
    wait_for_entries(&redis, "1").await;
    let entry = redis.ask(&["KEYS", "modelpool:*"]);
    let whole: usize = redis.ask(&["STRLEN", &entry]).parse().unwrap();
    assert!(whole > 100);
    // The half of it, and something else entirely, of another type.
    redis.ask(&["SET", &entry, &"x".repeat(whole / 2)]);
    let (again, cache, _) = ask(&second, "The fox").await;
    assert_eq!((again, cache.as_str()), (text.clone(), "miss"));
    let [third, _] = two("rubbish", &redis.url()).await;
    redis.ask(&["DEL", &entry]);
    redis.ask(&["LPUSH", &entry, "x"]);
    let (again, cache, _) = ask(&third, "The fox").await;
    assert_eq!((again, cache.as_str()), (text, "miss"));
    assert!(third.metric("modelpool_cache_errors_total", ",operation=\"get\"").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_redis() {
    let mut redis = Redis::start(&[]);
    let [first, second] = two("outage", &redis.url()).await;
    ask(&first, "The fox").await;
    wait_for_entries(&redis, "1").await;
    redis.freeze(true);
    let begun = Instant::now();
    for number in 0..10 {
        assert_eq!(ask(&second, &format!("{number}: The fox")).await.1, "miss");
    }
    // A frozen server costs each second one patience of 100 ms, not each request; the answers take a few ms.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    redis.freeze(false);
    redis.kill();
    for number in 10..20 {
        assert_eq!(ask(&second, &format!("{number}: The fox")).await.1, "miss");
    }
    redis.start_again();
    // Until it is tried again, answers stay here.
    let deadline = Instant::now() + PATIENCE;
    let mut number = 20;
    while redis.ask(&["DBSIZE"]) == "0" {
        assert!(Instant::now() < deadline, "Redis is not used again");
        ask(&second, &format!("{number}: The fox")).await;
        number += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens_it_and_a_wrong_one_fails_nothing() {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}/0", redis.port);
    let [first, second] = two("password", &url("open%20sesame")).await;
    let (text, ..) = ask(&first, "The fox").await;
    let deadline = Instant::now() + PATIENCE;
    while redis.ask(&["-a", "open sesame", "DBSIZE"]) != "1" {
        assert!(Instant::now() < deadline, "nothing is kept");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ask(&second, "The fox").await, (text, "hit".into(), None));
    let [stranger, _] = two("stranger", &url("wrong")).await;
    assert_eq!(ask(&stranger, "The fox").await.1, "miss");
    assert!(stranger.metric("modelpool_cache_errors_total", ",operation=\"get\"").await >= 1.0);
}
