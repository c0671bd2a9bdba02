//! Measures what simulations have to know of this machine, and writes it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use super::answers::Questions;
use super::arguments::EngineArguments;
use super::calibration::{self, Known};
use super::measure::{Bench, DEPTH_VARIES};
use super::plan::{self, Sizes};
use super::subject::{Candidate, Subject};
use super::{Work, figures, starts};
use crate::cli::progress::Progress;
use crate::engine::llama::LlamaLoader;
use crate::engine::{ContextSpec, Loader as _, Weights};
use crate::policy::FlashAttention;
use crate::sim::Service;
use crate::units::DeviceSet;

/// By how much the contexts are longer in the measurement that shows what a held token costs.
const DEEPER: u32 = 4;
/// Two instances are measured at once for at least so long: they do not begin at the same moment.
const LEAST_TOGETHER: Duration = Duration::from_millis(250);
/// Tokens of a sequence that llama.cpp's fused attention on the CPU takes at once.
const FUSED_ROWS: u32 = 64;

/// Calibrates and writes `file`; gives what there is to print.
///
/// # Errors
///
/// A file that cannot be written, a model that cannot be loaded, or a decode call that fails.
pub(super) fn run(file: &Path, arguments: &EngineArguments, stop: &AtomicBool) -> anyhow::Result<String> {
    // Who cannot write is told before minutes of measurements.
    let written = || format!("cannot write {}", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    anyhow::ensure!(!file.is_dir(), "{}: is a directory", written());
    let permissions = std::fs::Permissions::from_mode(0o666);
    let new = tempfile::Builder::new().permissions(permissions).tempfile_in(folder);
    let mut new = new.with_context(written)?;
    let candidates = Subject::variants(arguments)?;
    let progress = Progress::new(1);
    let mut services = Vec::new();
    for candidate in &candidates {
        let service = calibrate(candidate, arguments, &progress, stop)?;
        if stop.load(Ordering::Relaxed) {
            progress.end();
            return Ok(format!("interrupted; {} is as it was\n", file.display()));
        }
        let service = service.with_context(|| format!("{}: not everything was measured", candidate.name))?;
        services.push((candidate.name.clone(), service));
    }
    progress.end();
    let list: Vec<&Service> = services.iter().map(|(_, service)| service).collect();
    let text = format!("{:#}\n", serde_json::json!(list));
    new.write_all(text.as_bytes()).with_context(written)?;
    new.persist(file).with_context(written)?;
    let heading = candidates.first().map(|candidate| candidate.subject.to_string()).unwrap_or_default();
    Ok(if arguments.json { text } else { format!("{heading}\n\n{}", calibration::text(&services)) })
}

/// `None` if it was stopped.
fn calibrate(
    candidate: &Candidate,
    arguments: &EngineArguments,
    progress: &Progress,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Service>> {
    let Candidate { name, subject, takes, .. } = candidate;
    progress.begin(format!("{name}: starts"), 1);
    // Before this process takes memory for the same.
    let starts = starts::measure(candidate, arguments.seconds, stop)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let weights = LlamaLoader.load(&subject.weights)?;
    let ContextSpec { slots, context_tokens, .. } = subject.spec;
    let sizes = Sizes { slots, context_tokens, max_batch_tokens: subject.spec.call_tokens() };
    let questions = Questions {
        prompt_tokens: 1,
        answer_tokens: 1,
        sampling: subject.sampling.clone(),
        time: arguments.seconds,
    };
    let depth = plan::depth(arguments.depth, context_tokens);
    let deep_depth = plan::depth(arguments.depth.saturating_mul(DEEPER), context_tokens);
    let measure = |measurements: &[_], depth, name: &str| {
        let work = Work { measurements, depth, questions: &questions, name, progress };
        figures(&weights, subject.spec, &work, stop)
    };
    let near = measure(&plan::calibration(sizes), depth, name)?;
    let deep = measure(&plan::calibration_deep(sizes), deep_depth, &format!("{name}, longer contexts"))?;
    progress.say(|| "two instances at once".into());
    let together = together(&weights, subject.spec, depth, arguments.seconds, stop)?;
    // Sequences grow while they are measured, by half of it on average.
    let held = |depth| f64::from(depth) + f64::from(DEPTH_VARIES.min(context_tokens - depth)) / 2.0;
    let known = Known {
        figures: &near,
        depth: held(depth),
        deep: &deep,
        deep_depth: held(deep_depth),
        together: &together,
        starts: &starts,
        takes: *takes,
        narrow_tokens: narrow_tokens(subject),
        request_seconds: arguments.request_seconds.as_secs_f64(),
    };
    Ok(known.service())
}

/// Seconds of decode calls with all slots in two contexts at the same time; none if memory does not hold both.
fn together<W: Weights>(
    weights: &W,
    spec: ContextSpec,
    depth: u32,
    time: Duration,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<f64>> {
    let (Ok(one), Ok(other)) = (weights.context(spec), weights.context(spec)) else { return Ok(Vec::new()) };
    let tokens = weights.vocabulary().tokens();
    let time = time.max(LEAST_TOGETHER);
    let mut benches = [one, other].map(|context| Bench::new(context, tokens, time, stop));
    let sequences = spec.slots;
    let steps: Vec<_> = std::thread::scope(|scope| {
        let begin = |bench| scope.spawn(move || Bench::decode(bench, sequences, depth));
        let threads: Vec<_> = benches.iter_mut().map(begin).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut seconds = Vec::new();
    for steps in steps {
        seconds.extend(steps.map_err(|_| anyhow::anyhow!("a measuring thread panicked"))??);
    }
    Ok(seconds)
}

/// llama.cpp's fused attention on the CPU takes parts of fewer tokens row by row (`ggml_compute_forward_flash_attn_ext`).
fn narrow_tokens(subject: &Subject) -> u32 {
    let fused = subject.spec.flash_attention != FlashAttention::Off;
    if fused && subject.weights.devices == DeviceSet::HOST { FUSED_ROWS } else { 0 }
}
