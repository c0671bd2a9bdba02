//! A conversation becomes a prompt; what the request says of functions and thoughts decides how the answer is read.

use std::sync::Arc;
use std::time::SystemTime;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::messages::{self, RawMessage};
use super::range::{out_of_range, shorten};
use super::tools::{self, Choice, Tools};
use super::{ApiError, schema};
use crate::chat::{AnswerForm, AnswerParser, ChatTemplate, Conversation, Message, RESERVED, forced_calls};
use crate::generation::Grammar;

/// The most variables that a request gives a template.
const MAX_VARIABLES: usize = 64;
/// The most bytes of them, as JSON.
const MAX_VARIABLE_BYTES: usize = 16 << 10;

/// What is asked of a model for a chat.
#[derive(Debug)]
pub(super) struct Chat {
    pub prompt: String,
    /// Reads the answer.
    pub parser: AnswerParser,
    /// What the answer must be, where it must call.
    pub grammar: Option<Grammar>,
    /// Special tokens that the answer is read by.
    pub shown: Vec<String>,
}

/// What the fields that only chats have look like.
pub(super) fn fields_schema(generator: &mut SchemaGenerator) -> Schema {
    let message = generator.subschema_for::<RawMessage>();
    let own = json_schema!({ "type": "object", "required": ["messages"], "properties": {
        "messages": { "type": "array", "items": message, "minItems": 1, "maxItems": messages::MAX_MESSAGES },
        "tools": tools::list_schema(),
        "tool_choice": tools::choice_schema(),
        "parallel_tool_calls": { "type": ["boolean", "null"] },
        "reasoning_effort": { "type": ["string", "null"], "maxLength": MAX_EFFORT_BYTES },
        "reasoning_format": { "enum": ["auto", "deepseek", "none", null] },
    } });
    json_schema!({ "allOf": [variables_schema(), own] })
}

/// What the further variables of templates look like.
pub(super) fn variables_schema() -> Schema {
    json_schema!({ "type": "object", "properties": {
        "chat_template_kwargs": { "type": ["object", "null"], "maxProperties": MAX_VARIABLES },
    } })
}

/// What a request says, whichever API it came by.
#[derive(Debug)]
pub(super) struct Wish {
    pub messages: Vec<Message>,
    pub tools: Tools,
    /// Further variables of the template.
    pub variables: Map<String, Value>,
    /// Whether thoughts are told apart from the text.
    pub splits_thoughts: bool,
    /// What the answer must be, where it does not call.
    pub grammar: Option<Grammar>,
}

/// Reads what is particular to chats. `grammar`: the request's own.
pub(super) fn read(
    object: &Map<String, Value>,
    messages: Option<Vec<RawMessage>>,
    grammar: Option<Grammar>,
) -> Result<Wish, ApiError> {
    let messages = messages::messages(messages)?;
    let tools = tools::read(object)?;
    let mut variables = variables(object)?;
    effort("reasoning_effort", object.get("reasoning_effort"), &mut variables)?;
    Ok(Wish { messages, tools, variables, splits_thoughts: splits_thoughts(object)?, grammar })
}

/// What is asked of a model with this template, at the time `now`.
pub(super) fn prepare(wish: Wish, template: &ChatTemplate, now: SystemTime) -> Result<Chat, ApiError> {
    let Wish { messages, tools, variables, splits_thoughts, grammar } = wish;
    let known = if tools.choice == Choice::None { Vec::new() } else { tools.list.clone() };
    if let (Some(Grammar::Gbnf(_)), false) = (&grammar, known.is_empty()) {
        let message = "tools: cannot be combined with a grammar; leave one of them out, give a schema instead, or set \
                       tool_choice to none";
        return Err(ApiError::invalid("tools", message));
    }
    let conversation = Conversation { messages, tools: known, variables, now };
    let prompt = template.prompt(&conversation)?;
    let mut form = prompt.form;
    if !splits_thoughts {
        // Calls on channels can only be read with all channels.
        let channels = form.channels && form.calls.is_some();
        form = AnswerForm { thoughts: None, thinking: false, channels, ..form };
    }
    let (form, grammar) = match forced(&form, &tools, grammar.as_ref())? {
        Some((form, forced)) => (form, Some(forced)),
        None => (form, grammar),
    };
    let shown = form.marks();
    let parser = AnswerParser::new(form, Arc::from(conversation.tools), tools.several != Some(false));
    Ok(Chat { prompt: prompt.text, parser, grammar, shown })
}

/// The grammar of an answer that must call, or must either call or satisfy the schema of `grammar`; and the form in which
/// it does.
fn forced(
    form: &AnswerForm,
    tools: &Tools,
    grammar: Option<&Grammar>,
) -> Result<Option<(AnswerForm, Grammar)>, ApiError> {
    let answer = match grammar {
        Some(Grammar::JsonSchema(schema)) if tools.choice == Choice::Auto => {
            serde_json::from_str(schema).ok()
        }
        _ => None,
    };
    let callable = if answer.is_some() { tools.list.as_slice() } else { tools.forced() };
    if callable.is_empty() {
        return Ok(None);
    }
    tools.check_schemas(callable)?;
    let several = tools.several == Some(true) && !matches!(tools.choice, Choice::Named(_));
    let (form, grammar) = forced_calls(form, callable, several, answer.as_ref());
    let all = serde_json::from_str(&grammar.schema).unwrap_or_default();
    schema::check(&all)
        .map_err(|reason| ApiError::invalid("tools", format!("tools: all schemas together: {reason}")))?;
    Ok(Some((form, Grammar::Calls(grammar))))
}

/// `chat_template_kwargs`
pub(super) fn variables(object: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let field = "chat_template_kwargs";
    let variables = match object.get(field) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(variables)) => variables.clone(),
        Some(_) => return Err(ApiError::invalid(field, format!("{field}: expected an object"))),
    };
    if let Some(name) = variables.keys().find(|name| RESERVED.contains(&name.as_str())) {
        let field = format!("{field}.{name}");
        let message = format!("{field}: the server gives this to the template; leave it out");
        return Err(ApiError::invalid(field, message));
    }
    if variables.len() > MAX_VARIABLES {
        let message = format!("{field}: at most {MAX_VARIABLES} variables, got {}", variables.len());
        return Err(ApiError::invalid(field, message));
    }
    let bytes = Value::Object(variables.clone()).to_string().len();
    if bytes > MAX_VARIABLE_BYTES {
        return Err(out_of_range(field, &format!("at most {MAX_VARIABLE_BYTES} bytes"), bytes));
    }
    Ok(variables)
}

/// How much the model shall think, in a word, which some templates know as `reasoning_effort`.
pub(super) fn effort(
    field: &str,
    given: Option<&Value>,
    variables: &mut Map<String, Value>,
) -> Result<(), ApiError> {
    match given {
        None | Some(Value::Null) => {}
        Some(Value::String(effort)) if effort.len() <= MAX_EFFORT_BYTES => {
            variables.entry("reasoning_effort").or_insert_with(|| effort.as_str().into());
        }
        Some(other) => return Err(out_of_range(field, "a word such as low", shorten(&other.to_string()))),
    }
    Ok(())
}

/// Tells templates of several families whether the model shall think, unless the client told them by itself.
pub(super) fn thinking(thinks: bool, variables: &mut Map<String, Value>) {
    for name in ["enable_thinking", "thinking"] {
        variables.entry(name).or_insert_with(|| thinks.into());
    }
}

/// The most bytes of the word for an effort.
const MAX_EFFORT_BYTES: usize = 32;

/// `reasoning_format`, as llama.cpp's server has it.
fn splits_thoughts(object: &Map<String, Value>) -> Result<bool, ApiError> {
    let field = "reasoning_format";
    match object.get(field) {
        None | Some(Value::Null) => Ok(true),
        Some(Value::String(word)) if matches!(word.as_str(), "auto" | "deepseek") => Ok(true),
        Some(Value::String(word)) if word == "none" => Ok(false),
        Some(other) => Err(out_of_range(field, "auto, deepseek or none", shorten(&other.to_string()))),
    }
}
