//! Puts load on a server and collects what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Failure};
use super::arrivals::Arrivals;
use super::ask::Asker;
use super::prompts::Prompts;
use super::report::{self, Limit, Load};
use crate::cli::progress::Progress;

/// Outcomes that wait to be counted.
const OUTCOMES: usize = 1024;
/// How long a client waits after a failure: one that is refused at once must not ask a million times.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// How often the progress is shown.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

/// Makes the prompts of all requests of this program; each only once.
#[derive(Debug)]
pub(super) struct Source {
    prompts: Prompts,
    next: AtomicU64,
}

impl Source {
    pub(super) fn new(prompts: Prompts) -> Self {
        Self { prompts, next: AtomicU64::new(0) }
    }

    /// A prompt with so many words besides the shared ones.
    pub(super) fn prompt(&self, words: u32) -> String {
        self.prompts.prompt(self.next.fetch_add(1, Ordering::Relaxed), words)
    }
}

/// What is asked of a server.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub asker: Arc<Asker>,
    pub source: Arc<Source>,
    /// Words of each prompt besides the shared ones.
    pub words: u32,
    /// Decides when requests of an open loop arrive.
    pub seed: u64,
    /// What the times of requests count from.
    pub since: Instant,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Measured {
    pub outcomes: Vec<Result<Answer, Failure>>,
    /// From the first request to the last outcome.
    pub took: Duration,
}

impl Work {
    async fn ask(&self) -> Result<Answer, Failure> {
        let prompt = self.source.prompt(self.words);
        let asked = self.since.elapsed();
        self.asker.ask(&prompt).await.map(|answer| Answer { asked, ..answer })
    }

    /// Runs `load` until `limit`, or until told to `stop`: what is not complete then does not count.
    pub(super) async fn run(
        &self,
        load: Load,
        limit: Limit,
        stop: &CancellationToken,
        progress: &Progress,
    ) -> Measured {
        let begun = Instant::now();
        let (sender, outcomes) = mpsc::channel(OUTCOMES);
        let mut tasks = JoinSet::new();
        match load {
            Load::Closed { clients } => {
                let permits = Arc::new(Permits { limit, begun, taken: AtomicU64::new(0) });
                for _ in 0..clients {
                    let (work, permits, sender) = (self.clone(), Arc::clone(&permits), sender.clone());
                    tasks.spawn(async move { work.one_after_the_other(&permits, &sender).await });
                }
                drop(sender);
            }
            Load::Open { rate } => {
                tasks.spawn(self.clone().each_at_its_time(rate, limit, begun, sender));
            }
        }
        // Dropping the tasks afterwards gives up what still runs.
        collect(outcomes, limit, begun, stop, progress).await
    }

    async fn one_after_the_other(&self, permits: &Permits, sender: &mpsc::Sender<Result<Answer, Failure>>) {
        while permits.take() {
            let outcome = self.ask().await;
            let failed = outcome.is_err();
            if sender.send(outcome).await.is_err() {
                return;
            }
            if failed {
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    async fn each_at_its_time(
        self,
        rate: f64,
        limit: Limit,
        begun: Instant,
        sender: mpsc::Sender<Result<Answer, Failure>>,
    ) {
        let mut tasks = JoinSet::new();
        for (number, at) in (0..).zip(Arrivals::new(rate, self.seed)) {
            if !limit.allows(number, at) {
                break;
            }
            tokio::time::sleep_until((begun + at).into()).await;
            let (work, sender) = (self.clone(), sender.clone());
            tasks.spawn(async move { drop(sender.send(work.ask().await).await) });
            // Those that ended are forgotten as others come.
            while tasks.try_join_next().is_some() {}
        }
        drop(sender);
        while tasks.join_next().await.is_some() {}
    }
}

/// The requests that the clients of a closed loop may still make.
struct Permits {
    limit: Limit,
    begun: Instant,
    taken: AtomicU64,
}

impl Permits {
    fn take(&self) -> bool {
        self.limit.allows(self.taken.fetch_add(1, Ordering::Relaxed), self.begun.elapsed())
    }
}

async fn collect(
    mut from: mpsc::Receiver<Result<Answer, Failure>>,
    limit: Limit,
    begun: Instant,
    stop: &CancellationToken,
    progress: &Progress,
) -> Measured {
    let (mut outcomes, mut took, mut tokens, mut failed) = (Vec::new(), Duration::ZERO, 0, 0usize);
    let mut show = tokio::time::interval(SHOW_INTERVAL);
    loop {
        let outcome = tokio::select! {
            outcome = from.recv() => outcome,
            () = stop.cancelled() => None,
            _ = show.tick() => {
                progress.at(limit.done(outcomes.len(), begun.elapsed()));
                progress.say(|| {
                    let rate = report::per(tokens, begun.elapsed().as_secs_f64());
                    format!("{} answered, {failed} failed, {rate:.0} tokens/s", outcomes.len())
                });
                continue;
            }
        };
        let Some(outcome) = outcome else { break };
        took = begun.elapsed();
        match &outcome {
            Ok(answer) => tokens += answer.output_tokens,
            Err(_) => failed += 1,
        }
        outcomes.push(outcome);
    }
    Measured { outcomes, took }
}
