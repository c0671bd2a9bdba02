//! Proves that modules import only lower levels, that each outside library has its place, and that files stay
//! short enough to be read.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by level: one imports only lower ones. `control` has two, because its pure step serves the simulator
/// as well.
const LEVELS: [(&str, u32); 42] = [
    ("random", 0),
    ("units", 0),
    ("clock", 1),
    ("embedded", 1),
    ("generation", 1),
    ("gguf", 1),
    ("policy", 1),
    ("quantization", 1),
    ("view", 1),
    ("batching", 2),
    ("control::fixtures", 2),
    ("control::orders", 2),
    ("control::place", 2),
    ("control::quality", 2),
    ("control::threads", 2),
    ("control::watchdog", 2),
    ("chat", 2),
    ("dispatch", 2),
    ("grammar", 2),
    ("sampling", 2),
    ("scaling", 2),
    ("catalog", 3),
    ("control::census", 3),
    ("control::plan", 3),
    ("control::room", 3),
    ("control::step", 3),
    ("engine", 3),
    ("gpu", 3),
    ("telemetry", 3),
    ("ipc", 4),
    ("keys", 4),
    ("measured", 4),
    ("operator", 4),
    ("pool", 4),
    ("admission", 5),
    ("worker", 5),
    ("cache", 6),
    ("fleet", 6),
    ("sim", 6),
    ("control::driver", 7),
    ("api", 7),
    ("cli", 8),
];

/// Libraries that few places may use, most often one, so that they can be replaced there. hyper has two ends: the
/// server's and that of the client that measures servers.
const OWNERS: [(&str, &[&str]); 23] = [
    ("llama_cpp_2::", &["src/engine/llama/"]),
    ("llama_cpp_sys_2::", &["src/engine/llama/quantize.rs"]),
    ("serde_yaml::", &["src/policy/raw.rs", "src/policy/raw/"]),
    ("cronexpr::", &["src/policy/schedule.rs"]),
    ("nvml_wrapper::", &["src/gpu/nvml.rs"]),
    ("warp::", &["src/api/"]),
    ("hyper::", &["src/api/listen.rs", "src/cli/bench/server/http.rs"]),
    ("clap::", &["src/cli/"]),
    ("anyhow::", &["src/cli/"]),
    ("sd_notify::", &["src/cli/notify.rs"]),
    ("indicatif::", &["src/cli/progress.rs"]),
    ("postcard::", &["src/cache/remote.rs", "src/ipc/codec.rs"]),
    ("landlock::", &["src/worker/sandbox/"]),
    ("close_fds::", &["src/worker/process/"]),
    ("sha2::", &["src/cache/key.rs", "src/keys/mod.rs"]),
    ("moka::", &["src/cache/model.rs"]),
    ("redis::", &["src/cache/remote.rs", "src/policy/validate/scale.rs"]),
    ("rustls::", &["src/cache/remote.rs"]),
    ("subtle::", &["src/keys/mod.rs"]),
    ("getrandom::", &["src/cli/key.rs"]),
    ("tower_http::", &["src/api/cors.rs"]),
    ("socket2::", &["src/api/listen.rs"]),
    ("tokio_io_timeout::", &["src/api/listen.rs"]),
];

/// What pure rooms must not touch: clocks, I/O, threads, locks, logs.
const IMPURE: [&str; 11] = [
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::net",
    "std::thread",
    "std::sync::atomic",
    "Mutex",
    "tokio::",
    "tracing::",
    "metrics::",
    "async fn",
];
const PURE: [&str; 53] = [
    "src/random.rs",
    "src/sim/",
    "src/quantization.rs",
    "src/units.rs",
    "src/cache/key.rs",
    "src/catalog/facts.rs",
    "src/catalog/footprint.rs",
    "src/api/routes.rs",
    "src/gguf/compute.rs",
    "src/measured/mod.rs",
    "src/view.rs",
    "src/batching/",
    "src/chat/",
    "src/dispatch/",
    "src/grammar/",
    "src/sampling/",
    "src/scaling/",
    "src/control/census.rs",
    "src/control/orders.rs",
    "src/control/place.rs",
    "src/control/plan.rs",
    "src/control/quality.rs",
    "src/control/room.rs",
    "src/control/step.rs",
    "src/control/threads.rs",
    "src/control/watchdog.rs",
    "src/engine/marks.rs",
    "src/engine/prefix.rs",
    "src/ipc/",
    "src/admission/drain.rs",
    "src/admission/flow.rs",
    "src/admission/queue.rs",
    "src/admission/quarantine.rs",
    "src/admission/rejection.rs",
    "src/admission/resume.rs",
    "src/admission/share.rs",
    "src/fleet/lifecycle.rs",
    "src/keys/limits.rs",
    "src/worker/exit/",
    "src/cli/bench/statistics.rs",
    "src/cli/bench/table.rs",
    "src/cli/bench/engine/calibration.rs",
    "src/cli/bench/engine/plan.rs",
    "src/cli/bench/engine/report.rs",
    "src/cli/bench/server/answer.rs",
    "src/cli/bench/server/arrivals.rs",
    "src/cli/bench/server/compare.rs",
    "src/cli/bench/server/prompts.rs",
    "src/cli/bench/server/report.rs",
    "src/cli/bench/server/stream.rs",
    "src/cli/bench/server/target.rs",
    "src/cli/simulate/html/",
    "src/cli/simulate/report.rs",
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join("src"), &mut found);
    let relative = found.into_iter().map(|(path, text)| (path.strip_prefix(root).unwrap().to_owned(), text));
    relative.collect()
}

/// A file's code without comments and without tests.
fn code(path: &Path, text: &str) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    if name == "tests.rs"
        || name.ends_with("_tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests")
    {
        return String::new();
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// `src/a/b/c.rs` → `a::b::c`
fn module(path: &Path) -> String {
    let path = path.strip_prefix("src").unwrap().with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.join("::").trim_end_matches("::mod").trim_end_matches("_tests").to_owned()
}

fn level(module: &str) -> Option<(&'static str, u32)> {
    let belongs = |name: &str| module == name || module.starts_with(&format!("{name}::"));
    LEVELS.into_iter().find(|(name, _)| belongs(name))
}

/// The modules that a file names after `crate::`, one for each import of a group `crate::{a, b::c}`, too.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group.split('}').next().unwrap().split(',').map(|item| item.trim().to_owned()));
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            found.push(rest[..end].trim_end_matches(':').to_owned());
        }
    }
    found
}

#[test]
fn modules_import_only_lower_levels() {
    let mut checked = 0;
    for (path, text) in sources() {
        let module = module(&path);
        let Some((name, own)) = level(&module) else {
            assert!(
                matches!(module.as_str(), "lib" | "main" | "control"),
                "{module} has no level: add it to LEVELS"
            );
            continue;
        };
        for import in imports(&code(&path, &text)) {
            let (other, other_level) =
                level(&import).unwrap_or_else(|| panic!("{module} imports {import}, which has no level"));
            assert!(
                other == name || other_level < own,
                "{module} (level {own}) imports {import} (level {other_level}); only lower levels are allowed"
            );
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} imports were found: the search is broken");
}

#[test]
fn outside_libraries_have_their_places() {
    let mut unused: Vec<_> = OWNERS
        .iter()
        .flat_map(|(library, owners)| owners.iter().map(move |owner| (library, owner)))
        .collect();
    for (path, text) in sources() {
        let code = code(&path, &text);
        for (library, owners) in &OWNERS {
            if code.contains(library) {
                let owner = owners.iter().find(|owner| path.starts_with(owner));
                assert!(
                    owner.is_some(),
                    "{} uses {library}, which belongs to {}",
                    path.display(),
                    owners.join(" and ")
                );
                unused.retain(|(of, by)| *of != library || Some(*by) != owner);
            }
        }
    }
    assert!(unused.is_empty(), "an owner uses its library no more: {unused:?}");
}

/// Cargo.toml denies `unsafe`, which `expect` and `allow` could permit anywhere.
#[test]
fn unsafe_code_has_one_place() {
    let word = ["unsafe", "_code"].concat();
    let holders: Vec<_> =
        sources().into_iter().filter(|(path, text)| code(path, text).contains(&word)).collect();
    let paths: Vec<_> = holders.iter().map(|(path, _)| path.as_path()).collect();
    assert_eq!(paths, [Path::new("src/engine/llama/quantize.rs")]);
}

#[test]
fn pure_rooms_stay_pure() {
    let mut checked = [false; PURE.len()];
    for (path, text) in sources() {
        let Some(room) = PURE.iter().position(|room| path.starts_with(room)) else { continue };
        checked[room] = true;
        for word in IMPURE {
            assert!(!code(&path, &text).contains(word), "{} is pure and must not use {word}", path.display());
        }
    }
    assert_eq!(checked, [true; PURE.len()], "a pure room is gone: {PURE:?}");
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not open by saying what it is", path.display());
        let lines = text.lines().count();
        assert!(lines <= 400, "{} has {lines} lines; split it by responsibility", path.display());
    }
}

#[test]
fn the_document_has_the_same_levels_and_places() {
    let document = fs::read_to_string("docs/architecture.md").unwrap();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| ")).collect();
    let has = |cell: &str, words: &str| {
        rows.iter().any(|row| row.split('|').nth(1).unwrap().contains(cell) && row.contains(words))
    };
    for (module, level) in LEVELS.iter().filter(|(module, _)| *module != "control::fixtures") {
        assert!(
            has(&format!(" {level} "), &format!("`{module}`")),
            "docs/architecture.md lacks {module}, {level}"
        );
    }
    for (library, owners) in OWNERS {
        let library = library.trim_end_matches("::");
        for owner in owners {
            let place = format!("`{}`", owner.trim_start_matches("src/"));
            assert!(has(library, &place), "docs/architecture.md lacks {library} in {place}");
        }
    }
}

#[test]
fn the_code_that_checks_would_notice() {
    let text = "//! Text.\nuse crate::units::{A, B};\nuse crate::{api, pool::word};\nlet x = crate::view::Y;\n// crate::no\n";
    assert_eq!(imports(&code(Path::new("src/x.rs"), text)), ["units", "api", "pool::word", "view::Y"]);
    assert_eq!(level("control::step"), Some(("control::step", 3)));
    assert_eq!(level("controls"), None);
}
