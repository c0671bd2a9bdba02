//! Tables of ends and what they are taken for.

use super::*;

const SIGSEGV: i32 = 11;
const SIGTERM: i32 = 15;

fn frozen() -> Kill {
    Kill::Frozen { stalled: Duration::from_secs(20) }
}

fn protocol() -> Kill {
    Kill::Protocol { fault: "the pipe ended".to_owned() }
}

fn reason(ended: Ended, killed: Option<&Kill>, last_lines: &[&str], oom_kills: u64) -> ExitReason {
    let last_lines: Vec<String> = last_lines.iter().map(|&line| line.to_owned()).collect();
    classify(&Evidence { ended, killed, last_lines: &last_lines, oom_kills })
}

#[test]
fn an_end_that_the_server_did_not_cause_is_told_by_its_signal_or_code() {
    let table = [
        (Ended::Signal(signal::KILL), 0, "killed", false),
        (Ended::Signal(signal::KILL), 1, "out_of_memory", false),
        (Ended::Signal(SIGTERM), 1, "killed", false),
        (Ended::Signal(1), 0, "killed", false),
        (Ended::Signal(2), 0, "killed", false),
        (Ended::Signal(signal::ILL), 0, "illegal_instruction", true),
        (Ended::Signal(signal::ABRT), 0, "aborted", true),
        (Ended::Signal(SIGSEGV), 1, "crashed", true),
        (Ended::Signal(7), 0, "crashed", true),
        (Ended::Signal(8), 0, "crashed", true),
        (Ended::Signal(64), 0, "crashed", true),
        (Ended::Code(0), 0, "exited", true),
        (Ended::Code(101), 1, "exited", true),
        (Ended::Unknown, 0, "exited", true),
    ];
    for (ended, oom_kills, name, blames) in table {
        let reason = reason(ended, None, &[], oom_kills);
        assert_eq!((reason.name(), reason.blames_requests()), (name, blames), "{ended:?} {oom_kills}");
        assert_eq!(reason.short_of_memory(), name == "out_of_memory", "{ended:?}");
    }
}

#[test]
fn an_end_that_the_server_caused_is_told_by_its_cause_unless_the_worker_was_first() {
    let load = Kill::LoadTimeout { after: Duration::from_secs(60) };
    let killed = Ended::Signal(signal::KILL);
    let table = [
        (&frozen(), killed, 0, "frozen"),
        (&frozen(), killed, 1, "frozen"),
        (&frozen(), Ended::Unknown, 0, "frozen"),
        (&frozen(), Ended::Signal(SIGSEGV), 0, "crashed"),
        (&load, killed, 0, "load_timeout"),
        (&load, Ended::Signal(signal::ABRT), 0, "aborted"),
        (&load, Ended::Code(1), 0, "exited"),
        (&protocol(), killed, 0, "protocol_error"),
        (&protocol(), killed, 1, "out_of_memory"),
        (&protocol(), Ended::Code(0), 0, "protocol_error"),
        (&protocol(), Ended::Signal(signal::ILL), 0, "illegal_instruction"),
        (&Kill::Shutdown, killed, 1, "shutdown"),
        (&Kill::Shutdown, Ended::Code(0), 0, "shutdown"),
        (&Kill::Shutdown, Ended::Code(1), 0, "shutdown"),
        (&Kill::Shutdown, Ended::Signal(SIGSEGV), 0, "shutdown"),
    ];
    for (kill, ended, oom_kills, name) in table {
        assert_eq!(reason(ended, Some(kill), &[], oom_kills).name(), name, "{kill:?} {ended:?} {oom_kills}");
    }
}

#[test]
fn only_a_fault_of_the_worker_blames_requests() {
    for (kill, blames) in [
        (frozen(), true),
        (protocol(), true),
        (Kill::LoadTimeout { after: Duration::ZERO }, false),
        (Kill::Shutdown, false),
    ] {
        let reason = reason(Ended::Signal(signal::KILL), Some(&kill), &["CUDA error: out of memory"], 0);
        assert_eq!((reason.blames_requests(), reason.short_of_memory()), (blames, false), "{kill:?}");
    }
}

#[test]
fn last_words_about_memory_are_kept_in_mind() {
    let lines = ["cudaMalloc failed: out of memory", "/b/ggml.c:9: GGML_ASSERT(buffer) failed"];
    let aborted = reason(Ended::Signal(signal::ABRT), None, &lines, 0);
    let message = "GGML_ASSERT(buffer) failed (ggml.c:9)".to_owned();
    assert_eq!(aborted, ExitReason::Aborted { message, short_of_memory: true });
    assert!(aborted.short_of_memory());
    assert!(reason(Ended::Code(1), None, &lines, 0).short_of_memory());
    assert!(!reason(Ended::Signal(SIGSEGV), None, &lines, 0).short_of_memory());
}

#[test]
fn every_reason_is_told_in_words() {
    let abort = Ended::Signal(signal::ABRT);
    let table: [(ExitReason, &str); 14] = [
        (reason(Ended::Unknown, Some(&frozen()), &[], 0), "it made no progress for 20 s and was ended"),
        (
            ExitReason::EndedByServer(Kill::Frozen { stalled: Duration::from_millis(500) }),
            "it made no progress for 500 ms and was ended",
        ),
        (
            ExitReason::EndedByServer(Kill::LoadTimeout { after: Duration::from_secs(90) }),
            "it did not load its model within 90 s and was ended; allow it more time or look at the disk that the \
             model is on",
        ),
        (
            reason(Ended::Code(0), Some(&protocol()), &[], 0),
            "it broke the protocol and was ended: the pipe ended",
        ),
        (ExitReason::EndedByServer(Kill::Shutdown), "it was told to end"),
        (
            ExitReason::OutOfMemory,
            "the kernel's OOM killer ended it: memory is short; lower slots, context_tokens or host_memory_limit",
        ),
        (
            reason(Ended::Signal(signal::KILL), None, &[], 0),
            "it was killed by signal SIGKILL from outside (an operator, a service manager or a container's limit)",
        ),
        (
            reason(Ended::Signal(signal::ILL), None, &[], 0),
            "it died of SIGILL: it uses an instruction that this CPU or its kernel refuses (often AMX or AVX-512 under \
             virtualization); build for this machine or use the dynamic back ends without that variant",
        ),
        (
            reason(abort, None, &["/b/ggml.c:123: GGML_ASSERT(x) failed"], 0),
            "it aborted: GGML_ASSERT(x) failed (ggml.c:123)",
        ),
        (reason(abort, None, &[], 0), "it aborted"),
        (
            reason(abort, None, &["CUDA error: out of memory"], 0),
            "it aborted: CUDA error: out of memory; memory is short; lower slots or context_tokens",
        ),
        (reason(Ended::Signal(SIGSEGV), None, &[], 0), "it crashed with SIGSEGV"),
        (reason(Ended::Signal(40), None, &[], 0), "it crashed with signal 40"),
        (reason(Ended::Code(3), None, &[], 0), "it exited by itself with code 3"),
    ];
    for (reason, wanted) in table {
        assert_eq!(reason.to_string(), wanted);
    }
}

#[test]
fn the_system_s_own_status_is_understood() {
    use std::os::unix::process::ExitStatusExt;

    for (raw, wanted) in
        [(0, Ended::Code(0)), (3 << 8, Ended::Code(3)), (9, Ended::Signal(9)), (6 | 128, Ended::Signal(6))]
    {
        assert_eq!(Ended::from(ExitStatus::from_raw(raw)), wanted, "{raw}");
    }
}
