//! Proves that no bad request is answered wrongly, slowly or not at all: each of a table of them gets its 4xx within a
//! second, with the code, the field at fault and a reason, and the next request is answered as if nothing had been. With
//! llama.cpp and the embedded model, because much of what is refused would hold up llama.cpp or end it.
//!
//! In the table is what crashes llama.cpp's own server, hangs it, or what it answers with something else than was asked.

mod bodies;
mod case;
#[path = "../common/mod.rs"]
mod common;
mod dialects;
mod fields;
mod grammars;
mod schemas;
mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use case::{Case, MODEL, chat};
use common::{PATIENCE, World};
use modelpool::policy::Policy;
use serde_json::{Value, json};

/// The longest time that an answer may take.
const AT_MOST: Duration = Duration::from_secs(1);
/// How often a case is tried that took longer. Others on the machine can only make it take longer, so that the shortest
/// time counts.
const TRIES: usize = 5;

/// Three models of one file, which make text, vectors and scores. A body may be so large that what is in it is looked at.
async fn world() -> World {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    let model = |name: &str, more: &str| {
        format!(
            "- {{ name: {name}, context_tokens: 1024, slots: 2, scale: {{ max_instances: 1 }}, \
             variants: [{{ path: tidepool-3m-f16.gguf }}]{more} }}\n"
        )
    };
    let models = [
        model(MODEL, ""),
        model("vectors", ", engine: { pooling: mean }"),
        model("scores", ", engine: { pooling: rank }"),
    ];
    let text =
        format!("server: {{ listen: \"127.0.0.1:0\", max_body_bytes: 16MiB }}\nmodels:\n{}", models.concat());
    let policy = Policy::parse(&text, "the test's policy", &files).unwrap_or_else(|error| panic!("{error}"));
    World::serve(&policy, "").await
}

/// A normal request is answered.
async fn works(world: &World, after: &str) {
    let body = chat(&json!({ "max_tokens": 2, "temperature": 0 }));
    let response = world.post("/v1/chat/completions", &body).await;
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "after {after}: {answer}");
    assert!(answer["choices"][0]["message"]["content"].is_string(), "after {after}: {answer}");
}

/// Sends a case; how long the answer took, its status and its body.
async fn send(world: &World, case: &Case) -> (Duration, u16, Value) {
    let method = case.method.parse().expect("a method");
    let mut request = world.client.request(method, format!("{}{}", world.url, case.path));
    for (name, value) in &case.headers {
        request = request.header(*name, value);
    }
    let request = request.body(case.body.clone());
    let start = Instant::now();
    let answered = async {
        let response = request.send().await.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
        let status = response.status().as_u16();
        (status, response.text().await.unwrap_or_else(|error| panic!("{}: {error:?}", case.name)))
    };
    let (status, text) =
        tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("{}", case.name));
    let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}: no JSON: {text}", case.name));
    (start.elapsed(), status, answer)
}

/// What is wrong with the answer to a case.
async fn check(world: &World, case: &Case) -> Option<String> {
    let (mut shortest, status, answer) = send(world, case).await;
    let error = &answer["error"];
    let found = (status, error["code"].as_str().unwrap_or_default(), error["param"].as_str());
    let message = error["message"].as_str().unwrap_or_default();
    let right = found == (case.status, case.code, case.param.as_deref())
        && (400..500).contains(&status)
        && error["type"].is_string()
        && message.contains(&case.says)
        && message.len() < 1000;
    if !right {
        return Some(format!("{}: {status} {answer:.300}", case.name));
    }
    for _ in 1..TRIES {
        if shortest < AT_MOST {
            break;
        }
        shortest = shortest.min(send(world, case).await.0);
    }
    works(world, &case.name).await;
    (shortest >= AT_MOST).then(|| format!("{} took {shortest:?}", case.name))
}

/// No worker ended.
async fn all_workers_live(world: &World) {
    let metrics =
        world.client.get(format!("{}/metrics", world.url)).send().await.unwrap().text().await.unwrap();
    for model in [MODEL, "vectors", "scores"] {
        let exits = format!("modelpool_worker_exits_total{{model=\"{model}\"");
        assert!(!metrics.contains(&exits), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_refused_within_a_second_and_harms_nobody() {
    let world = world().await;
    for (path, body) in [
        ("/v1/embeddings", json!({ "model": "vectors", "input": "a" })),
        ("/v1/rerank", json!({ "model": "scores", "query": "a", "documents": ["b"] })),
    ] {
        assert_eq!(world.post(path, &body).await.status(), 200, "{path}");
    }
    works(&world, "the start").await;
    let tables = [
        fields::cases(),
        bodies::cases(),
        grammars::cases(),
        schemas::cases(),
        dialects::cases(),
        wire::cases(),
    ];
    let (mut count, mut faults) = (0, Vec::new());
    for case in tables.iter().flatten() {
        faults.extend(check(&world, case).await);
        count += 1;
    }
    assert!(faults.is_empty(), "{} of {count} cases:\n{}", faults.len(), faults.join("\n"));
    assert!(count >= 500, "{count} cases");
    wire::raw(&world).await;
    works(&world, "raw bytes").await;
    all_workers_live(&world).await;
}

/// What takes time where ways to read a text multiply is either followed in time or given up with a reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grammars_and_schemas_that_can_be_followed_in_many_ways_hold_nobody_up() {
    let world = world().await;
    works(&world, "the start").await;
    for (name, fields) in grammars::hard().into_iter().chain(schemas::hard()) {
        let mut fields = fields;
        common::merge(&mut fields, &json!({ "max_tokens": 40, "temperature": 1, "seed": 1 }));
        let body = chat(&fields);
        let mut shortest = PATIENCE;
        for _ in 0..TRIES {
            let start = Instant::now();
            let response = world.post("/v1/chat/completions", &body).await;
            let status = response.status();
            let answer: Value = response.json().await.unwrap();
            shortest = shortest.min(start.elapsed());
            assert!(status == 200 || status == 400, "{name}: {answer}");
            if status == 400 {
                let reason = answer["error"]["message"].as_str().unwrap();
                assert!(reason.contains("too many ways to read the text"), "{name}: {answer}");
            }
            if shortest < 2 * AT_MOST {
                break;
            }
        }
        assert!(shortest < 2 * AT_MOST, "{name} took {shortest:?}");
        works(&world, name).await;
    }
    all_workers_live(&world).await;
}
