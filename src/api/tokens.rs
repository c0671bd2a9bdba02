//! Texts to tokens and back, and messages to a prompt, in llama-server's shapes. No slot is taken; the model is loaded if
//! it must be.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use warp::reply::{Reply as _, Response};

use super::Api;
use super::auth::Visit;
use super::body;
use super::error::ApiError;
use super::request::{self, Target};
use crate::generation::{Prompt, PromptPart, Question, Reply, Token, Tokenizing};
use crate::units::ModelName;

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TokenizeRequest")]
struct RawTokenize {
    content: String,
    add_special: Option<bool>,
    parse_special: Option<bool>,
    with_pieces: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "DetokenizeRequest")]
struct RawDetokenize {
    tokens: Vec<Token>,
}

/// A token and its text, or its bytes where they are no whole characters.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "TokenPiece")]
struct WirePiece {
    id: Token,
    piece: Piece,
}

#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Tokens")]
struct WireTokens {
    tokens: TokenList,
}

#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
enum TokenList {
    Ids(Vec<Token>),
    Pieces(Vec<WirePiece>),
}

#[derive(Debug, JsonSchema, Serialize)]
struct TextOfTokens {
    content: String,
}

#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "WrittenPrompt")]
struct Written {
    prompt: String,
}

/// What a body of `/tokenize` looks like.
pub(super) fn tokenize_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "allOf": [generator.subschema_for::<RawTokenize>(), request::model_part()] })
}

/// What a body of `/detokenize` looks like.
pub(super) fn detokenize_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "allOf": [generator.subschema_for::<RawDetokenize>(), request::model_part()] })
}

/// What `/tokenize` answers.
pub(super) fn tokens_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<WireTokens>()
}

/// What `/detokenize` answers.
pub(super) fn text_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<TextOfTokens>()
}

/// What `/apply-template` answers.
pub(super) fn prompt_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Written>()
}

impl Api {
    /// `/tokenize`
    pub(super) async fn tokenize(
        &self,
        bytes: &[u8],
        target: Target<'_>,
        visit: &Visit<'_>,
    ) -> Result<Response, ApiError> {
        let object: Map<String, Value> = body::parse(bytes)?;
        let raw: RawTokenize = body::from_object(&object)?;
        let form = Tokenizing {
            add_special: raw.add_special == Some(true),
            parse_special: raw.parse_special != Some(false),
        };
        let with_pieces = raw.with_pieces == Some(true);
        let question = Question::Tokenize { text: raw.content, form, with_pieces };
        let Reply::Tokens { tokens, pieces } = self.ask(&object, target, visit, question).await? else {
            return Err(ApiError::foreign_reply());
        };
        let tokens = if with_pieces {
            let pieces =
                tokens.into_iter().zip(pieces).map(|(id, piece)| WirePiece { id, piece: written(piece) });
            TokenList::Pieces(pieces.collect())
        } else {
            TokenList::Ids(tokens)
        };
        let body = WireTokens { tokens };
        Ok(warp::reply::json(&body).into_response())
    }

    /// `/detokenize`
    pub(super) async fn detokenize(
        &self,
        bytes: &[u8],
        target: Target<'_>,
        visit: &Visit<'_>,
    ) -> Result<Response, ApiError> {
        let object: Map<String, Value> = body::parse(bytes)?;
        let raw: RawDetokenize = body::from_object(&object)?;
        let Reply::Text(content) = self.ask(&object, target, visit, Question::Detokenize(raw.tokens)).await?
        else {
            return Err(ApiError::foreign_reply());
        };
        Ok(warp::reply::json(&TextOfTokens { content }).into_response())
    }

    /// `/apply-template`: needs no instance.
    pub(super) fn apply_template(
        &self,
        bytes: &[u8],
        target: Target<'_>,
        visit: &Visit<'_>,
    ) -> Result<Response, ApiError> {
        let object: Map<String, Value> = body::parse(bytes)?;
        let catalog = self.pool.load();
        let model = target.find(&object, &catalog.catalog)?;
        visit.allows(&model.policy.name)?;
        let prompt = request::chat_prompt(&object, model, SystemTime::now())?;
        Ok(warp::reply::json(&Written { prompt }).into_response())
    }

    /// A prompt as text.
    pub(super) async fn written(&self, model: &ModelName, prompt: &Prompt) -> Result<String, ApiError> {
        let parts = match prompt {
            Prompt::Text(text) => return Ok(text.clone()),
            Prompt::Infill(infill) => return Ok(infill.prefix.clone()),
            Prompt::Pair { query, document } => return Ok(format!("{query}{document}")),
            Prompt::Tokens(tokens) => &[PromptPart::Tokens(tokens.clone())],
            Prompt::Mixed(parts) => parts.as_slice(),
        };
        let mut text = String::new();
        for part in parts {
            match part {
                PromptPart::Text(part) => text.push_str(part),
                PromptPart::Tokens(tokens) => {
                    match self.cache.admission().ask(model, Question::Detokenize(tokens.clone())).await? {
                        Reply::Text(part) => text.push_str(&part),
                        _ => return Err(ApiError::foreign_reply()),
                    }
                }
            }
        }
        Ok(text)
    }

    async fn ask(
        &self,
        object: &Map<String, Value>,
        target: Target<'_>,
        visit: &Visit<'_>,
        question: Question,
    ) -> Result<Reply, ApiError> {
        let name = target.find(object, &self.pool.load().catalog)?.policy.name.clone();
        visit.allows(&name)?;
        Ok(self.cache.admission().ask(&name, question).await?)
    }
}

fn written(piece: Vec<u8>) -> Piece {
    String::from_utf8(piece).map_or_else(|error| Piece::Bytes(error.into_bytes()), Piece::Text)
}
