//! Proves that the chat templates of known families of models, as their files bring them, give the same prompts as
//! Python's Jinja does with Hugging Face's conventions, to the letter; and that what they refuse is refused in their own
//! words. tests/templates/README.md says where they are from, reference.py made what is expected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use modelpool::chat::{
    AnswerForm, AnswerParser, ChatError, ChatTemplate, Conversation, Delta, Message, TemplateSource, Tool,
    ToolCall,
};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
struct RawConversation {
    messages: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    chat_template_kwargs: Map<String, Value>,
}

/// What the reference made of a conversation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Prompt(String),
    /// In the template's own words.
    Refused(String),
    /// Python stumbled over something that the template did not foresee; in its words.
    #[expect(dead_code, reason = "it tells readers of the file")]
    Failed(String),
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates")
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}

fn message(raw: &Value) -> Message {
    let call = |raw: &Value| ToolCall {
        id: text(&raw["id"]),
        name: text(&raw["function"]["name"]).unwrap(),
        arguments: raw["function"]["arguments"].as_object().unwrap().clone(),
    };
    Message {
        role: text(&raw["role"]).unwrap(),
        content: text(&raw["content"]),
        reasoning: text(&raw["reasoning_content"]),
        calls: raw["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
        call_id: text(&raw["tool_call_id"]),
        name: text(&raw["name"]),
    }
}

fn conversation(raw: &RawConversation) -> Conversation {
    let tool = |raw: &Value| Tool {
        name: text(&raw["function"]["name"]).unwrap(),
        parameters: raw["function"]["parameters"].clone(),
        definition: raw.clone(),
    };
    Conversation {
        messages: raw.messages.iter().map(message).collect(),
        tools: raw.tools.iter().map(tool).collect(),
        variables: raw.chat_template_kwargs.clone(),
        // 7 March 2026, 09:05:03 UTC, as in the reference.
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_874_303),
    }
}

/// All templates by name.
fn templates() -> BTreeMap<String, String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let templates = files.filter(|path| path.extension().is_some_and(|extension| extension == "jinja"));
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    templates.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// Where the reference does what no author meant. Python finds the method `items` before the key of a schema that is
/// called so, and writes `Union[]` for what is in an array; `safe` makes what is added to it HTML.
const BETTER: [&str; 4] = ["functionary-3.1", "hermes-2-pro", "hermes-3", "hermes-vllm"];

/// Why a prompt is not what was expected; `None` if it is.
fn difference(expected: &Expected, found: &Result<String, ChatError>) -> Option<String> {
    match (expected, found) {
        (Expected::Prompt(prompt), Ok(found)) if prompt == found => None,
        (Expected::Prompt(prompt), Ok(found)) => {
            let at = prompt.bytes().zip(found.bytes()).take_while(|(one, other)| one == other).count();
            let around = |text: &str| {
                let bytes = &text.as_bytes()[at.saturating_sub(40)..(at + 60).min(text.len())];
                String::from_utf8_lossy(bytes).into_owned()
            };
            Some(format!("byte {at}:\n  expected {:?}\n  found    {:?}", around(prompt), around(found)))
        }
        (Expected::Refused(words), Err(ChatError::Refused(found))) if found.starts_with(words.as_str()) => {
            None
        }
        // What Python cannot do must be an error here, too, or do no harm.
        (Expected::Failed(_), _) => None,
        (expected, found) => Some(format!("\n  expected {expected:?}\n  found    {found:?}")),
    }
}

#[test]
fn prompts_are_those_of_the_reference() {
    let conversations: BTreeMap<String, RawConversation> = read(&folder().join("conversations.json"));
    let (mut compared, mut differences, mut better) = (0, Vec::new(), BTreeSet::new());
    for (name, source) in templates() {
        let source =
            TemplateSource { usual: Some(&source), tool_use: None, bos_token: "<s>", eos_token: "</s>" };
        let template = match ChatTemplate::new(source) {
            Ok(template) => template,
            Err(error) => {
                differences.push(format!("{name}: {error}"));
                continue;
            }
        };
        let expected: BTreeMap<String, Expected> =
            read(&folder().join("expected").join(format!("{name}.json")));
        for (title, expected) in &expected {
            let found = template.render(&conversation(&conversations[title]));
            compared += 1;
            if let Some(difference) = difference(expected, &found) {
                if BETTER.contains(&name.as_str()) && !conversations[title].tools.is_empty() {
                    better.insert(name.clone());
                    continue;
                }
                differences.push(format!("{name}, {title}: {difference}"));
            }
        }
    }
    assert!(differences.is_empty(), "{} of {compared}:\n{}", differences.len(), differences.join("\n"));
    assert!(better.iter().eq(BETTER), "some are no better any more: {better:?}");
    assert!(compared > 700, "only {compared} prompts were compared");
}

/// Families whose calls are not read: they come out as text. Apertus writes names as keys, Gemma 3 and ToolACE Python,
/// the others forms of their own.
const UNREAD: [&str; 7] =
    ["apertus", "functionary-3.2", "gemma-3", "gemma-4", "minicpm-5", "solar-open", "toolace"];

/// Families whose own way to call must be found, because their templates show tools.
const OWN_WAY: [&str; 12] = [
    "deepseek-v3",
    "glm-4.6",
    "granite-3.3",
    "hermes-3",
    "kimi-k2",
    "llama-3.1",
    "llama-3.3",
    "mistral-nemo",
    "mistral-small-3.2",
    "qwen2.5",
    "qwen3",
    "qwen3-coder",
];

/// What a template makes of a call is what its model was trained to write: it must be read as that call.
#[test]
fn calls_that_templates_write_are_read_as_calls() {
    let conversations: BTreeMap<String, RawConversation> = read(&folder().join("conversations.json"));
    let mut conversation = conversation(&conversations["call"]);
    // Kimi K2 shows a call by its id.
    let usual = conversation.clone();
    conversation.messages[1].calls[0].id = Some("functions.get_weather:0".into());
    let (question, call) =
        (conversation.messages[0].content.clone().unwrap(), &conversation.messages[1].calls[0]);
    let (mut unread, mut count, mut own) = (BTreeMap::new(), 0, BTreeSet::new());
    for (name, source) in templates() {
        let source =
            TemplateSource { usual: Some(&source), tool_use: None, bos_token: "<s>", eos_token: "</s>" };
        let template = ChatTemplate::new(source).unwrap();
        // Others take no such ids.
        let prompt = template.prompt(&conversation).or_else(|_| template.prompt(&usual));
        let Ok(prompt) = prompt else { continue };
        let format = prompt.form.calls.unwrap();
        if !format.begin.is_empty() {
            own.insert(name.clone());
        }
        let Some((_, answer)) = prompt.text.rsplit_once(question.as_str()) else { continue };
        let answer = answer.split("21.5").next().unwrap();
        let begin = match (prompt.form.channels, format.begin) {
            (true, _) => answer.find(" to="),
            (false, "") => answer.find('{'),
            (false, begin) => answer.find(begin),
        };
        let answer = &answer[begin.or(answer.find('{')).unwrap_or(0)..];
        let form = AnswerForm { thinking: false, ..prompt.form };
        let mut parser = AnswerParser::new(form, conversation.tools.clone().into(), true);
        let mut deltas = parser.push(answer);
        deltas.extend(parser.finish());
        let mut read = (String::new(), String::new());
        for delta in &deltas {
            match delta {
                Delta::Call { name, .. } => read.0.push_str(name),
                Delta::Arguments { text, .. } => read.1.push_str(text),
                _ => {}
            }
        }
        let arguments = serde_json::from_str::<Value>(&read.1).ok();
        if read.0 != call.name || arguments != Some(Value::Object(call.arguments.clone())) {
            unread.insert(name, format!("{answer:?} is read as {deltas:?}"));
        } else {
            count += 1;
        }
    }
    assert!(unread.keys().eq(UNREAD), "{unread:#?}");
    assert!(count > 70, "only {count} were read");
    assert!(OWN_WAY.iter().all(|name| own.contains(*name)), "{own:?}");
}
