//! `modelpool bench server`: measures servers that run, alone or two in turn.

mod answer;
mod arguments;
mod arrivals;
mod ask;
mod compare;
mod http;
mod load;
mod prompts;
mod record;
mod report;
mod stream;
mod target;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{INTERRUPTED, Interrupt};
use crate::cli::print;
use crate::cli::progress::Progress;
use answer::Failure;
use arguments::Endpoint;
pub(super) use arguments::ServerArguments;
use ask::Asker;
use compare::Comparison;
use http::HttpClient;
use load::{Measured, Source, Work};
use prompts::{Length, Prompts};
use record::Record;
use report::{Limit, Load, Row};
use target::Target;

/// Measures, prints, and tells whether all requests were served.
///
/// # Errors
///
/// A server that cannot be reached, or that takes no such requests.
pub(super) fn run(arguments: &ServerArguments) -> anyhow::Result<ExitCode> {
    // One thread: the servers may need the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(measure(arguments))
}

/// A server, and what is known of it.
struct Candidate {
    label: String,
    target: Target,
    model: String,
    asker: Arc<Asker>,
}

/// What all measurements of one run have in common.
struct Session<'a> {
    arguments: &'a ServerArguments,
    source: Arc<Source>,
    words: u32,
    seed: u64,
    /// Tokens and words of prompts, as the first server counts.
    length: Length,
    stop: CancellationToken,
    progress: Progress,
    /// What the times of requests count from.
    begun: Instant,
}

async fn measure(arguments: &ServerArguments) -> anyhow::Result<ExitCode> {
    let stop = Interrupt::cancels()?;
    let prepared = tokio::select! {
        prepared = prepare(arguments, &stop) => Some(prepared?),
        () = stop.cancelled() => None,
    };
    let failed = match &prepared {
        None => 0,
        Some((session, a, Some(b))) => session.compare([a, b]).await,
        Some((session, alone, None)) => session.each_load(alone).await?,
    };
    Ok(if stop.is_cancelled() {
        ExitCode::from(INTERRUPTED)
    } else if failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Everything before the first measurement.
async fn prepare<'a>(
    arguments: &'a ServerArguments,
    stop: &CancellationToken,
) -> anyhow::Result<(Session<'a>, Candidate, Option<Candidate>)> {
    let a = candidate(arguments, &arguments.label_a, &arguments.url, arguments.model.as_ref()).await?;
    let mut b = None;
    if let Some(against) = &arguments.against {
        let model = arguments.against_model.as_ref().or(arguments.model.as_ref());
        b = Some(candidate(arguments, &arguments.label_b, against, model).await?);
    }
    let session = Session::begin(arguments, &a, b.as_ref(), stop.clone()).await?;
    Ok((session, a, b))
}

/// Waits for a server, and finds out which model to ask for.
async fn candidate(
    arguments: &ServerArguments,
    label: &str,
    target: &Target,
    model: Option<&String>,
) -> anyhow::Result<Candidate> {
    let http = HttpClient::new(target.clone(), arguments.api_key.clone());
    ask::wait_until_ready(&http, arguments.wait()).await?;
    let model = match model {
        Some(model) => model.clone(),
        None => ask::models(&http).await?.into_iter().next().with_context(|| {
            format!("{target} lists no model at /v1/models; correct the URL, or name the model with --model")
        })?,
    };
    let asker = Arc::new(Asker::new(http, &model, arguments));
    Ok(Candidate { label: label.to_owned(), target: target.clone(), model, asker })
}

impl<'a> Session<'a> {
    async fn begin(
        arguments: &'a ServerArguments,
        a: &Candidate,
        b: Option<&Candidate>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let seed = arguments.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 32);
        // Another seed: what is asked for to learn the length must not come again.
        let trial = Source::new(Prompts::new(seed.wrapping_add(1), 0));
        let length = a.measure_length(arguments.prompt_tokens, &trial).await?;
        if let Some(b) = b {
            // Both get the same prompts, even if their chat templates differ: this loads the model.
            b.measure_length(arguments.prompt_tokens, &trial).await?;
        }
        let shared = length.part(arguments.shared_prefix_tokens);
        let words = length.words(arguments.prompt_tokens).saturating_sub(shared).max(1);
        let source = Arc::new(Source::new(Prompts::new(seed, shared)));
        Ok(Self {
            arguments,
            source,
            words,
            seed,
            length,
            stop,
            progress: Progress::new(1),
            begun: Instant::now(),
        })
    }

    async fn row(&self, candidate: &Candidate, load: Load, limit: Limit, name: &str) -> Row {
        let measured = self.measured(candidate, load, limit, name).await;
        Row::new(load, &measured.outcomes, measured.took)
    }

    async fn measured(&self, candidate: &Candidate, load: Load, limit: Limit, name: &str) -> Measured {
        let (asker, source) = (Arc::clone(&candidate.asker), Arc::clone(&self.source));
        let work = Work { asker, source, words: self.words, seed: self.seed, since: self.begun };
        self.progress.begin(name.to_owned(), limit.steps());
        work.run(load, limit, &self.stop, &self.progress).await
    }

    /// Measures one server; gives how many requests failed.
    async fn each_load(&self, candidate: &Candidate) -> anyhow::Result<usize> {
        let mut record = self.arguments.record.as_deref().map(Record::create).transpose()?;
        let mut rows = Vec::new();
        for load in self.arguments.loads() {
            if self.stop.is_cancelled() {
                break;
            }
            let measured = self.measured(candidate, load, self.arguments.limit(), &load.to_string()).await;
            if let Some(record) = &mut record {
                record.add(&candidate.model, &measured.outcomes)?;
            }
            rows.push(Row::new(load, &measured.outcomes, measured.took));
        }
        self.progress.end();
        if self.arguments.json {
            print_json(&json!({ "server": candidate.json(), "settings": self.settings(), "rows": rows }));
        } else {
            print(&format!("{candidate}\n{}\n\n{}", self.described(), report::text(&rows)));
        }
        Ok(rows.iter().map(|row| row.failed).sum())
    }

    /// Compares two servers; gives how many requests failed.
    async fn compare(&self, candidates: [&Candidate; 2]) -> usize {
        let mut comparisons = Vec::new();
        for load in self.arguments.loads() {
            let comparison = self.compare_under(load, candidates).await;
            if !comparison.rounds.is_empty() {
                comparisons.push(comparison);
            }
        }
        self.progress.end();
        if self.arguments.json {
            let servers = candidates.map(Candidate::json);
            print_json(&json!({ "servers": servers, "settings": self.settings(), "rows": comparisons }));
        } else {
            let [a, b] = candidates;
            let labels = candidates.map(|candidate| candidate.label.clone());
            let heading = format!("{}: {a}\n{}: {b}\n{}", a.label, b.label, self.described());
            print(&format!("{heading}\n\n{}", compare::text(&comparisons, &labels)));
        }
        comparisons.iter().map(Comparison::failed).sum()
    }

    async fn compare_under(&self, load: Load, candidates: [&Candidate; 2]) -> Comparison {
        for candidate in candidates {
            let name = format!("{load}: {}, warm-up", candidate.label);
            self.row(candidate, load, load.warm_up(), &name).await;
        }
        let mut rounds = Vec::new();
        for round in 1..=self.arguments.rounds.get() {
            let name = |candidate: &Candidate| format!("{load}: {}, round {round}", candidate.label);
            // Who is first changes, so that neither always follows the other.
            let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
            let mut rows = [None, None];
            for server in order {
                let candidate = candidates[server];
                let row = self.row(candidate, load, self.arguments.limit(), &name(candidate)).await;
                rows[server] = Some(row);
            }
            // A round that was not finished compares nothing.
            if self.stop.is_cancelled() {
                break;
            }
            rounds.push(rows.map(|row| row.expect("both were measured")));
        }
        Comparison { load, rounds }
    }

    fn settings(&self) -> serde_json::Value {
        let arguments = self.arguments;
        json!({
            "endpoint": arguments.endpoint.name(),
            "prompt_tokens": arguments.prompt_tokens,
            "shared_prefix_tokens": arguments.shared_prefix_tokens,
            "max_tokens": arguments.max_tokens,
            "ignore_eos": arguments.ignore_eos,
            "temperature": arguments.temperature,
            "seed": self.seed,
            "interrupted": self.stop.is_cancelled(),
        })
    }

    fn described(&self) -> String {
        let ServerArguments { endpoint, prompt_tokens, shared_prefix_tokens, max_tokens, .. } =
            self.arguments;
        let shared = match shared_prefix_tokens {
            0 => String::new(),
            shared => format!(" ({shared} of them shared)"),
        };
        let exactly = if self.arguments.ignore_eos { "" } else { "up to " };
        let guessed =
            if self.length == Length::UNKNOWN { " words, as the server does not count" } else { "" };
        let interrupted = if self.stop.is_cancelled() { "; interrupted" } else { "" };
        format!(
            "{}, prompts of about {prompt_tokens} tokens{guessed}{shared}, answers of {exactly}{max_tokens}, \
             seed {}{interrupted}",
            endpoint.name(),
            self.seed
        )
    }
}

impl Candidate {
    async fn measure_length(&self, prompt_tokens: u32, source: &Source) -> anyhow::Result<Length> {
        let measured = self.asker.measure_length(prompt_tokens, |words| source.prompt(words)).await;
        measured.map_err(|Failure { kind, detail }| {
            let Self { target, model, .. } = self;
            anyhow::anyhow!("{target} does not answer with model {model}: {kind}: {detail}")
        })
    }

    fn json(&self) -> serde_json::Value {
        json!({ "label": self.label, "url": self.target.to_string(), "model": self.model })
    }
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, model {}", self.target, self.model)
    }
}

fn print_json(document: &serde_json::Value) {
    print(&format!("{document:#}\n"));
}
