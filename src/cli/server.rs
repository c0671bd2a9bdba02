//! A running server: everything wired together, without the command line and without signals.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::probe;
use crate::admission::Admission;
use crate::api::{self, AdminAccess, Api, Operation, listen};
use crate::cache::ResponseCache;
use crate::catalog::{BrokenModel, Catalog};
use crate::clock::Clock;
use crate::control::driver::{Controller, Setup};
use crate::embedded;
use crate::engine::llama::{LlamaLoader, compute_devices};
use crate::gpu;
use crate::keys::Keyring;
use crate::measured::Remembered;
use crate::operator::Board;
use crate::policy::{ApiKeys, Isolation, ModelFile, ModelPolicy, Policy, Variants};
use crate::pool::Pool;
use crate::quantization;
use crate::telemetry;
use crate::units::DeviceId;
use crate::worker::process::{ProcessOptions, ProcessSpawner};
use crate::worker::thread::ThreadSpawner;
use crate::worker::{ByIsolation, WorkerSpawner};

/// How often a drain looks whether all requests have ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// What the controller gets to end all workers in, by force if need be.
const WORKER_PATIENCE: Duration = Duration::from_secs(8);
/// Orders of operators that may wait for the controller, which looks each tenth of a second at least.
const ERRANDS: usize = 64;
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
    /// What workers took of GPUs before.
    pub remembered: Remembered,
    /// Who may do what operators do, without a key that says so.
    pub admin: AdminAccess,
}

impl ServerOptions {
    /// llama.cpp on this machine, within the policy's limits. `program` is what workers' processes run, with
    /// `environment` besides what they inherit.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub async fn of_this_machine(
        policy: &Policy,
        program: &Path,
        environment: Vec<(OsString, OsString)>,
    ) -> anyhow::Result<Self> {
        let cpu_threads = usable_cpu_threads(policy);
        let mut memory = gpu::system();
        let devices = memory.read(&[]);
        let host = devices.iter().find(|memory| memory.device == DeviceId::Host);
        let memory_limit_bytes = host.map(|host| policy.devices.host_memory_limit.of(host.total).0);
        let program = program.to_owned();
        let in_threads = policy.models.iter().all(|model| model.isolation == Isolation::Thread);
        let mut devices = if in_threads { compute_devices() } else { probe::devices(&program).await };
        if !devices.contains(&DeviceId::Host) {
            // For models whose policy wants it.
            devices.push(DeviceId::Host);
        }
        let options = ProcessOptions { program, cpu_threads, memory_limit_bytes, environment };
        let process = Box::new(ProcessSpawner::new(options).context("cannot start a thread")?);
        let thread = Box::new(ThreadSpawner::new(LlamaLoader, cpu_threads));
        let spawner = Arc::new(ByIsolation { process, thread });
        Ok(Self {
            spawner,
            devices,
            cpu_threads,
            memory,
            remembered: Remembered::of_user(),
            admin: AdminAccess::ReadOnly,
        })
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
/// An embedded file that cannot be unpacked.
pub(super) fn read_catalog(policy: &Policy) -> anyhow::Result<Catalog> {
    let embedded: Vec<String> = policy.models.iter().flat_map(|model| embedded_files(model)).collect();
    let mut folder = PathBuf::new();
    if !embedded.is_empty() {
        folder = embedded::cache_folder()?;
        for name in embedded {
            embedded::unpack(&name, &folder)?;
        }
    }
    Ok(Catalog::read(&policy.models, &folder))
}

/// The files of a model that the program carries; of variants that are to be found, those that it carries, too.
fn embedded_files(model: &ModelPolicy) -> Vec<String> {
    let name = |file: &ModelFile| match file {
        ModelFile::Embedded(name) => Some(name.clone()),
        ModelFile::Path(_) => None,
    };
    match &model.variants {
        Variants::Listed(listed) => listed.iter().filter_map(|variant| name(&variant.file)).collect(),
        Variants::Auto(full) => {
            let full = name(&full.file);
            let beside = full.iter().flat_map(|name| quantization::variants_beside(Path::new(name)));
            let beside = beside.filter_map(|path| path.into_os_string().into_string().ok());
            let carried: Vec<String> = beside.filter(|name| embedded::carries(name)).collect();
            full.into_iter().chain(carried).collect()
        }
    }
}

/// Why models cannot be served, one line for each.
pub(super) fn faults(broken: &[BrokenModel]) -> String {
    broken.iter().map(|model| model.reason.as_str()).collect::<Vec<_>>().join("\n")
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
    api_keys_file: Option<PathBuf>,
    keys: Arc<Keyring>,
    keeper: Arc<Keeper>,
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
        let keys = policy.server.api_keys_file.as_deref().map(ApiKeys::from_file).transpose()?;
        let catalog = Arc::new(read_catalog(policy)?);
        if catalog.models.is_empty() {
            anyhow::bail!("{}", faults(&catalog.broken));
        }
        for model in &catalog.broken {
            tracing::error!(model = %model.name, reason = model.reason, "this model cannot be served");
        }
        let metrics = telemetry::install().context("the metrics recorder cannot be installed")?;
        let listener = listen_on(policy.server.listen).await?;
        let address = listener.local_addr().context("the socket has no address")?;
        let clock = Clock::start();
        let pool = Arc::new(Pool::new(Arc::clone(&catalog)));
        let (reloads, reload_inbox) = mpsc::channel(1);
        let (errands, errand_inbox) = mpsc::channel(ERRANDS);
        let board = Arc::new(Board::default());
        let wake = Arc::new(Notify::new());
        let policies = catalog.policies();
        let admission = Arc::new(Admission::new(Arc::clone(&pool), clock, &policies, Arc::clone(&wake)));
        let controller = Controller::new(Setup {
            catalog,
            devices_policy: policy.devices.clone(),
            devices: options.devices,
            cpu_threads: options.cpu_threads,
            admission: Arc::clone(&admission),
            pool: Arc::clone(&pool),
            spawner: options.spawner,
            memory: options.memory,
            remembered: options.remembered,
            clock,
            wake,
            metrics: metrics.clone(),
            reloads: reload_inbox,
            errands: errand_inbox,
            board: Arc::clone(&board),
        });
        let keys = Arc::new(Keyring::new(keys, clock));
        let keeper = Arc::new(Keeper::new(policy, Arc::clone(&pool), reloads));
        let operation = Operation { access: options.admin, board, errands, keeper: keeper.clone() };
        let routes = api::routes(Arc::new(Api {
            cache: ResponseCache::new(Arc::clone(&admission)),
            pool,
            metrics,
            keys: Arc::clone(&keys),
            policy: policy.server.clone(),
            operation,
        }));
        let (stop_listening, stop_controlling) = (CancellationToken::new(), CancellationToken::new());
        let stop = stop_listening.clone();
        let listening =
            tokio::spawn(listen::serve(listener, routes, policy.server.clone(), stop, CLOSE_PATIENCE));
        let controlling = tokio::spawn(controller.run(stop_controlling.clone()));
        Ok(Self {
            address,
            admission,
            drain_timeout: policy.server.drain_timeout,
            api_keys_file: policy.server.api_keys_file.clone(),
            keys,
            keeper,
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

    /// Follows another policy without dropping a request; model files are read again.
    ///
    /// # Errors
    ///
    /// A model whose files cannot be used and that is not known for it already. The old policy then stays.
    pub async fn reload(&self, policy: Policy) -> anyhow::Result<()> {
        self.keeper.follow(policy).await
    }

    /// Reads the file of API keys again, if there is one. Who is being served goes on.
    ///
    /// # Errors
    ///
    /// A file that has faults. The old keys then stay.
    pub fn reload_keys(&self) -> anyhow::Result<()> {
        if let Some(file) = &self.api_keys_file {
            self.keys.replace(ApiKeys::from_file(file)?);
        }
        Ok(())
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
        let drain_timeout = self.drain_timeout;
        self.shut_down_within(drain_timeout).await
    }

    /// As [`Server::shut_down`], with another time to finish what was accepted.
    pub async fn shut_down_within(self, drain_timeout: Duration) -> ShutDown {
        self.admission.close();
        let deadline = tokio::time::Instant::now() + drain_timeout;
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
