//! Proves that /v1/embeddings gives a vector for each text, in order, and that models are asked for what they make.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::World;
use serde_json::{Value, json};

const PATH: &str = "/v1/embeddings";
const POLICY: &str = "  slots: 4\n  engine: { pooling: mean }";

async fn answer(world: &World, path: &str, body: &Value) -> (u16, Value) {
    let response = world.post(path, body).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

fn vector(answer: &Value, index: usize) -> Vec<f64> {
    assert_eq!(answer["data"][index]["index"], index);
    answer["data"][index]["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn each_text_has_its_vector_whoever_else_is_asked_about() {
    let world = World::real(POLICY).await;
    let texts: Vec<String> = (0..20)
        .map(|number| format!("The fox has {number} apples{}.", " and pears".repeat(number % 4)))
        .collect();
    let (status, all) = answer(&world, PATH, &json!({ "model": world.model, "input": texts })).await;
    assert_eq!(status, 200, "{all}");
    assert_eq!(all["data"].as_array().unwrap().len(), 20);
    for index in [0, 7, 19] {
        let input = &texts[index];
        let (_, one) = answer(&world, PATH, &json!({ "model": world.model, "input": input })).await;
        let (alone, together) = (vector(&one, 0), vector(&all, index));
        assert!((cosine(&alone, &alone) - 1.0).abs() < 1e-3);
        assert!(cosine(&alone, &together) > 0.999, "{input}");
    }
    assert!(cosine(&vector(&all, 0), &vector(&all, 19)) < 0.9999);
    assert!(all["usage"]["prompt_tokens"].as_u64().unwrap() > 100);
}

/// OpenAI's client asks for base64 unless it is told otherwise.
#[tokio::test]
async fn vectors_can_be_shortened_and_come_as_numbers_or_bytes() {
    let world = World::real(POLICY).await;
    let ask = async |more: Value| {
        let mut body = json!({ "model": world.model, "input": "The fox lives in the forest." });
        common::merge(&mut body, &more);
        answer(&world, PATH, &body).await.1
    };
    let whole = vector(&ask(json!({})).await, 0);
    assert_eq!(whole.len(), 256);
    let encoded = ask(json!({ "encoding_format": "base64" })).await;
    let bytes = STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    let decoded: Vec<f64> = numbers.map(f64::from).collect();
    assert!(decoded.len() == 256 && cosine(&decoded, &whole) > 0.9999);
    let short = vector(&ask(json!({ "dimensions": 64 })).await, 0);
    assert!(short.len() == 64 && (cosine(&short, &short) - 1.0).abs() < 1e-5);
    assert!(cosine(&short, &whole[..64]) > 0.1, "the same direction: {short:?}");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (world, _) = World::fake(POLICY).await;
    for (input, field) in [
        (json!([]), "input"),
        (json!(null), "input"),
        (json!(["a", ""]), "input[1]"),
        (json!(["x".repeat(600)]), "input[0]"),
        (json!([[1, 999]]), "input[0]"),
    ] {
        let (status, answer) = answer(&world, PATH, &json!({ "model": world.model, "input": input })).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(field)), "{answer}");
    }
    for (field, value) in
        [("encoding_format", json!("hex")), ("dimensions", json!(0)), ("dimensions", json!(257))]
    {
        let (status, answer) =
            answer(&world, PATH, &json!({ "model": world.model, "input": "a", field: value })).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(field)), "{answer}");
    }
    let (_, long) = answer(&world, PATH, &json!({ "model": world.model, "input": "x".repeat(600) })).await;
    assert_eq!(long["error"]["code"], "context_length_exceeded", "{long}");
    assert!(long["error"]["message"].as_str().unwrap().contains("raise engine.batch_tokens in"), "{long}");
    let tokens = json!({ "model": world.model, "input": [[97, 98], [97, 97, 97]] });
    let (status, vectors) = answer(&world, PATH, &tokens).await;
    assert_eq!((status, &vectors["usage"]["total_tokens"]), (200, &json!(5)), "{vectors}");
    let body = json!({ "model": world.model, "prompt": "a" });
    let (status, refused) = answer(&world, "/v1/completions", &body).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("model")), "{refused}");
    let (text, _) = World::fake("").await;
    let (status, refused) = answer(&text, PATH, &json!({ "model": text.model, "input": "a" })).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("model")), "{refused}");
}
