//! All parts of an engine in the caller's thread: for tests, measurements and programs that embed an engine.

use std::sync::Arc;
use std::time::Instant;

use super::{ContextSpec, Emitter, Engine, EngineError, StepReport, Weights, prepare};
use crate::generation::{Event, EventSink, SequenceSpec};

/// An engine whose prompts are prepared, and whose text is made and sent, by whoever calls it.
pub struct InlineEngine<'weights, W: Weights + 'weights> {
    weights: &'weights W,
    spec: ContextSpec,
    engine: Engine<W::Context<'weights>>,
    emitter: Emitter,
}

impl<'weights, W: Weights> InlineEngine<'weights, W> {
    /// Makes a context and an engine over it.
    ///
    /// # Errors
    ///
    /// [`EngineError::Context`], most often because memory is short.
    pub fn new(weights: &'weights W, spec: ContextSpec) -> Result<Self, EngineError> {
        let engine = Engine::new(weights.context(spec)?, Arc::clone(weights.vocabulary()));
        Ok(Self { weights, spec, engine, emitter: Emitter::new(Arc::clone(weights.vocabulary())) })
    }

    /// Whether there is nothing to compute.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }

    /// Puts a sequence into a free slot, or tells its sink why not.
    pub fn admit(&mut self, spec: SequenceSpec, mut sink: Box<dyn EventSink>) {
        match prepare(self.weights, self.spec, spec) {
            Ok(prepared) => self.engine.admit(prepared, sink),
            Err(error) => sink.emit(Event::Failed(error)),
        }
        self.tell();
    }

    /// See [`Engine::step`] and [`Engine::pace`].
    ///
    /// # Errors
    ///
    /// As [`Engine::step`].
    pub fn step(&mut self) -> Result<StepReport, EngineError> {
        let begun = Instant::now();
        let outcome = self.engine.step();
        if let Ok(report) = outcome {
            self.engine.pace(report, begun.elapsed());
        }
        self.tell();
        outcome
    }

    /// See [`Engine::set_threads`].
    ///
    /// # Errors
    ///
    /// As [`Engine::set_threads`].
    pub fn set_threads(&mut self, threads: u32) -> Result<(), EngineError> {
        let outcome = self.engine.set_threads(threads);
        self.tell();
        outcome
    }

    /// See [`Engine::stop`].
    pub fn stop(&mut self) {
        self.engine.stop();
        self.tell();
    }

    fn tell(&mut self) {
        self.emitter.emit(self.engine.take_emissions());
    }
}
