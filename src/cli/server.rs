//! A running server: everything wired together, without the command line and without signals.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::api::{self, Api, listen};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::control::driver::{Controller, Setup};
use crate::embedded;
use crate::engine::llama::{LlamaLoader, compute_devices};
use crate::gpu;
use crate::policy::{ModelFile, Policy};
use crate::pool::Pool;
use crate::telemetry;
use crate::units::DeviceId;
use crate::worker::{ThreadSpawner, WorkerSpawner};

/// How often a drain looks whether all requests have ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// What workers get to end in: a load cannot be interrupted, and nobody waits for it any more.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);
/// What connections get to send their last bytes after all requests have ended.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// What runs behind the API. Tests put other parts in place of llama.cpp and this machine.
pub struct ServerOptions {
    /// Starts workers.
    pub spawner: Arc<dyn WorkerSpawner>,
    /// Devices to place instances on, best first.
    pub devices: Vec<DeviceId>,
    /// CPU threads to divide between instances.
    pub cpu_threads: u32,
    /// Reads memory.
    pub memory: Box<dyn gpu::MemoryReader>,
}

impl ServerOptions {
    /// llama.cpp on this machine, within the policy's limits.
    #[must_use]
    pub fn of_this_machine(policy: &Policy) -> Self {
        let cpu_threads = usable_cpu_threads(policy);
        Self {
            spawner: Arc::new(ThreadSpawner::new(LlamaLoader, cpu_threads)),
            devices: compute_devices(),
            cpu_threads,
            memory: gpu::system(),
        }
    }
}

/// CPU threads of this machine, within the policy's limit.
pub(super) fn usable_cpu_threads(policy: &Policy) -> u32 {
    let usable = gpu::cpu_threads();
    policy.devices.cpu_threads.map_or(usable, |limit| limit.min(usable)).get()
}

/// Reads all model files of a policy, after unpacking the embedded ones.
///
/// # Errors
///
/// The first file that is missing, broken or cannot be unpacked.
pub(super) fn read_catalog(policy: &Policy) -> anyhow::Result<Catalog> {
    let files = policy.models.iter().flat_map(|model| &model.variants);
    let embedded: Vec<&str> = files
        .filter_map(
            |variant| if let ModelFile::Embedded(name) = &variant.file { Some(name.as_str()) } else { None },
        )
        .collect();
    let mut folder = PathBuf::new();
    if !embedded.is_empty() {
        folder = embedded::cache_folder()?;
        for name in embedded {
            embedded::unpack(name, &folder)?;
        }
    }
    Ok(Catalog::read(&policy.models, &folder)?)
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutDown {
    /// Requests that were accepted and could not be finished in time.
    pub given_up: u32,
    /// Whether all workers have ended; one that loads cannot be interrupted.
    pub workers_ended: bool,
}

/// A server that accepts requests.
pub struct Server {
    address: SocketAddr,
    admission: Arc<Admission>,
    drain_timeout: Duration,
    stop_listening: CancellationToken,
    stop_controlling: CancellationToken,
    listening: JoinHandle<()>,
    controlling: JoinHandle<()>,
}

impl Server {
    /// Starts to serve `policy`.
    ///
    /// # Errors
    ///
    /// Model files that cannot be used, or an address that cannot be listened on.
    pub async fn start(policy: &Policy, options: ServerOptions) -> anyhow::Result<Self> {
        let catalog = Arc::new(read_catalog(policy)?);
        let metrics = telemetry::install().context("the metrics recorder cannot be installed")?;
        let listener = listen_on(policy.server.listen).await?;
        let address = listener.local_addr().context("the socket has no address")?;
        let clock = Clock::start();
        let pool = Arc::new(Pool::default());
        let wake = Arc::new(Notify::new());
        let policies = catalog.policies();
        let admission = Arc::new(Admission::new(Arc::clone(&pool), clock, &policies, Arc::clone(&wake)));
        let controller = Controller::new(Setup {
            catalog: Arc::clone(&catalog),
            devices_policy: policy.devices.clone(),
            devices: options.devices,
            cpu_threads: options.cpu_threads,
            admission: Arc::clone(&admission),
            pool: Arc::clone(&pool),
            spawner: options.spawner,
            memory: options.memory,
            clock,
            wake,
            metrics: metrics.clone(),
        });
        let max_body_bytes = policy.server.max_body_bytes;
        let routes = api::routes(Arc::new(Api {
            catalog,
            admission: Arc::clone(&admission),
            pool,
            metrics,
            max_body_bytes,
        }));
        let (stop_listening, stop_controlling) = (CancellationToken::new(), CancellationToken::new());
        let listening = tokio::spawn(listen::serve(listener, routes, stop_listening.clone(), CLOSE_PATIENCE));
        let controlling = tokio::spawn(controller.run(stop_controlling.clone()));
        Ok(Self {
            address,
            admission,
            drain_timeout: policy.server.drain_timeout,
            stop_listening,
            stop_controlling,
            listening,
            controlling,
        })
    }

    /// Where it listens; with port 0 in the policy, the port that the system gave.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends when a part of the server ended that never should; the server must then be shut down.
    pub async fn broken(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.listening => "the listener",
            _ = &mut self.controlling => "the controller",
        }
    }

    /// Takes nothing new, finishes what was accepted within `drain_timeout`, and stops all workers.
    pub async fn shut_down(self) -> ShutDown {
        self.admission.close();
        let deadline = tokio::time::Instant::now() + self.drain_timeout;
        while self.admission.demand() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let given_up = self.admission.demand();
        self.admission.refuse_all();
        // Workers first: what still runs ends with an error that its connection can still send.
        self.stop_controlling.cancel();
        let workers_ended = tokio::time::timeout(WORKER_PATIENCE, join(self.controlling)).await.is_ok();
        self.stop_listening.cancel();
        join(self.listening).await;
        ShutDown { given_up, workers_ended }
    }
}

/// Waits for a task that may have ended before, and been seen to by [`Server::broken`].
async fn join(task: JoinHandle<()>) {
    if !task.is_finished() {
        // A panic in it was printed when it happened.
        drop(task.await);
    }
}

async fn listen_on(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program uses it; stop that one, or give another address with --listen"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need privileges; give a higher one with --listen"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; give one that it has with --listen"
            }
            _ => "give another address with --listen",
        };
        anyhow::anyhow!("cannot listen on {address}: {error}; {remedy}")
    })
}
