//! An engine that fails on purpose. Only in builds for tests (feature `fault-injection`).
//!
//! The variable `MODELPOOL_FAULT` names faults, separated by commas: `KIND[@WORKER][:NUMBER]`, for example
//! `abort-at-step@1:20,slow:5`. Without `@WORKER` a fault holds for every worker. The number is that of the decode call,
//! or milliseconds for `slow`. A prompt can name a fault as well, for the worker that decodes it: `[fault:abort]`,
//! `[fault:freeze]`, `[fault:exit]`.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::abort;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::{BatchToken, Context, ContextSpec, EngineError, Loader, Vocabulary, Weights, WeightsSpec};
use crate::generation::{GenerationError, Grammar, SpecialToken, Token, Tokenizing};
use crate::sampling::Constraint;
use crate::units::WorkerId;

/// Names the faults.
pub const VARIABLE: &str = "MODELPOOL_FAULT";

/// What a worker does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AbortAtLoad,
    HangAtLoad,
    OutOfMemoryAtLoad,
    AbortAtStep,
    ExitAtStep,
    FreezeAtStep,
    GarbleAtStep,
    Slow,
}

const KINDS: [(&str, Kind); 8] = [
    ("abort-at-load", Kind::AbortAtLoad),
    ("hang-at-load", Kind::HangAtLoad),
    ("out-of-memory-at-load", Kind::OutOfMemoryAtLoad),
    ("abort-at-step", Kind::AbortAtStep),
    ("exit-at-step", Kind::ExitAtStep),
    ("freeze-at-step", Kind::FreezeAtStep),
    ("garble-at-step", Kind::GarbleAtStep),
    ("slow", Kind::Slow),
];

/// The faults that a prompt can name.
const PROMPTED: [(&str, Kind); 3] = [
    ("[fault:abort]", Kind::AbortAtStep),
    ("[fault:freeze]", Kind::FreezeAtStep),
    ("[fault:exit]", Kind::ExitAtStep),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault {
    kind: Kind,
    number: u64,
}

/// Wraps a loader and fails as the environment says.
#[derive(Debug)]
pub struct FaultyLoader<L> {
    inner: L,
    faults: Vec<Fault>,
}

impl<L> FaultyLoader<L> {
    /// The faults of one worker.
    ///
    /// # Panics
    ///
    /// If the variable names a fault that does not exist.
    pub fn from_environment(inner: L, worker: WorkerId) -> Self {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let faults = text.split(',').filter(|part| !part.is_empty()).filter_map(|part| parse(part, worker));
        Self { inner, faults: faults.collect() }
    }
}

/// One fault of the list, if it is for this worker.
fn parse(text: &str, own: WorkerId) -> Option<Fault> {
    let (rest, number) = text.split_once(':').unwrap_or((text, "0"));
    let (name, worker) = rest.split_once('@').map_or((rest, None), |(name, worker)| (name, Some(worker)));
    let kind = KINDS.iter().find(|(known, _)| *known == name);
    let (_, kind) = kind.unwrap_or_else(|| panic!("{VARIABLE}: there is no fault {name:?}"));
    let number = number.parse().unwrap_or_else(|_| panic!("{VARIABLE}: {text:?} has no number"));
    worker.is_none_or(|worker| worker == own.0.to_string()).then_some(Fault { kind: *kind, number })
}

impl<L: Loader> Loader for FaultyLoader<L> {
    type Weights = FaultyWeights<L::Weights>;

    fn load(&self, spec: &WeightsSpec) -> Result<Self::Weights, EngineError> {
        for fault in &self.faults {
            match fault.kind {
                Kind::AbortAtLoad => give_up("model.cpp:7: GGML_ASSERT(told) failed"),
                Kind::HangAtLoad => hang(),
                Kind::OutOfMemoryAtLoad => {
                    let path = spec.path.display().to_string();
                    return Err(EngineError::Load { path, reason: "told to be out of memory".into() });
                }
                _ => {}
            }
        }
        let inner = self.inner.load(spec)?;
        let (steps, prompted) = (AtomicU64::new(0), AtomicUsize::new(0));
        Ok(FaultyWeights { inner, faults: self.faults.clone(), steps, prompted })
    }
}

/// Wraps weights.
#[derive(Debug)]
pub struct FaultyWeights<W> {
    inner: W,
    faults: Vec<Fault>,
    /// Decode calls of all contexts.
    steps: AtomicU64,
    /// One more than the place in [`PROMPTED`] of the fault that a prompt named; 0 for none.
    prompted: AtomicUsize,
}

impl<W: Weights> Weights for FaultyWeights<W> {
    type Context<'weights>
        = FaultyContext<'weights, W::Context<'weights>>
    where
        W: 'weights;

    fn context(&self, spec: ContextSpec) -> Result<Self::Context<'_>, EngineError> {
        let inner = self.inner.context(spec)?;
        Ok(FaultyContext { inner, faults: &self.faults, steps: &self.steps, prompted: &self.prompted })
    }

    fn vocabulary(&self) -> &Arc<Vocabulary> {
        self.inner.vocabulary()
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        if let Some(at) = PROMPTED.iter().position(|(marker, _)| text.contains(marker)) {
            self.prompted.store(at + 1, Ordering::Relaxed);
        }
        self.inner.tokenize(text)
    }

    fn tokenize_with(&self, text: &str, form: Tokenizing) -> Vec<Token> {
        self.inner.tokenize_with(text, form)
    }

    fn special(&self, token: SpecialToken) -> Option<Token> {
        self.inner.special(token)
    }

    fn written(&self, token: Token) -> Vec<u8> {
        self.inner.written(token)
    }

    fn constraint(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, GenerationError> {
        self.inner.constraint(grammar)
    }
}

/// Wraps a context.
#[derive(Debug)]
pub struct FaultyContext<'weights, C> {
    inner: C,
    faults: &'weights [Fault],
    steps: &'weights AtomicU64,
    prompted: &'weights AtomicUsize,
}

impl<C: Context> Context for FaultyContext<'_, C> {
    fn spec(&self) -> ContextSpec {
        self.inner.spec()
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), EngineError> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        let prompted = self.prompted.load(Ordering::Relaxed).checked_sub(1).map(|at| PROMPTED[at].1);
        if let Some(kind) = prompted {
            strike(kind);
        }
        for fault in self.faults {
            match fault.kind {
                Kind::Slow => std::thread::sleep(Duration::from_millis(fault.number)),
                kind if fault.number == step => strike(kind),
                _ => {}
            }
        }
        self.inner.decode(batch)
    }

    fn divides_texts(&self) -> bool {
        self.inner.divides_texts()
    }

    fn logits(&self, row: usize) -> &[f32] {
        self.inner.logits(row)
    }

    fn max_gap(&self) -> usize {
        self.inner.max_gap()
    }

    fn padding_price(&self) -> usize {
        self.inner.padding_price()
    }

    fn embedding(&self, slot: u32) -> &[f32] {
        self.inner.embedding(slot)
    }

    fn truncate(&mut self, slot: u32, keep: u32) -> bool {
        self.inner.truncate(slot, keep)
    }

    fn copy(&mut self, from: u32, to: u32, keep: u32) -> bool {
        self.inner.copy(from, to, keep)
    }

    fn shift(&mut self, slot: u32, from: u32, count: u32) -> bool {
        self.inner.shift(slot, from, count)
    }

    fn keep(&mut self, slot: u32, tokens: &[Token]) {
        self.inner.keep(slot, tokens);
    }

    fn restore(&mut self, slot: u32, tokens: &[Token], least: usize) -> u32 {
        self.inner.restore(slot, tokens, least)
    }

    fn sampling_threads(&self) -> usize {
        self.inner.sampling_threads()
    }

    fn set_threads(&mut self, threads: u32) -> Result<(), EngineError> {
        self.inner.set_threads(threads)
    }
}

fn strike(kind: Kind) {
    match kind {
        Kind::AbortAtStep => give_up("ops.cpp:41: GGML_ASSERT(told) failed"),
        Kind::ExitAtStep => signal_hook::low_level::exit(3),
        Kind::FreezeAtStep => hang(),
        Kind::GarbleAtStep => garble(),
        Kind::Slow | Kind::AbortAtLoad | Kind::HangAtLoad | Kind::OutOfMemoryAtLoad => {}
    }
}

/// As ggml does it.
fn give_up(words: &str) -> ! {
    eprintln!("/build/ggml/src/{words}");
    abort()
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Writes nonsense to the server, in the middle of what is said.
fn garble() {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().expect("a worker's socket");
    UnixStream::from(socket).write_all(&[0x5a; 64]).expect("the server reads");
}
