//! Proves that `modelpool bench` measures what it says: with real servers and a real model it counts every request,
//! compares two servers, computes batches of every size, and says what is wrong where it cannot.
//!
//! How fast anything is, no test looks at.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::process::{Serving, program, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const ANY_PORT: &str = "127.0.0.1:0";

/// Runs the program and expects this exit code.
fn bench(arguments: &[&str], code: i32) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &[&["bench"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    output
}

fn text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains('\u{1b}') && !text.contains("NaN"), "{text}");
    text
}

fn json(arguments: &[&str]) -> Value {
    let output = bench(&[arguments, &["--json"]].concat(), 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A figure that is there and above zero.
fn above_zero(value: &Value) {
    assert!(value.as_f64().is_some_and(|value| value > 0.0), "{value}");
}

#[test]
fn a_server_is_measured_request_by_request() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(folder.path(), &["--listen", ANY_PORT]);
    for endpoint in ["chat", "completions"] {
        let load = ["--clients", "1,4", "--requests", "6", "--max-tokens", "8", "--endpoint", endpoint];
        let report = json(&[&["server", "--url", &server.url], &load[..]].concat());
        assert_eq!(report["server"]["model"], "tidepool-3m");
        for (row, clients) in report["rows"].as_array().unwrap().iter().zip([1, 4]) {
            assert_eq!(row["clients"], clients);
            assert_eq!((&row["completed"], &row["failed"]), (&6.into(), &0.into()), "{row}");
            let tokens = row["output_tokens"].as_u64().unwrap();
            assert!((1..=48).contains(&tokens), "{row}");
            above_zero(&row["prompt_tokens_per_second"]);
            above_zero(&row["e2e_ms"]["p50"]);
        }
    }
    // The server counts tokens, and the prompts come out about as long as wanted, with a common beginning or without.
    for shared in ["0", "100"] {
        let load = ["--clients", "2", "--requests", "4", "--prompt-tokens", "200", "--max-tokens", "2"];
        let shared = ["--shared-prefix-tokens", shared];
        let report = json(&[&["server", "--url", &server.url], &load[..], &shared].concat());
        let tokens = report["rows"][0]["prompt_tokens"].as_u64().unwrap() / 4;
        assert!((150..=250).contains(&tokens), "{tokens}");
    }
    let open = ["--rate", "200", "--requests", "5", "--max-tokens", "2", "--seed", "7"];
    let output = text(&bench(&[&["server", "--url", &server.url], &open[..]].concat(), 0));
    assert!(output.contains("200 requests/s") && output.contains("seed 7"), "{output}");
}

#[test]
fn two_servers_are_compared_round_by_round() {
    let folder = tempfile::tempdir().unwrap();
    let servers = [(); 2].map(|()| Serving::start(folder.path(), &["--listen", ANY_PORT]));
    let both = ["server", "--url", &servers[0].url, "--against", &servers[1].url];
    let load = ["--clients", "2", "--requests", "4", "--max-tokens", "8", "--rounds", "3"];
    let report = json(&[&both[..], &load].concat());
    assert_eq!(report["servers"][1]["url"], servers[1].url.as_str());
    let figures = &report["rows"][0]["figures"];
    for figure in ["output_tokens_per_second", "ttft_p50_ms"] {
        for key in ["a", "b", "ratio", "ratio_low", "ratio_high"] {
            above_zero(&figures[figure][key]);
        }
    }
    let labels = ["--label-a", "mine", "--label-b", "theirs"];
    let output = text(&bench(&[&both[..], &load, &labels].concat(), 0));
    for words in ["2 clients, 3 rounds", "mine/theirs", "output tokens/s", "TTFT p99", "ITL p50"] {
        assert!(output.contains(words), "{words} is missing in: {output}");
    }
}

#[test]
fn requests_that_fail_are_reported_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let models =
        "[{ name: m, context_tokens: 256, variants: [{ path: \"embedded:tidepool-3m-q8_0.gguf\" }] }]";
    std::fs::write(&policy, format!("models: {models}\n")).unwrap();
    let server = Serving::start(folder.path(), &["--policy", policy.to_str().unwrap(), "--listen", ANY_PORT]);
    // The prompts that learn the length fit into the context, the others do not.
    let load = ["--clients", "2", "--requests", "3", "--prompt-tokens", "400"];
    let output = text(&bench(&[&["server", "--url", &server.url], &load[..]].concat(), 1));
    assert!(output.contains("3 failed: status 400"), "{output}");
}

/// Reads one request; gives its path.
fn read_request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut path, mut body_bytes) = (None, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body_bytes = length.trim().parse().unwrap();
        }
        if line == "\r\n" {
            stream.read_exact(&mut vec![0; body_bytes]).ok()?;
            return path;
        }
    }
}

/// A server that closes each connection after one answer without having said so, and whose streams are complete for
/// the first two requests, then each of `streams` in turn.
fn strange_server(streams: &'static [&'static str]) -> String {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut turns = [COMPLETE; 2].iter().chain(streams.iter().cycle());
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let answer = match read_request(&mut stream).as_deref() {
                Some("/v1/models") => r#"{"data":[{"id":"strange"}]}"#,
                Some("/v1/chat/completions") => turns.next().unwrap(),
                _ => "",
            };
            // A stream that is cut off promises more than comes.
            let missing = usize::from(answer.starts_with("data") && answer.ends_with('}'));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len() + missing);
            drop(stream.get_mut().write_all(format!("{head}{answer}").as_bytes()));
        }
    });
    url
}

const COMPLETE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";

#[test]
fn answers_that_are_not_complete_are_told_apart() {
    let url = strange_server(&[
        COMPLETE,
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
        "data: {\"error\":{\"message\":\"lost\"}}\n\ndata: [DONE]\n\n",
        "data: {\"choices\":[]}",
        "<html>",
    ]);
    let load = ["server", "--url", &url, "--clients", "1", "--requests", "10", "--json"];
    let output = bench(&load, 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = &report["rows"][0];
    assert_eq!((&row["completed"], &row["failed"]), (&2.into(), &8.into()), "{row}");
    // Nobody counted tokens, so pieces of text are counted, of complete answers alone.
    assert_eq!((&row["output_tokens"], &row["prompt_tokens"]), (&2.into(), &Value::Null));
    let kinds =
        row["failures"].as_array().unwrap().iter().map(|failures| (&failures["kind"], &failures["count"]));
    let kinds: Vec<_> =
        kinds.map(|(kind, count)| (kind.as_str().unwrap(), count.as_u64().unwrap())).collect();
    assert_eq!(kinds, [("cut off", 2), ("ended without [DONE]", 4), ("error in the stream", 2)]);
}

#[tokio::test]
async fn ctrl_c_ends_with_what_was_measured_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(folder.path(), &["--listen", ANY_PORT]);
    let load = ["--clients", "2,4", "--seconds", "3600", "--max-tokens", "4", "--json"];
    let arguments = [&["bench", "server", "--url", &server.url], &load[..]].concat();
    let child = program(folder.path(), &arguments).spawn().unwrap();
    let completed = "modelpool_requests_total{model=\"tidepool-3m\",outcome=\"completed\"}";
    let (client, deadline) = (common::client(), Instant::now() + PATIENCE);
    // The first two are there to learn the length of prompts.
    while common::metric(&client, &server.url, completed).await < 20.0 {
        assert!(Instant::now() < deadline, "no requests come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["settings"]["interrupted"], true);
    assert_eq!(report["rows"].as_array().unwrap().len(), 1, "the second load was never begun");
    assert!(report["rows"][0]["completed"].as_u64().unwrap() > 0);
}

#[test]
fn the_engine_is_measured_in_batches_of_every_size() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo-model/tidepool-3m-q8_0.gguf");
    let small = ["--slots", "4", "--context-tokens", "256", "--threads", "1", "--seconds", "0", "--cpu"];
    let report = json(&[&["engine", "--model", model], &small[..]].concat());
    assert_eq!((&report["slots"], &report["device"]), (&4.into(), &"host".into()));
    let figures = &report["figures"];
    let rows = |kind: &str| figures[kind].as_array().unwrap().iter();
    assert!(rows("prefill").map(|row| &row["prompt_tokens"]).eq([128]));
    assert!(rows("decode").map(|row| &row["sequences"]).eq([1, 2, 4]));
    assert!(rows("mixed").map(|row| &row["chunk_tokens"]).eq([64, 128, 256, 64, 128, 256]));
    assert!(rows("sampling").map(|row| &row["settings"]).eq(["policy", "greedy"]));
    rows("prefill").chain(rows("decode")).for_each(|row| above_zero(&row["tokens_per_second"]));
    rows("decode").chain(rows("mixed")).for_each(|row| above_zero(&row["step_ms"]["p99"]));
    rows("sampling").for_each(|row| above_zero(&row["token_us"]["p50"]));
    assert!(rows("answers").map(|row| &row["sequences"]).eq([1, 4]));
    rows("answers").for_each(|row| above_zero(&row["tokens_per_second"]));
    rows("answers").for_each(|row| above_zero(&row["itl_ms"]["p99"]));
    // Without a model it is the built-in policy's.
    let only =
        ["engine", "--only", "decode,sampling", "--slots", "2", "--seconds", "0", "--kv-cache-type", "q8_0"];
    let output = text(&bench(&only, 0));
    for words in ["tidepool-3m-f16.gguf", "2 sequences", "greedy"] {
        assert!(output.contains(words), "{words} is missing in: {output}");
    }
    assert!(!output.contains("prefill"), "{output}");
}

#[test]
fn a_calibration_and_a_record_are_what_a_simulation_reads() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (machine, traffic) = (place("machine.json"), place("traffic.jsonl"));
    let small = ["--slots", "4", "--context-tokens", "128", "--depth", "16", "--seconds", "0", "--cpu"];
    let output = text(&bench(&[&["engine", "--calibrate", &machine], &small[..]].concat(), 0));
    assert!(output.contains("tidepool-3m-f16") && output.contains("tidepool-3m-q4_k_m"), "{output}");
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&machine).unwrap()).unwrap();
    let variants = written.as_array().unwrap();
    assert_eq!(variants.len(), 3);
    for service in variants {
        let of = |key: &str| service[key].as_array().unwrap().iter().map(|row| row[0].clone());
        assert!(of("decode_seconds").eq([1, 2, 4]), "{service}");
        assert!(of("prefill_seconds").eq([16, 32, 64, 127]), "{service}");
        for key in ["prefill_tokens_per_second", "load_seconds", "instance_seconds", "worker_bytes"] {
            above_zero(&service[key]);
        }
    }
    let server = Serving::start(folder.path(), &["--listen", ANY_PORT]);
    let load = ["--clients", "2,3", "--requests", "6", "--max-tokens", "4", "--record", &traffic];
    bench(&[&["server", "--url", &server.url], &load[..]].concat(), 0);
    let simulate = ["simulate", "--machine", &machine, "--trace", &traffic, "--json"];
    let output = run(folder.path(), &simulate);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["requests"], 12);
    above_zero(&report["plans"][0]["ttft_seconds"]["p50"]);
    // One file is one variant; who reads only the other kind of output gets the same document.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo-model/tidepool-3m-q8_0.gguf");
    let report = json(&[&["engine", "--model", model, "--calibrate", &machine], &small[..]].concat());
    assert_eq!(report.as_array().unwrap().len(), 1);
    assert_eq!(report.to_string(), {
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&machine).unwrap()).unwrap();
        written.to_string()
    });
}

#[test]
fn what_cannot_be_measured_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(folder.path(), &["--listen", ANY_PORT]);
    // Taken and given back, so that nobody listens there.
    let free = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let nobody = format!("http://{free}");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo-model/tidepool-3m-q8_0.gguf");
    for (arguments, code, words) in [
        (&["server", "--url", &nobody][..], 1, &[nobody.as_str(), "cannot connect", "--wait"][..]),
        (&["server", "--url", &server.url, "--against", &nobody, "--wait", "0"], 1, &[&nobody, "--wait"]),
        (&["server", "--url", &server.url, "--model", "other"], 1, &["other", "status 404"]),
        (&["server", "--url", "https://localhost"], 2, &["--url", "https"]),
        (&["server", "--url", "localhost:1"], 2, &["http://127.0.0.1:8080"]),
        (&["server", "--clients", "1,0"], 2, &["--clients"]),
        (&["server", "--rate", "0"], 2, &["--rate", "above 0"]),
        (&["server", "--rounds", "3"], 2, &["--against"]),
        (&["engine", "--model", "none.gguf"], 1, &["none.gguf"]),
        (&["engine", "--model", "none.gguf", "--policy", "a.yaml"], 2, &["--policy"]),
        (&["engine", "--policy", "none.yaml"], 1, &["none.yaml"]),
        (&["engine", "--model-name", "other"], 1, &["--model-name other", "tidepool-3m"]),
        (&["engine", "--model", model, "--context-tokens", "1000000"], 1, &["--context-tokens", "trained"]),
        (&["engine", "--calibrate", "none/machine.json"], 1, &["cannot write none/machine.json"]),
        (&["engine", "--calibrate", "."], 1, &["cannot write ."]),
        (&["engine", "--calibrate", "x", "--only", "decode"], 2, &["--only"]),
        (&["engine", "--request-seconds", "1"], 2, &["--calibrate"]),
        (&["server", "--url", &server.url, "--record", "none/x"], 1, &["cannot create none/x"]),
        (&["engine", "--kv-cache-type", "f64"], 2, &["--kv-cache-type", "q8_0"]),
        (&[], 2, &["server", "engine"]),
    ] {
        let output = bench(arguments, code);
        let said = String::from_utf8_lossy(&output.stderr);
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {word:?} is missing in: {said}");
        }
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
