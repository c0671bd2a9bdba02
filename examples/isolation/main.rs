//! Measures what it costs that workers run in processes of their own.
//!
//!     cargo run --release --example isolation -- --rounds 20
//!
//! Starts two servers with the demo model, one with `isolation: thread` and one with `isolation: process`, and asks
//! them in turn, so that whatever else the machine does meets both. Prints medians over the rounds and their ratio.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::future::join_all;
use modelpool::cli::{Server, ServerOptions};
use modelpool::policy::Policy;
use modelpool::worker::process::ENVIRONMENT;
use serde_json::{Value, json};

#[derive(Debug, Parser)]
#[command(about = "Measure the cost of worker processes against worker threads")]
struct Arguments {
    /// Rounds; each asks both servers.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Streams at a time where tokens per second are measured.
    #[arg(long, default_value_t = 16)]
    streams: usize,
    /// CPU threads that compute. The servers and this client need one, too.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// The program that workers run [default: modelpool beside this one's folder].
    #[arg(long)]
    program: Option<PathBuf>,
}

/// One server and what was measured of it.
struct Candidate {
    name: &'static str,
    url: String,
    server: Server,
    /// Median time between two tokens of a single stream, a figure for each round.
    gaps: Vec<Duration>,
    /// Tokens per second of many streams, a figure for each round.
    rates: Vec<f64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    with_environment();
    let arguments = Arguments::parse();
    let program = arguments.program.clone().unwrap_or_else(beside);
    let mut candidates =
        [start("thread", &program, &arguments).await, start("process", &program, &arguments).await];
    let client = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
    for round in 0..=arguments.rounds {
        for candidate in &mut candidates {
            let (gap, rate) = measure(&client, &candidate.url, &arguments).await;
            // The first round loads and warms up.
            if round > 0 {
                candidate.gaps.push(gap);
                candidate.rates.push(rate);
            }
        }
    }
    print(&mut candidates);
    for candidate in candidates {
        candidate.server.shut_down().await;
    }
}

/// Libraries read some variables before `main` begins; see `modelpool::worker::process`.
fn with_environment() {
    if ENVIRONMENT.iter().any(|(name, _)| std::env::var_os(name).is_none()) {
        let own = std::env::current_exe().expect("this program");
        let error =
            std::process::Command::new(own).args(std::env::args_os().skip(1)).envs(ENVIRONMENT).exec();
        panic!("cannot start again: {error}");
    }
}

/// `target/release/modelpool` beside `target/release/examples/`.
fn beside() -> PathBuf {
    let own = std::env::current_exe().expect("this program");
    let folder = own.parent().and_then(Path::parent).expect("a build's folder");
    folder.join("modelpool")
}

async fn start(isolation: &'static str, program: &Path, arguments: &Arguments) -> Candidate {
    let text = format!(
        "server: {{ listen: \"127.0.0.1:0\" }}\ndevices: {{ cpu_threads: {} }}\nmodels: [{{ name: m, isolation: {isolation}, context_tokens: 1024, \
         slots: {}, scale: {{ max_instances: 1, idle_unload_after_ms: 600000 }}, \
         variants: [{{ path: \"embedded:tidepool-3m-f16.gguf\" }}] }}]",
        arguments.threads, arguments.streams
    );
    let policy = Policy::parse(&text, "the benchmark's policy", Path::new(".")).expect("a valid policy");
    let options = ServerOptions::of_this_machine(&policy, program, Vec::new()).await.expect("threads");
    let server = Server::start(&policy, options).await.unwrap_or_else(|error| panic!("{error:#}"));
    let url = format!("http://{}/v1/chat/completions", server.address());
    Candidate { name: isolation, url, server, gaps: Vec::new(), rates: Vec::new() }
}

/// The median gap of one stream alone, then the tokens per second of many.
async fn measure(client: &reqwest::Client, url: &str, arguments: &Arguments) -> (Duration, f64) {
    let (mut gaps, _) = stream(client, url, 0).await;
    gaps.sort_unstable();
    let begun = Instant::now();
    let streams = (0..arguments.streams).map(|number| stream(client, url, number));
    let tokens: u64 = join_all(streams).await.into_iter().map(|(_, tokens)| tokens).sum();
    #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
    let rate = tokens as f64 / begun.elapsed().as_secs_f64();
    (gaps[gaps.len() / 2], rate)
}

/// Streams one answer; gives the gaps between its pieces and its tokens. The seed makes it the same each time.
async fn stream(client: &reqwest::Client, url: &str, number: usize) -> (Vec<Duration>, u64) {
    let body = json!({
        "model": "m", "stream": true, "stream_options": { "include_usage": true }, "seed": number, "max_tokens": 150,
        "messages": [{ "role": "user", "content": "Tell me a story about a fox." }],
    });
    let mut response = client.post(url).json(&body).send().await.expect("an answer");
    assert!(response.status().is_success(), "{}", response.status());
    let (mut gaps, mut tokens, mut last, mut pending) = (Vec::new(), 0, None, Vec::new());
    while let Some(chunk) = response.chunk().await.expect("a whole stream") {
        let now = Instant::now();
        gaps.extend(last.replace(now).map(|last| now - last));
        pending.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(pending).expect("text");
    for data in text.split("\n\n").filter_map(|event| event.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{data}")).expect("JSON");
        tokens += chunk["usage"]["completion_tokens"].as_u64().unwrap_or(0);
    }
    (gaps, tokens)
}

fn print(candidates: &mut [Candidate; 2]) {
    println!("isolation   gap of 1 stream, p50   tokens/s of many streams");
    for candidate in candidates.iter_mut() {
        let (gap, rate) = (median(&mut candidate.gaps.clone()), median_rate(&candidate.rates));
        println!("{:10} {:>19.1} us {:>24.0}", candidate.name, gap.as_secs_f64() * 1e6, rate);
    }
    // Round by round, because the machine's speed changes from one to the next.
    let [thread, process] = candidates;
    let mut added: Vec<f64> = thread
        .gaps
        .iter()
        .zip(&process.gaps)
        .map(|(t, p)| (p.as_secs_f64() - t.as_secs_f64()) * 1e6)
        .collect();
    added.sort_unstable_by(f64::total_cmp);
    let mut ratios: Vec<f64> = thread.rates.iter().zip(&process.rates).map(|(t, p)| p / t).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    println!("process adds {:.1} us a token (median of rounds)", added[added.len() / 2]);
    println!("process has {:.3} of the tokens/s (median of rounds)", ratios[ratios.len() / 2]);
}

fn median(values: &mut [Duration]) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}

fn median_rate(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
