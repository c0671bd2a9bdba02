//! Grammars: those of clients, and what llama.cpp makes of schemas.

use std::sync::Arc;

use llama_cpp_2::json_schema_to_grammar;

use super::calls;
use crate::engine::Vocabulary;
use crate::generation::{GenerationError, Grammar, Token};
use crate::grammar::{Bounds, Follower};
use crate::sampling::{Candidate, Constraint};

/// Reads a grammar. llama.cpp's converter can hang or end the process on a hostile schema: this runs in a worker.
/// `tokenize` recognizes special tokens.
pub(super) fn constraint(
    grammar: &Grammar,
    vocabulary: &Arc<Vocabulary>,
    tokenize: impl Fn(&str) -> Vec<Token>,
) -> Result<Box<dyn Constraint>, GenerationError> {
    let (field, text, bounds) = match grammar {
        Grammar::Gbnf(text) => ("grammar", Ok(text.clone()), Bounds::WRITTEN),
        Grammar::JsonSchema(schema) => ("json_schema", converted(schema), Bounds::CONVERTED),
        Grammar::Calls(calls) => {
            let text = converted(&calls.schema).and_then(|text| calls::assemble(calls, &text));
            ("tools", text, Bounds::CONVERTED)
        }
    };
    let follower = text.and_then(|text| {
        let mut grammar = crate::grammar::Grammar::read(&text, bounds)?;
        grammar.resolve(vocabulary.tokens(), |text| match tokenize(text).as_slice() {
            [token] => Some(*token),
            _ => None,
        })?;
        Follower::new(grammar).map_err(|error| error.to_string())
    });
    let follower = follower.map_err(|reason| GenerationError::Grammar { field: field.into(), reason })?;
    Ok(Box::new(Followed { follower, vocabulary: Arc::clone(vocabulary), field, fault: None }))
}

fn converted(schema: &str) -> Result<String, String> {
    json_schema_to_grammar(schema).map_err(|_| {
        "llama.cpp cannot make a grammar of it; simplify it, see docs/api.md for what is known".to_owned()
    })
}

/// The state of one text.
struct Followed {
    follower: Follower,
    vocabulary: Arc<Vocabulary>,
    /// The request's field.
    field: &'static str,
    /// Why it is given up.
    fault: Option<String>,
}

impl Followed {
    fn allows(&mut self, token: Token) -> bool {
        if self.fault.is_some() {
            return false;
        }
        if self.vocabulary.ends_generation(token) {
            return self.follower.may_end();
        }
        self.follower.allows(token, self.vocabulary.written(token)).unwrap_or_else(|error| {
            self.fault = Some(error.to_string());
            false
        })
    }
}

impl Constraint for Followed {
    fn forbid(&mut self, candidates: &mut [Candidate]) {
        for candidate in candidates {
            if !self.allows(candidate.token) {
                candidate.logit = f32::NEG_INFINITY;
            }
        }
    }

    fn accept(&mut self, token: Token) {
        if self.vocabulary.ends_generation(token) {
            return;
        }
        match self.follower.accept(token, self.vocabulary.written(token)) {
            Ok(true) => {}
            Ok(false) => tracing::warn!(token, "the grammar did not take a token that it had allowed"),
            Err(error) => self.fault = Some(error.to_string()),
        }
    }

    fn fault(&self) -> Option<GenerationError> {
        let reason = self.fault.clone()?;
        Some(GenerationError::Grammar { field: self.field.into(), reason })
    }
}
