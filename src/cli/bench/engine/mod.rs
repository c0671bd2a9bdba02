//! `modelpool bench engine`: measures llama.cpp on this machine, without a server.

mod answers;
mod arguments;
mod calibrate;
mod calibration;
mod measure;
mod plan;
mod report;
mod starts;
mod subject;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;
use signal_hook::consts::SIGINT;

use answers::Questions;
pub(super) use arguments::EngineArguments;
use measure::Bench;
use plan::{Chain, Measurement, Sizes, Step};
use report::{Answers, Decode, Figures, Mixed, Prefill, Sampling};
use subject::Subject;

use super::INTERRUPTED;
use crate::cli::progress::Progress;
use crate::cli::{print, relaunch};
use crate::engine::llama::LlamaLoader;
use crate::engine::{Context, ContextSpec, EngineError, Loader as _, Weights};
use crate::generation::SamplingSettings;

/// Measures and prints.
///
/// # Errors
///
/// A model that cannot be loaded, or a decode call that fails.
pub(super) fn run(arguments: &EngineArguments) -> anyhow::Result<ExitCode> {
    // Threads that compute should wait as those of workers do.
    relaunch::with_environment();
    let stop = Arc::new(AtomicBool::new(false));
    // In this order: the first signal finds the flag unset and sets it, the second one ends the process.
    signal_hook::flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(&stop))
        .and_then(|_| signal_hook::flag::register(SIGINT, Arc::clone(&stop)))
        .context("cannot listen for signals")?;
    let text = match &arguments.calibrate {
        Some(file) => calibrate::run(file, arguments, &stop)?,
        None => measure(&Subject::find(arguments)?, arguments, &stop)?,
    };
    print(&text);
    let code = if stop.load(Ordering::Relaxed) { INTERRUPTED } else { 0 };
    // Drivers of GPUs may have started threads that llama.cpp's destructors do not expect.
    signal_hook::low_level::exit(code.into());
}

/// Loads the model, measures, and gives the report.
fn measure(subject: &Subject, arguments: &EngineArguments, stop: &AtomicBool) -> anyhow::Result<String> {
    let begun = Instant::now();
    let weights = LlamaLoader.load(&subject.weights)?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let vocabulary_tokens = weights.vocabulary().tokens();
    let ContextSpec { slots, context_tokens, .. } = subject.spec;
    let depth = plan::depth(arguments.depth, context_tokens);
    let sizes = Sizes { slots, context_tokens, max_batch_tokens: subject.spec.call_tokens() };
    let measurements = plan::measurements(|kind| arguments.wants(kind), &arguments.chunk_tokens, sizes);
    let (prompt_tokens, answer_tokens) =
        plan::lengths(arguments.prompt_tokens, arguments.answer_tokens, context_tokens);
    let questions = Questions {
        prompt_tokens,
        answer_tokens,
        sampling: subject.sampling.clone(),
        time: arguments.seconds,
    };
    let progress = Progress::new(1);
    let work =
        Work { measurements: &measurements, depth, questions: &questions, name: "", progress: &progress };
    let figures = figures(&weights, subject.spec, &work, stop)?;
    progress.end();
    let interrupted = stop.load(Ordering::Relaxed);
    if arguments.json {
        let mut document = subject.json();
        document["vocabulary_tokens"] = vocabulary_tokens.into();
        document["load_seconds"] = load_seconds.into();
        document["depth"] = depth.into();
        document["interrupted"] = interrupted.into();
        document["figures"] = json!(figures);
        return Ok(format!("{document:#}\n"));
    }
    let end = if interrupted { "; interrupted" } else { "" };
    Ok(format!(
        "{subject}\nvocabulary of {vocabulary_tokens}, loaded in {load_seconds:.2} s{end}\n\n{}",
        report::text(&figures)
    ))
}

/// What is measured on one model.
struct Work<'a> {
    measurements: &'a [Measurement],
    /// Tokens that sequences have before they decode.
    depth: u32,
    questions: &'a Questions,
    /// What the progress is called.
    name: &'a str,
    progress: &'a Progress,
}

fn figures<W: Weights>(
    weights: &W,
    spec: ContextSpec,
    work: &Work<'_>,
    stop: &AtomicBool,
) -> Result<Figures, EngineError> {
    let Work { measurements, depth, questions, name, progress } = *work;
    let policy = &questions.sampling;
    let greedy = SamplingSettings { temperature: 0.0, ..policy.clone() };
    progress.begin(name.to_owned(), measurements.len() as u64);
    let mut figures = Figures::default();
    let mut steps = None;
    for (number, measurement) in (0..).zip(measurements) {
        progress.at(number);
        progress.say(|| measurement.to_string());
        match *measurement {
            Measurement::Answers(sequences) => {
                // Memory may not hold both contexts.
                drop(steps.take());
                let answered = answers::measure(weights, spec, sequences, questions, stop)?;
                figures.answers.push(Answers::new(sequences, &answered));
            }
            Measurement::Step(step) => {
                let bench = match &mut steps {
                    Some(bench) => bench,
                    none => {
                        let vocabulary_tokens = weights.vocabulary().tokens();
                        none.insert(Bench::new(
                            weights.context(spec)?,
                            vocabulary_tokens,
                            questions.time,
                            stop,
                        ))
                    }
                };
                time_step(bench, step, depth, [policy, &greedy], &mut figures)?;
            }
        }
        // The last one may have been cut short, and is what was measured of it.
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(figures)
}

fn time_step<C: Context>(
    bench: &mut Bench<'_, C>,
    step: Step,
    depth: u32,
    [policy, greedy]: [&SamplingSettings; 2],
    figures: &mut Figures,
) -> Result<(), EngineError> {
    match step {
        Step::Prefill(tokens) => {
            figures.prefill.push(Prefill::new(tokens, &bench.prefill(tokens)?));
        }
        Step::Decode(sequences) => {
            figures.decode.push(Decode::new(sequences, &bench.decode(sequences, depth)?));
        }
        Step::Mixed(sequences, chunk) => {
            let (without, with) = bench.mixed(sequences, depth, chunk)?;
            figures.mixed.push(Mixed::new(sequences, chunk, &without, &with));
        }
        Step::Sampling(chain) => {
            figures.sampling_threads = bench.sampling_threads();
            let settings = if chain == Chain::Greedy { greedy } else { policy };
            figures.sampling.push(Sampling::new(chain.name(), &bench.sampling(settings)?));
        }
    }
    Ok(())
}
