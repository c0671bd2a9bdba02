//! Decides what becomes of a request whose instance was lost.
//!
//! Input: how it was lost, and what happened to the request before. Output: a verdict. PURE.
//!
//! A request can be the cause: one that reaches a bug of llama.cpp ends every worker that serves it. Who continues it
//! for ever takes the pool down; who gives up all that ran beside it loses the innocent. So a request under suspicion
//! continues while no other suspect does, until its first new token acquits it: it continues exactly where it was
//! lost, so that a request that ends its worker again does so at once, and is then alone under suspicion.

/// Times in a row that a request is continued without a new token in between.
pub const MAX_INTERRUPTIONS: u32 = 8;
/// Workers that a request ends, at the last alone under suspicion, before it is not tried again.
pub const MAX_STRIKES: u32 = 2;

use crate::generation::Suspicion;

/// What happened to a request since its last token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Instances lost.
    pub interruptions: u32,
    /// Instances lost of which it was suspected.
    pub strikes: u32,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on elsewhere.
    Resume {
        /// Not while another suspect has yet to show that it can go on.
        on_probation: bool,
    },
    /// It was interrupted too often, by whatever cause.
    GiveUp,
    /// It is the cause.
    Poison,
}

impl History {
    /// A new token: whatever was suspected did not come true.
    pub fn progress(&mut self) {
        *self = Self::default();
    }

    /// Its instance was lost.
    pub fn interrupted(&mut self, suspicion: Suspicion) -> Verdict {
        self.interruptions += 1;
        self.strikes += u32::from(suspicion != Suspicion::None);
        if self.strikes >= MAX_STRIKES && suspicion == Suspicion::Alone {
            Verdict::Poison
        } else if self.interruptions >= MAX_INTERRUPTIONS {
            Verdict::GiveUp
        } else {
            Verdict::Resume { on_probation: self.strikes > 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Suspicion::{Alone, None, Shared};

    const FREE: Verdict = Verdict::Resume { on_probation: false };
    const PROBATION: Verdict = Verdict::Resume { on_probation: true };

    fn check(losses: &[Suspicion], expected: &[Verdict]) {
        let mut history = History::default();
        let verdicts: Vec<_> = losses.iter().map(|suspicion| history.interrupted(*suspicion)).collect();
        assert_eq!(verdicts, expected, "{losses:?}");
    }

    #[test]
    fn only_who_ends_workers_alone_is_given_up_as_their_cause() {
        check(&[None, None, None], &[FREE, FREE, FREE]);
        check(&[Alone, Alone], &[PROBATION, Verdict::Poison]);
        check(&[Shared, Alone], &[PROBATION, Verdict::Poison]);
        check(&[Shared, Shared, Shared, Alone], &[PROBATION, PROBATION, PROBATION, Verdict::Poison]);
        check(&[Shared, None, Alone], &[PROBATION, PROBATION, Verdict::Poison]);
    }

    #[test]
    fn interruptions_without_a_token_in_between_are_bounded() {
        let mut expected = [FREE; MAX_INTERRUPTIONS as usize];
        expected[MAX_INTERRUPTIONS as usize - 1] = Verdict::GiveUp;
        check(&[None; MAX_INTERRUPTIONS as usize], &expected);
    }

    #[test]
    fn a_new_token_acquits() {
        let mut history = History::default();
        history.interrupted(Alone);
        history.progress();
        assert_eq!(history.interrupted(Alone), PROBATION);
    }
}
