//! How the next token is chosen, and what is told about it.
//!
//! Plain values. The default of each setting changes nothing, so that `..SamplingSettings::default()` names only
//! what differs. What the settings do, and in which order, is in [`crate::sampling`].

use serde::{Deserialize, Serialize};

use super::Token;

/// How the next token is chosen from the logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingSettings {
    /// Divides the logits; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Only the `top_k` likeliest tokens are candidates; 0 keeps all.
    pub top_k: u32,
    /// Only the likeliest tokens whose probabilities sum to `top_p` are candidates; 1 keeps all.
    pub top_p: f32,
    /// Only tokens with at least this share of the likeliest token's probability are candidates; 0 keeps all.
    pub min_p: f32,
    /// Only the tokens whose information content is nearest to the distribution's entropy, until their
    /// probabilities sum to `typical_p`, are candidates (locally typical sampling); 1 keeps all.
    pub typical_p: f32,
    /// Makes tokens of the latest text less likely.
    pub penalties: Penalties,
    /// Makes tokens that would continue a repetition less likely.
    pub dry: Dry,
    /// Now and then excludes the likeliest tokens.
    pub xtc: Xtc,
    /// Holds the surprise of the text at a target; replaces the filters above and the plain draw.
    pub mirostat: Option<Mirostat>,
    /// Added to the logits of single tokens; negative infinity forbids one. Each token once.
    pub logit_bias: Vec<(Token, f32)>,
    /// Decides every random draw together with the number of the token.
    pub seed: u64,
}

impl Default for SamplingSettings {
    /// The distribution of the model as it is.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            penalties: Penalties::default(),
            dry: Dry::default(),
            xtc: Xtc::default(),
            mirostat: None,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// Penalties on tokens that occurred among the last ones, prompt included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Penalties {
    /// How many tokens back count; 0 turns all penalties off.
    pub last_tokens: u32,
    /// Divides positive logits and multiplies negative ones of tokens that occurred; above 0, 1 changes nothing.
    pub repeat: f32,
    /// Subtracted from a token's logit for each occurrence.
    pub frequency: f32,
    /// Subtracted once from the logit of a token that occurred.
    pub presence: f32,
}

impl Default for Penalties {
    fn default() -> Self {
        Self { last_tokens: 64, repeat: 1.0, frequency: 0.0, presence: 0.0 }
    }
}

impl Penalties {
    /// Whether they change any logit.
    #[must_use]
    pub fn act(&self) -> bool {
        self.last_tokens > 0 && (self.repeat, self.frequency, self.presence) != (1.0, 0.0, 0.0)
    }
}

/// DRY ("don't repeat yourself"): a token that would continue a repeated passage of length n has
/// `multiplier * base^(n - allowed_length)` subtracted from its logit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dry {
    /// Strength; 0 turns it off.
    pub multiplier: f32,
    /// Growth with the length of the repetition; at least 1.
    pub base: f32,
    /// Repetitions up to this many tokens cost nothing.
    pub allowed_length: u32,
    /// How many tokens back are searched; `None` is the whole context.
    pub last_tokens: Option<u32>,
    /// Strings over which no repetition extends.
    pub sequence_breakers: Vec<String>,
}

impl Default for Dry {
    /// Off, with llama.cpp's other values.
    fn default() -> Self {
        Self {
            multiplier: 0.0,
            base: 1.75,
            allowed_length: 2,
            last_tokens: None,
            sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(),
        }
    }
}

/// XTC ("exclude top choices"): with `probability`, all tokens of at least `threshold` but the least likely of
/// them are excluded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Xtc {
    /// How often; 0 turns it off.
    pub probability: f32,
    /// From which probability a token is a top choice; above 0.5 it never excludes any.
    pub threshold: f32,
}

impl Default for Xtc {
    /// Off, with llama.cpp's threshold.
    fn default() -> Self {
        Self { probability: 0.0, threshold: 0.1 }
    }
}

/// Mirostat (Basu et al., "Mirostat: a neural text decoding algorithm that directly controls perplexity",
/// <https://arxiv.org/abs/2007.14966>).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mirostat {
    /// Which form of the algorithm.
    pub version: MirostatVersion,
    /// Target surprise, in bits.
    pub tau: f32,
    /// Learning rate.
    pub eta: f32,
}

/// Which form of Mirostat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MirostatVersion {
    /// The paper's, which estimates the exponent of Zipf's law.
    V1,
    /// The simpler one, which cuts at the target.
    V2,
}

/// What the text must conform to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grammar {
    /// A grammar in llama.cpp's notation (GBNF), with the rule `root`.
    Gbnf(String),
    /// A JSON schema, as JSON text.
    JsonSchema(String),
    /// Calls of functions, in the way in which the model was trained to write them.
    Calls(CallGrammar),
}

/// A text that calls functions: perhaps thoughts, then `begin`, a call or several, `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallGrammar {
    /// What may come before the calls.
    pub thoughts: Option<ThoughtGrammar>,
    /// Before all calls.
    pub begin: String,
    /// Between two calls; `None` allows one.
    pub between: Option<String>,
    /// After all calls.
    pub end: String,
    /// What stands before and after the JSON of each function; at least one.
    pub frames: Vec<(String, String)>,
    /// Whether the text may as well be JSON that satisfies one more schema, and call nothing.
    pub answers: bool,
    /// The JSON of each function: a schema `{"anyOf": […]}` with one for each frame, and the one more, as JSON text.
    pub schema: String,
}

/// Thoughts, as far as a grammar is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThoughtGrammar {
    /// Begins them; `None` where the prompt did, so that they must end.
    pub open: Option<String>,
    /// Ends them.
    pub close: String,
}

/// The probability of a token that was chosen, and of the likeliest ones at its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprobs {
    /// The one chosen.
    pub chosen: TokenLogprob,
    /// The likeliest ones, likeliest first; as many as were asked for.
    pub top: Vec<TokenLogprob>,
}

/// One token and how likely the model found it, before any of the settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token.
    pub token: Token,
    /// Its bytes; not always whole characters.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability over the whole vocabulary.
    pub logprob: f32,
}
