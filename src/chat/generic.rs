//! Tells a model of tools whose template cannot: as text of messages that every template knows.

use std::collections::HashMap;

use super::forced::written;
use super::form::GENERIC;
use super::python::dumps;
use super::{CallFormat, Conversation, Message};

/// The conversation without tools, calls and results: tools and how to call them are told in the system message, or in
/// the first message where the template takes none; calls are JSON; results come from the user.
pub(super) fn explain(conversation: &Conversation, takes_system: bool) -> Conversation {
    let calls = conversation.messages.iter().flat_map(|message| &message.calls);
    let names = calls.filter_map(|call| Some((call.id.as_deref()?, call.name.as_str()))).collect();
    let mut told: Vec<Message> = Vec::new();
    for message in &conversation.messages {
        let message = match message.role.as_str() {
            "assistant" => called(message, &GENERIC),
            "tool" => Message::text("user", result(message, &names)),
            _ => message.clone(),
        };
        match told.last_mut() {
            // Templates want a turn for each: results that follow each other, and a question after them, are one.
            Some(last) if last.role == "user" && message.role == "user" => {
                let content = last.content.get_or_insert_default();
                content.push_str("\n\n");
                content.push_str(message.content.as_deref().unwrap_or_default());
            }
            _ => told.push(message),
        }
    }
    if !conversation.tools.is_empty() {
        let role = if takes_system { "system" } else { "user" };
        if told.first().is_none_or(|first| first.role != role) {
            told.insert(0, Message::text(role, ""));
        }
        let first = told[0].content.get_or_insert_default();
        let space = if first.is_empty() { "" } else { "\n\n" };
        *first = if takes_system {
            format!("{first}{space}{}", introduction(conversation))
        } else {
            format!("{}{space}{first}", introduction(conversation))
        };
    }
    Conversation { messages: told, tools: Vec::new(), ..conversation.clone() }
}

fn introduction(conversation: &Conversation) -> String {
    let tools: Vec<_> = conversation.tools.iter().map(|tool| dumps(&tool.definition["function"])).collect();
    format!(
        "You can call these functions, given as JSON:\n{}\n\nTo call one, answer with a JSON object and nothing else: \
         {{\"name\": the name of the function, \"arguments\": an object of its arguments}}. You then get its result.",
        tools.join("\n")
    )
}

/// A message whose calls are a part of what it says, as models of this family write them.
pub(super) fn called(message: &Message, format: &CallFormat) -> Message {
    let calls = (!message.calls.is_empty()).then(|| written(format, &message.calls));
    let said = message.content.clone().filter(|content| !content.is_empty() || calls.is_none());
    let content = said.into_iter().chain(calls).collect::<Vec<_>>().join("\n");
    Message { content: Some(content), calls: Vec::new(), ..message.clone() }
}

/// The result of a call, with the function's name where it is known. `names`: the functions by the ids of their calls.
fn result(message: &Message, names: &HashMap<&str, &str>) -> String {
    let named = message.call_id.as_deref().and_then(|id| names.get(id).copied());
    let name = message.name.as_deref().or(named);
    let content = message.content.as_deref().unwrap_or_default();
    match name {
        Some(name) => format!("Result of {name}: {content}"),
        None => format!("Result: {content}"),
    }
}
