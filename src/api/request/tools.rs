//! The functions that a model may call, and whether it must.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::range::{out_of_range, shorten};
use super::{ApiError, schema};
use crate::chat::Tool;

/// The most functions of a request; OpenAI's limit.
const MAX_TOOLS: usize = 128;
/// The most bytes of a function's name; OpenAI's limit.
const MAX_NAME_BYTES: usize = 64;

/// Which functions an answer calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// None: the model does not hear of them.
    None,
    /// As the model likes.
    Auto,
    /// One of them, whichever.
    Required,
    /// This one, by its place among them.
    Named(usize),
}

/// What a request says about functions.
#[derive(Debug)]
pub(super) struct Tools {
    pub list: Vec<Tool>,
    pub choice: Choice,
    /// Whether an answer may call several; `None` where the request does not say.
    pub several: Option<bool>,
}

impl Tools {
    /// Those that the answer has to call one of; none where it does not have to.
    pub fn forced(&self) -> &[Tool] {
        match self.choice {
            Choice::None | Choice::Auto => &[],
            Choice::Required => &self.list,
            Choice::Named(index) => &self.list[index..=index],
        }
    }

    /// Bounds what a worker makes a grammar of.
    pub fn check_schemas(&self, callable: &[Tool]) -> Result<(), ApiError> {
        for (index, tool) in self.list.iter().enumerate().filter(|(_, tool)| callable.contains(tool)) {
            if let Err(reason) = schema::check(&tool.parameters) {
                let field = format!("tools[{index}].function.parameters");
                return Err(ApiError::invalid(field.clone(), format!("{field}: {reason}")));
            }
        }
        Ok(())
    }
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn read(object: &Map<String, Value>) -> Result<Tools, ApiError> {
    let list = match object.get("tools") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(tools)) if tools.len() > MAX_TOOLS => {
            let message = format!("tools: at most {MAX_TOOLS} functions, got {}", tools.len());
            return Err(ApiError::invalid("tools", message));
        }
        Some(Value::Array(tools)) => tools
            .iter()
            .enumerate()
            .map(|(index, tool)| read_tool(index, tool))
            .collect::<Result<Vec<_>, _>>()?,
        Some(_) => return Err(ApiError::invalid("tools", "tools: expected an array of functions")),
    };
    let mut names = HashSet::new();
    if let Some(index) = list.iter().position(|tool| !names.insert(tool.name.as_str())) {
        let field = format!("tools[{index}].function.name");
        let message = format!("{field}: another function is called {:?}, too; rename one", list[index].name);
        return Err(ApiError::invalid(field, message));
    }
    let choice = read_choice(object.get("tool_choice"), &list)?;
    let several = match object.get("parallel_tool_calls") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(several)) => Some(*several),
        Some(other) => {
            return Err(out_of_range("parallel_tool_calls", "true or false", shorten(&other.to_string())));
        }
    };
    Ok(Tools { list, choice, several })
}

fn read_tool(index: usize, tool: &Value) -> Result<Tool, ApiError> {
    let at = |rest: &str| format!("tools[{index}]{rest}");
    let missing = |field: String| ApiError::invalid(field.clone(), format!("{field}: missing"));
    match tool.get("type") {
        Some(Value::String(kind)) if kind == "function" => {}
        None if tool.is_object() => return Err(missing(at(".type"))),
        Some(other) => return Err(out_of_range(&at(".type"), "\"function\"", shorten(&other.to_string()))),
        None => return Err(ApiError::invalid(at(""), format!("{}: expected an object", at("")))),
    }
    let mut function = match tool.get("function") {
        Some(Value::Object(function)) => function.clone(),
        Some(_) => return Err(out_of_range(&at(".function"), "an object", "something else")),
        None => return Err(missing(at(".function"))),
    };
    let name = match function.get("name") {
        Some(Value::String(name)) if is_name(name) => name.clone(),
        Some(other) => {
            let expected = format!("1 to {MAX_NAME_BYTES} letters, digits, '_', '-' and '.'");
            return Err(out_of_range(&at(".function.name"), &expected, shorten(&other.to_string())));
        }
        None => return Err(missing(at(".function.name"))),
    };
    if function.get("description").is_some_and(|text| !text.is_string() && !text.is_null()) {
        return Err(out_of_range(&at(".function.description"), "a string", "something else"));
    }
    function.retain(|key, value| key != "description" || !value.is_null());
    let parameters = match function.get("parameters") {
        // A function without parameters.
        None | Some(Value::Null) => {
            json!({ "type": "object", "properties": {}, "additionalProperties": false })
        }
        Some(schema) if is_object_schema(schema) => schema.clone(),
        Some(_) => {
            let field = at(".function.parameters");
            let message = format!("{field}: expected a JSON schema of an object, {{\"type\":\"object\",…}}");
            return Err(ApiError::invalid(field, message));
        }
    };
    function.insert("parameters".into(), parameters.clone());
    Ok(Tool { name, parameters, definition: json!({ "type": "function", "function": function }) })
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn is_object_schema(schema: &Value) -> bool {
    schema.as_object().is_some_and(|fields| fields.get("type").is_none_or(|kind| kind == "object"))
}

fn read_choice(field: Option<&Value>, list: &[Tool]) -> Result<Choice, ApiError> {
    let expected = "none, auto, required or {\"type\":\"function\",\"function\":{\"name\":…}}";
    let wrong = |got: &Value| out_of_range("tool_choice", expected, shorten(&got.to_string()));
    let choice = match field {
        None | Some(Value::Null) => return Ok(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "none" => return Ok(Choice::None),
            "auto" => return Ok(Choice::Auto),
            "required" => Choice::Required,
            _ => return Err(wrong(&word.as_str().into())),
        },
        Some(given @ Value::Object(fields)) => {
            let function =
                fields.get("function").filter(|_| fields.get("type").is_some_and(|kind| kind == "function"));
            let name = function.and_then(|function| function.get("name")).and_then(Value::as_str);
            let name = name.ok_or_else(|| wrong(given))?;
            let known = list.iter().position(|tool| tool.name == name);
            let field = "tool_choice.function.name";
            Choice::Named(known.ok_or_else(|| {
                let message =
                    format!("{field}: expected the name of one of the tools, got {:?}", shorten(name));
                ApiError::invalid(field, message)
            })?)
        }
        Some(other) => return Err(wrong(other)),
    };
    if list.is_empty() {
        return Err(ApiError::invalid("tool_choice", "tool_choice: there is nothing to choose; give tools"));
    }
    Ok(choice)
}
