//! Confines processes of its own and asks them what they can still do. Never confines the process that tests.
//!
//! Each such process is this test program once more, told by a variable what to be. It confines itself in its main
//! thread, as a worker does; the usual test harness would run it in another, so this program has its own.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process, test_kill_process};

use modelpool::worker::sandbox::{Confined, Confinement, confine, die_with_parent};

const ROLE: &str = "SANDBOX_TEST_ROLE";
const FOLDER: &str = "SANDBOX_TEST_FOLDER";
const PORT: &str = "SANDBOX_TEST_PORT";
const PATIENCE: Duration = Duration::from_secs(20);

/// This program again, in another role.
fn child(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).env(FOLDER, folder).stdout(Stdio::piped());
    command
}

fn tell(key: &str, value: impl fmt::Display) {
    println!("told {key}={value}");
}

/// What the child told until it ended or said `last`.
fn listen(child: &mut Child, last: &str) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines().map_while(Result::ok) {
        if let Some((key, value)) = line.strip_prefix("told ").and_then(|line| line.split_once('=')) {
            told.insert(key.to_owned(), value.to_owned());
            if key == last {
                break;
            }
        }
    }
    told
}

/// In one word, how a try ended.
fn outcome<T>(result: std::io::Result<T>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => "denied".to_owned(),
        Err(error) => error.to_string(),
    }
}

const TESTS: [(&str, fn()); 5] = [
    ("a_worker_reads_its_model_and_reaches_nothing_else", a_worker_reads_its_model_and_reaches_nothing_else),
    (
        "a_worker_with_a_gpu_also_names_its_threads_and_shares_memory",
        a_worker_with_a_gpu_also_names_its_threads_and_shares_memory,
    ),
    (
        "a_worker_gains_no_privileges_and_takes_no_more_than_its_share",
        a_worker_gains_no_privileges_and_takes_no_more_than_its_share,
    ),
    ("what_cannot_be_allowed_or_is_too_late_is_told", what_cannot_be_allowed_or_is_too_late_is_told),
    ("a_worker_dies_with_its_parent", a_worker_dies_with_its_parent),
];

/// The program.
pub fn main() {
    match std::env::var(ROLE) {
        Ok(role) => another_process(&role),
        Err(_) => run_tests(),
    }
}

/// Runs those whose names contain an argument, or all; a panic ends the program with an error.
fn run_tests() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in TESTS {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!("test {name} ...");
            test();
            println!("test {name} ... ok");
        }
    }
}

fn another_process(role: &str) {
    let folder = std::env::var(FOLDER).map(PathBuf::from).unwrap_or_default();
    match role {
        "worker" => try_everything(&folder, &confine(&confinement(&folder, false))),
        "gpu worker" => try_everything(&folder, &confine(&confinement(&folder, true))),
        "worker with wrong files" => {
            let missing = vec![folder.join("absent.gguf"), folder.clone()];
            tell("confined", confine(&Confinement { model_files: missing, ..Confinement::default() }));
        }
        "worker with threads" => {
            let idle = thread::spawn(|| thread::sleep(Duration::from_millis(500)));
            tell("confined", confine(&confinement(&folder, false)));
            idle.join().unwrap();
        }
        "parent" => {
            // Its worker's output goes to whoever listens to this process.
            let mut worker = child("worker of a parent", &folder).stdout(Stdio::inherit()).spawn().unwrap();
            worker.wait().unwrap();
        }
        "worker of a parent" => {
            let parent = getppid().map_or(0, Pid::as_raw_pid);
            tell("stranger", die_with_parent(std::process::id()));
            tell("alive", die_with_parent(parent.try_into().unwrap()));
            tell("confined", confine(&confinement(&folder, false)));
            tell("pid", std::process::id());
            thread::sleep(PATIENCE * 2);
        }
        _ => panic!("{ROLE} has no role {role}"),
    }
}

fn confinement(folder: &Path, gpu: bool) -> Confinement {
    Confinement {
        model_files: vec![folder.join("link.gguf")],
        written_files: vec![folder.join("output.gguf")],
        gpu,
        libraries: vec![folder.join("backends")],
        memory_limit_bytes: Some(1 << 30),
    }
}

fn try_everything(folder: &Path, confined: &Confined) {
    tell("confined", confined);
    let model = folder.join("model.gguf");
    let own_thread = |name: &str| format!("/proc/self/task/{}/{name}", std::process::id());
    let parent = getppid().unwrap();
    for (what, path) in [
        ("read model", model.clone()),
        ("read link", folder.join("link.gguf")),
        ("read back end", folder.join("backends/libggml-x.so")),
        ("read neighbour", folder.join("other.gguf")),
        ("read output", folder.join("output.gguf")),
        ("read passwd", "/etc/passwd".into()),
        ("read parent's environment", format!("/proc/{}/environ", parent.as_raw_pid()).into()),
        ("read parent's command line", format!("/proc/{}/cmdline", parent.as_raw_pid()).into()),
        ("read own status", "/proc/self/status".into()),
        ("read own threads' status", "/proc/thread-self/status".into()),
        ("read mounts", "/proc/mounts".into()),
        ("read zero", "/dev/zero".into()),
        ("read cpuinfo", "/proc/cpuinfo".into()),
    ] {
        tell(what, outcome(File::open(path)));
    }
    tell("read libraries", outcome(fs::read_dir("/usr/lib")));
    tell("read folder", outcome(fs::read_dir(folder)));
    let mut write = OpenOptions::new();
    write.write(true);
    tell("write model", outcome(write.open(&model)));
    tell("write output", outcome(write.clone().truncate(true).open(folder.join("output.gguf"))));
    tell("write back end", outcome(write.open(folder.join("backends/libggml-x.so"))));
    tell("write null", outcome(write.open("/dev/null")));
    tell("name thread", outcome(write.open(own_thread("comm"))));
    let late = thread::spawn(move || outcome(OpenOptions::new().write(true).open("/proc/thread-self/comm")));
    tell("name late thread", late.join().unwrap());
    tell("create temporary", outcome(File::create("/tmp/modelpool-sandbox-test")));
    tell("create beside model", outcome(File::create(folder.join("new"))));
    let shared = format!("/dev/shm/modelpool-sandbox-test-{}", std::process::id());
    tell("create shared", outcome(File::create(&shared).and_then(|_| fs::remove_file(&shared))));
    tell("delete model", outcome(fs::remove_file(&model)));
    tell("execute", outcome(Command::new("/usr/bin/env").arg("true").status()));
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    tell("connect", outcome(TcpStream::connect(("127.0.0.1", port))));
    tell("listen", outcome(TcpListener::bind("127.0.0.1:0")));
    tell("signal parent", outcome(test_kill_process(parent).map_err(Into::into)));
    tell("signal itself", outcome(test_kill_process(rustix::process::getpid()).map_err(Into::into)));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    tell(
        "privileges",
        status.lines().find_map(|line| line.strip_prefix("NoNewPrivs:")).unwrap_or("?").trim(),
    );
    tell("score", fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default().trim());
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    for name in ["Max core file size", "Max open files", "Max data size"] {
        let values = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        tell(name, values.split_whitespace().next().unwrap_or("?"));
    }
    let too_much = Vec::<u8>::new().try_reserve_exact(2 << 30);
    tell("memory", if too_much.is_ok() { "done" } else { "denied" });
    tell("ready", "yes");
    thread::sleep(PATIENCE * 2);
}

/// A folder with a model, a link to it, another model, a file to write and a folder of back ends.
fn models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    fs::create_dir(path("backends")).unwrap();
    for name in ["model.gguf", "other.gguf", "output.gguf", "backends/libggml-x.so"] {
        fs::write(path(name), "x").unwrap();
    }
    std::os::unix::fs::symlink("model.gguf", path("link.gguf")).unwrap();
    folder
}

/// What a worker in this role tells; then it is ended as the server would, which it must not be able to prevent.
fn ask(role: &str) -> BTreeMap<String, String> {
    let folder = models();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut worker = child(role, folder.path()).env(PORT, port.to_string()).spawn().unwrap();
    let told = listen(&mut worker, "ready");
    assert_eq!(told.get("ready").map(String::as_str), Some("yes"), "{told:#?}");
    worker.kill().unwrap();
    worker.wait().unwrap();
    told
}

/// Whether this kernel can do all that is asked for; otherwise the tests of it say nothing.
fn is_held_fully(told: &BTreeMap<String, String>) -> bool {
    let full = told["confined"].starts_with("landlock full");
    if !full {
        eprintln!("not tested, the kernel is too old: {}", told["confined"]);
    }
    full
}

const ALLOWED: [&str; 12] = [
    "read model",
    "read link",
    "read back end",
    "read zero",
    "read cpuinfo",
    "read own status",
    "read own threads' status",
    "read mounts",
    "read libraries",
    "write output",
    "write null",
    "signal itself",
];
const DENIED: [&str; 15] = [
    "read neighbour",
    "read output",
    "read passwd",
    "read parent's environment",
    "read parent's command line",
    "read folder",
    "write model",
    "write back end",
    "create temporary",
    "create beside model",
    "delete model",
    "execute",
    "connect",
    "listen",
    "signal parent",
];
/// Allowed to workers with a GPU alone.
const FOR_GPUS: [&str; 3] = ["name thread", "name late thread", "create shared"];

fn assert_all(told: &BTreeMap<String, String>, keys: &[&str], wanted: &str) {
    for key in keys {
        assert_eq!(told[*key], wanted, "{key}, in {told:#?}");
    }
}

fn a_worker_reads_its_model_and_reaches_nothing_else() {
    let told = ask("worker");
    assert_all(&told, &ALLOWED, "done");
    if is_held_fully(&told) {
        assert_eq!(told["confined"], "landlock full", "nothing is missing");
        assert_all(&told, &DENIED, "denied");
        assert_all(&told, &FOR_GPUS, "denied");
    }
}

fn a_worker_with_a_gpu_also_names_its_threads_and_shares_memory() {
    let told = ask("gpu worker");
    assert_all(&told, &ALLOWED, "done");
    assert_all(&told, &FOR_GPUS, "done");
    if is_held_fully(&told) {
        assert_all(&told, &DENIED, "denied");
    }
}

fn a_worker_gains_no_privileges_and_takes_no_more_than_its_share() {
    let told = ask("worker");
    for (key, wanted) in
        [("privileges", "1"), ("score", "500"), ("Max core file size", "0"), ("memory", "denied")]
    {
        assert_eq!(told[key], wanted, "{key}");
    }
    assert!(told["Max open files"].parse::<u64>().unwrap() <= 1024);
    assert!(told["Max data size"].parse::<u64>().unwrap() <= 1 << 30);
}

fn what_cannot_be_allowed_or_is_too_late_is_told() {
    let folder = models();
    let told = listen(&mut child("worker with wrong files", folder.path()).spawn().unwrap(), "");
    assert!(told["confined"].contains("absent.gguf: No such file"), "{told:?}");
    assert!(told["confined"].contains("it is no regular file"), "{told:?}");
    let told = listen(&mut child("worker with threads", folder.path()).spawn().unwrap(), "");
    assert!(told["confined"].contains("2 threads run already"), "{told:?}");
}

fn a_worker_dies_with_its_parent() {
    for stopped in [false, true] {
        let folder = models();
        let mut parent = child("parent", folder.path()).spawn().unwrap();
        let told = listen(&mut parent, "pid");
        assert_eq!((told["stranger"].as_str(), told["alive"].as_str()), ("false", "true"));
        let worker: i32 = told["pid"].parse().unwrap();
        assert!(is_running(worker));
        if stopped {
            kill_process(Pid::from_raw(worker).unwrap(), Signal::STOP).unwrap();
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
        let patience = Instant::now();
        while is_running(worker) {
            assert!(patience.elapsed() < PATIENCE, "it lives on (stopped: {stopped})");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A process that ended and that nobody waited for still has its folder.
fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
