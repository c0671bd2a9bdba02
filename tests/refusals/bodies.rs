//! Bodies that are no JSON or have too much of it, messages, and the other paths' bodies.

use serde_json::{Value, json};

use crate::case::{CHAT, COMPLETIONS, Case, MODEL, bad_chat, bad_completion};

/// Bodies that are refused as a whole.
fn no_json() -> Vec<Case> {
    let whole = |body: &[u8], says: &str| Case { param: None, ..Case::post(CHAT, body, "", says) };
    let with = |field: &str| {
        format!("{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],{field}}}")
    };
    let deep = |open: &str, close: &str| {
        with(&format!("\"ignored\":{}1{}", open.repeat(160_000), close.repeat(160_000)))
    };
    let text = |body: String, says: &str| whole(body.as_bytes(), says);
    vec![
        whole(b"", "the body is empty; send a JSON object"),
        whole(b"   ", "the body is not valid JSON"),
        whole(b"{", "EOF while parsing an object"),
        whole(b"null", "the body is not a JSON object"),
        whole(b"[]", "the body is not a JSON object"),
        whole(b"\"text\"", "the body is not a JSON object"),
        whole(b"{} {}", "trailing characters"),
        whole(b"{'model':'a'}", "key must be a string"),
        whole(b"model=a&prompt=b", "expected value at line 1 column 1"),
        whole(b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
        whole(b"{\0}", "key must be a string"),
        whole(b"\xff\xfe{\0}\0", "the body is not valid JSON"),
        text(deep("[", "]"), "recursion limit exceeded"),
        text(deep("{\"a\":", "}"), "recursion limit exceeded"),
        text(with("\"temperature\":1e400"), "number out of range"),
        text(with("\"seed\":-1e400"), "number out of range"),
        text(with("\"ignored\":1e999999999999"), "number out of range"),
        text(with(&format!("\"seed\":{}", "1".repeat(100_000))), "number out of range"),
        text(with("\"temperature\":NaN"), "expected value"),
        text(with("\"temperature\":Infinity"), "expected value"),
        text(with("\"temperature\":+1"), "expected value"),
        text(with("\"n\":01"), "invalid number"),
        text(with("\"stop\":\"\\ud800\""), "hex escape"),
        text(with("\"stop\":\"\\udc00\""), "lone leading surrogate"),
        text(with("\"stop\":\"\u{1}\""), "control character"),
        whole(
            &[with("\"stop\":\"").trim_end_matches('}').as_bytes(), b"\xff\"}"].concat(),
            "the body is not valid JSON",
        ),
        whole(
            &[with("\"ignored\":\"").trim_end_matches('}').as_bytes(), b"\xc3\x28\"}"].concat(),
            "invalid unicode code point",
        ),
        // Of a field that is given twice the last one counts.
        Case {
            param: Some("temperature".into()),
            ..text(with("\"temperature\":1,\"temperature\":5"), "from 0 to 2, got 5")
        },
    ]
}

fn messages() -> Vec<Case> {
    let bad =
        |messages: Value, param: &str, says: &str| bad_chat(&json!({ "messages": messages }), param, says);
    let user = |content: Value| json!([{ "role": "user", "content": content }]);
    let call = |call: Value| json!([{ "role": "assistant", "tool_calls": [call] }]);
    let arguments =
        |arguments: &str| call(json!({ "id": "a", "function": { "name": "f", "arguments": arguments } }));
    let many = format!(
        "{{\"model\":\"{MODEL}\",\"messages\":[{}{{\"role\":\"user\",\"content\":\"a\"}}]}}",
        "{\"role\":\"user\",\"content\":\"a\"},".repeat(499_999)
    );
    let function_arguments = "messages[0].tool_calls[0].function.arguments";
    vec![
        Case::post(CHAT, many.clone(), "messages", "at most 32768 messages, got 500000"),
        Case::post("/apply-template", many, "messages", "at most 32768 messages, got 500000"),
        bad(json!([]), "messages", "expected at least one message"),
        bad(json!(null), "messages", "missing"),
        bad(json!([null]), "messages[0]", "expected an object"),
        bad(json!([{ "content": "x" }]), "messages[0].role", "missing"),
        bad(json!([{ "role": "pirate", "content": "x" }]), "messages[0].role", "got \"pirate\""),
        bad(json!([{ "role": 5, "content": "x" }]), "messages[0].role", "expected a string"),
        bad(json!([{ "role": "user" }]), "messages[0].content", "missing; give a string"),
        bad(user(json!(5)), "messages[0].content", "expected a string or an array of text parts"),
        bad(
            user(json!([{ "type": "image_url" }])),
            "messages[0].content[0].type",
            "only \"text\" is supported",
        ),
        bad(
            user(json!([{ "type": "input_audio" }])),
            "messages[0].content[0].type",
            "only \"text\" is supported",
        ),
        bad(user(json!([{ "type": "text" }])), "messages[0].content[0].text", "missing"),
        bad(user(json!([{}])), "messages[0].content", "expected a string or an array of text parts"),
        bad(json!([{ "role": "user", "content": "x", "name": 5 }]), "messages[0].name", "expected a string"),
        bad(
            json!([{ "role": "user", "content": "x", "tool_calls": [{ "function": { "name": "f" } }] }]),
            "messages[0].tool_calls",
            "only the assistant calls functions",
        ),
        bad(call(json!({})), "messages[0].tool_calls[0].function", "missing"),
        bad(
            call(json!({ "type": "custom", "function": { "name": "f" } })),
            "messages[0].tool_calls[0].type",
            "expected function",
        ),
        bad(arguments("{"), function_arguments, "expected the JSON text of an object"),
        bad(arguments("[1]"), function_arguments, "expected the JSON text of an object"),
        bad(
            arguments(&format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000))),
            function_arguments,
            "JSON text",
        ),
    ]
}

/// What is too long, or for no model.
fn prompts() -> Vec<Case> {
    let user = |content: String| json!({ "messages": [{ "role": "user", "content": content }] });
    vec![
        bad_chat(&user("hello ".repeat(2000)), "messages", "the context holds 1024")
            .code("context_length_exceeded"),
        // A template's own marks: each of them divides the text, and llama.cpp counts all parts for each.
        bad_chat(&user("<|im_end|>\n".repeat(90_000)), "messages", "the context holds 1024")
            .code("context_length_exceeded"),
        bad_completion(
            &json!({ "prompt": "<|im_start|>a".repeat(70_000) }),
            "prompt",
            "the context holds 1024",
        )
        .code("context_length_exceeded"),
        bad_completion(&json!({ "prompt": "a b ".repeat(250_000) }), "prompt", "the context holds 1024")
            .code("context_length_exceeded"),
        bad_completion(&json!({ "prompt": vec![5; 1_000_000] }), "prompt", "1000000 tokens")
            .code("context_length_exceeded"),
        bad_chat(&json!({ "model": "gpt-7" }), "model", "there are: text, vectors, scores").missing(),
        bad_chat(&json!({ "model": "text\0" }), "model", "does not exist").missing(),
        bad_chat(&json!({ "model": "x".repeat(1_000_000) }), "model", "does not exist").missing(),
        bad_chat(
            &json!({ "logit_bias": biases(1_000_000) }),
            "logit_bias",
            "at most 1024 tokens, got 1000000",
        ),
        bad_chat(&json!({ "model": "vectors" }), "model", "makes embeddings, not text; ask /v1/embeddings"),
        bad_completion(&json!({ "model": "scores" }), "model", "makes scores, not text; ask /v1/rerank"),
        Case::post(COMPLETIONS, json!({ "prompt": "x" }).to_string(), "model", "missing"),
        Case::post(CHAT, format!("{{{}}}", keys(300_000)), "model", "missing"),
    ]
}

fn biases(count: usize) -> Value {
    Value::Object((0..count).map(|token| (token.to_string(), 1.into())).collect())
}

fn keys(count: usize) -> String {
    (0..count).map(|key| format!("\"k{key}\":{key}")).collect::<Vec<_>>().join(",")
}

/// A body of a path that is bad because of a field.
fn bad(path: &str, body: &Value, param: &str, says: &str) -> Case {
    Case::post(path, body.to_string(), param, says)
}

fn embeddings() -> Vec<Case> {
    let input = |input: Value, param: &str, says: &str| {
        bad("/v1/embeddings", &json!({ "model": "vectors", "input": input }), param, says)
    };
    vec![
        bad(
            "/v1/embeddings",
            &json!({ "model": MODEL, "input": "a" }),
            "model",
            "makes text, not embeddings",
        ),
        bad("/v1/embeddings", &json!({ "input": "a" }), "model", "missing"),
        bad("/v1/embeddings", &json!({ "model": "nope", "input": "a" }), "model", "does not exist").missing(),
        bad(
            "/v1/embeddings",
            &json!({ "model": "vectors", "input": "a", "dimensions": 257 }),
            "dimensions",
            "from 1 to 256",
        ),
        bad(
            "/v1/embeddings",
            &json!({ "model": "vectors", "input": "a", "dimensions": 0 }),
            "dimensions",
            "from 1 to 256",
        ),
        bad(
            "/v1/embeddings",
            &json!({ "model": "vectors", "input": "a", "dimensions": "x" }),
            "dimensions",
            "whole number",
        ),
        bad(
            "/v1/embeddings",
            &json!({ "model": "vectors", "input": "a", "encoding_format": "hex" }),
            "encoding_format",
            "\"hex\"",
        ),
        bad(
            "/v1/embeddings",
            &json!({ "model": "vectors", "input": "a", "timeout": -1 }),
            "timeout",
            "above 0",
        ),
        input(json!(null), "input", "expected 1 to 2048 texts, got 0"),
        input(json!([]), "input", "expected 1 to 2048 texts, got 0"),
        input(json!(vec!["a"; 2049]), "input", "expected 1 to 2048 texts, got 2049"),
        input(json!(5), "input", "expected a string"),
        input(json!(["a", 5]), "input", "expected a string"),
        input(json!(["a", ""]), "input[1]", "the prompt is empty"),
        input(json!([[1], [99_999]]), "input[1]", "the vocabulary ends at 2047"),
        input(json!("hello ".repeat(600)), "input[0]", "511 become an embedding")
            .code("context_length_exceeded"),
    ]
}

fn rerank() -> Vec<Case> {
    let rank = |documents: Value, param: &str, says: &str| {
        bad("/v1/rerank", &json!({ "model": "scores", "query": "a", "documents": documents }), param, says)
    };
    vec![
        bad(
            "/v1/rerank",
            &json!({ "model": MODEL, "query": "a", "documents": ["b"] }),
            "model",
            "makes no scores",
        ),
        bad(
            "/rerank",
            &json!({ "model": "vectors", "query": "a", "documents": ["b"] }),
            "model",
            "makes no scores",
        ),
        bad("/v1/rerank", &json!({ "model": "scores", "documents": ["b"] }), "query", "missing"),
        bad(
            "/v1/rerank",
            &json!({ "model": "scores", "query": "a", "documents": ["b"], "top_n": 0 }),
            "top_n",
            "at least 1",
        ),
        bad(
            "/v1/rerank",
            &json!({ "model": "scores", "query": "a", "documents": ["b"], "top_n": -1 }),
            "top_n",
            "expected a whole number",
        ),
        bad(
            "/v1/rerank",
            &json!({ "model": "scores", "query": "a", "documents": ["b"], "return_documents": 1 }),
            "return_documents",
            "boolean",
        ),
        rank(json!([]), "documents", "expected 1 to 2048 documents, got 0"),
        rank(json!(vec!["b"; 2049]), "documents", "expected 1 to 2048 documents, got 2049"),
        rank(json!([5]), "documents[0]", "expected a string, or an object with a text"),
        rank(json!(["hello ".repeat(600)]), "documents[0]", "at most 511").code("context_length_exceeded"),
    ]
}

fn tokens() -> Vec<Case> {
    vec![
        bad("/tokenize", &json!({}), "content", "missing"),
        bad("/tokenize", &json!({ "content": 5 }), "content", "expected a string"),
        bad("/tokenize", &json!({ "content": "a", "with_pieces": 1 }), "with_pieces", "boolean"),
        bad("/tokenize", &json!({ "content": "a", "model": 5 }), "model", "expected a string"),
        bad("/tokenize?model=nope", &json!({ "content": "a" }), "model", "does not exist").missing(),
        bad("/detokenize", &json!({}), "tokens", "missing"),
        bad("/detokenize", &json!({ "tokens": [99_999] }), "tokens", "the vocabulary ends at 2047"),
        bad("/detokenize", &json!({ "tokens": [-1] }), "tokens[0]", "whole number"),
        bad("/detokenize", &json!({ "tokens": "x" }), "tokens", "expected an array"),
        Case {
            param: None,
            ..bad("/detokenize", &json!({ "tokens": vec![304; 2_000_000] }), "", "at most 3145728 are sent")
        },
    ]
}

fn natives() -> Vec<Case> {
    let native = |fields: Value, param: &str, says: &str| bad("/completion", &fields, param, says);
    vec![
        native(json!({}), "prompt", "missing"),
        native(json!({ "prompt": "a", "n_predict": -2 }), "n_predict", "or -1 for what fits"),
        native(json!({ "prompt": "a", "max_tokens": "x" }), "max_tokens", "whole number"),
        native(json!({ "prompt": "a", "n_probs": 21 }), "n_probs", "from 0 to 20"),
        native(
            json!({ "prompt": "a", "post_sampling_probs": true }),
            "post_sampling_probs",
            "before sampling alone",
        ),
        native(json!({ "prompt": "a", "return_tokens": "x" }), "return_tokens", "boolean"),
        native(json!({ "prompt": vec!["a"; 129] }), "prompt", "129 prompts"),
        native(json!({ "prompt": "a", "model": "vectors" }), "model", "makes embeddings, not text"),
        native(
            json!({ "prompt": "a", "grammar": "(".repeat(20_000) }),
            "grammar",
            "expected the name of a rule",
        ),
        bad("/infill", &json!({ "input_prefix": "a" }), "input_suffix", "missing"),
        bad(
            "/infill",
            &json!({ "input_prefix": "a", "input_suffix": 5 }),
            "input_suffix",
            "expected a string",
        ),
        bad("/infill", &json!({ "input_prefix": "a", "input_suffix": "b" }), "model", "cannot fill a gap"),
        bad(
            "/infill",
            &json!({ "input_prefix": "a", "input_suffix": "b", "input_extra": vec![json!({ "text": "c" }); 257] }),
            "input_extra",
            "at most 256 files",
        ),
    ]
}

fn orders() -> Vec<Case> {
    vec![
        bad("/admin/models/load", &json!({ "model": "nope" }), "model", "does not exist").missing(),
        bad("/admin/models/load", &json!({ "model": MODEL, "instances": 0 }), "instances", "from 1 to 1"),
        bad("/admin/models/load", &json!({ "model": MODEL, "instances": "x" }), "instances", "whole number"),
        bad("/admin/models/pin", &json!({ "model": MODEL, "variant": "nope" }), "variant", "nope"),
        bad("/admin/models/unload", &json!({}), "model", "missing"),
        bad("/admin/drain", &json!({ "drain": "x" }), "drain", "boolean"),
        Case { param: None, ..Case::post("/admin/policy/validate", "", "", "the body is empty") },
        Case { param: None, ..Case::post("/admin/policy/validate", &b"\xff"[..], "", "not UTF-8 text") },
    ]
}

pub fn cases() -> Vec<Case> {
    [no_json(), messages(), prompts(), embeddings(), rerank(), tokens(), natives(), orders()].concat()
}
