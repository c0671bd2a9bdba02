//! Says why a worker process ended, from what the system, the server and the worker's last lines tell.
//!
//! Pure: reads no file and no clock. What follows from a reason is for others to decide.

mod message;
mod signal;

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use signal::Signal;

/// What the server itself did to end it, if it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kill {
    /// It made no progress.
    Frozen {
        /// For how long.
        stalled: Duration,
    },
    /// It did not finish loading.
    LoadTimeout {
        /// The time that it had.
        after: Duration,
    },
    /// It said something that a worker does not say.
    Protocol {
        /// What was wrong.
        fault: String,
    },
    /// It was no longer needed.
    Shutdown,
}

/// How the system says that it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The system does not say.
    Unknown,
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;

        status.code().map(Self::Code).or_else(|| status.signal().map(Self::Signal)).unwrap_or(Self::Unknown)
    }
}

/// All that is known about an end.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// How the system says that it ended.
    pub ended: Ended,
    /// What the server did to end it.
    pub killed: Option<&'a Kill>,
    /// The last lines that it wrote to stderr, oldest first.
    pub last_lines: &'a [String],
    /// How often the system's OOM killer struck while it lived; on the whole machine.
    pub oom_kills: u64,
}

/// Why a worker ended. Its text is for logs and clients: it names no folder of any machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// The server ended it.
    EndedByServer(Kill),
    /// The kernel's OOM killer chose it.
    OutOfMemory,
    /// Someone else ended it.
    KilledFromOutside {
        /// The signal.
        signal: i32,
    },
    /// It met an instruction that cannot be executed here.
    IllegalInstruction,
    /// It gave up by itself, after a failed assertion for instance.
    Aborted {
        /// Its last words; empty if it had none.
        message: String,
        /// Whether it gave up because memory, of the host or of a GPU, was short.
        short_of_memory: bool,
    },
    /// It broke.
    Crashed {
        /// The signal.
        signal: i32,
    },
    /// It left without being asked to.
    Exited {
        /// Its exit code, if the system says.
        code: Option<i32>,
        /// Its last words; empty if it had none.
        message: String,
        /// Whether its last words are of memory, of the host or of a GPU.
        short_of_memory: bool,
    },
}

impl ExitReason {
    /// A short fixed word, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EndedByServer(Kill::Frozen { .. }) => "frozen",
            Self::EndedByServer(Kill::LoadTimeout { .. }) => "load_timeout",
            Self::EndedByServer(Kill::Protocol { .. }) => "protocol_error",
            Self::EndedByServer(Kill::Shutdown) => "shutdown",
            Self::OutOfMemory => "out_of_memory",
            Self::KilledFromOutside { .. } => "killed",
            Self::IllegalInstruction => "illegal_instruction",
            Self::Aborted { .. } => "aborted",
            Self::Crashed { .. } => "crashed",
            Self::Exited { .. } => "exited",
        }
    }

    /// Whether a request that ran at the time may be the cause.
    pub fn blames_requests(&self) -> bool {
        match self {
            Self::EndedByServer(Kill::Frozen { .. } | Kill::Protocol { .. })
            | Self::IllegalInstruction
            | Self::Aborted { .. }
            | Self::Crashed { .. }
            | Self::Exited { .. } => true,
            Self::EndedByServer(Kill::LoadTimeout { .. } | Kill::Shutdown)
            | Self::OutOfMemory
            | Self::KilledFromOutside { .. } => false,
        }
    }

    /// Whether memory, of the host or of a GPU, was short, so that a smaller worker might live.
    pub fn short_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory => true,
            Self::Aborted { short_of_memory, .. } | Self::Exited { short_of_memory, .. } => *short_of_memory,
            _ => false,
        }
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen { stalled } => write!(f, "it made no progress for {} and was ended", Time(*stalled)),
            Self::LoadTimeout { after } => {
                write!(f, "it did not load its model within {} and was ended; ", Time(*after))?;
                f.write_str("allow it more time or look at the disk that the model is on")
            }
            Self::Protocol { fault } => write!(f, "it broke the protocol and was ended: {fault}"),
            Self::Shutdown => f.write_str("it was told to end"),
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndedByServer(kill) => kill.fmt(f),
            Self::OutOfMemory => write!(f, "the kernel's OOM killer ended it: {MEMORY_IS_SHORT}"),
            Self::KilledFromOutside { signal } => {
                write!(f, "it was killed by signal {} from outside ", Signal(*signal))?;
                f.write_str("(an operator, a service manager or a container's limit)")
            }
            Self::IllegalInstruction => f.write_str(
                "it died of SIGILL: it uses an instruction that this CPU or its kernel refuses (often AMX or AVX-512 \
                 under virtualization); build for this machine or use the dynamic back ends without that variant",
            ),
            Self::Aborted { message, short_of_memory } => {
                f.write_str("it aborted")?;
                last_words(f, message, *short_of_memory)
            }
            Self::Crashed { signal } => write!(f, "it crashed with {}", Signal(*signal)),
            Self::Exited { code, message, short_of_memory } => {
                match code {
                    Some(code) => write!(f, "it exited by itself with code {code}")?,
                    None => f.write_str("it ended, the system does not say how")?,
                }
                last_words(f, message, *short_of_memory)
            }
        }
    }
}

const MEMORY_IS_SHORT: &str = "memory is short; lower slots, context_tokens or host_memory_limit";

fn last_words(f: &mut fmt::Formatter<'_>, message: &str, short_of_memory: bool) -> fmt::Result {
    if !message.is_empty() {
        write!(f, ": {message}")?;
    }
    if short_of_memory {
        // The memory may be a GPU's, which host_memory_limit has no part in.
        f.write_str("; memory is short; lower slots or context_tokens")?;
    }
    Ok(())
}

/// A time for people: whole seconds, or milliseconds below one.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            seconds => write!(f, "{seconds} s"),
        }
    }
}

/// How a process that is no worker ended, though it should have done its work: in words, for an error.
#[must_use]
pub fn describe(status: ExitStatus, last_lines: &[String]) -> String {
    let ended = match Ended::from(status) {
        Ended::Code(code) => format!("it exited with code {code}"),
        Ended::Signal(signal::XFSZ) => {
            "it may not write files of this size; raise that limit (ulimit -f)".to_owned()
        }
        Ended::Signal(signal::KILL) => {
            "it was killed by SIGKILL, by the kernel if memory is short, or from outside".to_owned()
        }
        Ended::Signal(signal) => format!("it was ended by {}", Signal(signal)),
        Ended::Unknown => "it ended, the system does not say how".to_owned(),
    };
    match message::most_telling(last_lines) {
        words if words.is_empty() => ended,
        words => format!("{ended}: {words}"),
    }
}

/// Says why it ended.
pub fn classify(evidence: &Evidence<'_>) -> ExitReason {
    match evidence.killed {
        Some(kill) if !ended_before(evidence, kill) => ExitReason::EndedByServer(kill.clone()),
        _ => by_itself(evidence),
    }
}

/// Whether it had ended otherwise before the server's SIGKILL reached it. A crash breaks its pipes first, which the
/// server takes for a fault in the protocol; that must not hide the crash.
fn ended_before(evidence: &Evidence<'_>, kill: &Kill) -> bool {
    match (kill, evidence.ended) {
        (Kill::Shutdown, _) | (_, Ended::Unknown | Ended::Code(0)) => false,
        (Kill::Protocol { .. }, Ended::Signal(signal::KILL)) => evidence.oom_kills > 0,
        (_, Ended::Signal(signal)) => !Signal(signal).comes_from_outside(),
        (_, Ended::Code(_)) => true,
    }
}

fn by_itself(evidence: &Evidence<'_>) -> ExitReason {
    let message = || message::most_telling(evidence.last_lines);
    let short_of_memory = || message::speak_of_memory(evidence.last_lines);
    match evidence.ended {
        Ended::Signal(signal::KILL) if evidence.oom_kills > 0 => ExitReason::OutOfMemory,
        Ended::Signal(signal) if Signal(signal).comes_from_outside() => {
            ExitReason::KilledFromOutside { signal }
        }
        Ended::Signal(signal::ILL) => ExitReason::IllegalInstruction,
        Ended::Signal(signal::ABRT) => {
            ExitReason::Aborted { message: message(), short_of_memory: short_of_memory() }
        }
        Ended::Signal(signal) => ExitReason::Crashed { signal },
        Ended::Code(code) => {
            ExitReason::Exited { code: Some(code), message: message(), short_of_memory: short_of_memory() }
        }
        Ended::Unknown => {
            ExitReason::Exited { code: None, message: message(), short_of_memory: short_of_memory() }
        }
    }
}

#[cfg(test)]
mod tests;
