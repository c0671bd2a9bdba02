//! Proves what a person at a shell sees: the program serves from any folder, says what is wrong and what to do,
//! drains on a signal, and exits with the right code.
#![cfg(unix)]

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::process::{Serving, program, run};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Asserts that it failed in words: one error, no backtrace.
fn check_failure(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours in a pipe: {text}");
}

const ANY_PORT: &str = "127.0.0.1:0";

#[test]
fn serves_from_any_folder_and_the_printed_command_works() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--listen", ANY_PORT][..], &["serve", "--listen", ANY_PORT]] {
        let server = Serving::start(folder.path(), arguments);
        let line = server.announcement.lines().find(|line| line.contains("curl")).unwrap();
        assert!(line.contains(&server.url), "{line}");
        let output = Command::new("sh").args(["-c", line]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success()
                && text.contains("chat.completion.chunk")
                && text.ends_with("data: [DONE]\n\n"),
            "{text}"
        );
    }
    assert!(folder.path().join("cache/tidepool-3m-f16.gguf").is_file());
}

#[tokio::test]
async fn a_signal_drains_and_exits_with_zero() {
    let folder = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Serving::start(folder.path(), &["--listen", ANY_PORT]);
        let client = common::client();
        let question = json!([{ "role": "user", "content": "Tell me a story about a fox." }]);
        let body = json!({ "model": "tidepool-3m", "messages": question, "stream": true });
        let mut response = common::post(&client, &format!("{}/v1/chat/completions", server.url), &body).await;
        let mut text = response.chunk().await.unwrap().unwrap().to_vec();
        server.signal(signal);
        while let Some(chunk) = response.chunk().await.unwrap() {
            text.extend_from_slice(&chunk);
        }
        assert!(String::from_utf8_lossy(&text).ends_with("data: [DONE]\n\n"));
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Serving::start(folder.path(), &["--listen", ANY_PORT]);
    let client = common::client();
    // Hot sampling hardly ever ends a text by itself: these fill their contexts, thousands of tokens together.
    let body = json!({ "model": "tidepool-3m", "prompt": "A", "temperature": 2, "top_k": 0, "top_p": 1, "stream": true });
    let url = format!("{}/v1/completions", server.url);
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut response = common::post(&client, &url, &body).await;
        response.chunk().await.unwrap();
        streams.push(response);
    }
    server.signal(Signal::TERM);
    let health = format!("{}/health", server.url);
    let begun = Instant::now();
    loop {
        let response = client.get(&health).send().await.expect("it still answers");
        if response.status() == 503 {
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["status"], "draining");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not drain");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(128 + 15));
}

#[test]
fn a_taken_port_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_failure(&run(folder.path(), &["--listen", &address]), 1, &["error: ", &address, "--listen"]);
}

fn write_policy(folder: &Path, name: &str, model_file: &str) -> String {
    let path = folder.join(name);
    let text = format!("models:\n- name: m\n  context_tokens: 512\n  variants: [{{ path: {model_file} }}]\n");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn missing_and_broken_files_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-q8_0.gguf");
    let whole = std::fs::read(&demo).unwrap();
    std::fs::write(folder.path().join("cut.gguf"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(folder.path().join("page.gguf"), "<html>not found</html>").unwrap();
    for (file, words) in [
        ("nowhere.gguf", &["nowhere.gguf"][..]),
        ("cut.gguf", &["cut.gguf", "truncated"]),
        ("page.gguf", &["page.gguf", "not a GGUF file"]),
    ] {
        let policy = write_policy(folder.path(), "policy.yaml", file);
        for arguments in [&["serve", "--policy", &policy, "--listen", ANY_PORT][..], &["check", &policy]] {
            check_failure(&run(folder.path(), arguments), 1, words);
        }
    }
    for arguments in [&["--policy", "none.yaml"][..], &["check", "none.yaml"]] {
        check_failure(&run(folder.path(), arguments), 1, &["none.yaml"]);
    }
}

#[test]
fn check_reports_every_fault_at_once_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yaml");
    std::fs::write(&path, "models:\n- name: m\n  slot: 5\n  slots: many\n  variants: [{ path: a.gguf }]\n")
        .unwrap();
    let words = [
        "2 faults",
        "bad.yaml:3:3: models[0].slot",
        "bad.yaml:4:",
        "models[0].slots",
        "did you mean `slots`",
    ];
    check_failure(&run(folder.path(), &["check", path.to_str().unwrap()]), 1, &words);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["default.yaml", "burst.yaml", "scale-to-zero.yaml", "gpu.yaml", "several-models.yaml"] {
        let output = run(folder.path(), &["check", root.join("policies").join(name).to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("valid"), "{name}: {text}");
        for word in ["worker", "KV cache", "compute", "fit now", " of "] {
            assert!(text.contains(word), "{name}: {word} is missing in: {text}");
        }
    }
}

/// Paths in a policy are relative to its file, not to where the program runs.
#[test]
fn a_policy_that_is_made_is_valid_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
    for file in ["tidepool-3m-f16.gguf", "tidepool-3m-q8_0.gguf"] {
        std::fs::copy(demo.join(file), models.join(file)).unwrap();
    }
    let made = run(folder.path(), &["init", "models", "--out", "my.yaml"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = std::fs::read_to_string(folder.path().join("my.yaml")).unwrap();
    assert!(text.contains("path: \"models/tidepool-3m-f16.gguf\""), "{text}");
    check_failure(
        &run(folder.path(), &["init", "models", "--out", "my.yaml"]),
        1,
        &["my.yaml", "File exists"],
    );
    check_failure(&run(folder.path(), &["init", "nothing-here"]), 1, &["nothing-here"]);
    let valid = run(folder.path(), &["check", "my.yaml"]);
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stderr));
    let server = Serving::start(folder.path(), &["--policy", "my.yaml", "--listen", ANY_PORT]);
    let answer = Command::new("curl").args(["-sf", &format!("{}/v1/models", server.url)]).output().unwrap();
    let text = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success() && text.contains("tidepool-3m"), "{text}");
}

#[test]
fn editors_shells_and_man_are_told_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let printed = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let schema: Value = serde_json::from_str(&printed(&["schema"])).unwrap();
    assert_eq!(schema["required"], json!(["models"]));
    for shell in ["bash", "zsh", "fish"] {
        let completions = printed(&["completions", shell]);
        assert!(completions.contains("simulate") && !completions.contains("quantize-one"), "{shell}");
    }
    let page = printed(&["man"]);
    assert!(page.starts_with(".ie") && page.contains("modelpool"), "{page}");
    assert!(printed(&["man", "simulate"]).contains("trace"));
    check_failure(&run(folder.path(), &["man", "nothing"]), 1, &["there is no command \"nothing\""]);
}

#[test]
fn a_key_that_is_made_opens_a_server_and_a_file_that_changes_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.yaml");
    let make = |name: &str| -> String {
        let output = run(folder.path(), &["key", name]);
        let text = String::from_utf8(output.stdout).unwrap();
        let (secret, entry) = text.split_once("\n\n").unwrap();
        std::fs::write(&keys, entry).unwrap();
        secret.to_owned()
    };
    let first = make("first");
    assert!(first.starts_with("mp-") && first.len() == 67, "{first}");
    let model = "models: [{ name: m, context_tokens: 1024, variants: [{ path: \"embedded:tidepool-3m-f16.gguf\" }] }]";
    let policy = format!("server: {{ listen: \"{ANY_PORT}\", api_keys_file: keys.yaml }}\n{model}");
    std::fs::write(folder.path().join("p.yaml"), policy).unwrap();
    let checked = run(folder.path(), &["check", "p.yaml"]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("API keys: 1, of operators: 0"), "{checked:?}");
    let server = Serving::start(folder.path(), &["serve", "--policy", "p.yaml"]);
    let status = |secret: &str| {
        let (url, header) = (format!("{}/v1/models", server.url), format!("Authorization: Bearer {secret}"));
        let arguments = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url];
        String::from_utf8(Command::new("curl").args(arguments).output().unwrap().stdout).unwrap()
    };
    assert_eq!((status(&first).as_str(), status("mp-guess").as_str()), ("200", "401"));
    let second = make("second");
    server.signal(Signal::HUP);
    let begun = Instant::now();
    while status(&second) != "200" {
        assert!(begun.elapsed() < PATIENCE, "the new file is not followed");
    }
    assert_eq!(status(&first), "401");
    check_failure(
        &run(folder.path(), &["key", "a b"]),
        1,
        &["expected a name of 1 to 64 letters", "\"a b\""],
    );
    std::fs::write(&keys, "keys: [{ name: a }]").unwrap();
    check_failure(&run(folder.path(), &["check", "p.yaml"]), 1, &["keys.yaml:1:8: keys[0].sha256: missing"]);
}

#[test]
fn paths_in_a_policy_are_relative_to_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let models = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-q4_k_m.gguf");
    std::fs::copy(demo, models.path().join("mine.gguf")).unwrap();
    let policy = write_policy(models.path(), "policy.yaml", "mine.gguf");
    let output = run(folder.path(), &["check", &policy]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_arguments_exit_with_two_and_help_explains() {
    let folder = tempfile::tempdir().unwrap();
    check_failure(&run(folder.path(), &["--listen", "nonsense"]), 2, &["--listen"]);
    check_failure(&run(folder.path(), &["dance"]), 2, &["dance"]);
    let help = run(folder.path(), &["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for word in ["serve", "check", "--policy", "--listen", "MODELPOOL_LOG"] {
        assert!(help.status.success() && text.contains(word), "{word} is missing in: {text}");
    }
}

/// Counts threads and descriptors, and reads the resident memory in KiB, of a running process.
fn resources(pid: u32) -> (usize, usize, u64) {
    let entries = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (entries("task"), entries("fd"), resident.trim().trim_end_matches(" kB").parse().unwrap())
}

/// After a warm-up, a thousand more requests (streams, answers, errors, clients that leave) take no more threads,
/// descriptors or memory.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(folder.path(), &["--listen", ANY_PORT]);
    let url = format!("{}/v1/chat/completions", server.url);
    let load = async |count: u32| {
        for _ in 0..count / 20 {
            // A client for each batch, so that its connections end with it.
            let client = common::client();
            let requests = (0..20).map(|i| {
                let (client, url) = (client.clone(), url.clone());
                async move {
                    let question = json!([{ "role": "user", "content": "What is 12 + 30?" }]);
                    let mut body = json!({ "model": "tidepool-3m", "messages": question, "max_tokens": 12 });
                    body["stream"] = (i % 2 == 0).into();
                    if i % 5 == 3 {
                        body["temperature"] = "hot".into();
                    }
                    let mut response = common::post(&client, &url, &body).await;
                    if i % 5 != 4 {
                        while response.chunk().await.unwrap().is_some() {}
                    }
                }
            });
            futures_util::future::join_all(requests).await;
        }
    };
    load(600).await;
    let before = resources(server.child.id());
    load(1000).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let after = resources(server.child.id());
        // Connections of the last batch may take a moment to end.
        if after.0 <= before.0 + 2 && after.1 <= before.1 && after.2 <= before.2 + 8 * 1024 {
            return;
        }
        assert!(Instant::now() < deadline, "threads, descriptors, KiB: {before:?} before, {after:?} after");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each request has a line in the log, in JSON if that is wanted, and `simulate` replays it.
#[tokio::test]
async fn the_log_has_a_line_for_each_request_and_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("server.log");
    let mut command = program(folder.path(), &["--listen", ANY_PORT, "--log-format", "json"]);
    let mut server = Serving::spawn(command.stderr(std::fs::File::create(&log).unwrap()));
    let client = common::client();
    let url = format!("{}/v1/completions", server.url);
    let long = "fox ".repeat(2000);
    for (prompt, status) in [("Hi", 200), (long.as_str(), 400), ("Hello", 200)] {
        let body = json!({ "model": "tidepool-3m", "prompt": prompt, "max_tokens": 5, "ignore_eos": true });
        let request = client.post(&url).header("x-request-id", "mine").json(&body);
        assert_eq!(request.send().await.unwrap().status(), status, "{prompt:.9}");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<&Value> = events.iter().filter(|event| event["target"] == "modelpool::request").collect();
    let told = |key: &str| lines.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(told("outcome"), ["completed", "refused", "completed"]);
    assert_eq!(told("request"), ["mine", "mine", "mine"]);
    assert_eq!(told("completion_tokens"), [5, 0, 5]);
    assert_eq!(told("variant"), [json!("tidepool-3m-f16"), Value::Null, json!("tidepool-3m-f16")]);
    // The first one waited for the model.
    assert_eq!(lines[0]["load_ms"], lines[0]["queue_ms"]);
    assert_eq!(lines[2]["load_ms"], Value::Null);
    assert!(lines[1]["reason"].as_str().unwrap().contains("the context holds"), "{}", lines[1]);
    let parts = ["queue_ms", "prefill_ms", "decode_ms"].map(|key| lines[0][key].as_f64().unwrap());
    assert!(parts.iter().sum::<f64>() <= lines[0]["total_ms"].as_f64().unwrap() + 0.2, "{}", lines[0]);
    let replay = run(folder.path(), &["simulate", "--trace", "server.log", "--json"]);
    let report: Value = serde_json::from_slice(&replay.stdout).unwrap();
    assert_eq!(report["requests"], 2, "{report}");
}
