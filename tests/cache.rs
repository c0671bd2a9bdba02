//! Proves that a model whose policy keeps answers computes each answer once: whoever asks the same gets it at once, or
//! shares it while it is computed, also when who asked first has left; and that nobody gets an answer to something else.

#![allow(clippy::float_cmp, reason = "the metrics count things")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::keys::{KeysFile, post_as};
use common::{PATIENCE, World, merge, policy, stream};
use futures_util::future::join_all;
use serde_json::{Value, json};

const COMPLETIONS: &str = "/v1/completions";
const CACHE: &str = "  cache: { enabled: true }";

/// What came back, and where it was from.
#[derive(Debug, PartialEq)]
struct Got {
    status: u16,
    cache: Option<String>,
    answer: Value,
}

impl Got {
    async fn of(response: reqwest::Response) -> Self {
        let cache =
            response.headers().get("x-modelpool-cache").map(|value| value.to_str().unwrap().to_owned());
        Self { status: response.status().as_u16(), cache, answer: response.json().await.unwrap() }
    }

    fn text(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.answer);
        self.answer["choices"][0]["text"].as_str().expect("a text")
    }
}

fn body(world: &World, prompt: &str, more: &Value) -> Value {
    let mut body = json!({ "model": world.model, "prompt": prompt, "temperature": 0 });
    merge(&mut body, more);
    body
}

async fn ask(world: &World, prompt: &str, more: &Value) -> Got {
    Got::of(world.post(COMPLETIONS, &body(world, prompt, more)).await).await
}

/// Where the answer came from, of which nothing else is asked.
async fn status(world: &World, more: &Value) -> Option<String> {
    let got = ask(world, "hello", more).await;
    got.text();
    got.cache
}

/// Checks how many answers were computed: asked of the model, and complete.
async fn computed(world: &World, expected: f64) {
    // Counted when they begin, so that one too many is seen.
    let begun = requests(world, "miss").await + requests(world, "uncacheable").await;
    assert_eq!(begun, expected);
    world.wait_for("modelpool_requests_total", ",outcome=\"completed\"", |count| count == expected).await;
}

async fn requests(world: &World, result: &str) -> f64 {
    world.metric("modelpool_cache_requests_total", &format!(",result=\"{result}\"")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_ask_the_same_at_once_get_one_computation() {
    let world = World::real(CACHE).await;
    let more = json!({ "max_tokens": 40 });
    let all = join_all((0..1000).map(|_| ask(&world, "The fox lives in", &more))).await;
    assert!(all[0].text().len() > 40, "{:?}", all[0]);
    for got in &all {
        assert_eq!(got.text(), all[0].text());
        assert_eq!(got.answer["usage"], all[0].answer["usage"]);
    }
    computed(&world, 1.0).await;
    let from = |status: &str| all.iter().filter(|got| got.cache.as_deref() == Some(status)).count();
    assert_eq!((from("miss"), from("shared") + from("hit")), (1, 999));
    assert_eq!(requests(&world, "miss").await, 1.0);
    assert_eq!(requests(&world, "shared").await + requests(&world, "hit").await, 999.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_replayed_as_streams() {
    let world = World::real(CACHE).await;
    let url = format!("{}{COMPLETIONS}", world.url);
    let more = json!({ "max_tokens": 30, "logprobs": 2, "stream_options": { "include_usage": true } });
    let body = body(&world, "Once there was", &more);
    let first = stream(&world.client, &url, &body).await;
    let again = stream(&world.client, &url, &body).await;
    assert!(first.done && again.done && first.chunks.len() > 20, "{}", first.chunks.len());
    let pieces = |streamed: &common::Streamed| -> Vec<(Value, Value)> {
        streamed.chunks.iter().map(|chunk| (chunk["choices"].clone(), chunk["usage"].clone())).collect()
    };
    assert_eq!(pieces(&first), pieces(&again));
    // A whole answer is the same answer.
    let whole = ask(&world, "Once there was", &more).await;
    assert_eq!((whole.text(), whole.cache.as_deref()), (first.text.as_str(), Some("hit")));
    assert_eq!(whole.answer["timings"]["prompt_ms"], Value::Null, "nothing was computed");
    computed(&world, 1.0).await;
    // Nothing that is told of a token is lost.
    assert_eq!(
        whole.answer["choices"][0]["logprobs"]["tokens"].as_array().map(Vec::len),
        whole.answer["usage"]["completion_tokens"].as_u64().map(|n| usize::try_from(n).unwrap()),
    );
}

/// A server whose fake engine takes 5 ms a token.
async fn slow(rest: &str) -> World {
    let (world, controls) = World::fake(rest).await;
    controls.decode_micros.store(5000, Relaxed);
    world
}

fn long(tokens: u32) -> Value {
    json!({ "max_tokens": tokens, "ignore_eos": true })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_goes_on_for_others_when_who_asked_first_leaves() {
    let world = Arc::new(slow(CACHE).await);
    let body = Arc::new(body(&world, "hello", &long(100)));
    let spawn = || {
        let (world, body) = (Arc::clone(&world), Arc::clone(&body));
        tokio::spawn(async move { Got::of(world.post(COMPLETIONS, &body).await).await })
    };
    let first = spawn();
    world.wait_for("modelpool_requests_in_flight", "", |running| running == 1.0).await;
    let second = spawn();
    world.wait_for("modelpool_cache_requests_total", ",result=\"shared\"", |shared| shared == 1.0).await;
    first.abort();
    let got = second.await.unwrap();
    assert_eq!((got.text().len(), got.cache.as_deref()), (100, Some("shared")));
    computed(&world, 1.0).await;
    assert_eq!(status(&world, &long(100)).await.as_deref(), Some("hit"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_computes_for_nobody() {
    let world = Arc::new(slow(CACHE).await);
    let body = Arc::new(body(&world, "hello", &long(900)));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (world, body) = (Arc::clone(&world), Arc::clone(&body));
            tokio::spawn(async move { world.post(COMPLETIONS, &body).await.status() })
        })
        .collect();
    world.wait_for("modelpool_cache_requests_total", ",result=\"shared\"", |shared| shared == 2.0).await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    world.wait_for("modelpool_requests_total", ",outcome=\"cancelled\"", |cancelled| cancelled == 1.0).await;
    assert_eq!(world.metric("modelpool_requests_in_flight", "").await, 0.0);
    // A part of an answer is not kept.
    assert_eq!(status(&world, &long(3)).await.as_deref(), Some("miss"));
    let answer = tokio::time::timeout(PATIENCE, ask(&world, "hello", &long(900))).await.unwrap();
    assert_eq!((answer.text().len(), answer.cache.as_deref()), (900, Some("miss")));
}

#[tokio::test]
async fn only_what_leaves_nothing_to_chance_is_kept() {
    let world = World::fake(CACHE).await.0;
    let warm = json!({ "temperature": 1 });
    assert_eq!((status(&world, &warm).await, status(&world, &warm).await), (None, None));
    assert_eq!(requests(&world, "uncacheable").await, 2.0);
    let seeded = |seed: i64| json!({ "temperature": 1, "seed": seed });
    assert_eq!(status(&world, &seeded(1)).await.as_deref(), Some("miss"));
    assert_eq!(status(&world, &seeded(2)).await.as_deref(), Some("miss"));
    assert_eq!(status(&world, &seeded(1)).await.as_deref(), Some("hit"));
    // Four equal choices are one computation; four that are drawn differ.
    computed(&world, 4.0).await;
    assert_eq!(status(&world, &json!({ "n": 4, "max_tokens": 7 })).await.as_deref(), Some("miss"));
    computed(&world, 5.0).await;
    let seeded = json!({ "n": 4, "max_tokens": 7, "temperature": 1, "seed": 5 });
    assert_eq!(status(&world, &seeded).await.as_deref(), Some("miss"));
    computed(&world, 9.0).await;
}

#[tokio::test]
async fn a_policy_can_keep_all_answers() {
    let world = World::fake("  cache: { enabled: true, requests: all }").await.0;
    let warm = json!({ "temperature": 1, "n": 2, "max_tokens": 3 });
    let first = ask(&world, "hello", &warm).await;
    let again = ask(&world, "hello", &warm).await;
    assert_eq!((first.cache.as_deref(), again.cache.as_deref()), (Some("miss"), Some("hit")));
    assert_eq!(first.answer["choices"], again.answer["choices"]);
    computed(&world, 2.0).await;
}

#[tokio::test]
async fn clients_can_have_an_answer_of_their_own() {
    let world = World::fake(CACHE).await.0;
    let url = format!("{}{COMPLETIONS}", world.url);
    let body = body(&world, "hello", &json!({}));
    let with = async |directive: &str| {
        let sent = world.client.post(&url).header("cache-control", directive).json(&body).send();
        Got::of(sent.await.unwrap()).await.cache
    };
    assert_eq!(with("no-store").await, None);
    assert_eq!(status(&world, &json!({})).await.as_deref(), Some("miss"), "nothing was stored");
    assert_eq!(with("no-cache").await.as_deref(), Some("miss"));
    assert_eq!(with("max-age=0").await.as_deref(), Some("hit"));
    assert_eq!(requests(&world, "miss").await, 2.0);
    world.wait_for("modelpool_requests_total", ",outcome=\"completed\"", |count| count == 3.0).await;
}

#[tokio::test]
async fn answers_are_kept_for_as_long_as_the_policy_says_and_no_longer() {
    let world = World::fake("  cache: { enabled: true, ttl_ms: 400 }").await.0;
    assert_eq!(status(&world, &json!({})).await.as_deref(), Some("miss"));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while status(&world, &json!({})).await.as_deref() == Some("hit") {
        assert!(tokio::time::Instant::now() < deadline, "kept for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    computed(&world, 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_take_no_more_memory_than_the_policy_says() {
    let world = World::fake("  slots: 8\n  cache: { enabled: true, memory: 1MiB }").await.0;
    let asked = join_all((0..60).map(|number| {
        let world = &world;
        async move {
            let more = json!({ "max_tokens": 900, "ignore_eos": true });
            ask(world, &format!("{number}"), &more).await
        }
    }));
    assert!(asked.await.iter().all(|got| got.text().len() == 900));
    let bytes = world.metric("modelpool_cache_bytes", "").await;
    assert!(bytes > 100_000.0 && bytes <= 1_048_576.0, "{bytes}");
}

#[tokio::test]
async fn another_policy_forgets_what_it_does_not_fit() {
    let world = World::fake(CACHE).await.0;
    assert_eq!(status(&world, &json!({})).await.as_deref(), Some("miss"));
    let reload = async |rest: &str| {
        let policy = policy(&world.model, rest);
        world.server.reload(policy).await.unwrap();
    };
    reload(&format!("{CACHE}\n  slots: 3")).await;
    assert_eq!(status(&world, &json!({})).await.as_deref(), Some("hit"), "slots change no answer");
    reload(&format!("{CACHE}\n  engine: {{ kv_cache_type: q8_0 }}")).await;
    assert_eq!(status(&world, &json!({})).await.as_deref(), Some("miss"));
    reload("  slots: 2").await;
    assert_eq!(status(&world, &json!({})).await, None);
}

#[tokio::test]
async fn embeddings_are_kept_text_by_text() {
    let world = World::real(&format!("{CACHE}\n  engine: {{ pooling: mean }}")).await;
    let embed = async |input: Value| {
        let body = json!({ "model": world.model, "input": input });
        Got::of(world.post("/v1/embeddings", &body).await).await
    };
    let first = embed(json!(["a fox", "a house"])).await;
    let second = embed(json!(["a house", "a fox"])).await;
    let third = embed(json!(["a house", "a tree"])).await;
    let statuses = [&first, &second, &third].map(|got| got.cache.as_deref());
    assert_eq!(statuses, [Some("miss"), Some("hit"), Some("miss")]);
    assert_eq!(first.answer["data"][0]["embedding"], second.answer["data"][1]["embedding"]);
    assert_eq!(first.answer["usage"], second.answer["usage"]);
    computed(&world, 3.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_has_a_time_of_its_own() {
    let world = slow(CACHE).await;
    let hurried = json!({ "max_tokens": 100, "ignore_eos": true, "timeout": 0.1 });
    let (first, second) = tokio::join!(ask(&world, "hello", &hurried), async {
        world.wait_for("modelpool_cache_requests_total", ",result=\"miss\"", |miss| miss == 1.0).await;
        ask(&world, "hello", &long(100)).await
    });
    assert_eq!((first.status, first.answer["error"]["code"].as_str()), (504, Some("deadline_exceeded")));
    assert_eq!((second.text().len(), second.cache.as_deref()), (100, Some("shared")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_for_all_who_share_it() {
    let world = slow(&format!(
        "{CACHE}\n  slots: 1\n  scale: {{ max_instances: 1 }}\n  queue: {{ timeout_ms: 300 }}"
    ))
    .await;
    let (long_body, short) = (long(400), long(2));
    let (blocks, refused) = tokio::join!(ask(&world, "blocks", &long_body), async {
        world.wait_for("modelpool_requests_in_flight", "", |running| running == 1.0).await;
        join_all((0..5).map(|_| ask(&world, "hello", &short))).await
    });
    assert_eq!(blocks.text().len(), 400);
    for got in refused {
        assert_eq!((got.status, got.answer["error"]["code"].as_str()), (503, Some("queue_timeout")));
    }
    assert_eq!(ask(&world, "hello", &long(2)).await.cache.as_deref(), Some("miss"), "a refusal is not kept");
    // Who drains answers nobody, from wherever.
    let drain = world.post("/admin/drain", &json!({ "drain": true })).await;
    assert_eq!(drain.status(), 200);
    let got = ask(&world, "hello", &long(2)).await;
    assert_eq!((got.status, got.answer["error"]["code"].as_str()), (503, Some("draining")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shares_an_answer_hears_where_its_request_stands() {
    let world = slow(&format!("{CACHE}\n  slots: 1\n  scale: {{ max_instances: 1 }}")).await;
    let (blocks, short) = (long(400), json!({ "max_tokens": 2, "stream": true }));
    let body = body(&world, "hello", &short);
    let streamed = async || world.post(COMPLETIONS, &body).await.text().await.unwrap();
    let (_, both) = tokio::join!(ask(&world, "blocks", &blocks), async {
        world.wait_for("modelpool_requests_in_flight", "", |running| running == 1.0).await;
        tokio::join!(streamed(), streamed())
    });
    assert_eq!(requests(&world, "shared").await, 1.0);
    for text in [both.0, both.1] {
        assert!(text.contains(": queue position 1") && text.ends_with("data: [DONE]\n\n"), "{text}");
    }
}

#[tokio::test]
async fn a_kept_answer_costs_its_key_a_request_and_no_tokens() {
    let file = KeysFile::new(&[("a", ", tokens_per_minute: 1000, requests_per_minute: 10")]);
    let (world, _) =
        World::fake_with(CACHE, |policy| policy.server.api_keys_file = Some(file.path.clone())).await;
    let url = format!("{}{COMPLETIONS}", world.url);
    let body = body(&world, "hello", &long(100));
    let left = async |kind: &str| {
        let answer = world.client.get(format!("{}/v1/models", world.url)).bearer_auth("mp-a").send().await;
        let left = answer.unwrap().headers()[&format!("x-ratelimit-remaining-{kind}")]
            .to_str()
            .unwrap()
            .parse::<u64>();
        left.unwrap()
    };
    assert_eq!(Got::of(post_as(&world.client, &url, "a", &body).await).await.cache.as_deref(), Some("miss"));
    let (requests, tokens) = (left("requests").await, left("tokens").await);
    assert!(tokens < 1000);
    assert_eq!(Got::of(post_as(&world.client, &url, "a", &body).await).await.cache.as_deref(), Some("hit"));
    assert_eq!((left("requests").await, left("tokens").await >= tokens), (requests - 1, true));
}
