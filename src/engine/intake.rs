//! Makes requests computable: tokens instead of text, checked against vocabulary and context, grammars read.
//!
//! All this needs the weights alone, not a context, and can take long: it runs beside the iteration loop, so that
//! nobody's answer waits for somebody else's prompt.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{ContextSpec, Weights, prompt};
use crate::generation::{GenerationError, GenerationRequest, SequenceSpec, Token, Tokenizing};
use crate::policy::ContextOverflow;
use crate::sampling::dry::Breakers;
use crate::sampling::{Constraint, Sampler};

/// First tokens of a text that are never forgotten. Models put much attention on the first few, whatever they are;
/// four suffice (Xiao et al., "Efficient streaming language models with attention sinks", 2023,
/// <https://arxiv.org/abs/2309.17453>).
pub(super) const SINK_TOKENS: usize = 4;

/// A request that can be computed.
pub struct Prepared {
    /// The request.
    pub(super) request: Arc<GenerationRequest>,
    /// Prompt, and what other instances generated already, as far as the context holds them; never empty, and with
    /// room for one more.
    pub(super) tokens: Vec<Token>,
    /// Tokens of the prompt that are among them.
    pub(super) prompt_tokens: usize,
    /// All that other instances generated.
    pub(super) generated: Vec<Token>,
    /// Chooses its tokens.
    pub(super) sampler: Sampler,
    /// What its text must conform to.
    pub(super) constraint: Option<Box<dyn Constraint>>,
}

/// Tokenizes and checks a request.
///
/// # Errors
///
/// [`GenerationError`] if it cannot be served.
pub fn prepare<W: Weights>(
    weights: &W,
    context: ContextSpec,
    spec: SequenceSpec,
) -> Result<Prepared, GenerationError> {
    let SequenceSpec { request, generated } = spec;
    let mut tokens = prompt::tokens(weights, &request.prompt, context.pooling.is_some())?;
    check_tokens(&request, &tokens, weights.vocabulary().tokens())?;
    let mut prompt_tokens = tokens.len();
    let limit = context.max_tokens();
    let max_tokens = u32::try_from(limit).unwrap_or(u32::MAX);
    if prompt_tokens >= limit && context.pooling.is_some() {
        let (text_tokens, max_tokens) = (token_count(&tokens), max_tokens - 1);
        let limits = match context.context_tokens.cmp(&context.pass_tokens()) {
            Ordering::Less => "context_tokens",
            Ordering::Equal => "context_tokens and engine.batch_tokens",
            Ordering::Greater => "engine.batch_tokens",
        };
        return Err(GenerationError::TextTooLong { text_tokens, max_tokens, limits: limits.into() });
    }
    if prompt_tokens >= limit && context.overflow == ContextOverflow::Refuse {
        let (prompt_tokens, context_tokens) = (token_count(&tokens), max_tokens);
        return Err(GenerationError::PromptTooLong { prompt_tokens, context_tokens });
    }
    // Room for a fair answer, if something has to go anyway.
    let wanted = request.max_tokens.map_or(limit, |most| most as usize);
    prompt_tokens = forget_oldest(&mut tokens, limit, wanted.clamp(1, (limit / 4).max(1)));
    tokens.extend(&generated);
    if tokens.len() >= limit {
        // Only an answer that has outgrown the context before comes here.
        let total = tokens.len();
        forget_oldest(&mut tokens, limit, (limit / 2).max(1));
        prompt_tokens = prompt_tokens.saturating_sub(total - tokens.len());
    }
    let mut constraint = request.grammar.as_ref().map(|grammar| weights.constraint(grammar)).transpose()?;
    if let Some(constraint) = &mut constraint {
        generated.iter().for_each(|token| constraint.accept(*token));
    }
    let sampler = sampler(weights, &request, &tokens);
    Ok(Prepared { request, tokens, prompt_tokens, generated, sampler, constraint })
}

/// What chooses the tokens that follow `tokens`.
fn sampler<W: Weights>(weights: &W, request: &GenerationRequest, tokens: &[Token]) -> Sampler {
    let vocabulary = weights.vocabulary();
    let never = if request.ignore_eos { vocabulary.end_of_generation() } else { &[] };
    let dry = &request.sampling.dry;
    let breakers = if dry.multiplier == 0.0 {
        Breakers::default()
    } else {
        let pieces = (0..vocabulary.tokens()).map(|token| vocabulary.piece(token));
        Breakers::new(&dry.sequence_breakers, pieces, |text| {
            weights.tokenize_with(text, Tokenizing::default())
        })
    };
    let mut sampler = Sampler::new(request.sampling.clone(), request.logprobs, never, Arc::new(breakers));
    tokens.iter().for_each(|token| sampler.accept(*token));
    sampler
}

fn check_tokens(
    request: &GenerationRequest,
    tokens: &[Token],
    vocab_tokens: u32,
) -> Result<(), GenerationError> {
    if tokens.is_empty() {
        return Err(GenerationError::PromptEmpty);
    }
    let last = vocab_tokens.saturating_sub(1);
    let unknown = |place: &str, token| GenerationError::UnknownToken { place: place.into(), token, last };
    if let Some(token) = tokens.iter().find(|token| **token > last) {
        return Err(unknown("the prompt", *token));
    }
    if let Some((token, _)) = request.sampling.logit_bias.iter().find(|(token, _)| *token > last) {
        return Err(unknown("logit_bias", *token));
    }
    Ok(())
}

/// Takes the oldest tokens but the first few out of a text of `limit` tokens or more, so that it leaves `room`; gives
/// how many remain.
fn forget_oldest(tokens: &mut Vec<Token>, limit: usize, room: usize) -> usize {
    if tokens.len() >= limit {
        let keep = SINK_TOKENS.min((limit - room) / 2);
        let excess = tokens.len() - (limit - room);
        tokens.drain(keep..keep + excess);
    }
    tokens.len()
}

pub(super) fn token_count(tokens: &[Token]) -> u32 {
    u32::try_from(tokens.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Loader;
    use crate::engine::fake::FakeLoader;
    use crate::engine::{EngineError, WeightsSpec};
    use crate::generation::Prompt;
    use crate::policy::Split;
    use crate::units::DeviceSet;

    fn prepared(
        overflow: ContextOverflow,
        prompt: &str,
        generated: &str,
        max_tokens: Option<u32>,
    ) -> Result<(String, usize), GenerationError> {
        let spec = WeightsSpec {
            path: "fake".into(),
            devices: DeviceSet::HOST,
            gpu_layers: None,
            split: Split::Off,
        };
        let weights = FakeLoader::default().load(&spec).unwrap_or_else(|_: EngineError| unreachable!());
        let context = ContextSpec { overflow, ..ContextSpec::sized(1, 16, 1) };
        let request = GenerationRequest { max_tokens, ..GenerationRequest::new(Prompt::Text(prompt.into())) };
        let generated = generated.bytes().map(Token::from).collect();
        let prepared = prepare(&weights, context, SequenceSpec { request: Arc::new(request), generated })?;
        let text = prepared.tokens.iter().map(|token| char::from(u8::try_from(*token).unwrap())).collect();
        Ok((text, prepared.prompt_tokens))
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_refused_with_the_numbers() {
        let error = prepared(ContextOverflow::Refuse, "0123456789abcdef", "", None).unwrap_err();
        assert_eq!(error, GenerationError::PromptTooLong { prompt_tokens: 16, context_tokens: 16 });
        assert_eq!(prepared(ContextOverflow::Refuse, "", "", None), Err(GenerationError::PromptEmpty));
    }

    #[test]
    fn or_it_loses_its_oldest_part_but_not_its_beginning() {
        let check = |prompt: &str, generated: &str, max_tokens, expected: (&str, usize)| {
            let found = prepared(ContextOverflow::Shift, prompt, generated, max_tokens);
            assert_eq!(found, Ok((expected.0.to_owned(), expected.1)), "{prompt} + {generated}");
        };
        check("0123456789abcde", "", None, ("0123456789abcde", 15));
        // A quarter of the context is left for the answer, or what it wants.
        check("0123456789abcdefghij", "", None, ("0123cdefghij", 12));
        check("0123456789abcdefghij", "", Some(1), ("01239abcdefghij", 15));
        // What was generated beyond the context leaves half of it free.
        check("0123456789", "abcdefgh", None, ("0123efgh", 0));
    }

    #[test]
    fn tokens_outside_of_the_vocabulary_are_named() {
        let mut request = GenerationRequest::new(Prompt::Tokens(vec![5]));
        request.sampling.logit_bias = vec![(3, 1.0), (300, 1.0)];
        let error = check_tokens(&request, &[5], 257).unwrap_err();
        assert_eq!(error.to_string(), "logit_bias has the token id 300, the vocabulary ends at 256");
        assert!(
            check_tokens(&request, &[5, 257], 257).unwrap_err().to_string().starts_with("the prompt has")
        );
    }
}
