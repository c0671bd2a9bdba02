//! Proves that the sampler does what llama.cpp's does: after the same filters the same candidates remain, with the same
//! probabilities. Random logits, settings and texts, the same in every run.

use std::path::Path;
use std::sync::Arc;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;
use modelpool::generation::{Dry, Penalties, SamplingSettings, Token, Xtc};
use modelpool::sampling::Sampler;
use modelpool::sampling::dry::Breakers;

/// Numbers that look random (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).unwrap()
    }
    fn unit(&mut self) -> f32 {
        f32::from(u16::try_from(self.below(1 << 15)).unwrap()) / 32_768.0
    }
    /// About normal, like a model's logits.
    fn logits(&mut self, count: u32) -> Vec<f32> {
        (0..count).map(|_| (0..6).map(|_| self.unit()).sum::<f32>() * 4.0 - 12.0).collect()
    }
    fn text(&mut self, length: usize, vocabulary: u32) -> Vec<Token> {
        (0..length).map(|_| self.below(vocabulary)).collect()
    }
}

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap()
}

/// llama.cpp's samplers for these settings, in the order of its default chain, without the draw.
fn chain(settings: &SamplingSettings, vocabulary: u32, dry: Option<LlamaSampler>) -> Vec<LlamaSampler> {
    let Penalties { last_tokens, repeat, frequency, presence } = settings.penalties;
    let biases: Vec<_> = settings
        .logit_bias
        .iter()
        .map(|(token, bias)| LlamaLogitBias::new(LlamaToken(number(*token)), *bias))
        .collect();
    let mut chain = vec![
        LlamaSampler::logit_bias(number(vocabulary), &biases),
        LlamaSampler::penalties(number(vocabulary), number(last_tokens), repeat, frequency, presence),
    ];
    chain.extend(dry);
    chain.extend([
        LlamaSampler::top_k(number(settings.top_k)),
        LlamaSampler::typical(settings.typical_p, 0),
        LlamaSampler::top_p(settings.top_p, 0),
        LlamaSampler::min_p(settings.min_p, 0),
        LlamaSampler::xtc(settings.xtc.probability, settings.xtc.threshold, 0, 1),
        LlamaSampler::temp(settings.temperature),
    ]);
    chain
}

/// Compares the candidates of both after a text.
fn compare(
    settings: &SamplingSettings,
    logits: &[f32],
    text: &[Token],
    (dry, breakers): (Option<LlamaSampler>, Arc<Breakers>),
) {
    let vocabulary = u32::try_from(logits.len()).unwrap();
    let data = logits.iter().zip(0..).map(|(logit, id)| LlamaTokenData::new(LlamaToken(id), *logit, 0.0));
    let mut array = LlamaTokenDataArray::from_iter(data, false);
    for mut sampler in chain(settings, vocabulary, dry) {
        sampler.accept_many(text.iter().map(|token| LlamaToken(number(*token))));
        array.apply_sampler(&mut sampler);
    }
    let largest = array.data.iter().map(LlamaTokenData::logit).fold(f32::NEG_INFINITY, f32::max);
    let weight = |data: &LlamaTokenData| f64::from(data.logit() - largest).exp();
    let total: f64 = array.data.iter().map(weight).sum();
    let mut expected: Vec<(Token, f64)> = array
        .data
        .iter()
        .map(|data| (Token::try_from(data.id().0).unwrap(), weight(data) / total))
        .filter(|(_, probability)| *probability > 0.0)
        .collect();
    expected.sort_by_key(|(token, _)| *token);

    let mut sampler = Sampler::new(settings.clone(), None, &[], breakers);
    text.iter().for_each(|token| sampler.accept(*token));
    let candidates = sampler.candidates(logits, 0);
    assert!(candidates.is_sorted_by(|a, b| a.probability >= b.probability), "likeliest first");
    let mut found: Vec<(Token, f64)> =
        candidates.iter().map(|c| (c.token, f64::from(c.probability))).filter(|(_, p)| *p > 0.0).collect();
    found.sort_by_key(|(token, _)| *token);
    let tokens = |list: &[(Token, f64)]| list.iter().map(|(token, _)| *token).collect::<Vec<_>>();
    assert_eq!(tokens(&found), tokens(&expected), "{settings:?}");
    for ((token, found), (_, expected)) in found.iter().zip(&expected) {
        let difference = (found - expected).abs() / expected;
        assert!(difference < 1e-3, "token {token}: {found} instead of {expected} with {settings:?}");
    }
}

fn plain() -> (Option<LlamaSampler>, Arc<Breakers>) {
    (None, Arc::default())
}

#[test]
fn each_filter_alone_keeps_what_llama_cpp_keeps() {
    let mut random = Random(7);
    let base = SamplingSettings::default;
    for _ in 0..40 {
        let (share, small) = (0.05 + 0.9 * random.unit(), 0.3 * random.unit());
        let xtc = Xtc { probability: 1.0, threshold: 0.02 + 0.2 * random.unit() };
        let bias = (0..5).map(|token| (token * 7, 8.0 * random.unit() - 4.0)).collect();
        for settings in [
            SamplingSettings { top_k: 1 + random.below(200), ..base() },
            SamplingSettings { top_p: share, ..base() },
            SamplingSettings { min_p: small, ..base() },
            SamplingSettings { typical_p: share, ..base() },
            SamplingSettings { temperature: 0.1 + 2.0 * share, ..base() },
            SamplingSettings { xtc, ..base() },
            SamplingSettings { logit_bias: bias, ..base() },
        ] {
            let logits = random.logits(900);
            compare(&settings, &logits, &[], plain());
        }
    }
}

#[test]
fn filters_together_keep_what_llama_cpp_keeps() {
    let mut random = Random(11);
    for round in 0..150 {
        let vocabulary = 300 + random.below(3000);
        let penalties = Penalties {
            last_tokens: random.below(80),
            repeat: 0.8 + random.unit(),
            frequency: 2.0 * random.unit() - 1.0,
            presence: 2.0 * random.unit() - 1.0,
        };
        let settings = SamplingSettings {
            temperature: 0.2 + 1.5 * random.unit(),
            top_k: if round % 3 == 0 { 0 } else { 5 + random.below(100) },
            top_p: 0.3 + 0.7 * random.unit(),
            min_p: if round % 2 == 0 { 0.0 } else { 0.1 * random.unit() },
            typical_p: if round % 4 == 0 { 0.3 + 0.7 * random.unit() } else { 1.0 },
            xtc: Xtc { probability: if round % 5 == 0 { 1.0 } else { 0.0 }, threshold: 0.1 },
            penalties,
            ..SamplingSettings::default()
        };
        let length = random.below(120) as usize;
        let text = random.text(length, vocabulary);
        let logits = random.logits(vocabulary);
        compare(&settings, &logits, &text, plain());
    }
}

/// Texts of few different tokens repeat themselves; the sequence breakers are in the demo model's own tokens.
#[test]
fn repetitions_cost_what_they_cost_in_llama_cpp() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-f16.gguf");
    let backend = LlamaBackend::init().unwrap();
    let parameters = LlamaModelParams::default().with_vocab_only(true);
    let model = LlamaModel::load_from_file(&backend, &file, &parameters).unwrap();
    let vocab = model.vocab();
    let pieces: Vec<Vec<u8>> = vocab.tokens().map(|token| vocab.token_to_piece(token, true, None)).collect();
    let tokenize = |text: &str| {
        let tokens = vocab.tokenize(text.as_bytes(), false, false);
        tokens.into_iter().map(|token| Token::try_from(token.0).unwrap()).collect()
    };
    let vocabulary = u32::try_from(model.n_vocab()).unwrap();
    let mut random = Random(13);
    for _ in 0..60 {
        let dry = Dry {
            multiplier: 0.2 + random.unit(),
            base: 1.1 + random.unit(),
            allowed_length: 1 + random.below(3),
            last_tokens: Some(20 + random.below(200)),
            ..Dry::default()
        };
        let theirs = LlamaSampler::dry(
            &model,
            dry.multiplier,
            dry.base,
            number(dry.allowed_length),
            number(dry.last_tokens.unwrap()),
            &dry.sequence_breakers,
        );
        let breakers = Arc::new(Breakers::new(&dry.sequence_breakers, &pieces, tokenize));
        let words = random.text(6, vocabulary);
        let text: Vec<Token> = (0..150).map(|_| words[random.below(6) as usize]).collect();
        let settings = SamplingSettings { dry, top_k: 50, ..SamplingSettings::default() };
        let mut logits = random.logits(vocabulary);
        words.iter().for_each(|word| logits[*word as usize] += 9.0);
        compare(&settings, &logits, &text, (Some(theirs), breakers));
    }
}

#[test]
fn draws_follow_the_probabilities() {
    let settings = SamplingSettings { temperature: 0.9, top_k: 8, seed: 5, ..SamplingSettings::default() };
    let logits = Random(3).logits(500);
    let mut sampler = Sampler::new(settings, None, &[], Arc::default());
    let expected: Vec<(Token, f32)> =
        sampler.candidates(&logits, 0).iter().map(|c| (c.token, c.probability)).collect();
    let draws = 20_000;
    let mut counts = vec![0_u32; logits.len()];
    for index in 0..draws {
        counts[sampler.choose(&logits, index, None).unwrap().token as usize] += 1;
    }
    for (token, probability) in expected {
        let (count, draws) = (f64::from(counts[token as usize]), f64::from(draws));
        let probability = f64::from(probability);
        // Four standard deviations of a binomial distribution.
        let bound = 4.0 * (draws * probability * (1.0 - probability)).sqrt();
        assert!((count - draws * probability).abs() <= bound, "token {token}: {count} of {draws}");
    }
}
