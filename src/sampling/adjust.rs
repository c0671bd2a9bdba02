//! What changes the logits of single tokens: `logit_bias`, penalties, DRY.
//!
//! PURE. Only the few tokens concerned are touched; all others keep the logits that the model gave them.

use std::sync::Arc;

use super::dry::{self, Breakers, Repetitions};
use super::history::{Counts, History, penalized};
use crate::generation::{Dry, Penalties, SamplingSettings, Token};

/// The settings that change single logits, and what they look back on.
#[derive(Clone, Debug)]
pub(super) struct Adjustments {
    /// Ordered by token, each once.
    bias: Vec<(Token, f32)>,
    penalties: Penalties,
    dry: Dry,
    breakers: Arc<Breakers>,
    history: History,
    /// `None` if the penalties change nothing.
    counts: Option<Counts>,
    /// `None` if DRY is off.
    repetitions: Option<Repetitions>,
    replaced: Vec<(Token, f32)>,
}

impl Adjustments {
    pub(super) fn new(settings: &SamplingSettings, never: &[Token], breakers: Arc<Breakers>) -> Self {
        let never = never.iter().map(|token| (*token, f32::NEG_INFINITY));
        let mut bias: Vec<_> = settings.logit_bias.iter().copied().chain(never).collect();
        bias.sort_by_key(|(token, _)| *token);
        bias.dedup_by(|later, first| {
            let equal = later.0 == first.0;
            if equal {
                first.1 += later.1;
            }
            equal
        });
        let SamplingSettings { penalties, dry, .. } = settings;
        // As in llama.cpp, Mirostat is used alone.
        let alone = settings.mirostat.is_some();
        let counts = (penalties.act() && !alone).then(|| Counts::new(penalties.last_tokens as usize));
        let looks = dry.multiplier != 0.0 && dry.base >= 1.0 && dry.last_tokens != Some(0) && !alone;
        let reach = counts.as_ref().map_or(0, |_| Counts::reach(penalties.last_tokens as usize));
        let history = History::new(reach.max(if looks { dry_reach(dry) } else { 0 }));
        Self {
            bias,
            penalties: *penalties,
            dry: dry.clone(),
            breakers,
            history,
            counts,
            repetitions: looks.then(Repetitions::default),
            replaced: Vec::new(),
        }
    }

    /// The text goes on with `token`.
    pub(super) fn accept(&mut self, token: Token) {
        if self.history.matters() {
            self.history.push(token);
        }
    }

    /// The tokens whose logits change, ordered, and what they change to. `logits`: `[n_vocab]`.
    pub(super) fn of(&mut self, logits: &[f32]) -> &[(Token, f32)] {
        let Self { bias, penalties, dry, breakers, history, counts, repetitions, replaced } = self;
        let counts = counts.as_mut().map_or(&[][..], |counts| counts.of(history));
        let repetitions = repetitions.as_mut().map_or(&[][..], |repetitions| {
            repetitions.of(history.latest(dry_reach(dry)), dry.allowed_length as usize, breakers)
        });
        replaced.clear();
        let mut bias = bias.iter().peekable();
        let mut counts = counts.iter().peekable();
        let mut repetitions = repetitions.iter().peekable();
        loop {
            let next = [
                bias.peek().map(|(token, _)| *token),
                counts.peek().map(|(token, _)| *token),
                repetitions.peek().map(|(token, _)| *token),
            ];
            let Some(token) = next.into_iter().flatten().min() else { break };
            // All later ones are outside of the vocabulary, too.
            let Some(mut logit) = logits.get(token as usize).copied() else { break };
            if let Some((_, bias)) = bias.next_if(|(of, _)| *of == token) {
                logit += bias;
            }
            if let Some((_, count)) = counts.next_if(|(of, _)| *of == token) {
                logit = penalized(logit, *count, penalties);
            }
            if let Some((_, length)) = repetitions.next_if(|(of, _)| *of == token) {
                logit -= dry::penalty(*length, dry);
            }
            // An infinite logit has no probability.
            replaced.push((token, if logit > f32::MAX { f32::MAX } else { logit }));
        }
        replaced
    }
}

fn dry_reach(dry: &Dry) -> usize {
    dry.last_tokens.map_or(usize::MAX, |tokens| tokens as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: &SamplingSettings, never: &[Token], text: &[Token], expected: &[(Token, f32)]) {
        let mut adjustments = Adjustments::new(settings, never, Arc::default());
        text.iter().for_each(|token| adjustments.accept(*token));
        assert_eq!(adjustments.of(&[1.0, 2.0, 3.0, 4.0]), expected, "{settings:?} after {text:?}");
    }

    #[test]
    fn only_the_tokens_concerned_change_and_all_changes_of_one_add_up() {
        let none = SamplingSettings::default();
        check(&none, &[], &[1, 2], &[]);
        check(&none, &[3, 9], &[], &[(3, f32::NEG_INFINITY)]);
        let biased = SamplingSettings { logit_bias: vec![(2, -1.0), (0, 0.5), (2, 0.25)], ..none.clone() };
        check(&biased, &[], &[], &[(0, 1.5), (2, 2.25)]);
        check(&biased, &[2], &[], &[(0, 1.5), (2, f32::NEG_INFINITY)]);
        let penalties = Penalties { last_tokens: 3, repeat: 2.0, frequency: 0.25, presence: 0.5 };
        let penalized = SamplingSettings { penalties, ..biased };
        check(&penalized, &[], &[1, 0, 3, 0, 9], &[(0, 0.0), (2, 2.25), (3, 1.25)]);
        let dry = Dry { multiplier: 1.0, base: 2.0, ..Dry::default() };
        let all = SamplingSettings { dry, ..penalized };
        // 0, 1 was followed by 2, and so was 3, 0, 1.
        check(&all, &[], &[3, 0, 1, 2, 3, 0, 1], &[(0, 0.0), (1, 0.25), (2, 0.25), (3, 1.25)]);
    }

    #[test]
    fn mirostat_is_used_alone() {
        let mirostat = crate::generation::Mirostat {
            version: crate::generation::MirostatVersion::V2,
            tau: 5.0,
            eta: 0.1,
        };
        let settings = SamplingSettings {
            penalties: Penalties { presence: 1.0, ..Penalties::default() },
            dry: Dry { multiplier: 1.0, ..Dry::default() },
            mirostat: Some(mirostat),
            logit_bias: vec![(1, 1.0)],
            ..SamplingSettings::default()
        };
        check(&settings, &[], &[0, 1, 2, 0, 1], &[(1, 3.0)]);
    }
}
