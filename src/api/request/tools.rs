//! The functions that a model may call, and whether it must.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::range::{missing, out_of_range, shorten};
use super::{ApiError, schema};
use crate::chat::Tool;

/// The most functions of a request; OpenAI's limit.
pub(super) const MAX_TOOLS: usize = 128;
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

/// How an API describes functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToolFields {
    /// What leads from a tool to the fields of its function.
    function: &'static str,
    /// The field with the schema of its arguments.
    schema: &'static str,
}

impl ToolFields {
    /// `{"type":"function","function":{"name":…,"parameters":…}}`
    pub const CHAT: Self = Self { function: ".function", schema: "parameters" };
    /// `{"type":"function","name":…,"parameters":…}`
    pub const RESPONSES: Self = Self { function: "", schema: "parameters" };
    /// `{"name":…,"input_schema":…}`
    pub const MESSAGES: Self = Self { function: "", schema: "input_schema" };

    fn path(self, index: usize, field: &str) -> String {
        format!("tools[{index}]{}.{field}", self.function)
    }

    /// The functions of the field `tools`; `function_of` finds the fields of one in its tool.
    pub fn list(
        self,
        tools: Option<&Value>,
        function_of: impl Fn(usize, &Value) -> Result<Map<String, Value>, ApiError>,
    ) -> Result<Vec<Tool>, ApiError> {
        let tools = match tools {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(tools)) => tools,
            Some(_) => return Err(ApiError::invalid("tools", "tools: expected an array of functions")),
        };
        if tools.len() > MAX_TOOLS {
            let message = format!("tools: at most {MAX_TOOLS} functions, got {}", tools.len());
            return Err(ApiError::invalid("tools", message));
        }
        let read = |(index, tool)| self.tool(index, function_of(index, tool)?);
        let list = tools.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut names = HashSet::new();
        if let Some(index) = list.iter().position(|tool: &Tool| !names.insert(tool.name.as_str())) {
            let field = self.path(index, "name");
            let message =
                format!("{field}: another function is called {:?}, too; rename one", list[index].name);
            return Err(ApiError::invalid(field, message));
        }
        Ok(list)
    }

    /// The function with these fields. Templates get them as OpenAI's chats have them.
    fn tool(self, index: usize, mut function: Map<String, Value>) -> Result<Tool, ApiError> {
        let at = |field: &str| self.path(index, field);
        let name = match function.get("name") {
            Some(Value::String(name)) if is_name(name) => name.clone(),
            Some(other) => {
                let expected = format!("1 to {MAX_NAME_BYTES} letters, digits, '_', '-' and '.'");
                return Err(out_of_range(&at("name"), &expected, shorten(&other.to_string())));
            }
            None => return Err(missing(at("name"))),
        };
        if function.get("description").is_some_and(|text| !text.is_string() && !text.is_null()) {
            return Err(out_of_range(&at("description"), "a string", "something else"));
        }
        function.retain(|key, value| key != "description" || !value.is_null());
        let parameters = match function.get(self.schema) {
            // A function without parameters.
            None | Some(Value::Null) => {
                json!({ "type": "object", "properties": {}, "additionalProperties": false })
            }
            Some(schema) if is_object_schema(schema) => schema.clone(),
            Some(_) => {
                let field = at(self.schema);
                let message =
                    format!("{field}: expected a JSON schema of an object, {{\"type\":\"object\",…}}");
                return Err(ApiError::invalid(field, message));
            }
        };
        if self.schema != "parameters" {
            function.shift_remove(self.schema);
        }
        function.insert("parameters".into(), parameters.clone());
        Ok(Tool { name, parameters, definition: json!({ "type": "function", "function": function }) })
    }
}

/// What a request says about functions.
#[derive(Debug)]
pub(super) struct Tools {
    pub list: Vec<Tool>,
    pub choice: Choice,
    /// Whether an answer may call several; `None` where the request does not say.
    pub several: Option<bool>,
    /// How the request's API describes them.
    pub fields: ToolFields,
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
                let field = self.fields.path(index, self.fields.schema);
                return Err(ApiError::invalid(field.clone(), format!("{field}: {reason}")));
            }
        }
        Ok(())
    }
}

/// What `tools` looks like.
pub(super) fn list_schema() -> Value {
    let function = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "pattern": format!("^[a-zA-Z0-9_.-]{{1,{MAX_NAME_BYTES}}}$") },
            "description": { "type": ["string", "null"] },
            "parameters": { "type": ["object", "null"] },
        },
        "required": ["name"],
    });
    let tool = json!({
        "type": "object",
        "properties": { "type": { "const": "function" }, "function": function },
        "required": ["type", "function"],
    });
    json!({ "type": ["array", "null"], "items": tool, "maxItems": MAX_TOOLS })
}

/// What `tool_choice` looks like.
pub(super) fn choice_schema() -> Value {
    let function =
        json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] });
    let named = json!({
        "type": "object",
        "properties": { "type": { "const": "function" }, "function": function },
        "required": ["type", "function"],
    });
    json!({ "anyOf": [{ "enum": ["none", "auto", "required", null] }, named] })
}

impl Choice {
    /// The function that the field `field` names.
    pub fn named(list: &[Tool], field: &str, name: &str) -> Result<Self, ApiError> {
        let known = list.iter().position(|tool| tool.name == name);
        known.map(Self::Named).ok_or_else(|| {
            let message = format!("{field}: expected the name of one of the tools, got {:?}", shorten(name));
            ApiError::invalid(field, message)
        })
    }

    /// What must be called is there.
    pub fn check(self, list: &[Tool]) -> Result<Self, ApiError> {
        if list.is_empty() && !matches!(self, Self::None | Self::Auto) {
            let message = "tool_choice: there is nothing to choose; give tools";
            return Err(ApiError::invalid("tool_choice", message));
        }
        Ok(self)
    }

    /// A choice that is one word, as OpenAI writes it; `None` for any other word.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::None),
            "auto" => Some(Self::Auto),
            "required" => Some(Self::Required),
            _ => None,
        }
    }
}

/// Reads a chat's `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn read(object: &Map<String, Value>) -> Result<Tools, ApiError> {
    let list = ToolFields::CHAT.list(object.get("tools"), |index, tool| {
        let function = function_tool(index, tool)?.get("function");
        let field = format!("tools[{index}].function");
        match function {
            Some(Value::Object(function)) => Ok(function.clone()),
            Some(_) => Err(out_of_range(&field, "an object", "something else")),
            None => Err(missing(field)),
        }
    })?;
    let choice = read_choice(object.get("tool_choice"), &list)?;
    Ok(Tools { list, choice, several: several(object.get("parallel_tool_calls"))?, fields: ToolFields::CHAT })
}

/// The fields of a tool that is a function, by its type.
pub(super) fn function_tool(index: usize, tool: &Value) -> Result<&Map<String, Value>, ApiError> {
    let at = |rest: &str| format!("tools[{index}]{rest}");
    let Value::Object(fields) = tool else {
        return Err(ApiError::invalid(at(""), format!("{}: expected an object", at(""))));
    };
    match fields.get("type") {
        Some(Value::String(kind)) if kind == "function" => Ok(fields),
        None => Err(missing(at(".type"))),
        Some(other) => Err(out_of_range(&at(".type"), "\"function\"", shorten(&other.to_string()))),
    }
}

/// `parallel_tool_calls`, as both of OpenAI's APIs have it.
pub(super) fn several(field: Option<&Value>) -> Result<Option<bool>, ApiError> {
    match field {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(several)) => Ok(Some(*several)),
        Some(other) => Err(out_of_range("parallel_tool_calls", "true or false", shorten(&other.to_string()))),
    }
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
        None | Some(Value::Null) => Choice::Auto,
        Some(Value::String(word)) => Choice::of_word(word).ok_or_else(|| wrong(&word.as_str().into()))?,
        Some(given @ Value::Object(fields)) => {
            let function =
                fields.get("function").filter(|_| fields.get("type").is_some_and(|kind| kind == "function"));
            let name = function.and_then(|function| function.get("name")).and_then(Value::as_str);
            let name = name.ok_or_else(|| wrong(given))?;
            return Choice::named(list, "tool_choice.function.name", name);
        }
        Some(other) => return Err(wrong(other)),
    };
    choice.check(list)
}
