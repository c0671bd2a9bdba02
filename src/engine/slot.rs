//! A slot: the sequence that it serves, and the tokens in its part of the KV cache.

use std::sync::Arc;

use super::emission::{Number, Over};
use super::intake::token_count;
use super::prefix::Holding;
use super::{ContextSpec, Prepared};
use crate::batching::Need;
use crate::generation::{GenerationRequest, Token};
use crate::policy::ContextOverflow;
use crate::sampling::{Constraint, Sampler};

/// One sequence in a slot.
pub(super) struct Sequence {
    pub request: Arc<GenerationRequest>,
    pub number: Number,
    /// Set by the emitter.
    pub over: Over,
    /// Prompt and generated tokens, as far as the context holds them.
    pub tokens: Vec<Token>,
    pub prompt_tokens: usize,
    /// Whether it was decided where the beginning of the prompt comes from.
    pub attached: bool,
    /// How many tokens the KV cache had already.
    cached: usize,
    /// How many tokens are in the KV cache, once attached.
    pub computed: usize,
    /// Whether the next token is the first one here: all before it is prefill, also what others generated.
    pub prefill: bool,
    /// Tokens generated, here and by others.
    pub generated: u32,
    /// The most of them.
    max_tokens: u32,
    pub sampler: Sampler,
    pub constraint: Option<Box<dyn Constraint>>,
}

impl Sequence {
    /// The sequence of a request, and what others generated of it.
    pub fn new(prepared: Prepared, number: Number, over: Over, spec: &ContextSpec) -> (Self, Vec<Token>) {
        let Prepared { request, tokens, prompt_tokens, generated, sampler, constraint } = prepared;
        let room = (spec.context_tokens + token_count(&generated)).saturating_sub(token_count(&tokens));
        let max_tokens = match (spec.overflow, request.max_tokens) {
            (ContextOverflow::Shift, limit) => limit.unwrap_or(spec.context_tokens),
            (_, limit) => limit.map_or(room, |limit| limit.min(room)),
        };
        let sequence = Self {
            number,
            over,
            tokens,
            prompt_tokens,
            attached: false,
            cached: 0,
            computed: 0,
            prefill: true,
            generated: token_count(&generated),
            max_tokens,
            sampler,
            constraint,
            request,
        };
        (sequence, generated)
    }

    /// Whether it has all its tokens.
    pub fn is_complete(&self) -> bool {
        self.generated >= self.max_tokens
    }

    /// Goes on with a token.
    pub fn accept(&mut self, token: Token) {
        self.prefill = false;
        self.generated += 1;
        self.tokens.push(token);
        self.sampler.accept(token);
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token);
        }
    }

    /// Forgets `count` tokens from `keep` on, of which all are computed.
    pub fn forget(&mut self, keep: usize, count: usize) {
        self.tokens.drain(keep..keep + count);
        self.computed -= count;
    }

    /// Whether the prompt is short: at most `short` tokens had to be computed here.
    pub fn is_short(&self, short: usize) -> bool {
        self.tokens.len() - self.cached <= short
    }

    /// What it needs next; prompts are short up to `short` tokens.
    pub fn need(&self, slot: usize, short: usize) -> Need {
        let pending_tokens = self.tokens.len() - self.computed;
        Need { slot, pending_tokens, prefill: self.prefill, short: self.is_short(short) }
    }
}

/// One slot.
#[derive(Default)]
pub(super) struct Slot {
    pub sequence: Option<Sequence>,
    /// Tokens in the KV cache that no attached sequence accounts for.
    pub kept: Vec<Token>,
    /// When it was last used; grows.
    pub used: Number,
}

impl Slot {
    /// What it holds, for decisions.
    pub fn holding(&self) -> Holding<'_> {
        match &self.sequence {
            Some(sequence) if sequence.attached => Holding {
                held: &sequence.tokens[..sequence.computed],
                coming: if sequence.prefill { &sequence.tokens } else { &[] },
                free: false,
                used: self.used,
            },
            serving => Holding { held: &self.kept, coming: &[], free: serving.is_none(), used: self.used },
        }
    }

    /// How many tokens its KV cache holds.
    pub fn held(&self) -> usize {
        self.holding().held.len()
    }

    /// The token at a position that is not computed yet.
    pub fn pending(&self, position: usize) -> Token {
        self.sequence.as_ref().expect("planned slots hold sequences").tokens[position]
    }

    /// The sequence begins with `cached` tokens in the KV cache.
    pub fn attach(&mut self, cached: usize) {
        self.kept.clear();
        if let Some(sequence) = &mut self.sequence {
            sequence.attached = true;
            sequence.cached = cached;
            sequence.computed = cached;
        }
    }

    /// Takes the sequence out; its tokens stay.
    pub fn release(&mut self, now: Number) -> Option<Sequence> {
        let sequence = self.sequence.take()?;
        self.used = now;
        if sequence.attached {
            self.kept.clear();
            self.kept.extend(&sequence.tokens[..sequence.computed]);
        }
        Some(sequence)
    }

    /// Its KV cache is empty.
    pub fn forget_all(&mut self) {
        self.kept.clear();
        if let Some(sequence) = &mut self.sequence {
            sequence.computed = 0;
        }
    }
}
