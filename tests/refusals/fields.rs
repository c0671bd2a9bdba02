//! Each field of docs/api.md, with a value of the wrong type and with one out of its range.

use serde_json::{Value, json};

use crate::case::{Case, bad_chat, bad_completion};

/// A field of chats, values that it does not take, and what is said of them.
fn of_chats() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    let number = "expected a number";
    let whole = "expected a whole number";
    vec![
        ("model", vec![json!(5), json!(null), json!(["a"])], "expected a string"),
        ("messages", vec![json!("hi"), json!({}), json!(5)], "expected an array"),
        ("stream", vec![json!("yes"), json!(1)], "expected a boolean"),
        ("stream_options", vec![json!(true), json!("x")], "expected an object"),
        (
            "max_tokens",
            vec![json!("x"), json!(0), json!(-1), json!(1.5), json!(1e300), json!(1_u64 << 32)],
            whole,
        ),
        ("max_completion_tokens", vec![json!([]), json!(0), json!(-5)], whole),
        ("stop", vec![json!(5), json!({}), json!([5])], "expected a string or an array of strings"),
        ("n", vec![json!("2"), json!(0), json!(17), json!(-1), json!(u64::MAX)], whole),
        ("best_of", vec![json!("2"), json!(2.5)], whole),
        ("logprobs", vec![json!(3), json!("x"), json!([])], "expected true or false"),
        ("top_logprobs", vec![json!("x"), json!(21), json!(-1)], whole),
        ("ignore_eos", vec![json!("x"), json!(1)], "expected a boolean"),
        ("cache_prompt", vec![json!("x"), json!({})], "expected a boolean"),
        ("timings_per_token", vec![json!("x"), json!(0)], "expected a boolean"),
        ("timeout", vec![json!("5"), json!(0), json!(-1), json!([])], "expected a number of seconds above 0"),
        ("temperature", vec![json!("hot"), json!(5), json!(-0.1), json!(1e300), json!([])], number),
        ("top_k", vec![json!("x"), json!(-1), json!(1.5)], whole),
        ("top_p", vec![json!("x"), json!(0), json!(1.01), json!(-1)], number),
        ("min_p", vec![json!("x"), json!(1.01), json!(-1)], number),
        ("typical_p", vec![json!("x"), json!(0), json!(2)], number),
        ("repeat_penalty", vec![json!("x"), json!(0), json!(11)], number),
        ("repetition_penalty", vec![json!({}), json!(-1), json!(11)], number),
        ("presence_penalty", vec![json!("x"), json!(2.1), json!(-2.1)], number),
        ("frequency_penalty", vec![json!("x"), json!(3), json!(-1e300)], number),
        ("repeat_last_n", vec![json!("x"), json!(-2), json!(1_u64 << 32)], whole),
        ("dry_multiplier", vec![json!("x"), json!(-1), json!(101)], number),
        ("dry_base", vec![json!("x"), json!(0.5), json!(101)], number),
        ("dry_allowed_length", vec![json!("x"), json!(-1)], whole),
        ("dry_penalty_last_n", vec![json!("x"), json!(-2)], whole),
        ("dry_sequence_breakers", vec![json!("x"), json!(5), json!(vec!["a"; 65])], ""),
        ("xtc_probability", vec![json!("x"), json!(1.5), json!(-1)], number),
        ("xtc_threshold", vec![json!("x"), json!(1.5), json!(-1)], number),
        ("mirostat", vec![json!("x"), json!(3), json!(-1)], "expected"),
        ("mirostat_tau", vec![json!("x"), json!(101), json!(-1)], number),
        ("mirostat_eta", vec![json!("x"), json!(2), json!(-1)], number),
        ("seed", vec![json!("x"), json!(1.5), json!(u64::MAX), json!(1e30)], whole),
        ("logit_bias", vec![json!("x"), json!(5), json!(true)], "expected an object of token ids and biases"),
        ("grammar", vec![json!(5), json!({}), json!(["x"])], "expected a string"),
        ("json_schema", vec![json!("x"), json!([]), json!(true)], "expected a JSON schema"),
        ("response_format", vec![json!("json"), json!(5)], "expected an object"),
        ("tools", vec![json!("x"), json!({}), json!(5)], "expected an array of functions"),
        (
            "tool_choice",
            vec![json!("any"), json!(5), json!([]), json!({ "type": "x" })],
            "expected none, auto, required or",
        ),
        ("parallel_tool_calls", vec![json!(1), json!("x")], "expected true or false"),
        ("chat_template_kwargs", vec![json!(5), json!([]), json!("x")], "expected an object"),
        ("reasoning_effort", vec![json!(5), json!("x".repeat(33))], "expected a word"),
        ("reasoning_format", vec![json!(1), json!("deep")], "expected auto, deepseek or none"),
        ("functions", vec![json!([{}]), json!("x")], "does not support it; give tools"),
        ("function_call", vec![json!({ "name": "a" }), json!("x")], "does not support it; give tools"),
        ("audio", vec![json!({ "voice": "a" })], "does not support it"),
        ("echo", vec![json!(true)], "only completions have it"),
        ("suffix", vec![json!("x")], "only completions have it"),
    ]
}

/// The same of completions, as far as it differs.
fn of_completions() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    vec![
        (
            "prompt",
            vec![json!(5), json!({}), json!(true), json!([1.5]), json!([-1]), json!([1_u64 << 40])],
            "expected a string",
        ),
        ("prompt", vec![json!(null)], "missing"),
        ("prompt", vec![json!([])], "expected at least one token"),
        ("prompt", vec![json!(["a", ["b", ["c"]]])], "got an array in one"),
        ("prompt", vec![json!(vec!["a"; 129])], "129 prompts, at most 128 answers"),
        ("prompt", vec![json!([99_999]), json!([2048])], "the vocabulary ends at 2047"),
        ("prompt", vec![json!("")], "the prompt is empty"),
        ("suffix", vec![json!(5)], "expected a string"),
        ("echo", vec![json!("x"), json!(1)], "expected a boolean"),
        (
            "logprobs",
            vec![json!(21), json!(true), json!(-1), json!("x")],
            "expected a whole number from 0 to 20",
        ),
        ("top_logprobs", vec![json!(2)], "only chats have it"),
        ("tools", vec![json!([{}])], "only chats have it"),
        ("tool_choice", vec![json!("required")], "only chats have it"),
    ]
}

pub fn cases() -> Vec<Case> {
    let chats = of_chats().into_iter().flat_map(|(field, values, says)| {
        values.into_iter().map(move |value| bad_chat(&json!({ field: value }), field, says))
    });
    let completions = of_completions().into_iter().flat_map(|(field, values, says)| {
        values.into_iter().map(move |value| bad_completion(&json!({ field: value }), field, says))
    });
    let more = [
        bad_chat(
            &json!({ "stream_options": { "include_usage": "x" } }),
            "stream_options.include_usage",
            "boolean",
        ),
        bad_chat(&json!({ "best_of": 3 }), "best_of", "does not choose among answers"),
        bad_chat(&json!({ "top_logprobs": 3 }), "top_logprobs", "needs logprobs to be true"),
        bad_chat(&json!({ "stop": vec!["a"; 17] }), "stop", "at most 16 strings, got 17"),
        bad_chat(&json!({ "stop": vec!["a"; 1_000_000] }), "stop", "at most 16 strings, got 1000000"),
        bad_chat(&json!({ "stop": ["x".repeat(1025)] }), "stop[0]", "expected 1 to 1024 bytes"),
        bad_chat(&json!({ "stop": ["a", ""] }), "stop[1]", "expected 1 to 1024 bytes"),
        bad_chat(
            &json!({ "dry_sequence_breakers": ["x".repeat(41)] }),
            "dry_sequence_breakers[0]",
            "1 to 40 bytes",
        ),
        bad_chat(&json!({ "logit_bias": { "x": 1 } }), "logit_bias.x", "expected a token id"),
        bad_chat(&json!({ "logit_bias": { "-1": 1 } }), "logit_bias.-1", "expected a token id"),
        bad_chat(&json!({ "logit_bias": { "5": 101 } }), "logit_bias.5", "expected a bias from -100 to 100"),
        bad_chat(&json!({ "logit_bias": [[5]] }), "logit_bias[0]", "expected [token id, bias]"),
        bad_chat(&json!({ "logit_bias": [[5, 1], [5, 2]] }), "logit_bias[1]", "has a bias already"),
        bad_chat(&json!({ "logit_bias": { "2048": 1 } }), "logit_bias", "the vocabulary ends at 2047"),
        bad_chat(&json!({ "response_format": {} }), "response_format.type", "missing"),
        bad_chat(
            &json!({ "response_format": { "type": "yaml" } }),
            "response_format.type",
            "text, json_object or",
        ),
        bad_chat(
            &json!({ "response_format": { "type": "json_schema" } }),
            "response_format.json_schema.schema",
            "missing",
        ),
        bad_chat(
            &json!({ "grammar": "root ::= \"a\"", "json_schema": {} }),
            "json_schema",
            "cannot be combined",
        ),
        bad_chat(
            &json!({ "chat_template_kwargs": { "messages": [] } }),
            "chat_template_kwargs.messages",
            "leave it out",
        ),
        bad_chat(
            &json!({ "chat_template_kwargs": { "a": "x".repeat(20_000) } }),
            "chat_template_kwargs",
            "16384 bytes",
        ),
        bad_completion(&json!({ "prompt": ["a", ""] }), "prompt[1]", "the prompt is empty"),
        bad_completion(
            &json!({ "prompt": vec!["a"; 9], "n": 16 }),
            "prompt",
            "at most 128 answers a request",
        ),
        bad_completion(&json!({ "prompt": vec!["a"; 1_000_000] }), "prompt", "1000000 prompts"),
        bad_completion(&json!({ "echo": true, "logprobs": 1 }), "echo", "leave logprobs or echo out"),
        bad_completion(&json!({ "suffix": "x" }), "model", "cannot fill a gap"),
        bad_completion(&json!({ "prompt": [5], "suffix": "x" }), "suffix", "needs a text as its prompt"),
    ];
    chats.chain(completions).chain(more).collect()
}
