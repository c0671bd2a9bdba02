//! `modelpool init FOLDER`: looks at the machine and at the GGUF files of a folder, and writes a policy that fits both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::{print, read_policy};
use crate::catalog::Catalog;
use crate::engine::llama::compute_devices;
use crate::gguf::{self, Header};
use crate::gpu::{self, DeviceMemory};
use crate::policy::{DevicesPolicy, Policy};
use crate::quantization;
use crate::units::{ByteCount, DeviceId};

/// Contexts that are tried, the largest first. Most requests are far shorter than what models are trained for, and each slot
/// takes memory for its whole context.
const CONTEXTS: [u32; 7] = [32_768, 16_384, 8192, 4096, 2048, 1024, 512];
/// Slots that are tried, if not even the smallest context fits for the ones before.
const SLOTS: [u32; 4] = [8, 4, 2, 1];
/// What `modelpool init` is told.
#[derive(Args, Debug)]
pub struct InitArguments {
    /// The folder with the GGUF files; those of its folders are found, too.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The policy to write; nothing is overwritten [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes a policy.
///
/// # Errors
///
/// A folder that cannot be read, or a file that is there already or cannot be written.
pub fn run(arguments: &InitArguments) -> anyhow::Result<()> {
    let base = match &arguments.out {
        Some(out) => out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        None => Path::new("."),
    };
    let machine = Machine {
        devices: compute_devices(),
        memory: gpu::system().read(&[]),
        policy: read_policy(None)?.devices,
    };
    let found = Found::under(&arguments.folder)?;
    let text = policy(&machine, &found, base);
    // It is never wrong: what was found decides, and files change.
    Policy::parse(&text, "the new policy", base).context("this folder's files need a policy by hand")?;
    let Some(out) = &arguments.out else {
        print(&text);
        return Ok(());
    };
    let cannot = || format!("cannot write {}", out.display());
    let mut file = fs::File::create_new(out).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    let name = out.display();
    print(&format!(
        "{name} is written.\nLook at it, then: modelpool check {name} && modelpool --policy {name}\n"
    ));
    Ok(())
}

/// What there is to compute on.
struct Machine {
    devices: Vec<DeviceId>,
    memory: Vec<DeviceMemory>,
    /// How much of it may be taken: the defaults.
    policy: DevicesPolicy,
}

impl Machine {
    /// The device that computes, or the first of several, and what may be taken of it when nobody else uses it.
    fn room(&self) -> (DeviceId, ByteCount) {
        let device = self.devices.first().copied().unwrap_or(DeviceId::Host);
        let total = self.memory.iter().find(|memory| memory.device == device).map(|memory| memory.total);
        let total = total.unwrap_or(ByteCount::from_mib(1 << 20));
        let room = total.saturating_sub(self.policy.headroom(total));
        (
            device,
            if device == DeviceId::Host { room.min(self.policy.host_memory_limit.of(total)) } else { room },
        )
    }

    fn comment(&self) -> String {
        let threads = gpu::cpu_threads();
        let mut text = format!("# This machine: {threads} CPU threads");
        for memory in &self.memory {
            let name = if memory.device == DeviceId::Host { "memory" } else { memory.name.as_str() };
            write!(text, ", {name} {}", memory.total).expect("text");
        }
        if self.devices == [DeviceId::Host] {
            text.push_str("; no GPU that llama.cpp can use");
        }
        text + ".\n"
    }
}

/// A file of a model.
struct File {
    path: PathBuf,
    header: Header,
}

/// The files of a folder.
#[derive(Default)]
struct Found {
    /// By the model's name; the largest file first.
    models: BTreeMap<String, Vec<File>>,
    /// Files that cannot be served, and why.
    left_out: Vec<(PathBuf, String)>,
}

impl Found {
    fn under(folder: &Path) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let cannot = || format!("cannot read the folder {}", folder.display());
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            // What cannot be read further down is not there.
            let inside = fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
            paths.extend(inside);
            paths.push(path);
        }
        paths.retain(|path| path.is_file() && is_gguf(path) && !is_later_shard(path));
        paths.sort();
        for path in paths {
            match gguf::read_file(&path) {
                Ok(header) => {
                    found.models.entry(model_name(&path)).or_default().push(File { path, header });
                }
                Err(error) => found.left_out.push((path, error.to_string())),
            }
        }
        for files in found.models.values_mut() {
            files.sort_by_key(|file| std::cmp::Reverse(file.header.tensor_bytes));
            files.truncate(16);
        }
        Ok(found)
    }
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// The first shard stands for all.
fn is_later_shard(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    gguf::shard(&stem).is_some_and(|shard| shard.number != 1)
}

/// What clients call a file's model, in characters that names may have.
fn model_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = quantization::model_of(gguf::shard(&stem).map_or(&*stem, |shard| shard.name));
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    name.chars().map(legal).take(128).collect()
}

/// The text of a policy for what was found.
fn policy(machine: &Machine, found: &Found, base: &Path) -> String {
    let mut text = "# A policy of modelpool. All keys with their meanings: docs/policy.md. To complete and check it in an editor:\n\
                    #   modelpool schema > policy.schema.json\n\
                    # yaml-language-server: $schema=policy.schema.json\n"
        .to_owned();
    text += &machine.comment();
    text += "\nserver:\n  # 0.0.0.0:8080 lets other machines in; then give keys to those who may ask, with `modelpool key`.\n  listen: 127.0.0.1:8080\n\nmodels:\n";
    for (path, reason) in &found.left_out {
        let reason = reason.replace('\n', " ");
        writeln!(text, "  # {} is left out: {reason}", path.display()).expect("text");
    }
    if found.models.is_empty() {
        text += "  # No GGUF file was found: this is the small model inside the program.\n  - name: tidepool-3m\n    \
                 variants:\n      - path: embedded:tidepool-3m-f16.gguf\n    context_tokens: 1024\n";
    }
    for (name, files) in &found.models {
        text += &model(machine, name, files, base);
    }
    text
}

/// One model of the policy.
fn model(machine: &Machine, name: &str, files: &[File], base: &Path) -> String {
    let mut text =
        format!("  - name: {name}\n    # Best first: the best one that fits is loaded.\n    variants:\n");
    for file in files {
        let path = relative(&file.path, base);
        let path = serde_json::to_string(&path).unwrap_or_default();
        writeln!(text, "      - path: {path}  # {}", file.header.tensor_bytes).expect("text");
    }
    let best = &files[0].header;
    let engine = if gguf::is_encoder(&best.architecture) {
        "    engine:\n      # It makes vectors, not text.\n      pooling: mean\n"
    } else {
        ""
    };
    let (device, room) = machine.room();
    let trained = best.context_length_train.max(16);
    let contexts = || CONTEXTS.into_iter().filter(|context| *context <= trained).chain([trained.min(512)]);
    let options = SLOTS.into_iter().flat_map(|slots| contexts().map(move |context| (slots, context)));
    // The best variant with a large context, or else a smaller context, or fewer slots, or a smaller variant.
    let fitting = (0..files.len()).find_map(|at| {
        let fits = |&(slots, context): &(u32, u32)| {
            takes(&format!("{text}{engine}"), slots, context, at, device, base)
                .is_some_and(|bytes| bytes <= room)
        };
        options.clone().find(fits)
    });
    let (slots, context) = fitting.unwrap_or((1, trained.min(512)));
    if fitting.is_none() {
        writeln!(text, "    # None of them fits into {room}.").expect("text");
    }
    writeln!(
        text,
        "    # Tokens of prompt and answer together, of each slot; it was trained for {trained}.\n    \
         context_tokens: {context}\n    # Requests that an instance answers at the same time.\n    slots: {slots}"
    )
    .expect("text");
    text += engine;
    text += "    scale:\n      # 0 gives the memory back when nobody asks; 1 is always ready.\n      min_instances: 0\n";
    text
}

/// What the first instance of a variant takes.
fn takes(
    model: &str,
    slots: u32,
    context: u32,
    variant: usize,
    device: DeviceId,
    base: &Path,
) -> Option<ByteCount> {
    let text = format!("models:\n{model}    slots: {slots}\n    context_tokens: {context}\n");
    let policy = Policy::parse(&text, "a policy", base).ok()?;
    let catalog = Catalog::read(&policy.models, base);
    let takes = catalog.models.first()?.variants.get(variant)?.footprint(device).takes(device);
    Some(takes.worker + takes.instance)
}

/// A path as it is written in a policy that stands in `base`.
fn relative(path: &Path, base: &Path) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (path, base) = (whole(path), whole(base));
    path.strip_prefix(&base).unwrap_or(&path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_called_as_their_files_in_legal_letters() {
        for (file, name) in [
            ("tidepool-3m-q4_k_m.gguf", "tidepool-3m"),
            ("big-BF16-00001-of-00003.gguf", "big"),
            ("a b(c)-f16.gguf", "a-b-c-"),
        ] {
            assert_eq!(model_name(Path::new(file)), name, "{file}");
        }
        assert!(is_later_shard(Path::new("big-00002-of-00003.gguf")));
        assert!(!is_later_shard(Path::new("big-00001-of-00003.gguf")));
    }

    fn machine(bytes: u64) -> Machine {
        let memory = DeviceMemory {
            device: DeviceId::Host,
            name: "host".into(),
            uuid: None,
            total: ByteCount(bytes),
            used: ByteCount::ZERO,
            free: ByteCount(bytes),
            used_by_self: None,
            by_process: Vec::new(),
            sensors: gpu::Sensors::default(),
        };
        let policy = read_policy(None).unwrap().devices;
        Machine { devices: vec![DeviceId::Host], memory: vec![memory], policy }
    }

    fn demo(bytes: u64) -> Policy {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
        let found = Found::under(&folder).unwrap();
        let text = policy(&machine(bytes), &found, &folder);
        Policy::parse(&text, "new", &folder).unwrap_or_else(|error| panic!("{text}\n{error}"))
    }

    #[test]
    fn a_policy_fits_the_machine() {
        let large = demo(64 << 30);
        let model = &large.models[0];
        assert_eq!((model.name.as_str(), model.context_tokens, model.slots), ("tidepool-3m", 1024, 8));
        let crate::policy::Variants::Listed(variants) = &model.variants else { panic!("a list") };
        let names: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
        assert_eq!(names, ["tidepool-3m-f16", "tidepool-3m-q8_0", "tidepool-3m-q4_k_m"]);
        let small = demo(24 << 20);
        let small = (small.models[0].context_tokens, small.models[0].slots);
        assert!(small.0 < 1024 || small.1 < 8, "{small:?}");
    }

    #[test]
    fn an_empty_folder_gets_the_model_of_the_program_and_broken_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("broken.gguf"), "no model").unwrap();
        let found = Found::under(folder.path()).unwrap();
        let text = policy(&machine(1 << 34), &found, folder.path());
        assert!(text.contains("broken.gguf is left out: "), "{text}");
        let policy = Policy::parse(&text, "new", folder.path()).unwrap();
        assert_eq!(policy.models[0].name.as_str(), "tidepool-3m");
    }
}
