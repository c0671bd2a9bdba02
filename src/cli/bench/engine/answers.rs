//! Times whole answers: the iteration loop that servers run, without worker process, queue and HTTP.
//!
//! What a server loses against this is its own overhead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{ContextSpec, EngineError, InlineEngine, Weights};
use crate::generation::{Event, EventSink, GenerationRequest, Loss, Prompt, SamplingSettings};
use crate::random::Random;

/// Prompts differ in length by up to this share, as people's do.
const LENGTHS_VARY: u32 = 16;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Questions {
    /// About so many tokens each.
    pub prompt_tokens: u32,
    /// Tokens of each answer.
    pub answer_tokens: u32,
    pub sampling: SamplingSettings,
    /// The next questions are asked for so long.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answered {
    /// Answers that are complete.
    pub answers: u32,
    /// Tokens of all.
    pub tokens: u32,
    /// From the first question to the last token.
    pub seconds: f64,
    /// From each question to its first token.
    pub first: Vec<f64>,
    /// Between two tokens of one answer.
    pub gaps: Vec<f64>,
}

/// Asks `sequences` questions at a time, the next one as soon as one is answered, at least once each.
///
/// # Errors
///
/// [`EngineError`] if the context cannot be made or used, or a question cannot be answered.
pub(super) fn measure<W: Weights>(
    weights: &W,
    spec: ContextSpec,
    sequences: u32,
    questions: &Questions,
    stop: &AtomicBool,
) -> Result<Answered, EngineError> {
    let mut engine = InlineEngine::new(weights, spec)?;
    let vocabulary_tokens = weights.vocabulary().tokens();
    let mut random = Random::new(sequences.into());
    let answered = Arc::new(Mutex::new(Answered::default()));
    let begun = Instant::now();
    let mut asked = 0;
    loop {
        let goes_on = asked < sequences || begun.elapsed() < questions.time;
        while goes_on && !stop.load(Ordering::Relaxed) && asked < locked(&answered).answers + sequences {
            let request = question(questions, vocabulary_tokens, &mut random);
            engine.admit(request.into(), Box::new(Listener::new(&answered)));
            asked += 1;
        }
        if engine.is_idle() {
            break;
        }
        engine.step()?;
    }
    let mut answered = std::mem::take(&mut *locked(&answered));
    answered.seconds = begun.elapsed().as_secs_f64();
    if answered.answers < asked {
        let reason = format!("{} of {asked} answers failed", asked - answered.answers);
        return Err(EngineError::Decode(reason));
    }
    Ok(answered)
}

fn question(questions: &Questions, vocabulary_tokens: u32, random: &mut Random) -> GenerationRequest {
    let mean = questions.prompt_tokens;
    let tokens = mean - mean / LENGTHS_VARY + random.below(2 * (mean / LENGTHS_VARY) + 1);
    let prompt = (0..tokens).map(|_| random.below(vocabulary_tokens)).collect();
    GenerationRequest {
        sampling: questions.sampling.clone(),
        max_tokens: Some(questions.answer_tokens),
        ignore_eos: true,
        ..GenerationRequest::new(Prompt::Tokens(prompt))
    }
}

fn locked(answered: &Mutex<Answered>) -> MutexGuard<'_, Answered> {
    answered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes when the tokens of one answer come.
struct Listener {
    answered: Arc<Mutex<Answered>>,
    last: Instant,
    tokens: u32,
}

impl Listener {
    fn new(answered: &Arc<Mutex<Answered>>) -> Self {
        Self { answered: Arc::clone(answered), last: Instant::now(), tokens: 0 }
    }
}

impl EventSink for Listener {
    fn emit(&mut self, event: Event) {
        let mut answered = locked(&self.answered);
        match event {
            Event::Token { .. } => {
                let took = self.last.elapsed().as_secs_f64();
                let times = if self.tokens == 0 { &mut answered.first } else { &mut answered.gaps };
                times.push(took);
                self.last += Duration::from_secs_f64(took);
                self.tokens += 1;
            }
            Event::Finished { usage, .. } => {
                answered.answers += 1;
                answered.tokens += usage.completion_tokens;
            }
            _ => {}
        }
    }

    fn wanted(&self) -> bool {
        true
    }

    fn lost(self: Box<Self>, _: Loss) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::FakeWeights;

    fn questions(prompt_tokens: u32) -> Questions {
        Questions {
            prompt_tokens,
            answer_tokens: 5,
            sampling: SamplingSettings { temperature: 0.0, ..SamplingSettings::default() },
            time: Duration::ZERO,
        }
    }

    #[test]
    fn every_question_is_answered_and_every_token_timed() {
        let (weights, stop) = (FakeWeights::default(), AtomicBool::new(false));
        let spec = ContextSpec::sized(4, 40, 1);
        for sequences in [1, 3, 4] {
            let answered = measure(&weights, spec, sequences, &questions(20), &stop).unwrap();
            assert_eq!((answered.answers, answered.tokens), (sequences, sequences * 5));
            assert_eq!(
                (answered.first.len(), answered.gaps.len()),
                (sequences as usize, sequences as usize * 4)
            );
        }
        let longer = Questions { time: Duration::from_millis(20), ..questions(20) };
        assert!(measure(&weights, spec, 2, &longer, &stop).unwrap().answers > 2);
    }

    #[test]
    fn a_question_without_an_answer_is_an_error_and_a_stop_ends_it() {
        let weights = FakeWeights::default();
        let spec = ContextSpec::sized(2, 16, 1);
        let error = measure(&weights, spec, 2, &questions(32), &AtomicBool::new(false)).unwrap_err();
        assert!(error.to_string().contains("2 of 2 answers failed"), "{error}");
        let answered = measure(&weights, spec, 2, &questions(8), &AtomicBool::new(true)).unwrap();
        assert_eq!((answered.answers, answered.tokens), (0, 0));
    }
}
