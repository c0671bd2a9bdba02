//! Proves that the sampler does what llama.cpp's does: after the same filters the same candidates remain, with the same
//! probabilities. Random logits, settings and texts, the same in every run.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

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
