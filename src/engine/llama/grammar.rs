//! Grammars, as llama.cpp reads and follows them.

use llama_cpp_2::json_schema_to_grammar;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use super::calls;
use super::tokens::llama_token;
use crate::generation::{GenerationError, Grammar, Token};
use crate::sampling::{Candidate, Constraint};

/// Reads a grammar. Hostile ones can hang or end the process: this runs in a worker.
pub(super) fn constraint(
    model: &LlamaModel,
    grammar: &Grammar,
) -> Result<Box<dyn Constraint>, GenerationError> {
    let error = |field: &str, reason: String| GenerationError::Grammar { field: field.into(), reason };
    let (field, text) = match grammar {
        Grammar::Gbnf(text) => ("grammar", text.clone()),
        Grammar::JsonSchema(schema) => {
            let text = json_schema_to_grammar(schema).map_err(|e| error("json_schema", e.to_string()))?;
            ("json_schema", text)
        }
        Grammar::Calls(calls) => {
            let converted =
                json_schema_to_grammar(&calls.schema).map_err(|e| error("tools", e.to_string()))?;
            ("tools", calls::assemble(calls, &converted).map_err(|reason| error("tools", reason))?)
        }
    };
    let sampler = LlamaSampler::grammar(model, &text, "root")
        .map_err(|e| error(field, format!("{e} (llama.cpp's own message is in the log)")))?;
    Ok(Box::new(LlamaGrammar { sampler, data: LlamaTokenDataArray::new(Vec::new(), false) }))
}

/// The state of one text.
struct LlamaGrammar {
    sampler: LlamaSampler,
    /// Kept for its memory.
    data: LlamaTokenDataArray,
}

impl Constraint for LlamaGrammar {
    fn forbid(&mut self, candidates: &mut [Candidate]) {
        let data = candidates.iter().map(|c| LlamaTokenData::new(llama_token(c.token), c.logit, 0.0));
        self.data.data.clear();
        self.data.data.extend(data);
        self.data.sorted = false;
        self.data.apply_sampler(&mut self.sampler);
        // A grammar only changes logits, in place.
        for (candidate, judged) in candidates.iter_mut().zip(&self.data.data) {
            candidate.logit = judged.logit();
        }
    }

    fn accept(&mut self, token: Token) {
        if let Err(error) = self.sampler.try_accept(llama_token(token)) {
            tracing::warn!(token, %error, "the grammar did not take a token that it had allowed");
        }
    }
}
