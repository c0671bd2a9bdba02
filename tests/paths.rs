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

/// The fake engine continues the alphabet.
#[tokio::test]
async fn several_prompts_are_one_request_whose_choices_are_numbered_prompt_by_prompt() {
    let (world, _) = World::fake("  slots: 3").await;
    let ask = |more: Value| {
        let mut body = json!({ "model": world.model, "prompt": ["w", "ax", [121]], "n": 2, "max_tokens": 9 });
        common::merge(&mut body, &more);
        body
    };
    let (status, answer) = post(&world, "/v1/completions", &ask(json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    let texts = |answer: &Value| -> Vec<(u64, String)> {
        let choices = answer["choices"].as_array().unwrap().iter();
        choices.map(|c| (c["index"].as_u64().unwrap(), c["text"].as_str().unwrap().to_owned())).collect()
    };
    let expected = |texts: [&str; 3]| -> Vec<(u64, String)> {
        (0..6).map(|index| (index, texts[usize::try_from(index).unwrap() / 2].to_owned())).collect()
    };
    assert_eq!(texts(&answer), expected(["xyz", "yz", "z"]));
    let usage = &answer["usage"];
    // Each prompt once; the end of each choice counts as a token.
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(4), &json!(2 * (4 + 3 + 2))));
    assert!(answer.get("timings").is_none(), "several choices share no time");

    let (_, echoed) = post(&world, "/v1/completions", &ask(json!({ "echo": true }))).await;
    assert_eq!(texts(&echoed), expected(["wxyz", "axyz", "yz"]));
    let url = format!("{}/v1/completions", world.url);
    let streamed = common::stream(&world.client, &url, &ask(json!({ "echo": true, "n": 1 }))).await;
    let mut by_index = vec![String::new(); 3];
    for choice in streamed.chunks.iter().map(|chunk| &chunk["choices"][0]) {
        by_index[usize::try_from(choice["index"].as_u64().unwrap()).unwrap()] +=
            choice["text"].as_str().unwrap();
    }
    assert!(streamed.done && by_index == ["wxyz", "axyz", "yz"], "{by_index:?}");
    for (more, field) in [
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": vec!["a"; 65] }), "prompt"),
        (json!({ "prompt": ["a", ""] }), "prompt[1]"),
        (json!({ "prompt": ["a", "b", [257]] }), "prompt[2]"),
        (json!({ "prompt": [[97], [[98]]] }), "prompt"),
        (json!({ "echo": true, "logprobs": 1 }), "echo"),
    ] {
        assert_eq!(refused(&world, "/v1/completions", &ask(more.clone())).await, field, "{more}");
    }
}

#[tokio::test]
async fn a_gap_is_filled_where_the_model_knows_how() {
    let (world, _) = World::fake("").await;
    // The fake engine's tokens for prefix, suffix and middle are 1, 2 and 3: after the last comes an `a`.
    let body = json!({ "input_prefix": "x", "input_suffix": "yz", "n_predict": 3 });
    let (status, filled) = post(&world, "/infill", &body).await;
    assert_eq!((status, &filled["content"]), (200, &json!("abc")), "{filled}");
    assert_eq!(filled["tokens_evaluated"], 3 + 3);
    let body = json!({ "input_prefix": "x", "input_suffix": "yz", "prompt": "w",
        "input_extra": [{ "filename": "a.rs", "text": "fn" }], "n_predict": 1 });
    let (_, with_more) = post(&world, "/infill", &body).await;
    let extra = "4myproject\n5a.rs\nfn5filename\n".len();
    assert_eq!(with_more["tokens_evaluated"], extra + 3 + 4);
    let body = json!({ "model": world.model, "prompt": "x", "suffix": "yz", "max_tokens": 3, "echo": true });
    let (_, completed) = post(&world, "/v1/completions", &body).await;
    assert_eq!(completed["choices"][0]["text"], "xabc");
    for (path, body, field) in [
        ("/infill", json!({ "input_suffix": "a" }), "input_prefix"),
        ("/infill", json!({ "input_prefix": "a" }), "input_suffix"),
        (
            "/infill",
            json!({ "input_prefix": "a", "input_suffix": "b", "input_extra": [5] }),
            "input_extra[0]",
        ),
        ("/infill", json!({ "input_prefix": "x".repeat(2000), "input_suffix": "" }), "input_prefix"),
        ("/v1/completions", json!({ "model": world.model, "prompt": [1], "suffix": "b" }), "suffix"),
        ("/v1/chat/completions", json!({ "model": world.model, "suffix": "b" }), "suffix"),
    ] {
        assert_eq!(refused(&world, path, &body).await, field, "{path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_was_not_trained_to_fill_gaps_says_so() {
    let world = World::real("").await;
    let body = json!({ "input_prefix": "a", "input_suffix": "b" });
    let (status, answer) = post(&world, "/infill", &body).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("model")), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("cannot fill a gap"), "{answer}");
}

/// The events of a stream in llama-server's form.
async fn native_stream(world: &World, path: &str, body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    body["stream"] = true.into();
    let text = world.post(path, &body).await.text().await.unwrap();
    let events = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").expect("an event"));
    events.map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[tokio::test]
async fn a_completion_has_llama_servers_shape_and_says_why_it_ended() {
    let (world, _) = World::fake("").await;
    for (more, content, stop_type, stopping_word, predicted) in [
        (json!({}), "xyz", "eos", "", 4),
        (json!({ "n_predict": 2 }), "xy", "limit", "", 2),
        (json!({ "stop": ["q", "z"] }), "xy", "word", "z", 3),
        (json!({ "n_predict": 0 }), "", "limit", "", 0),
        (json!({ "prompt": [97, "w"] }), "xyz", "eos", "", 4),
    ] {
        let mut body = json!({ "prompt": "w" });
        common::merge(&mut body, &more);
        let (status, whole) = post(&world, "/completion", &body).await;
        assert_eq!(status, 200, "{whole}");
        let events = native_stream(&world, "/completion", &body).await;
        let (last, parts) = events.split_last().expect("an end");
        let streamed: String = parts.iter().map(|part| part["content"].as_str().unwrap()).collect();
        assert_eq!((whole["content"].as_str().unwrap(), streamed.as_str()), (content, content), "{more}");
        for end in [&whole, last] {
            assert_eq!(
                (&end["stop"], &end["stop_type"], &end["stopping_word"], &end["tokens_predicted"]),
                (&json!(true), &json!(stop_type), &json!(stopping_word), &json!(predicted)),
                "{more}: {end}"
            );
            assert_eq!(
                end["generation_settings"]["temperature"].as_f64().map(|t| (t * 10.0).round()),
                Some(8.0)
            );
        }
        assert!(parts.iter().all(|part| part["stop"] == false));
    }
    let body = json!({ "prompt": "w", "n_probs": 2, "return_tokens": true, "temperature": 0 });
    let (_, told) = post(&world, "/completion", &body).await;
    assert_eq!(told["tokens"], json!([120, 121, 122]));
    let first = &told["completion_probabilities"][0];
    assert_eq!(
        (&first["id"], &first["token"], first["top_logprobs"].as_array().unwrap().len()),
        (&json!(120), &json!("x"), 2)
    );
    let (_, both) = post(&world, "/completion", &json!({ "prompt": ["w", "x"] })).await;
    assert_eq!(
        (&both[0]["content"], &both[1]["content"], &both[1]["index"]),
        (&json!("xyz"), &json!("yz"), &json!(1))
    );
    for (more, field) in [
        (json!({ "prompt": null }), "prompt"),
        (json!({ "n_predict": -2 }), "n_predict"),
        (json!({ "n_probs": 21 }), "n_probs"),
        (json!({ "post_sampling_probs": true }), "post_sampling_probs"),
        (json!({ "stop": [""] }), "stop[0]"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "temperature": 5 }), "temperature"),
    ] {
        let mut body = json!({ "prompt": "w" });
        common::merge(&mut body, &more);
        assert_eq!(refused(&world, "/completion", &body).await, field, "{more}");
    }
}

#[tokio::test]
async fn answers_tell_how_long_they_took() {
    let (world, controls) = World::fake("").await;
    controls.decode_micros.store(2000, std::sync::atomic::Ordering::Relaxed);
    let body = json!({ "model": world.model, "prompt": "aq", "temperature": 0 });
    let begun = std::time::Instant::now();
    let (_, answer) = post(&world, "/v1/completions", &body).await;
    let took_ms = begun.elapsed().as_secs_f64() * 1e3;
    let timings = &answer["timings"];
    assert_eq!((&timings["prompt_n"], &timings["cache_n"]), (&json!(2), &json!(0)));
    assert_eq!(timings["predicted_n"], answer["usage"]["completion_tokens"]);
    let ms = |field: &str| timings[field].as_f64().unwrap_or_else(|| panic!("{field}: {timings}"));
    assert!(ms("prompt_ms") > 0.0 && ms("predicted_ms") > 0.0, "{timings}");
    assert!(ms("prompt_ms") + ms("predicted_ms") <= took_ms, "{timings} in {took_ms}");
    // Ten tokens are nine gaps.
    assert!((ms("predicted_per_token_ms") - ms("predicted_ms") / 9.0).abs() < 0.01);
    assert!((ms("predicted_per_second") * ms("predicted_per_token_ms") - 1e3).abs() < 5.0);

    let long = json!({ "prompt": "q".repeat(200) });
    post(&world, "/completion", &long).await;
    let (_, again) = post(&world, "/completion", &long).await;
    let [cached, computed] = ["cache_n", "prompt_n"].map(|field| again["timings"][field].as_u64().unwrap());
    assert!(cached > 0 && cached + computed == 200, "{again}");

    let url = format!("{}/v1/chat/completions", world.url);
    for (wanted, every) in [(false, false), (true, true)] {
        let chat = world.chat("hi", &json!({ "timings_per_token": wanted }));
        let chunks = common::stream(&world.client, &url, &chat).await.chunks;
        // The role comes before anything is computed.
        let timed: Vec<bool> = chunks[1..].iter().map(|chunk| chunk["timings"].is_object()).collect();
        assert!(timed[..timed.len() - 1].iter().all(|timed| *timed == every), "{timed:?}");
        assert!(*timed.last().unwrap(), "the end always says it");
    }
}

/// The demo model, whose file names three of its tokens as those for gaps.
fn with_gap_tokens() -> Vec<u8> {
    let demo =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-q8_0.gguf");
    let file = std::fs::read(demo).unwrap();
    let text = |text: &[u8]| [&(text.len() as u64).to_le_bytes(), text].concat();
    let number = |key: &str, value: u32| {
        // Type 4 is a number of four bytes.
        [text(key.as_bytes()), 4u32.to_le_bytes().to_vec(), value.to_le_bytes().to_vec()].concat()
    };
    let mut added: Vec<u8> = [("pre", 260), ("suf", 261), ("mid", 262)]
        .into_iter()
        .flat_map(|(role, token)| number(&format!("tokenizer.ggml.fim_{role}_token_id"), token))
        .collect();
    // Tensors lie at multiples of 32 bytes; a text, of type 8, fills up what is missing.
    let padding = [text(b"general.padding"), 8u32.to_le_bytes().to_vec()].concat();
    let missing = (added.len() + padding.len() + 8).next_multiple_of(32) - (added.len() + padding.len() + 8);
    added.extend([padding, text(&vec![b' '; missing])].concat());
    // Magic number and version, number of tensors, number of keys, keys.
    let keys = u64::from_le_bytes(file[16..24].try_into().unwrap()) + 4;
    [&file[..16], &keys.to_le_bytes(), &added, &file[24..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_written_with_the_tokens_that_the_file_names() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.gguf"), with_gap_tokens()).unwrap();
    let text = "server: { listen: \"127.0.0.1:0\" }\nmodels:\n\
                - { name: gaps, variants: [{ path: model.gguf }], context_tokens: 512 }\n";
    let policy = modelpool::policy::Policy::parse(text, "the test's policy", folder.path()).unwrap();
    let world = World::serve(&policy, "").await;
    let count = async |text: &str| {
        let (_, found) = post(&world, "/tokenize", &json!({ "content": text, "parse_special": false })).await;
        found["tokens"].as_array().unwrap().len()
    };
    let (before, after) = ("The fox <|im_end|>", " into the forest.");
    let body = json!({ "input_prefix": before, "input_suffix": after, "n_predict": 2 });
    let (status, filled) = post(&world, "/infill", &body).await;
    assert_eq!(status, 200, "{filled}");
    assert_eq!(filled["tokens_evaluated"], count(before).await + count(after).await + 3);
    let body = json!({ "model": "gaps", "prompt": before, "suffix": after, "max_tokens": 2, "stream": true });
    let url = format!("{}/v1/completions", world.url);
    assert!(common::stream(&world.client, &url, &body).await.done);
}
