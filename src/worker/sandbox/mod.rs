//! Confines a worker process before it touches a model file: what it may open, reach, gain and take.
//!
//! A model file comes from strangers and is parsed by C++ code; whoever takes that code over shall find a process
//! that can read its own model and little else. Every measure is taken as far as the system allows, none is
//! fatal, and what could not be taken is told. Must be called in the main thread before any other thread exists,
//! because the measures hold for the calling thread and for those that it starts. Knows nothing of pipes,
//! models or llama.cpp, and starts nothing.

#[cfg(target_os = "linux")]
mod grants;
#[cfg(target_os = "linux")]
mod linux;

use std::fmt;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A worker needs a few pipes, its model files and some devices; more open files would be a leak.
const MAX_OPEN_FILES: u64 = 1024;

/// What a worker may touch.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// The files of its model. A link is followed, so that the file behind it can be read through the link.
    pub model_files: Vec<PathBuf>,
    /// Files that it may write, but not read; they must be there.
    pub written_files: Vec<PathBuf>,
    /// Whether it uses a GPU, and so its devices and its driver's files.
    pub gpu: bool,
    /// Folders from which libraries may be loaded, besides the system's: loadable ggml back ends.
    pub libraries: Vec<PathBuf>,
    /// The most private memory it may take. For host-only workers: GPU drivers reserve far more than they use.
    pub memory_limit_bytes: Option<u64>,
}

/// What was achieved, for one log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    /// How far the kernel limits what can be opened and reached.
    pub landlock: LandlockStatus,
    /// Each measure that could not be taken, with the reason.
    pub missing: Vec<String>,
}

/// How far Landlock, the kernel's sandbox for unprivileged processes, holds the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LandlockStatus {
    /// In everything that was asked for.
    Full,
    /// The kernel is too old for some of it.
    Partial,
    /// In nothing.
    Unavailable,
}

impl fmt::Display for LandlockStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Unavailable => "unavailable",
        })
    }
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "landlock {}", self.landlock)?;
        match self.missing.as_slice() {
            [] => Ok(()),
            missing => write!(f, "; missing: {}", missing.join("; ")),
        }
    }
}

/// Makes this process die when its parent dies, however that happens. False if the parent, whose process id was
/// given on start, is gone already; the caller ends then.
///
/// The kernel means the parent's thread: the worker also dies when the thread that started it ends, so it must
/// be started by a thread that lives as long as the server. Should the kernel refuse, the end of the worker's pipes
/// still tells it that the parent is gone.
#[cfg(target_os = "linux")]
pub fn die_with_parent(parent_pid: u32) -> bool {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

    let _refused = set_parent_process_death_signal(Some(Signal::KILL));
    // Asked after the request: a parent that died before it caused no signal.
    let parent = getppid().map(Pid::as_raw_pid);
    parent.is_some_and(|pid| u32::try_from(pid) == Ok(parent_pid))
}

/// This system has no such request; the end of the worker's pipes tells it that the parent is gone.
#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_parent_pid: u32) -> bool {
    true
}

/// Confines this process. Cannot be undone, and holds for all threads that are started afterwards.
pub fn confine(confinement: &Confinement) -> Confined {
    let mut missing = Vec::new();
    limit_resources(confinement.memory_limit_bytes, &mut missing);
    let landlock = restrict(confinement, &mut missing);
    Confined { landlock, missing }
}

#[cfg(target_os = "linux")]
fn restrict(confinement: &Confinement, missing: &mut Vec<String>) -> LandlockStatus {
    linux::restrict(confinement, missing)
}

#[cfg(not(target_os = "linux"))]
fn restrict(_confinement: &Confinement, missing: &mut Vec<String>) -> LandlockStatus {
    missing.push("landlock, no new privileges, out-of-memory score: this system has none of them".to_owned());
    LandlockStatus::Unavailable
}

fn limit_resources(memory_limit_bytes: Option<u64>, missing: &mut Vec<String>) {
    // A core file would hold the requests' texts, and take as long to write as the memory is large.
    limit(Resource::Core, "core file size", missing, |_| Rlimit { current: Some(0), maximum: Some(0) });
    limit(Resource::Nofile, "open files", missing, |old| Rlimit {
        current: Some(old.current.unwrap_or(u64::MAX).min(MAX_OPEN_FILES)),
        maximum: old.maximum,
    });
    if let Some(bytes) = memory_limit_bytes {
        limit(Resource::Data, "private memory", missing, |old| {
            let bytes = Some(old.maximum.unwrap_or(u64::MAX).min(bytes));
            Rlimit { current: bytes, maximum: bytes }
        });
    }
}

fn limit(resource: Resource, name: &str, missing: &mut Vec<String>, new: impl FnOnce(Rlimit) -> Rlimit) {
    if let Err(error) = setrlimit(resource, new(getrlimit(resource))) {
        missing.push(format!("limit of {name}: {error}"));
    }
}
