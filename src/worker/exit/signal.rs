//! Numbers and names of signals. Only those that end a process by default.

use std::fmt;

/// An operator at the terminal is gone.
const HUP: i32 = 1;
/// Ctrl-C.
const INT: i32 = 2;
/// Ctrl-\.
const QUIT: i32 = 3;
/// An instruction that cannot be executed.
pub(super) const ILL: i32 = 4;
/// The process gave up.
pub(super) const ABRT: i32 = 6;
/// The end that cannot be refused.
pub(super) const KILL: i32 = 9;
/// The polite request to end.
const TERM: i32 = 15;
/// A limit on processor time.
const XCPU: i32 = 24;
/// A limit on the size of files.
pub(super) const XFSZ: i32 = 25;

/// Systems differ in these two.
const BUS: i32 = if cfg!(target_os = "linux") { 7 } else { 10 };
const SYS: i32 = if cfg!(target_os = "linux") { 31 } else { 12 };

const NAMES: [(i32, &str); 16] = [
    (HUP, "SIGHUP"),
    (INT, "SIGINT"),
    (QUIT, "SIGQUIT"),
    (ILL, "SIGILL"),
    (5, "SIGTRAP"),
    (ABRT, "SIGABRT"),
    (BUS, "SIGBUS"),
    (8, "SIGFPE"),
    (KILL, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (TERM, "SIGTERM"),
    (XCPU, "SIGXCPU"),
    (XFSZ, "SIGXFSZ"),
    (SYS, "SIGSYS"),
];

/// A signal by its number.
#[derive(Clone, Copy)]
pub(super) struct Signal(pub(super) i32);

impl Signal {
    /// Whether people and systems send it, rather than the process's own faults.
    pub(super) fn comes_from_outside(self) -> bool {
        [HUP, INT, QUIT, KILL, TERM, XCPU].contains(&self.0)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}
