//! An engine without a model: continues the alphabet.
//!
//! For tests of everything around the engine. After the byte `a` comes `b`, after `z` the end;
//! any other byte is followed by `a`. It checks what llama.cpp only assumes (positions without gaps, batches
//! within their size, logits asked for) and panics where the engine breaks a rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{BatchToken, Context, ContextSpec, EngineError, Loader, Vocabulary, Weights, WeightsSpec};
use crate::generation::{GenerationError, Grammar, SpecialToken, Token, Tokenizing};
use crate::sampling::{Candidate, Constraint};

/// The token that ends a generation; smaller ones are bytes.
pub const END: Token = 256;
const VOCAB_TOKENS: usize = 257;

/// What a test can change while the engine runs.
#[derive(Debug, Default)]
pub struct Controls {
    /// Loads fail.
    pub fail_loads: AtomicBool,
    /// The next decode call fails.
    pub fail_next_decode: AtomicBool,
    /// Every decode call fails.
    pub fail_all_decodes: AtomicBool,
    /// Microseconds that a decode call takes.
    pub decode_micros: AtomicU64,
    /// Milliseconds that a load takes.
    pub load_millis: AtomicU64,
    /// Texts of different lengths are not to be computed together.
    pub divides_texts: AtomicBool,
    /// Loads begun.
    pub loads: AtomicU64,
    /// Contexts alive.
    pub contexts: AtomicU64,
    /// Tokens decoded by all contexts.
    pub decoded: AtomicU64,
}

/// Loads fake weights.
#[derive(Clone, Debug, Default)]
pub struct FakeLoader {
    /// Shared with the test.
    pub controls: Arc<Controls>,
}

impl Loader for FakeLoader {
    type Weights = FakeWeights;

    fn load(&self, spec: &WeightsSpec) -> Result<FakeWeights, EngineError> {
        self.controls.loads.fetch_add(1, Ordering::Relaxed);
        pause(Duration::from_millis(self.controls.load_millis.load(Ordering::Relaxed)));
        if self.controls.fail_loads.load(Ordering::Relaxed) {
            return Err(EngineError::Load {
                path: spec.path.display().to_string(),
                reason: "told to fail".into(),
            });
        }
        Ok(FakeWeights::new(Arc::clone(&self.controls)))
    }
}

/// Fake weights.
#[derive(Debug)]
pub struct FakeWeights {
    controls: Arc<Controls>,
    vocabulary: Arc<Vocabulary>,
}

impl Default for FakeWeights {
    /// Weights with their own controls.
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl FakeWeights {
    fn new(controls: Arc<Controls>) -> Self {
        let bytes = (0..=u8::MAX).map(|byte| (vec![byte], false));
        let vocabulary = Arc::new(Vocabulary::new(bytes.chain([(Vec::new(), true)])));
        Self { controls, vocabulary }
    }

    /// What a test can change.
    #[must_use]
    pub fn controls(&self) -> Arc<Controls> {
        Arc::clone(&self.controls)
    }
}

impl Weights for FakeWeights {
    type Context<'weights> = FakeContext;

    fn context(&self, spec: ContextSpec) -> Result<FakeContext, EngineError> {
        self.controls.contexts.fetch_add(1, Ordering::Relaxed);
        Ok(FakeContext {
            spec,
            controls: Arc::clone(&self.controls),
            cache: vec![Vec::new(); spec.slots as usize],
            logits: Vec::new(),
            embeddings: vec![[0.0; 2]; spec.slots as usize],
        })
    }

    fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        text.bytes().map(Token::from).collect()
    }

    fn tokenize_with(&self, text: &str, _form: Tokenizing) -> Vec<Token> {
        self.tokenize(text)
    }

    /// It fills gaps, and wants nothing around texts.
    fn special(&self, token: SpecialToken) -> Option<Token> {
        match token {
            SpecialToken::Begin | SpecialToken::End | SpecialToken::Separator => None,
            SpecialToken::InfillPrefix => Some(1),
            SpecialToken::InfillSuffix => Some(2),
            SpecialToken::InfillMiddle => Some(3),
            SpecialToken::InfillProject => Some(4),
            SpecialToken::InfillFile => Some(5),
        }
    }

    fn written(&self, token: Token) -> Vec<u8> {
        u8::try_from(token).map_or_else(|_| b"<end>".to_vec(), |byte| vec![byte])
    }

    /// Knows one kind of grammar: a text in which only its characters may occur.
    fn constraint(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, GenerationError> {
        match grammar {
            Grammar::Gbnf(allowed) => Ok(Box::new(Alphabet(allowed.bytes().map(Token::from).collect()))),
            Grammar::JsonSchema(_) | Grammar::Calls(_) => Err(GenerationError::Grammar {
                field: "json_schema".into(),
                reason: "the fake engine has none".into(),
            }),
        }
    }
}

/// Allows some tokens everywhere, and the end.
struct Alphabet(Vec<Token>);

impl Constraint for Alphabet {
    fn forbid(&mut self, candidates: &mut [Candidate]) {
        for candidate in candidates {
            if candidate.token != END && !self.0.contains(&candidate.token) {
                candidate.logit = f32::NEG_INFINITY;
            }
        }
    }
    fn accept(&mut self, _token: Token) {}
}

/// A fake context: remembers its tokens instead of keys and values.
#[derive(Debug)]
pub struct FakeContext {
    spec: ContextSpec,
    controls: Arc<Controls>,
    /// Tokens by slot.
    cache: Vec<Vec<Token>>,
    /// Logits by row of the last batch, where they were wanted.
    logits: Vec<Option<Vec<f32>>>,
    /// By slot.
    embeddings: Vec<[f32; 2]>,
}

impl FakeContext {
    /// What a test can change.
    #[must_use]
    pub fn controls(&self) -> Arc<Controls> {
        Arc::clone(&self.controls)
    }
}

impl Drop for FakeContext {
    fn drop(&mut self) {
        self.controls.contexts.fetch_sub(1, Ordering::Relaxed);
    }
}

fn pause(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

fn successor(token: Token) -> Token {
    match u8::try_from(token) {
        Ok(b'z') => END,
        Ok(byte @ b'a'..=b'y') => Token::from(byte) + 1,
        _ => Token::from(b'a'),
    }
}

impl Context for FakeContext {
    fn spec(&self) -> ContextSpec {
        self.spec
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), EngineError> {
        assert!(
            !batch.is_empty() && batch.len() <= self.spec.call_tokens() as usize,
            "a batch of {} tokens",
            batch.len()
        );
        pause(Duration::from_micros(self.controls.decode_micros.load(Ordering::Relaxed)));
        let always = self.controls.fail_all_decodes.load(Ordering::Relaxed);
        if self.controls.fail_next_decode.swap(false, Ordering::Relaxed) || always {
            return Err(EngineError::Decode("told to fail".into()));
        }
        self.controls.decoded.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.logits.clear();
        assert!(batch.is_sorted_by_key(|entry| entry.slot), "a batch is ordered by slot");
        for entry in batch {
            let cache = &mut self.cache[entry.slot as usize];
            assert_eq!(entry.position as usize, cache.len(), "positions follow each other");
            assert!(cache.len() < self.spec.context_tokens as usize, "a slot overflows");
            cache.push(entry.token);
            let embedding = &mut self.embeddings[entry.slot as usize];
            if cache.len() == 1 {
                *embedding = [0.0; 2];
            }
            *embedding = [embedding[0] + f32::from(u8::from(cache[0] == entry.token)), embedding[1] + 1.0];
            self.logits.push(entry.wants_logits.then(|| {
                let mut logits = vec![-100.0; VOCAB_TOKENS];
                logits[successor(entry.token) as usize] = 100.0;
                logits
            }));
        }
        Ok(())
    }

    fn max_gap(&self) -> usize {
        2
    }

    fn padding_price(&self) -> usize {
        4
    }

    fn divides_texts(&self) -> bool {
        self.controls.divides_texts.load(Ordering::Relaxed)
    }

    fn logits(&self, row: usize) -> &[f32] {
        self.logits[row].as_deref().expect("logits were wanted after this token")
    }

    /// How often the text's first token occurs, and how long it is.
    fn embedding(&self, slot: u32) -> &[f32] {
        &self.embeddings[slot as usize]
    }

    fn truncate(&mut self, slot: u32, keep: u32) -> bool {
        self.cache[slot as usize].truncate(keep as usize);
        true
    }

    fn copy(&mut self, from: u32, to: u32, keep: u32) -> bool {
        let copied = &self.cache[from as usize];
        assert!(keep as usize <= copied.len(), "only what was decoded can be copied");
        self.cache[to as usize] = copied[..keep as usize].to_vec();
        true
    }

    fn shift(&mut self, slot: u32, from: u32, count: u32) -> bool {
        self.cache[slot as usize].drain(from as usize..(from + count) as usize);
        true
    }

    fn keep(&mut self, slot: u32, tokens: &[Token]) {
        assert_eq!(self.cache[slot as usize], tokens, "what is kept is what the slot holds");
    }

    fn restore(&mut self, _slot: u32, _tokens: &[Token], _least: usize) -> u32 {
        0
    }

    fn sampling_threads(&self) -> usize {
        2
    }

    fn set_threads(&mut self, threads: u32) -> Result<(), EngineError> {
        self.spec.threads = threads;
        Ok(())
    }
}
