//! Chooses the next tokens of many sequences at once.
//!
//! On a GPU the choice among 128k tokens for each of 64 sequences takes longer than the decode call, if one thread does
//! it. So threads share the sequences; each choice depends on its own sequence alone.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::sampling::{Choice, Constraint, Sampler};

/// Fewer logits than this are looked through before another thread has woken up.
const MIN_SHARED_LOGITS: usize = 1 << 18;

/// One choice to make.
pub(super) struct Draw<'a> {
    /// `[n_vocab]`
    pub logits: &'a [f32],
    pub sampler: &'a mut Sampler,
    pub constraint: Option<&'a mut (dyn Constraint + 'static)>,
    /// The number of the token in its generation.
    pub index: u32,
    pub slot: usize,
}

impl Draw<'_> {
    fn choose(&mut self) -> (usize, Option<Choice>) {
        (self.slot, self.sampler.choose(self.logits, self.index, self.constraint.as_deref_mut()))
    }
}

/// The threads of one instance that choose.
pub(super) struct Crew {
    /// `None` where one thread is enough, or there are no more.
    pool: Option<ThreadPool>,
}

impl Crew {
    pub(super) fn new(threads: usize) -> Self {
        let build = |threads| {
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|at| format!("sampling-{at}")).build()
        };
        // Without threads it is slower, not wrong.
        let pool = (threads > 1).then(|| build(threads).ok()).flatten();
        Self { pool }
    }

    /// Makes all choices; the slot and the choice of each, in order. `None` where a constraint allows nothing.
    pub(super) fn choose(&self, mut draws: Vec<Draw<'_>>) -> Vec<(usize, Option<Choice>)> {
        let logits: usize = draws.iter().map(|draw| draw.logits.len()).sum();
        match &self.pool {
            Some(pool) if draws.len() > 1 && logits >= MIN_SHARED_LOGITS => {
                pool.install(|| draws.par_iter_mut().with_max_len(1).map(Draw::choose).collect())
            }
            _ => draws.iter_mut().map(Draw::choose).collect(),
        }
    }
}
