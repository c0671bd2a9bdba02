//! The inside of a worker's process: the same threads that could run in the server, behind a socket.
//!
//! The process begins with one thread, which confines itself before anything else and then reads orders. It ends when
//! it is told to, when the server is gone, or when anything makes it end: then its requests continue elsewhere.

mod outlet;

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::sandbox::{Confinement, confine, die_with_parent};
use super::thread::ThreadSpawner;
use super::{LoadFault, WorkerCommand, WorkerEnd, WorkerEvent, WorkerHandle, WorkerSpawner, WorkerSpec};
use crate::engine::Loader;
use crate::generation::{EventSink, Loss, Question};
use crate::gguf;
use crate::ipc::{self, FrameReader, FromWorker, LoadOrder, PROTOCOL, ProtocolError, ToWorker};
use crate::policy::Isolation;
use crate::pool::{Answer, InstanceCommand, InstancePort};
use crate::units::{DeviceSet, InstanceId};
use outlet::{InstanceOutlet, Outlet, RemoteSink};

/// How often a full inbox is tried again. It is read between two steps.
const INBOX_RETRY: Duration = Duration::from_millis(1);

/// Why a worker's process cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Nobody is there to work for.
    #[error("the server that started this worker, process {0}, is gone")]
    NoServer(u32),
    /// Its standard input is not the server's socket.
    #[error("this command is started by modelpool serve, with a socket as its standard input ({0})")]
    NoSocket(std::io::Error),
    /// The server sent something else.
    #[error("the server's message is not understood: {0}")]
    Protocol(#[from] ProtocolError),
    /// The first message is not an order to load.
    #[error("the server's first message is not an order to load")]
    NoOrder,
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// What the threads of the process share.
struct Shared {
    outlet: Outlet,
    instances: Mutex<HashMap<InstanceId, Member>>,
    loaded: AtomicBool,
}

/// An instance that takes sequences.
#[derive(Clone)]
struct Member {
    port: Arc<dyn InstancePort>,
    outlet: Arc<InstanceOutlet>,
}

impl Shared {
    fn instances(&self) -> MutexGuard<'_, HashMap<InstanceId, Member>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, id: InstanceId) -> Option<Member> {
        self.instances().get(&id).cloned()
    }
}

/// Serves the server at the other end of standard input until it ends; does not return then. `loader` makes the
/// loader once the process is confined, from the worker's order.
///
/// # Errors
///
/// [`ChildError`] if there is no server, or one that speaks otherwise.
pub fn run<L: Loader>(parent: u32, loader: impl FnOnce(&LoadOrder) -> L) -> Result<(), ChildError> {
    if !die_with_parent(parent) {
        return Err(ChildError::NoServer(parent));
    }
    name_process();
    leave_signals_to_the_server();
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(ChildError::NoSocket)?;
    let stream = UnixStream::from(socket);
    // Fails on what is no socket.
    stream.peer_addr().map_err(ChildError::NoSocket)?;
    let outlet = Outlet::new(stream.try_clone().map_err(ChildError::NoSocket)?);
    outlet.send(&FromWorker::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into() });
    let mut orders = Orders { stream, reader: FrameReader::new(ipc::MAX_BYTES_TO_WORKER) };
    let ToWorker::Load(order) = orders.next()? else { return Err(ChildError::NoOrder) };
    confine_to(&order);
    let shared = Arc::new(Shared { outlet, instances: Mutex::default(), loaded: AtomicBool::new(false) });
    let handle = start(&shared, &order, loader(&order)).map_err(ChildError::Thread)?;
    loop {
        obey(&shared, &*handle, orders.next()?);
    }
}

/// What `top` and `ps` show: the program was started through a link whose name says nothing.
fn name_process() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_name(c"modelpool-worke") {
        tracing::debug!(%error, "the process has no name of its own");
    }
}

/// Service managers send the signal that ends a service to all its processes. The server drains then, and needs its
/// workers until it has.
fn leave_signals_to_the_server() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::default()) {
            tracing::warn!(signal, %error, "cannot ignore a signal");
        }
    }
}

/// Ends the process without running llama.cpp's destructors, which crash while its threads still compute.
fn end() -> ! {
    signal_hook::low_level::exit(0)
}

/// The server's messages.
struct Orders {
    stream: UnixStream,
    reader: FrameReader,
}

impl Orders {
    /// Waits for the next one; ends the process when the server is gone.
    fn next(&mut self) -> Result<ToWorker, ProtocolError> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(order) = self.reader.read()? {
                return Ok(order);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => end(),
                Ok(count) => self.reader.extend(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => end(),
            }
        }
    }
}

fn confine_to(order: &LoadOrder) {
    let path = order.weights().path;
    let confined = confine(&Confinement {
        model_files: gguf::files_of(&path),
        written_files: Vec::new(),
        gpu: order.devices != DeviceSet::HOST,
        libraries: library_folders(),
        memory_limit_bytes: order.memory_limit_bytes,
    });
    tracing::debug!(landlock = %confined.landlock, missing = ?confined.missing, "confined");
}

/// Folders from which back ends of llama.cpp may be loaded: the one named, and the program's own.
pub fn library_folders() -> Vec<PathBuf> {
    let named = std::env::var_os("MODELPOOL_BACKENDS").map(PathBuf::from);
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    let listed = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = named.into_iter().chain(own).chain(std::env::split_paths(&listed));
    // An empty entry means the working folder, which is no place for libraries.
    folders.filter(|folder| folder.is_absolute()).collect()
}

/// Starts the worker's thread and the one that passes on what it tells.
fn start<L: Loader>(
    shared: &Arc<Shared>,
    order: &LoadOrder,
    loader: L,
) -> std::io::Result<Box<dyn WorkerHandle>> {
    let stepped = Arc::clone(shared);
    let on_step = Arc::new(move |id| {
        if let Some(member) = stepped.member(id) {
            member.outlet.flush(&stepped.outlet);
        }
    });
    let (events, inbox) = mpsc::unbounded_channel();
    let spawner = ThreadSpawner::with_on_step(loader, order.cpu_threads, on_step);
    let spec = WorkerSpec { id: order.worker, weights: order.weights(), isolation: Isolation::Thread };
    let reporting = Arc::clone(shared);
    std::thread::Builder::new().name("reports".into()).spawn(move || report(&reporting, inbox))?;
    spawner.spawn(spec, events)
}

/// Passes on what the worker tells, until it has ended.
fn report(shared: &Shared, mut events: mpsc::UnboundedReceiver<WorkerEvent>) {
    while let Some(event) = events.blocking_recv() {
        match event {
            WorkerEvent::Loaded { took, .. } => {
                shared.loaded.store(true, Ordering::Release);
                let took_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                shared.outlet.send(&FromWorker::Loaded { took_micros });
            }
            WorkerEvent::InstanceReady { id, port } => {
                let outlet = Arc::new(InstanceOutlet::new(id));
                shared.instances().insert(id, Member { port, outlet });
                shared.outlet.send(&FromWorker::InstanceReady { id });
            }
            WorkerEvent::InstanceFailed { id, fault } => {
                let LoadFault { reason, short_of_memory } = fault;
                forget(shared, id);
                shared.outlet.send(&FromWorker::InstanceFailed { id, reason, short_of_memory });
            }
            WorkerEvent::InstanceStopped { id } => {
                forget(shared, id);
                shared.outlet.send(&FromWorker::InstanceStopped { id });
            }
            WorkerEvent::Ended { end: WorkerEnd::LoadFailed(fault), .. } => {
                let LoadFault { reason, short_of_memory } = fault;
                shared.outlet.send(&FromWorker::LoadFailed { reason, short_of_memory });
                end();
            }
            WorkerEvent::Ended { .. } => {
                shared.outlet.send(&FromWorker::Unloaded);
                end();
            }
        }
    }
}

/// An instance has ended; what its sequences told at the last goes out before that is told.
fn forget(shared: &Shared, id: InstanceId) {
    let member = shared.instances().remove(&id);
    if let Some(member) = member {
        member.outlet.flush(&shared.outlet);
    }
}

fn obey(shared: &Arc<Shared>, worker: &dyn WorkerHandle, order: ToWorker) {
    match order {
        // A second order to load is nothing that a server sends.
        ToWorker::Load(_) => {}
        ToWorker::StartInstance { id, context } => {
            worker.send(WorkerCommand::StartInstance { id, context });
        }
        ToWorker::Run { instance, sequence, spec } => {
            let Some(member) = shared.member(instance) else {
                return refuse(shared, instance, sequence);
            };
            let sink = Box::new(RemoteSink::new(sequence, Arc::clone(&member.outlet)));
            if let Some(InstanceCommand::Run(_, sink)) =
                deliver(shared, instance, &member, InstanceCommand::Run(spec, sink))
            {
                sink.lost(Loss::Undelivered);
                member.outlet.flush(&shared.outlet);
            }
        }
        ToWorker::Cancel { instance, sequence } => {
            if let Some(member) = shared.member(instance) {
                member.outlet.cancel(sequence);
            }
        }
        ToWorker::Ask { instance, question, what } => ask(shared, instance, question, what),
        ToWorker::SetThreads { instance, threads } => {
            if let Some(member) = shared.member(instance) {
                deliver(shared, instance, &member, InstanceCommand::SetThreads(threads));
            }
        }
        ToWorker::Stop { instance } => {
            if let Some(member) = shared.member(instance) {
                deliver(shared, instance, &member, InstanceCommand::Stop);
            }
        }
        ToWorker::Unload if shared.loaded.load(Ordering::Acquire) => {
            worker.send(WorkerCommand::Unload);
        }
        // A load cannot be interrupted, and nobody waits for it any more.
        ToWorker::Unload => {
            shared.outlet.send(&FromWorker::Unloaded);
            end();
        }
    }
}

/// Asks an instance; its answer goes out at once.
fn ask(shared: &Arc<Shared>, instance: InstanceId, question: ipc::QuestionId, what: Arc<Question>) {
    let telling = Arc::clone(shared);
    let answer = Answer::new(move |answer| telling.outlet.send(&FromWorker::Answer { question, answer }));
    if let Some(member) = shared.member(instance) {
        // Given back, it is dropped, and that is told.
        drop(deliver(shared, instance, &member, InstanceCommand::Ask(what, answer)));
    }
}

/// The instance has ended while the sequence was on its way.
fn refuse(shared: &Shared, instance: InstanceId, sequence: ipc::SequenceId) {
    let outlet = Arc::new(InstanceOutlet::new(instance));
    Box::new(RemoteSink::new(sequence, Arc::clone(&outlet))).lost(Loss::Undelivered);
    outlet.flush(&shared.outlet);
}

/// Gives a command to an instance's thread, or back if that has ended. Its inbox has room for all that the server
/// sends at a time; should it be full, it is read between two steps.
fn deliver(
    shared: &Shared,
    id: InstanceId,
    member: &Member,
    mut command: InstanceCommand,
) -> Option<InstanceCommand> {
    loop {
        match member.port.send(command) {
            Ok(()) => return None,
            Err(returned) => command = returned,
        }
        if shared.member(id).is_none() {
            return Some(command);
        }
        std::thread::sleep(INBOX_RETRY);
    }
}
