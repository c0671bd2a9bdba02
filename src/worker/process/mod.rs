//! Runs each worker in a process of its own, and sees to it until it has ended.
//!
//! A worker's process is this very program, started as `modelpool worker` with one end of a socket pair as its
//! standard input. It gets no other descriptor of the server and only the environment that llama.cpp and GPU drivers
//! read; its standard error goes to the server's log. What it does to itself before it touches a model is in
//! `sandbox.rs`.

mod connection;
mod log;
mod questions;
mod supervise;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{EventSender, Kill, WorkerCommand, WorkerHandle, WorkerSpawner, WorkerSpec};
use crate::ipc::{LoadOrder, ToWorker};
use crate::units::{DeviceSet, InstanceId};
use connection::Connection;

/// What a worker inherits of the server's environment, besides what begins with [`INHERITED_PREFIXES`].
const INHERITED: [&str; 7] =
    ["HOME", "LANG", "LD_LIBRARY_PATH", "MODELPOOL_BACKENDS", "MODELPOOL_LOG", "RUST_BACKTRACE", "TZ"];
/// Settings of the libraries that compute. Nothing of what services keep in their environment.
const INHERITED_PREFIXES: [&str; 12] =
    ["CUDA_", "GGML_", "GOMP_", "HIP_", "HSA_", "KMP_", "LC_", "NVIDIA_", "OMP_", "ROCR_", "VK_", "ZE_"];
/// What a worker is given unless the server's environment says otherwise. libgomp's threads spin at barriers for
/// milliseconds by default, on cores that the server and other instances need: two servers with two threads each on
/// two cores fell from 2,500 to 500 tokens/s. CUDA counts the fastest GPU first by default, NVML counts by PCI bus.
/// A debugger that ggml starts when it aborts would hold up the replacement.
pub const ENVIRONMENT: [(&str, &str); 3] =
    [("GOMP_SPINCOUNT", "1000"), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("GGML_NO_BACKTRACE", "1")];

/// How workers' processes are started.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// The program; it must be of this very build.
    pub program: PathBuf,
    /// CPU threads that the instances of one worker may compute with at the same time.
    pub cpu_threads: u32,
    /// The most memory that a worker on the host may take for itself.
    pub memory_limit_bytes: Option<u64>,
    /// Environment variables for workers besides those they inherit.
    pub environment: Vec<(OsString, OsString)>,
}

/// Starts workers' processes.
pub struct ProcessSpawner {
    options: ProcessOptions,
    runtime: Handle,
    starter: SyncSender<Start>,
}

/// One process to start, and where its handle goes.
struct Start {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

impl ProcessSpawner {
    /// # Errors
    ///
    /// If the system gives no thread.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(options: ProcessOptions) -> io::Result<Self> {
        let runtime = Handle::current();
        // What this program inherited without the mark stays with it: workers get their socket and nothing else.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let (starter, requests) = sync_channel(1);
        let entered = runtime.clone();
        // Workers ask the kernel to end them with the thread that started them. So that must be a thread which lives
        // as long as the server, and no thread of the runtime promises that.
        thread::Builder::new().name("starter".into()).spawn(move || start_processes(&entered, &requests))?;
        Ok(Self { options, runtime, starter })
    }

    fn command(&self, socket: UnixStream) -> Command {
        let mut command = Command::new(&self.options.program);
        command.arg("worker").arg("--parent").arg(std::process::id().to_string());
        command.arg0("modelpool-worker");
        command.env_clear().envs(environment()).envs(self.options.environment.iter().cloned());
        command.stdin(Stdio::from(OwnedFd::from(socket))).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for the server, which lets its workers finish.
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// The whole environment of a process that runs llama.cpp.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let given = ENVIRONMENT.into_iter().map(|(name, value)| (name.into(), value.into()));
    // What is inherited comes last, and wins.
    given.chain(inherited())
}

fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| {
            INHERITED.contains(&name) || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
    })
}

fn start_processes(runtime: &Handle, requests: &Receiver<Start>) {
    let _entered = runtime.enter();
    while let Ok(Start { mut command, answer }) = requests.recv() {
        drop(answer.send(command.spawn()));
    }
}

impl WorkerSpawner for ProcessSpawner {
    fn spawn(&self, spec: WorkerSpec, events: EventSender) -> io::Result<Box<dyn WorkerHandle>> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (answer, started) = sync_channel(1);
        let ended = || io::Error::other("the thread that starts workers has ended");
        self.starter.send(Start { command: self.command(theirs), answer }).map_err(|_| ended())?;
        let child = started.recv().map_err(|_| ended())??;
        let process_id = child.id();
        let _entered = self.runtime.enter();
        let stream = tokio::net::UnixStream::from_std(ours)?;
        let (connection, outbox) = Connection::new(spec.id, events);
        let on_host = spec.weights.devices == DeviceSet::HOST;
        let limit = self.options.memory_limit_bytes.filter(|_| on_host);
        connection.send(&ToWorker::Load(LoadOrder::new(
            spec.id,
            &spec.weights,
            self.options.cpu_threads,
            limit,
        )));
        let (kill, kills) = mpsc::unbounded_channel();
        self.runtime.spawn(supervise::run(child, Arc::clone(&connection), stream, outbox, kills));
        Ok(Box::new(ProcessHandle { connection, kill, process_id }))
    }
}

struct ProcessHandle {
    connection: Arc<Connection>,
    kill: mpsc::UnboundedSender<(Kill, Option<InstanceId>)>,
    process_id: Option<u32>,
}

impl WorkerHandle for ProcessHandle {
    fn send(&self, command: WorkerCommand) -> bool {
        match command {
            WorkerCommand::StartInstance { id, context } => self.connection.start_instance(id, context),
            WorkerCommand::Unload => self.connection.send(&ToWorker::Unload),
        }
    }

    fn kill(&self, why: Kill, suspect: Option<InstanceId>) -> bool {
        self.kill.send((why, suspect)).is_ok()
    }

    fn process_id(&self) -> Option<u32> {
        self.process_id
    }
}
