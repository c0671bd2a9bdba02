//! Contents that are a string or an array of typed objects: Anthropic's blocks, OpenAI's items and parts.

use serde_json::{Map, Value};

use super::ApiError;
use super::range::{missing, out_of_range, shorten};

/// A content.
pub(super) enum Content<'a> {
    /// A string.
    Text(&'a str),
    /// Several blocks.
    Blocks(Vec<Block<'a>>),
}

/// An object that says what it is.
pub(super) struct Block<'a> {
    pub fields: &'a Map<String, Value>,
    /// Its `type`.
    pub kind: &'a str,
    /// Its path in the body.
    at: String,
}

impl<'a> Content<'a> {
    /// The content at a path. A block without a type is of the kind `usual`, if there is one.
    pub fn read(content: &'a Value, at: &str, usual: Option<&'a str>) -> Result<Self, ApiError> {
        match content {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Array(blocks) => {
                let blocks = blocks.iter().enumerate();
                let blocks = blocks.map(|(index, block)| Block::new(block, format!("{at}[{index}]"), usual));
                Ok(Self::Blocks(blocks.collect::<Result<_, _>>()?))
            }
            _ => Err(ApiError::invalid(at, format!("{at}: expected a string or an array of objects"))),
        }
    }

    /// The texts of a content that has nothing else: of each block the field that `kinds` names for its kind.
    pub fn texts(self, kinds: &[(&str, &str)]) -> Result<Vec<&'a str>, ApiError> {
        let blocks = match self {
            Self::Text(text) => return Ok(vec![text]),
            Self::Blocks(blocks) => blocks,
        };
        let text = |block: Block<'a>| {
            if let Some((_, field)) = kinds.iter().find(|(kind, _)| *kind == block.kind) {
                return block.string(field);
            }
            let known: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
            Err(block.unknown(&known.join(" or ")))
        };
        blocks.into_iter().map(text).collect()
    }
}

impl<'a> Block<'a> {
    fn new(block: &'a Value, at: String, usual: Option<&'a str>) -> Result<Self, ApiError> {
        let Value::Object(fields) = block else {
            return Err(ApiError::invalid(at.clone(), format!("{at}: expected an object")));
        };
        let mut block = Self { fields, kind: "", at };
        block.kind = match (fields.get("type"), usual) {
            (None | Some(Value::Null), Some(usual)) => usual,
            _ => block.string("type")?,
        };
        Ok(block)
    }

    /// The path of one of its fields.
    pub fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.at)
    }

    /// A field that is there.
    pub fn field(&self, field: &str) -> Result<&'a Value, ApiError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Err(missing(self.at(field))),
            Some(value) => Ok(value),
        }
    }

    /// A field that is there and text.
    pub fn string(&self, field: &str) -> Result<&'a str, ApiError> {
        let value = self.field(field)?;
        value.as_str().ok_or_else(|| self.wrong(field, "a string", value))
    }

    /// A field has another value than is expected.
    pub fn wrong(&self, field: &str, expected: &str, got: &Value) -> ApiError {
        out_of_range(&self.at(field), expected, shorten(&got.to_string()))
    }

    /// The kinds that are known here are others.
    pub fn unknown(&self, known: &str) -> ApiError {
        let field = self.at("type");
        ApiError::invalid(field.clone(), format!("{field}: expected {known}, got {:?}", shorten(self.kind)))
    }
}
