//! Proves that the paths beside chats, completions and embeddings answer as documented: models, tokens, prompts of several
//! parts, llama-server's own shapes. Most with the fake engine; what depends on a vocabulary, with the embedded model.

mod common;

use common::World;
use serde_json::{Value, json};

async fn get(world: &World, path: &str) -> (u16, Value) {
    let response = world.client.get(format!("{}{path}", world.url)).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn post(world: &World, path: &str, body: &Value) -> (u16, Value) {
    let response = world.post(path, body).await;
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path} {body}: no JSON: {text}")))
}

/// Posts what must be refused with 400, and gives the field that the error names.
async fn refused(world: &World, path: &str, body: &Value) -> String {
    let (status, answer) = post(world, path, body).await;
    assert_eq!(status, 400, "{path} {body}: {answer}");
    answer["error"]["param"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_model_is_described_alone_as_in_the_list() {
    let (world, _) = World::fake("").await;
    let (_, list) = get(&world, "/v1/models").await;
    let (status, one) = get(&world, &format!("/v1/models/{}", world.model)).await;
    assert_eq!((status, &one), (200, &list["data"][0]));
    assert_eq!((&one["object"], &one["task"]), (&json!("model"), &json!("generate")));
    assert_eq!((&one["max_model_len"], &one["meta"]["n_ctx_train"]), (&json!(1024), &json!(1024)));
    assert!(one["created"].as_u64().unwrap() > 1_700_000_000, "when its file was changed: {one}");
    assert_eq!(one["status"]["value"], "unloaded");
    let (status, missing) = get(&world, "/v1/models/org/none").await;
    assert_eq!((status, &missing["error"]["code"]), (404, &json!("model_not_found")));
    let path = format!("/v1/models/{}", world.model);
    assert_eq!(post(&world, &path, &json!({})).await.0, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_become_tokens_and_tokens_become_the_text_again() {
    let world = World::real("").await;
    let text = "The fox, d\u{e9}j\u{e0} vu \u{1f98a}<|im_end|>";
    let tokenize = |more: Value| {
        let mut body = json!({ "content": text });
        common::merge(&mut body, &more);
        body
    };
    let (status, found) = post(&world, "/tokenize", &tokenize(json!({}))).await;
    assert_eq!(status, 200, "{found}");
    let count = |answer: &Value| answer["tokens"].as_array().unwrap().len();
    let (_, plain) = post(&world, "/tokenize", &tokenize(json!({ "parse_special": false }))).await;
    assert!(count(&plain) > count(&found), "a special token is one token: {plain}");
    let (_, again) = post(&world, "/detokenize", &json!({ "tokens": found["tokens"] })).await;
    assert_eq!(again, json!({ "content": text }));
    let (_, pieces) = post(&world, "/tokenize", &tokenize(json!({ "with_pieces": true }))).await;
    let mut bytes = Vec::new();
    for (token, piece) in found["tokens"].as_array().unwrap().iter().zip(pieces["tokens"].as_array().unwrap())
    {
        assert_eq!(&piece["id"], token);
        match &piece["piece"] {
            Value::String(text) => bytes.extend(text.bytes()),
            raw => bytes.extend(
                raw.as_array().unwrap().iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()),
            ),
        }
    }
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
    // The usage of a completion counts the same tokens.
    let body = json!({ "model": world.model, "prompt": text, "max_tokens": 1 });
    let (_, completion) = post(&world, "/v1/completions", &body).await;
    assert_eq!(completion["usage"]["prompt_tokens"], count(&found));
}

#[tokio::test]
async fn what_cannot_be_tokenized_is_named() {
    let (world, controls) = World::fake("").await;
    for (path, body, field) in [
        ("/tokenize", json!({}), "content"),
        ("/tokenize", json!({ "content": 5 }), "content"),
        ("/tokenize", json!({ "content": "a", "add_special": "yes" }), "add_special"),
        ("/detokenize", json!({ "tokens": [-1] }), "tokens[0]"),
        ("/detokenize", json!({ "tokens": [257] }), "tokens"),
        ("/apply-template", json!({ "messages": [] }), "messages"),
        ("/apply-template", json!({ "messages": [{ "role": "pirate" }] }), "messages[0].role"),
    ] {
        assert_eq!(refused(&world, path, &body).await, field, "{path} {body}");
    }
    let unknown = json!({ "model": "other", "content": "a" });
    assert_eq!(post(&world, "/tokenize", &unknown).await.0, 404);
    assert_eq!(post(&world, "/tokenize?model=other", &json!({ "content": "a" })).await.0, 404);
    let path = format!("/tokenize?model={}", world.model);
    assert_eq!(post(&world, &path, &json!({ "content": "ab" })).await.1, json!({ "tokens": [97, 98] }));
    assert_eq!(post(&world, "/tokenize", &json!({ "content": "" })).await.1, json!({ "tokens": [] }));
    assert_eq!(controls.loads.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_template_is_applied_without_loading_anything() {
    let (world, controls) = World::fake("").await;
    let body = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
    let (status, answer) = post(&world, "/apply-template", &body).await;
    assert_eq!(status, 200, "{answer}");
    let prompt = answer["prompt"].as_str().unwrap();
    assert!(prompt.contains("Hi") && prompt.ends_with("assistant\n"), "{prompt}");
    assert_eq!(controls.loads.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn documents_are_ranked_best_first() {
    // The fake engine's score of a text is how often its first character occurs.
    let (world, _) = World::fake("  slots: 2\n  engine: { pooling: rank }").await;
    let documents = json!(["b", { "text": "aaa" }, "aa", "ba"]);
    let rank = async |more: Value| {
        let mut body = json!({ "model": world.model, "query": "a", "documents": documents });
        common::merge(&mut body, &more);
        post(&world, "/v1/rerank", &body).await
    };
    let (status, all) = rank(json!({})).await;
    assert_eq!(status, 200, "{all}");
    let order = |answer: &Value| -> Vec<u64> {
        answer["results"].as_array().unwrap().iter().map(|found| found["index"].as_u64().unwrap()).collect()
    };
    assert_eq!(order(&all), [1, 2, 3, 0]);
    assert_eq!(
        (&all["results"][0]["relevance_score"], &all["usage"]["total_tokens"]),
        (&json!(4.0), &json!(12))
    );
    assert!(all["results"][0].get("document").is_none());
    let (_, best) = rank(json!({ "top_n": 1, "return_documents": true })).await;
    assert_eq!((order(&best), &best["results"][0]["document"]), (vec![1], &json!({ "text": "aaa" })));
    for (more, field) in [
        (json!({ "documents": [] }), "documents"),
        (json!({ "documents": null }), "documents"),
        (json!({ "documents": [5] }), "documents[0]"),
        (json!({ "query": null }), "query"),
        (json!({ "top_n": 0 }), "top_n"),
        (json!({ "documents": ["a", "x".repeat(600)] }), "documents[1]"),
    ] {
        let (status, answer) = rank(more).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(field)), "{answer}");
    }
    let (embeds, _) = World::fake("  engine: { pooling: mean }").await;
    let body = json!({ "model": embeds.model, "query": "a", "documents": ["b"] });
    assert_eq!(refused(&embeds, "/rerank", &body).await, "model");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_was_not_trained_to_rank_survives_being_asked_to() {
    let world = World::real("  engine: { pooling: rank }").await;
    let body = json!({ "model": world.model, "query": "a fox", "documents": ["The fox runs.", "Rain."] });
    let (status, answer) = post(&world, "/v1/rerank", &body).await;
    assert_eq!((status, answer["results"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
}
