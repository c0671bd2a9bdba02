//! Takes the measures that only Linux has: out-of-memory score, no new privileges, Landlock.
//!
//! What may be opened is listed in `grants`. Landlock does not limit UDP, nor named sockets of other processes;
//! a worker that must reach nothing at all needs a network namespace of its own.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::grants::{self, Entry, Grant, Surroundings};
use super::{Confinement, LandlockStatus};

/// The kernel interface that is made use of. A newer one would bring rights whose denial nobody has tried here.
const INTERFACE: ABI = ABI::V6;
/// What each version of the kernel interface added, as far as it is made use of.
const ADDED: [(i32, &str); 5] = [
    (1, "files"),
    (3, "truncating files"),
    (4, "TCP ports"),
    (5, "control of devices"),
    (6, "signals and abstract sockets"),
];
/// The kernel that has all of it.
const FIRST_COMPLETE_KERNEL: &str = "6.12";

/// How readily the kernel ends this process when memory is short, from -1000 to 1000: before the server, which
/// starts another worker and goes on.
const OOM_SCORE: i32 = 500;
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";

/// This process's own folders in `/proc`, which rules were made for. The kernel makes such a folder anew when it
/// has forgotten it, and the rule would not know the new one; an open descriptor keeps it in mind.
static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Takes the measures, and says how far Landlock reaches.
pub(super) fn restrict(confinement: &Confinement, missing: &mut Vec<String>) -> LandlockStatus {
    // First, because the file can no longer be written afterwards.
    if let Err(error) = raise_oom_score() {
        missing.push(format!("out-of-memory score: {error}"));
    }
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        missing.push(format!("no new privileges: {error}"));
    }
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        missing.push(format!(
            "{threads} threads run already and those but one stay free: confine before starting any"
        ));
    }
    landlock(confinement, missing).unwrap_or_else(|error| {
        missing.push(format!("landlock: {error}"));
        LandlockStatus::Unavailable
    })
}

/// Raises the score; one that an operator set higher stays.
fn raise_oom_score() -> std::io::Result<()> {
    let score = fs::read_to_string(OOM_SCORE_FILE)?;
    if score.trim().parse().is_ok_and(|score: i32| score >= OOM_SCORE) {
        return Ok(());
    }
    fs::write(OOM_SCORE_FILE, OOM_SCORE.to_string())
}

fn landlock(confinement: &Confinement, missing: &mut Vec<String>) -> Result<LandlockStatus, RulesetError> {
    // What is handled is denied unless a rule allows it; ports get no rule.
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(INTERFACE))?
        .handle_access(AccessNet::from_all(INTERFACE))?
        .scope(Scope::from_all(INTERFACE))?
        .create()?
        .no_new_privs(false);
    for (path, grant) in grants::of_the_system(confinement.gpu, &Surroundings::of_this_process()) {
        match allow(&mut rules, &(path.clone(), grant)) {
            // What is not there, or not for this user, needs no rule.
            Err(Refusal::Open(
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied,
                _,
            ))
            | Ok(()) => {}
            Err(refusal) => missing.push(refusal.about(&path)),
        }
    }
    for entry in grants::of_the_worker(confinement) {
        if let Err(refusal) = allow(&mut rules, &entry) {
            missing.push(refusal.about(&entry.0));
        }
    }
    let achieved = rules.restrict_self()?;
    let kernel = match achieved.landlock {
        landlock::LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        _ => 0,
    };
    if let Some(gap) = gap(kernel) {
        missing.push(gap);
    }
    Ok(match achieved.ruleset {
        RulesetStatus::FullyEnforced => LandlockStatus::Full,
        RulesetStatus::PartiallyEnforced => LandlockStatus::Partial,
        RulesetStatus::NotEnforced => LandlockStatus::Unavailable,
    })
}

/// What a kernel with this version of the interface does not limit.
fn gap(kernel: i32) -> Option<String> {
    let lacking: Vec<&str> =
        ADDED.iter().filter(|(version, _)| *version > kernel).map(|(_, what)| *what).collect();
    let remedy = match kernel {
        0 => "enable it with the boot parameter lsm=landlock,… or permit its system calls in the container",
        _ => "use a newer kernel",
    };
    (!lacking.is_empty()).then(|| {
        format!(
            "landlock: this kernel does not limit {}; {remedy} (all from {FIRST_COMPLETE_KERNEL})",
            lacking.join(", ")
        )
    })
}

/// Why a path could not be allowed.
enum Refusal {
    Open(ErrorKind, String),
    NoFile,
    Rule(RulesetError),
}

impl Refusal {
    fn about(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Open(_, error) => format!("access to {path}: {error}"),
            Self::NoFile => format!("access to {path}: it is no regular file; name the file itself"),
            Self::Rule(error) => format!("access to {path}: {error}"),
        }
    }
}

fn allow(rules: &mut RulesetCreated, (path, grant): &Entry) -> Result<(), Refusal> {
    let open = |error: std::io::Error| Refusal::Open(error.kind(), error.to_string());
    let kind = fs::metadata(path).map_err(open)?;
    if *grant == Grant::ReadOne && !kind.is_file() {
        return Err(Refusal::NoFile);
    }
    let mut access = rights(*grant);
    if !kind.is_dir() {
        access &= AccessFs::from_file(INTERFACE);
    }
    // Opened without reading, so a device is not touched.
    let fd = PathFd::new(path).map_err(|error| open(std::io::Error::other(error)))?;
    rules.add_rule(PathBeneath::new(fd.as_fd(), access)).map_err(Refusal::Rule)?;
    if path.starts_with("/proc/self") {
        keep(&fd);
    }
    Ok(())
}

/// Keeps the folder open for as long as the process lives.
fn keep(fd: &PathFd) {
    if let (Ok(fd), Ok(mut kept)) = (fd.as_fd().try_clone_to_owned(), KEPT.lock()) {
        kept.push(fd);
    }
}

fn rights(grant: Grant) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match grant {
        Grant::List => AccessFs::ReadDir.into(),
        Grant::Read => read,
        Grant::ReadOne => AccessFs::ReadFile.into(),
        Grant::Write => AccessFs::WriteFile | AccessFs::Truncate,
        Grant::ReadWrite => read | AccessFs::WriteFile,
        Grant::Device => read | AccessFs::WriteFile | AccessFs::IoctlDev,
        Grant::Own => {
            let change = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::Refer;
            let create = AccessFs::MakeReg | AccessFs::MakeDir;
            read | change | create | AccessFs::RemoveFile | AccessFs::RemoveDir
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_may_be_executed() {
        for grant in [Grant::Read, Grant::ReadOne, Grant::Write, Grant::ReadWrite, Grant::Device, Grant::Own]
        {
            assert!(!rights(grant).contains(AccessFs::Execute), "{grant:?}");
        }
    }

    #[test]
    fn an_old_kernel_s_gaps_are_named() {
        assert_eq!(gap(6), None);
        assert_eq!(gap(9), None);
        let old = gap(4).unwrap();
        assert!(old.contains("limit control of devices, signals and abstract sockets; use a newer"), "{old}");
        let none = gap(0).unwrap();
        assert!(none.contains("limit files, ") && none.contains("boot parameter"), "{none}");
    }
}
