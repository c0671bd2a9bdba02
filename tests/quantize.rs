//! Proves that `modelpool quantize` makes variants that load and answer, that a policy finds them by itself, and that
//! whatever goes wrong leaves neither half a file nor a temporary one.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::process::{program, run};
use serde_json::Value;

const FULL: &str = "tidepool-3m-f16.gguf";

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model").join(name)
}

/// A folder with the demo model's full file.
fn world() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(demo(FULL), folder.path().join(FULL)).unwrap();
    folder
}

/// All files besides the full one, temporary ones included.
fn others(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name != FULL).collect();
    names.sort();
    names
}

fn quantize(folder: &Path, arguments: &[&str]) -> Output {
    run(folder, &[&["quantize"], arguments].concat())
}

#[track_caller]
fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!err.contains("panicked") && !err.contains('\u{1b}') && !out.contains('\u{1b}'), "{err}");
    (out, err)
}

/// Asserts that it was refused in one error with these words, and that nothing came of it.
#[track_caller]
fn refused(folder: &Path, output: &Output, words: &[&str], left: &[&str]) {
    let (out, err) = text(output);
    assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{err}");
    assert_eq!(err.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{err}");
    for word in words {
        assert!(err.contains(word), "{word:?} is missing in: {err}");
    }
    assert_eq!(others(folder), left);
}

#[test]
fn variants_are_made_load_and_answer() {
    let folder = world();
    let output = quantize(folder.path(), &[FULL]);
    let (out, err) = text(&output);
    assert!(output.status.success(), "{err}");
    assert_eq!(others(folder.path()), ["tidepool-3m-q4_k_m.gguf", "tidepool-3m-q8_0.gguf"]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("tidepool-3m-q8_0: 3972448 bytes (3.8 MiB), 0.54 of the full file, "),
        "{out}"
    );
    assert!(lines[1].starts_with("tidepool-3m-q4_k_m: 2390880 bytes "), "{out}");
    assert_eq!(
        err, "made tidepool-3m-q8_0.gguf\nmade tidepool-3m-q4_k_m.gguf\n",
        "a line each, and no bar in a pipe"
    );
    for name in others(folder.path()) {
        let measure =
            ["bench", "engine", "--model", &name, "--only", "decode", "--seconds", "0", "--cpu", "--json"];
        let output = run(folder.path(), &measure);
        let (out, err) = text(&output);
        assert!(output.status.success(), "{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["file"], name.as_str());
        assert!(report["figures"]["decode"][0]["tokens_per_second"].as_f64().is_some_and(|rate| rate > 0.0));
    }
    // The same weights as in the files that are carried in the program, which llama.cpp's own tool made.
    let made = fs::read(folder.path().join("tidepool-3m-q8_0.gguf")).unwrap();
    assert!(made == fs::read(demo("tidepool-3m-q8_0.gguf")).unwrap());
}

#[test]
fn a_policy_finds_what_was_made() {
    let folder = world();
    let policy = |file: &str| {
        let model = format!("name: m, context_tokens: 512, variants: {{ auto: '{file}' }}");
        fs::write(folder.path().join("policy.yaml"), format!("models: [{{ {model} }}]\n")).unwrap();
        run(folder.path(), &["check", "policy.yaml"])
    };
    let names = |output: &Output| -> Vec<String> {
        let (out, err) = text(output);
        assert!(output.status.success(), "{err}");
        // The rows of the table, below its heading.
        let rows = out.lines().skip_while(|line| !line.trim().starts_with("variant ")).skip(1);
        rows.filter_map(|row| row.split_whitespace().next().map(str::to_owned)).collect()
    };
    assert_eq!(names(&policy(FULL)), ["tidepool-3m-f16"]);
    let output = quantize(folder.path(), &[FULL, "--types", "q4_k_m,q2_k,q8_0"]);
    assert!(output.status.success(), "{}", text(&output).1);
    let best_first = ["tidepool-3m-f16", "tidepool-3m-q8_0", "tidepool-3m-q4_k_m", "tidepool-3m-q2_k"];
    assert_eq!(names(&policy(FULL)), best_first);
    let missing = policy("other-f16.gguf");
    let (_, err) = text(&missing);
    assert!(missing.status.code() == Some(1) && err.contains("models.m.variants.auto: "), "{err}");
    assert_eq!(names(&policy("embedded:tidepool-3m-f16.gguf")), best_first[..3]);
}

#[test]
fn types_and_folder_are_chosen() {
    let folder = world();
    let models = tempfile::tempdir().unwrap();
    let out = models.path().to_str().unwrap();
    let output =
        quantize(folder.path(), &[FULL, "--types", "Q6_K,iq4_xs,q6_k", "--out", out, "--threads", "1"]);
    assert!(output.status.success(), "{}", text(&output).1);
    assert_eq!(others(models.path()), ["tidepool-3m-iq4_xs.gguf", "tidepool-3m-q6_k.gguf"]);
    assert_eq!(others(folder.path()), [""; 0]);
    let wrong = quantize(folder.path(), &[FULL, "--types", "q9"]);
    let (_, err) = text(&wrong);
    assert!(wrong.status.code() == Some(2) && err.contains("q9") && err.contains("q4_k_m"), "{err}");
    let nowhere = quantize(folder.path(), &[FULL, "--out", "nowhere"]);
    refused(folder.path(), &nowhere, &["--out nowhere is no folder"], &[]);
}

#[test]
fn a_file_that_exists_is_replaced_only_by_force() {
    let folder = world();
    let target = folder.path().join("tidepool-3m-q4_0.gguf");
    fs::write(&target, "mine").unwrap();
    let arguments = [FULL, "--types", "q8_0,q4_0"];
    let output = quantize(folder.path(), &arguments);
    refused(folder.path(), &output, &["tidepool-3m-q4_0.gguf", "--force"], &["tidepool-3m-q4_0.gguf"]);
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    let output = quantize(folder.path(), &[&arguments[..], &["--force"]].concat());
    assert!(output.status.success(), "{}", text(&output).1);
    assert_eq!(others(folder.path()), ["tidepool-3m-q4_0.gguf", "tidepool-3m-q8_0.gguf"]);
    assert!(fs::read(&target).unwrap().starts_with(b"GGUF"));
    // The full file is never replaced, whatever is forced.
    let output = quantize(folder.path(), &[FULL, "--types", "f16", "--force"]);
    let left = ["tidepool-3m-q4_0.gguf", "tidepool-3m-q8_0.gguf"];
    refused(folder.path(), &output, &["the full file itself"], &left);
    assert!(fs::read(folder.path().join(FULL)).unwrap() == fs::read(demo(FULL)).unwrap());
}

#[test]
fn only_a_whole_and_full_file_is_taken() {
    let folder = world();
    let whole = fs::read(demo(FULL)).unwrap();
    let inputs = tempfile::tempdir().unwrap();
    let input = |name: &str, bytes: &[u8]| {
        let path = inputs.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let quantized = demo("tidepool-3m-q4_k_m.gguf").to_str().unwrap().to_owned();
    let out = ["--out", folder.path().to_str().unwrap()];
    for (path, words) in [
        (input("cut-f16.gguf", &whole[..whole.len() / 2]), &["cut-f16.gguf is truncated"][..]),
        (input("page-f16.gguf", b"<html>not found</html>"), &["is not a GGUF file"]),
        (input("empty-f16.gguf", b""), &["empty-f16.gguf"]),
        ("nowhere-f16.gguf".to_owned(), &["nowhere-f16.gguf cannot be read"]),
        (quantized, &["is quantized already (q4_k_m)", "full file"]),
    ] {
        let output = quantize(folder.path(), &[&[path.as_str()][..], &out].concat());
        refused(folder.path(), &output, words, &[]);
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_is_one_clear_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = world();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // A name that is taken by a folder stops the superuser, too, whom permissions do not.
    fs::create_dir(closed.join(".tidepool-3m-q8_0.gguf.part")).unwrap_or_default();
    let output = quantize(folder.path(), &[FULL, "--types", "q8_0", "--out", "closed"]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    refused(folder.path(), &output, &["closed/.tidepool-3m-q8_0.gguf.part", "--out"], &["closed"]);
    assert!(!closed.join("tidepool-3m-q8_0.gguf").exists());
}

/// The shell's limit stands for a full disk: the kernel refuses to make the file any longer.
#[test]
fn a_disk_that_fills_up_leaves_nothing() {
    for (ignored, words) in [
        // As a full disk: an error.
        ("trap '' XFSZ", "the disk is full"),
        // As a limit: a signal.
        ("true", "ulimit -f"),
    ] {
        let folder = world();
        let script = format!("{ignored}; ulimit -f 1000; exec \"$0\" quantize {FULL} --types q8_0");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_modelpool")]).current_dir(folder.path());
        refused(folder.path(), &command.output().unwrap(), &["q8_0.gguf was not made", words], &[]);
    }
}

#[test]
fn what_a_killed_run_left_is_cleared_away() {
    let folder = world();
    fs::write(folder.path().join(".tidepool-3m-q8_0.gguf.part"), vec![7; 9_000_000]).unwrap();
    let output = program(folder.path(), &["quantize", FULL, "--types", "q8_0"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output).1);
    assert_eq!(others(folder.path()), ["tidepool-3m-q8_0.gguf"]);
    assert!(
        fs::read(folder.path().join("tidepool-3m-q8_0.gguf")).unwrap()
            == fs::read(demo("tidepool-3m-q8_0.gguf")).unwrap()
    );
}

/// Runs whose process fails half-way, as the environment tells it to.
#[cfg(all(target_os = "linux", feature = "fault-injection"))]
mod failures {
    use std::process::Child;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use common::PATIENCE;

    const PART: &str = ".tidepool-3m-q8_0.gguf.part";

    fn faulty(folder: &Path, fault: &str) -> std::process::Command {
        let mut command = program(folder, &["quantize", FULL, "--types", "q8_0"]);
        command.env("MODELPOOL_FAULT", fault);
        command
    }

    #[test]
    fn an_abort_is_one_clear_error() {
        let folder = world();
        let output = faulty(folder.path(), "abort-at-quantize").output().unwrap();
        refused(folder.path(), &output, &["SIGABRT: GGML_ASSERT(injected) failed"], &[]);
    }

    #[test]
    fn half_a_file_never_gets_the_name() {
        let folder = world();
        let output = faulty(folder.path(), "cut-at-quantize").output().unwrap();
        refused(folder.path(), &output, &["wrote no whole model", "truncated"], &[]);
    }

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what} takes too long");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The state and the parent of a process, of which the kernel says so after its name in parentheses.
    fn state_and_parent(pid: i32) -> Option<(String, u32)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
        Some((fields.next()?, fields.next()?.parse().ok()?))
    }

    /// A run that hangs with half of its file written, and the process that hangs.
    fn hanging(folder: &Path) -> (Child, Pid) {
        let parent = faulty(folder, "hang-at-quantize").spawn().unwrap();
        let half = fs::metadata(demo("tidepool-3m-q8_0.gguf")).unwrap().len() / 2;
        wait_until("half a file", || fs::metadata(folder.join(PART)).is_ok_and(|found| found.len() == half));
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let child = pids.find(|pid| state_and_parent(*pid).is_some_and(|(_, of)| of == parent.id()));
        (parent, Pid::from_raw(child.unwrap()).unwrap())
    }

    fn has_ended(pid: Pid) -> bool {
        state_and_parent(pid.as_raw_nonzero().get()).is_none_or(|(state, _)| state == "Z" || state == "X")
    }

    #[test]
    fn a_process_that_is_killed_leaves_nothing() {
        let folder = world();
        let (parent, child) = hanging(folder.path());
        kill_process(child, Signal::KILL).unwrap();
        refused(folder.path(), &parent.wait_with_output().unwrap(), &["killed by SIGKILL"], &[]);
    }

    #[test]
    fn a_signal_ends_it_and_leaves_nothing() {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let folder = world();
            let (parent, child) = hanging(folder.path());
            kill_process(Pid::from_child(&parent), signal).unwrap();
            let output = parent.wait_with_output().unwrap();
            let (out, err) = text(&output);
            assert_eq!((output.status.code(), out.as_str()), (Some(code), ""), "{err}");
            assert!(has_ended(child), "the process that quantizes lives on");
            assert_eq!(others(folder.path()), [""; 0]);
        }
    }

    #[test]
    fn another_run_waits_for_its_turn_and_a_killed_one_is_replaced() {
        let folder = world();
        let (mut parent, child) = hanging(folder.path());
        let second = quantize(folder.path(), &[FULL, "--types", "q8_0"]);
        refused(folder.path(), &second, &["another modelpool quantize writes"], &[PART]);
        parent.kill().unwrap();
        parent.wait().unwrap();
        wait_until("the end of the process that quantizes", || has_ended(child));
        assert_eq!(others(folder.path()), [PART]);
        let third = quantize(folder.path(), &[FULL, "--types", "q8_0"]);
        assert!(third.status.success(), "{}", text(&third).1);
        assert_eq!(others(folder.path()), ["tidepool-3m-q8_0.gguf"]);
    }
}
