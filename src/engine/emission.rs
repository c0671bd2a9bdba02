//! What the iteration loop tells of its sequences, and how that becomes text and reaches their sinks.
//!
//! The loop only collects [`Emission`]s. An [`Emitter`] makes text of tokens, looks for stop strings and passes on what
//! it finds. It owns no thread: a worker gives it one of its own, so that neither text nor a slow reader ever holds up a
//! decode call. It answers through a flag of each sequence, which the loop reads before its next step.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Vocabulary;
use super::text::{Piece, TextAssembler};
use crate::generation::{
    Event, EventSink, FinishReason, GenerationError, Loss, Token, TokenLogprob, TokenLogprobs, Usage,
};
use crate::sampling::Logprobs;

/// The number of a sequence in its engine; never reused.
pub(super) type Number = u64;

/// Set when no more tokens of a sequence are wanted: a stop string was reached, or nobody listens any more.
pub(super) type Over = Arc<AtomicBool>;

/// One thing that the loop tells.
pub struct Emission {
    pub(super) number: Number,
    pub(super) news: News,
}

pub(super) enum News {
    /// A sequence begins.
    Begun(Begun),
    /// This many tokens of its prompt were in the KV cache already.
    Cached(u32),
    /// One more token.
    Token(Token, Option<Logprobs>),
    /// What its text became, in an instance that makes embeddings.
    Embedding(Vec<f32>),
    /// The model ended its turn, with a token that has no text; or without one, where a grammar allows nothing more.
    Stop { token: bool },
    /// The most tokens are reached.
    Length,
    /// Its slot is free, after the emitter had said that it is over.
    Released,
    /// It cannot be served.
    Failed(GenerationError),
    /// It could go on elsewhere.
    Lost(Loss),
}

/// The beginning of a sequence.
pub(super) struct Begun {
    pub(super) sink: Box<dyn EventSink>,
    pub(super) over: Over,
    pub(super) stop: Vec<String>,
    /// Special tokens that are a part of the text.
    pub(super) shown: Vec<String>,
    pub(super) prompt_tokens: u32,
    /// Tokens whose text was sent by other instances.
    pub(super) generated: Vec<Token>,
}

/// One sequence on its way out.
struct Outgoing {
    sink: Box<dyn EventSink>,
    over: Over,
    text: TextAssembler,
    /// Special tokens that are a part of the text, and what they are written as.
    shown: Vec<(Token, String)>,
    usage: Usage,
    /// Its end was told.
    ended: bool,
}

/// Makes events of emissions.
pub struct Emitter {
    vocabulary: Arc<Vocabulary>,
    sequences: HashMap<Number, Outgoing>,
}

impl Emitter {
    /// An emitter for one engine.
    #[must_use]
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, sequences: HashMap::new() }
    }

    /// Passes on what the loop told, in order, and looks who still listens.
    pub fn emit(&mut self, emissions: impl IntoIterator<Item = Emission>) {
        for Emission { number, news } in emissions {
            match news {
                News::Begun(begun) => self.begin(number, begun),
                News::Cached(tokens) => {
                    if let Some(sequence) = self.sequences.get_mut(&number) {
                        let tokens = tokens.min(sequence.usage.prompt_tokens);
                        sequence.usage.cached_tokens = tokens;
                        sequence.sink.emit(Event::Cached { tokens });
                    }
                }
                News::Token(token, logprobs) => self.token(number, token, logprobs),
                News::Embedding(values) => {
                    if let Some(sequence) = self.sequences.get_mut(&number) {
                        sequence.sink.emit(Event::Embedding(values));
                    }
                }
                News::Stop { token } => {
                    if let Some(sequence) = self.sequences.get_mut(&number) {
                        sequence.usage.completion_tokens += u32::from(token);
                    }
                    self.end(number, FinishReason::Stop);
                }
                News::Length => self.end(number, FinishReason::Length),
                News::Released => drop(self.sequences.remove(&number)),
                News::Failed(error) => self.fail(number, error),
                News::Lost(loss) => self.lose(number, loss),
            }
        }
        for sequence in self.sequences.values() {
            if !sequence.ended && !sequence.sink.wanted() {
                sequence.over.store(true, Ordering::Relaxed);
            }
        }
    }

    fn begin(&mut self, number: Number, begun: Begun) {
        let Begun { mut sink, over, stop, shown, prompt_tokens, generated } = begun;
        sink.emit(Event::Started { prompt_tokens });
        let mut text = TextAssembler::new(stop);
        let shown: Vec<_> =
            shown.into_iter().filter_map(|text| Some((self.vocabulary.special(&text)?, text))).collect();
        for &token in &generated {
            // What it makes certain was sent by the instance that generated it.
            text.push(piece(&self.vocabulary, &shown, token));
        }
        let completion_tokens = super::intake::token_count(&generated);
        let usage = Usage { prompt_tokens, cached_tokens: 0, completion_tokens };
        self.sequences.insert(number, Outgoing { sink, over, text, shown, usage, ended: false });
    }

    fn token(&mut self, number: Number, token: Token, logprobs: Option<Logprobs>) {
        let Some(sequence) = self.sequences.get_mut(&number) else { return };
        if sequence.ended {
            // The loop could not know yet that a stop string was reached.
            return;
        }
        sequence.usage.completion_tokens += 1;
        match sequence.text.push(piece(&self.vocabulary, &sequence.shown, token)) {
            Piece::Text(text) => {
                let logprobs = logprobs.map(|found| Box::new(named(&self.vocabulary, token, found)));
                sequence.sink.emit(Event::Token { token, text, logprobs });
            }
            Piece::Stopped(text, which) => {
                let usage = sequence.usage;
                let reason = FinishReason::StopString(u32::try_from(which).unwrap_or(u32::MAX));
                sequence.sink.emit(Event::Finished { reason, text, usage });
                // The sink goes only when the slot is free, because that frees the lease.
                sequence.ended = true;
                sequence.over.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The slot is free already.
    fn end(&mut self, number: Number, reason: FinishReason) {
        let Some(Outgoing { mut sink, text, usage, ended, .. }) = self.sequences.remove(&number) else {
            return;
        };
        if !ended {
            sink.emit(Event::Finished { reason, text: text.finish(), usage });
        }
    }

    fn fail(&mut self, number: Number, error: GenerationError) {
        if let Some(mut sequence) = self.sequences.remove(&number)
            && !sequence.ended
        {
            sequence.sink.emit(Event::Failed(error));
        }
    }

    fn lose(&mut self, number: Number, loss: Loss) {
        if let Some(sequence) = self.sequences.remove(&number)
            && !sequence.ended
        {
            sequence.sink.lost(loss);
        }
    }
}

/// The bytes of a token in a text that shows some special ones.
fn piece<'a>(vocabulary: &'a Vocabulary, shown: &'a [(Token, String)], token: Token) -> &'a [u8] {
    let special = shown.iter().find(|(special, _)| *special == token);
    special.map_or_else(|| vocabulary.piece(token), |(_, text)| text.as_bytes())
}

/// Adds the bytes of the tokens.
fn named(vocabulary: &Vocabulary, token: Token, found: Logprobs) -> TokenLogprobs {
    let named = |token, logprob| TokenLogprob { token, bytes: vocabulary.piece(token).to_vec(), logprob };
    TokenLogprobs {
        chosen: named(token, found.chosen),
        top: found.top.into_iter().map(|(token, logprob)| named(token, logprob)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_token_has_text_where_it_is_shown() {
        let vocabulary = Vocabulary::new([("a", false), ("", false), ("", false)])
            .with_special(vec![(1, b"<call>".to_vec()), (2, b"<other>".to_vec())]);
        let shown = [(1, "<call>".to_owned())];
        let text: Vec<_> = (0..3).map(|token| piece(&vocabulary, &shown, token)).collect();
        assert_eq!(text, [b"a".as_slice(), b"<call>", b""]);
    }
}
