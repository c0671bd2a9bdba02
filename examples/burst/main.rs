//! Sends a burst of streaming chats to a server and checks that every answer is complete.
//!
//!     cargo run --release --example burst -- --clients 64 --requests 64
//!     cargo run --release --example burst -- --clients 32 --requests 10000 --pid $(pgrep -o -x modelpool)
//!
//! Prints what came, how fast, and, with `--pid`, the server's memory, threads and descriptors along the way.
//! Exits with 1 if an answer was refused, broken or incomplete.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[derive(Debug, Parser)]
#[command(about = "Send a burst of streaming chats and check every answer")]
struct Arguments {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The model to ask for.
    #[arg(long, default_value = "tidepool-3m")]
    model: String,
    /// Clients that ask at the same time, each one request after the other.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Requests in all.
    #[arg(long, default_value_t = 64)]
    requests: usize,
    /// The most tokens of an answer.
    #[arg(long, default_value_t = 64)]
    max_tokens: u32,
    /// The question.
    #[arg(long, default_value = "Tell me a story about a fox.")]
    prompt: String,
    /// Check that every token came once: as many pieces of text as tokens. True of models each of whose tokens has
    /// whole characters, as the embedded one.
    #[arg(long)]
    exact: bool,
    /// Watch the resources of this process, most likely the server's (Linux).
    #[arg(long)]
    pid: Option<u32>,
}

/// One answer.
struct Outcome {
    /// Time to the first text; `None` if there was none.
    ttft: Option<Duration>,
    /// The longest time between two pieces of text.
    pause: Duration,
    tokens: u64,
    /// What went wrong.
    fault: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arc::new(Arguments::parse());
    let client = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, mut outcomes) = mpsc::channel(1024);
    let begun = Instant::now();
    for _ in 0..arguments.clients {
        let (client, arguments, next, sender) =
            (client.clone(), Arc::clone(&arguments), Arc::clone(&next), sender.clone());
        tokio::spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < arguments.requests {
                if sender.send(ask(&client, &arguments).await).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut report = Report::default();
    while let Some(outcome) = outcomes.recv().await {
        report.add(outcome);
        report.progress(&arguments);
    }
    report.print(begun.elapsed());
    if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn ask(client: &reqwest::Client, arguments: &Arguments) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome { ttft: None, pause: Duration::ZERO, tokens: 0, fault: None };
    if let Err(fault) = read_stream(client, arguments, begun, &mut outcome).await {
        outcome.fault = Some(fault);
    }
    outcome
}

async fn read_stream(
    client: &reqwest::Client,
    arguments: &Arguments,
    begun: Instant,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let body = json!({
        "model": arguments.model, "stream": true, "stream_options": { "include_usage": true },
        "max_tokens": arguments.max_tokens, "messages": [{ "role": "user", "content": arguments.prompt }],
    });
    let url = format!("{}/v1/chat/completions", arguments.url);
    let mut response = client.post(url).json(&body).send().await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(format!("{status}: {}", response.text().await.unwrap_or_default()));
    }
    let (mut pending, mut finished, mut done) = (String::new(), false, false);
    let (mut last, mut pieces) = (None, 0);
    while let Some(chunk) = response.chunk().await.map_err(|error| format!("cut off: {error}"))? {
        pending.push_str(std::str::from_utf8(&chunk).map_err(|error| error.to_string())?);
        while let Some(end) = pending.find("\n\n") {
            let event: String = pending.drain(..end + 2).collect();
            if event.starts_with(':') {
                // A comment: the request waits, or its stream pauses.
                continue;
            }
            let data = event.trim_end().strip_prefix("data: ").ok_or("not an event")?;
            if data == "[DONE]" {
                done = true;
                continue;
            }
            let chunk: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
            if chunk.get("error").is_some() {
                return Err(chunk.to_string());
            }
            if let Some(reason) = chunk["choices"][0]["finish_reason"].as_str() {
                finished = true;
                // The token that ends a turn has no text.
                pieces += u64::from(reason == "stop");
            }
            outcome.tokens += chunk["usage"]["completion_tokens"].as_u64().unwrap_or(0);
            let text = chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty());
            if text {
                let now = Instant::now();
                outcome.ttft.get_or_insert(now - begun);
                outcome.pause = outcome.pause.max(last.map_or(Duration::ZERO, |last| now - last));
                last = Some(now);
                pieces += 1;
            }
        }
    }
    if arguments.exact && pieces != outcome.tokens {
        return Err(format!("{} tokens came in {pieces} pieces", outcome.tokens));
    }
    if finished && done { Ok(()) } else { Err("the stream ended early".into()) }
}

#[derive(Default)]
struct Report {
    answered: usize,
    tokens: u64,
    ttfts: Vec<Duration>,
    pause: Duration,
    faults: Vec<String>,
}

impl Report {
    fn add(&mut self, outcome: Outcome) {
        self.answered += 1;
        self.tokens += outcome.tokens;
        self.ttfts.extend(outcome.ttft);
        self.pause = self.pause.max(outcome.pause);
        self.faults.extend(outcome.fault);
    }

    /// A line that is written over on a terminal; ten lines in a file.
    fn progress(&self, arguments: &Arguments) {
        let steps = (arguments.requests / 10).max(1);
        let terminal = std::io::stderr().is_terminal();
        if !terminal && !self.answered.is_multiple_of(steps) {
            return;
        }
        let resources = arguments.pid.map(resources).unwrap_or_default();
        let line = format!(
            "{} of {} answered, {} faults{resources}",
            self.answered,
            arguments.requests,
            self.faults.len()
        );
        let end = if terminal && self.answered < arguments.requests { "\r" } else { "\n" };
        drop(std::io::stderr().write_all(format!("{line}{end}").as_bytes()));
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn print(&mut self, took: Duration) {
        self.ttfts.sort_unstable();
        let percentile = |share: usize| {
            let at = (self.ttfts.len() * share / 100).min(self.ttfts.len().saturating_sub(1));
            self.ttfts.get(at).map_or("-".to_owned(), |ttft| format!("{:.0} ms", ttft.as_secs_f64() * 1e3))
        };
        println!("answered    {} in {:.2} s", self.answered, took.as_secs_f64());
        println!("complete    {}", self.answered - self.faults.len());
        println!("tokens/s    {:.0}", self.tokens as f64 / took.as_secs_f64());
        println!("TTFT        p50 {}, p99 {}", percentile(50), percentile(99));
        println!("longest gap {:.0} ms between two pieces of a text", self.pause.as_secs_f64() * 1e3);
        for fault in self.faults.iter().take(5) {
            println!("fault       {fault}");
        }
    }
}

/// Memory, threads and descriptors of a process, as Linux tells them.
fn resources(pid: u32) -> String {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or(" unknown").trim();
    format!("; resident {resident}, {} threads, {} descriptors", count("task"), count("fd"))
}
