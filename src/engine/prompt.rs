//! Prompts to tokens, as a model was trained to see them.

use super::Weights;
use crate::generation::{GenerationError, Infill, Prompt, PromptPart, SpecialToken, Token, Tokenizing};

/// Special tokens are recognized, and none is added.
const WRITTEN: Tokenizing = Tokenizing { add_special: false, parse_special: true };
/// Nothing is special.
const PLAIN: Tokenizing = Tokenizing { add_special: false, parse_special: false };
/// The name that stands for a project, and for the file that is filled in, where a request gives none: llama-server's.
const PROJECT: &str = "myproject\n";
const FILE: &str = "filename\n";
/// What divides files where a model has no token for it; llama-server's.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

/// The tokens of a prompt. `pooled`: it becomes a vector, and begins and ends as the model wants texts to.
///
/// # Errors
///
/// [`GenerationError::NoInfill`] if the model has no tokens for what is asked.
pub(super) fn tokens<W: Weights>(
    weights: &W,
    prompt: &Prompt,
    pooled: bool,
) -> Result<Vec<Token>, GenerationError> {
    Ok(match prompt {
        Prompt::Text(text) if pooled => {
            weights.tokenize_with(text, Tokenizing { add_special: true, parse_special: true })
        }
        Prompt::Text(text) => weights.tokenize(text),
        Prompt::Tokens(tokens) => tokens.clone(),
        Prompt::Mixed(parts) => mixed(weights, parts),
        Prompt::Infill(infill) => fill_in(weights, infill)?,
        Prompt::Pair { query, document } => pair(weights, query, document),
    })
}

fn mixed<W: Weights>(weights: &W, parts: &[PromptPart]) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        match part {
            PromptPart::Text(text) if at == 0 => tokens.extend(weights.tokenize(text)),
            PromptPart::Text(text) => tokens.extend(weights.tokenize_with(text, WRITTEN)),
            PromptPart::Tokens(given) => tokens.extend(given),
        }
    }
    tokens
}

/// The form of code models, in llama-server's order: other files, then prefix, suffix, middle (Hui et al.,
/// "Qwen2.5-Coder technical report", 2024, <https://arxiv.org/abs/2409.12186>).
fn fill_in<W: Weights>(weights: &W, infill: &Infill) -> Result<Vec<Token>, GenerationError> {
    let needed = |token| weights.special(token).ok_or(GenerationError::NoInfill);
    let plain = |text: &str| weights.tokenize_with(text, PLAIN);
    let mut tokens = Vec::new();
    if !infill.extra.is_empty() {
        let file = weights.special(SpecialToken::InfillFile);
        if let Some(project) = weights.special(SpecialToken::InfillProject) {
            tokens.push(project);
            tokens.extend(plain(PROJECT));
        }
        for extra in &infill.extra {
            match file {
                Some(file) => {
                    tokens.push(file);
                    tokens.extend(plain(&format!("{}\n", extra.name)));
                }
                None => tokens.extend(plain(SNIPPET)),
            }
            tokens.extend(plain(&extra.text));
        }
        if let Some(file) = file {
            tokens.push(file);
            tokens.extend(plain(FILE));
        }
    }
    tokens.extend(weights.special(SpecialToken::Begin));
    tokens.push(needed(SpecialToken::InfillPrefix)?);
    tokens.extend(plain(&infill.prefix));
    tokens.push(needed(SpecialToken::InfillSuffix)?);
    tokens.extend(plain(&infill.suffix));
    tokens.push(needed(SpecialToken::InfillMiddle)?);
    Ok(tokens)
}

/// BOS query EOS SEP document EOS, of which each special token is there only if the model wants it: llama-server's form.
fn pair<W: Weights>(weights: &W, query: &str, document: &str) -> Vec<Token> {
    let end = weights.special(SpecialToken::End);
    let begin = weights.special(SpecialToken::Begin);
    let mut tokens: Vec<Token> = begin.into_iter().collect();
    tokens.extend(weights.tokenize_with(query, PLAIN));
    tokens.extend(end);
    tokens.extend(weights.special(SpecialToken::Separator));
    tokens.extend(weights.tokenize_with(document, PLAIN));
    tokens.extend(end);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::FakeWeights;
    use crate::generation::ExtraFile;

    /// The fake model's tokens are bytes; those for gaps are 1 to 5 and are written here as digits.
    fn check(prompt: &Prompt, expected: &str) {
        let tokens = tokens(&FakeWeights::default(), prompt, false).unwrap();
        let shown = |token: Token| match u8::try_from(token).unwrap() {
            special @ 1..=5 => char::from(b'0' + special),
            byte => char::from(byte),
        };
        assert_eq!(tokens.into_iter().map(shown).collect::<String>(), expected, "{prompt:?}");
    }

    #[test]
    fn a_gap_is_written_as_code_models_know_it() {
        let infill = Infill { prefix: "fn f".into(), suffix: "}".into(), extra: Vec::new() };
        check(&Prompt::Infill(infill.clone()), "1fn f2}3");
        let extra = vec![ExtraFile { name: "a.rs".into(), text: "mod a;".into() }];
        let with_extra = Infill { extra, ..infill };
        check(&Prompt::Infill(with_extra), "4myproject\n5a.rs\nmod a;5filename\n1fn f2}3");
    }

    #[test]
    fn pairs_and_mixed_prompts_are_their_parts() {
        check(&Prompt::Pair { query: "a".into(), document: "b".into() }, "ab");
        let parts =
            vec![PromptPart::Text("a".into()), PromptPart::Tokens(vec![98]), PromptPart::Text("c".into())];
        check(&Prompt::Mixed(parts), "abc");
    }
}
