//! Times the start of workers and instances, in processes, as the server starts them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::subject::Candidate;
use crate::policy::Isolation;
use crate::units::{InstanceId, WorkerId};
use crate::worker::process::{ProcessOptions, ProcessSpawner};
use crate::worker::{Kill, WorkerCommand, WorkerEnd, WorkerEvent, WorkerSpawner, WorkerSpec};

/// Starts that count, at most; the one before them brings the file into the page cache.
const MOST: u32 = 5;
/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Seconds until something is ready, of each start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Starts {
    /// A worker with its first instance.
    pub load: Vec<f64>,
    /// A second instance on the same weights; the first one where there is no room for another.
    pub instance: Vec<f64>,
}

/// Starts a worker with two instances again and again for `time`, at least once after one that does not count.
///
/// # Errors
///
/// A worker that cannot be started, or says why it cannot load.
pub(super) fn measure(candidate: &Candidate, time: Duration, stop: &AtomicBool) -> anyhow::Result<Starts> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        tokio::select! {
            starts = repeated(candidate, time) => starts,
            () = stopped(stop) => Ok(Starts::default()),
        }
    })
}

async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
    }
}

async fn repeated(candidate: &Candidate, time: Duration) -> anyhow::Result<Starts> {
    let options = ProcessOptions {
        program: std::env::current_exe().context("cannot find this program's file")?,
        cpu_threads: candidate.cpu_threads,
        memory_limit_bytes: None,
        environment: Vec::new(),
    };
    let spawner = ProcessSpawner::new(options).context("cannot start a thread")?;
    once(&spawner, candidate, WorkerId(0)).await?;
    let (begun, mut starts) = (Instant::now(), Starts::default());
    for number in 1..=MOST {
        let (load, instance) = once(&spawner, candidate, WorkerId(number.into())).await?;
        starts.load.push(load);
        starts.instance.push(instance);
        if begun.elapsed() >= time {
            break;
        }
    }
    Ok(starts)
}

/// One worker with two instances; seconds of both.
async fn once(spawner: &ProcessSpawner, candidate: &Candidate, id: WorkerId) -> anyhow::Result<(f64, f64)> {
    let (events, mut told) = unbounded_channel();
    let (weights, context) = (candidate.subject.weights.clone(), candidate.subject.spec);
    let begun = Instant::now();
    let spec = WorkerSpec { id, weights, isolation: Isolation::Process };
    let worker = spawner.spawn(spec, events).context("cannot start a worker")?;
    worker.send(WorkerCommand::StartInstance { id: InstanceId(1), context });
    let first = ready(&mut told).await?;
    let load = begun.elapsed().as_secs_f64();
    let again = Instant::now();
    worker.send(WorkerCommand::StartInstance { id: InstanceId(2), context });
    let instance = match ready(&mut told).await {
        Ok(_) => again.elapsed().as_secs_f64(),
        Err(_) => first,
    };
    worker.kill(Kill::Shutdown, None);
    while let Some(event) = told.recv().await {
        if matches!(event, WorkerEvent::Ended { .. }) {
            break;
        }
    }
    Ok((load, instance))
}

/// Waits for an instance; seconds since the weights were loaded, if they were loaded meanwhile.
async fn ready(told: &mut UnboundedReceiver<WorkerEvent>) -> anyhow::Result<f64> {
    let mut begun = Instant::now();
    loop {
        match told.recv().await {
            Some(WorkerEvent::Loaded { .. }) => begun = Instant::now(),
            Some(WorkerEvent::InstanceReady { .. }) => return Ok(begun.elapsed().as_secs_f64()),
            Some(
                WorkerEvent::InstanceFailed { fault, .. }
                | WorkerEvent::Ended { end: WorkerEnd::LoadFailed(fault), .. },
            ) => anyhow::bail!(fault.reason),
            Some(WorkerEvent::InstanceStopped { .. }) => {}
            Some(WorkerEvent::Ended { .. }) | None => anyhow::bail!("the worker has ended"),
        }
    }
}
