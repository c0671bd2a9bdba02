//! Proves that the simulator decides as the server does: the same traffic, through a real server with the embedded model
//! and through the simulator with what was measured of this machine, makes the same decisions in the same order.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::process::{Serving, program, run};
use common::{PATIENCE, process};
use serde_json::Value;

/// Two instances of four slots; nobody is to wait, and both go soon.
const POLICY: &str = "models: [{ name: m, slots: 4, context_tokens: 256, variants: [{ path: \
                      'embedded:tidepool-3m-f16.gguf' }], scale: { max_instances: 2, target_queue_wait_ms: 20, \
                      scale_down_after_ms: 1500, idle_unload_after_ms: 4000 } }]";

/// What a decision did, and the kind of its reason.
type Decision = (String, u64, u64);

fn kind(reason: &str) -> &'static str {
    [
        ("cold start", "cold start"),
        ("waiting for up to", "grow"),
        ("requests/s of", "grow"),
        ("needed in the last", "shrink"),
        ("idle", "unload"),
    ]
    .into_iter()
    .find_map(|(words, kind)| reason.contains(words).then_some(kind))
    .unwrap_or("other")
}

/// The decisions of a server's log that started or ended something.
fn of_log(line: &str) -> Option<Decision> {
    let field = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    let (_, reason) = line.split_once("scaling model=")?.1.split_once("reason=")?;
    let (starts, drains) = (field("starts")?, field("drains")?);
    (starts + drains > 0).then(|| (kind(reason).to_owned(), starts, drains))
}

fn of_simulation(folder: &Path) -> Vec<Decision> {
    let arguments =
        ["simulate", "--policy", "p.yaml", "--machine", "machine.json", "--trace", "traffic.jsonl"];
    let output = run(folder, &[&arguments[..], &["--tail-seconds", "10", "--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let decisions = report["decisions"].as_array().unwrap().iter().map(|note| {
        let why = kind(note["why"].as_str().unwrap()).to_owned();
        (why, note["starts"].as_u64().unwrap(), note["drains"].as_u64().unwrap())
    });
    decisions.collect()
}

fn checked(folder: &Path, arguments: &[&str]) {
    let output = process::run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whoever else computes on this machine while it is measured shall not decide what is simulated: two instances are taken
/// for separate, as they are where two cores are free.
fn separate(machine: &Path) {
    let mut services: Value = serde_json::from_slice(&std::fs::read(machine).unwrap()).unwrap();
    for service in services.as_array_mut().unwrap() {
        service.as_object_mut().unwrap().remove("parallel_instances");
    }
    std::fs::write(machine, services.to_string()).unwrap();
}

#[test]
fn the_simulator_decides_as_the_server_does() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("p.yaml"), POLICY).unwrap();
    checked(
        here,
        &[
            "bench",
            "engine",
            "--policy",
            "p.yaml",
            "--calibrate",
            "machine.json",
            "--seconds",
            "0",
            "--cpu",
            "--threads",
            "1",
        ],
    );

    separate(&here.join("machine.json"));

    let mut command = program(here, &["--policy", "p.yaml", "--listen", "127.0.0.1:0"]);
    let mut server = Serving::spawn(command.stderr(Stdio::piped()));
    let log = BufReader::new(server.child.stderr.take().unwrap());
    let (sender, decisions) = mpsc::channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            drop(of_log(&line).map(|decision| sender.send(decision)));
        }
    });
    // More than two instances can serve, for three seconds.
    let load =
        ["--rate", "100", "--seconds", "3", "--prompt-tokens", "24", "--max-tokens", "48", "--ignore-eos"];
    checked(
        here,
        &[&["bench", "server", "--url", &server.url, "--record", "traffic.jsonl"], &load[..]].concat(),
    );
    let (mut real, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while real.last().is_none_or(|(kind, ..): &Decision| kind != "unload") {
        assert!(Instant::now() < deadline, "it does not unload: {real:?}");
        real.extend(decisions.recv_timeout(Duration::from_millis(100)));
    }
    let kinds: Vec<&str> = real.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("cold start", "unload"), "{real:?}");
    assert_eq!(of_simulation(here), real);
}
