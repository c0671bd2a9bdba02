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
use modelpool::generation::{Dry, Mirostat, MirostatVersion, Penalties, SamplingSettings, Token, Xtc};
use modelpool::sampling::dry::Breakers;
use modelpool::sampling::{Candidate, Sampler};

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

/// A model's vocabulary without any setting applied, as llama.cpp wants it.
fn unfiltered(logits: &[f32]) -> LlamaTokenDataArray {
    let data = logits.iter().zip(0..).map(|(logit, id)| LlamaTokenData::new(LlamaToken(id), *logit, 0.0));
    LlamaTokenDataArray::from_iter(data, false)
}

/// Compares the candidates of both after a text.
fn compare(
    settings: &SamplingSettings,
    logits: &[f32],
    text: &[Token],
    (dry, breakers): (Option<LlamaSampler>, Arc<Breakers>),
) {
    let vocabulary = u32::try_from(logits.len()).unwrap();
    let mut array = unfiltered(logits);
    for mut sampler in chain(settings, vocabulary, dry) {
        sampler.accept_many(text.iter().map(|token| LlamaToken(number(*token))));
        array.apply_sampler(&mut sampler);
    }
    let mut sampler = Sampler::new(settings.clone(), None, &[], breakers);
    text.iter().for_each(|token| sampler.accept(*token));
    same(sampler.candidates(logits, 0), array.data, settings);
}

/// Checks that both have the same candidates, with the same probabilities, in the same order. That of llama.cpp depends
/// on which filter was the last to sort; ours is always from the likeliest on.
fn same(candidates: &[Candidate], mut theirs: Vec<LlamaTokenData>, settings: &SamplingSettings) {
    /// Below this, weights are rounded to 0.
    const LEAST: f64 = 1e-30;
    theirs.sort_by(|a, b| b.logit().total_cmp(&a.logit()).then(a.id().0.cmp(&b.id().0)));
    let largest = theirs[0].logit();
    let weight = |data: &LlamaTokenData| f64::from(data.logit() - largest).exp();
    let total: f64 = theirs.iter().map(weight).sum();
    let expected: Vec<(Token, f64, f32)> = theirs
        .iter()
        .map(|data| (Token::try_from(data.id().0).unwrap(), weight(data) / total, data.logit()))
        .filter(|(_, probability, _)| *probability > LEAST)
        .collect();
    let found: Vec<&Candidate> = candidates.iter().filter(|c| f64::from(c.probability) > LEAST).collect();
    let tokens: Vec<Token> = found.iter().map(|candidate| candidate.token).collect();
    assert_eq!(tokens, expected.iter().map(|(token, ..)| *token).collect::<Vec<_>>(), "{settings:?}");
    for (found, (_, probability, logit)) in found.iter().zip(expected) {
        let difference = (f64::from(found.probability) - probability).abs() / probability;
        // Both divide logits by the temperature, and round them: the larger they are, the more it matters.
        let bound = 1e-5 + f64::from(f32::EPSILON * (logit.abs() + largest.abs()));
        assert!(difference < bound, "{found:?}: {difference} from {probability} with {settings:?}");
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
    let tokenize = |text: &str| -> Vec<Token> {
        let tokens = vocab.tokenize(text.as_bytes(), false, false);
        tokens.into_iter().map(|token| Token::try_from(token.0).unwrap()).collect()
    };
    let vocabulary = u32::try_from(model.n_vocab()).unwrap();
    let mut random = Random(13);
    for round in 0..60 {
        let dry = Dry {
            multiplier: 0.2 + random.unit(),
            base: 1.1 + random.unit(),
            allowed_length: 1 + random.below(3),
            last_tokens: Some(20 + random.below(200)),
            // Also strings of several tokens, and one longer than what counts.
            sequence_breakers: ["\n", ".", " the sea", "one two three", &"long ".repeat(20)]
                .map(str::to_owned)
                .into(),
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
        let mut phrases: Vec<Vec<Token>> = words.iter().map(|word| vec![*word]).collect();
        if round % 2 == 0 {
            phrases.push(tokenize(["one two three", " the sea", "."][round / 2 % 3]));
        }
        let count = u32::try_from(phrases.len()).unwrap();
        let text: Vec<Token> = (0..150).flat_map(|_| phrases[random.below(count) as usize].clone()).collect();
        let settings = SamplingSettings { dry, top_k: 50, ..SamplingSettings::default() };
        let mut logits = random.logits(vocabulary);
        words.iter().for_each(|word| logits[*word as usize] += 9.0);
        compare(&settings, &logits, &text, (Some(theirs), breakers));
    }
}

/// Both follow the same text, token by token: what llama.cpp drew is what ours is made to draw.
#[test]
fn mirostat_keeps_what_llama_cpp_keeps_and_learns_as_fast() {
    let mut random = Random(17);
    for round in 0..24 {
        let version = if round % 2 == 0 { MirostatVersion::V1 } else { MirostatVersion::V2 };
        let mirostat = Mirostat { version, tau: 1.0 + 3.0 * random.unit(), eta: 0.05 + 0.5 * random.unit() };
        let settings = SamplingSettings {
            temperature: 0.5 + random.unit(),
            mirostat: Some(mirostat),
            // Mirostat replaces these.
            top_k: 3,
            penalties: Penalties { presence: 2.0, ..Penalties::default() },
            ..SamplingSettings::default()
        };
        let vocabulary = 200 + random.below(2000);
        let mut theirs = match version {
            MirostatVersion::V1 => {
                LlamaSampler::mirostat(number(vocabulary), 1, mirostat.tau, mirostat.eta, 100)
            }
            MirostatVersion::V2 => LlamaSampler::mirostat_v2(1, mirostat.tau, mirostat.eta),
        };
        let mut ours = Sampler::new(settings.clone(), None, &[], Arc::default());
        for _ in 0..12 {
            let logits = random.logits(vocabulary);
            let mut array = unfiltered(&logits);
            array.apply_sampler(&mut LlamaSampler::temp(settings.temperature));
            array.apply_sampler(&mut theirs);
            let drawn = Token::try_from(array.selected_token().unwrap().0).unwrap();
            same(ours.candidates(&logits, 0), array.data, &settings);
            let mut draws = (0..1_000_000).map(|index| ours.choose(&logits, index, None).unwrap().token);
            assert!(draws.any(|token| token == drawn), "{drawn} is never drawn");
            ours.accept(drawn);
        }
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
