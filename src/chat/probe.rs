//! What a template does with tools, found by trying.
//!
//! Templates do not say what they can: some leave tools out without a word, some join the arguments of a call to text
//! and fail on an object. A conversation of words that occur nowhere else shows it.

use std::time::SystemTime;

use serde_json::{Map, json};

use super::conversation::CallStyle;
use super::form::{GENERIC, has_channels};
use super::template::Compiled;
use super::{CallFormat, Conversation, Message, ThoughtTags, Tool, ToolCall, generic};

/// What is known of a template.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is found by a try of its own")]
pub(super) struct Traits {
    /// It shows tools and the results of calls.
    pub knows_tools: bool,
    /// It shows calls.
    pub shows_calls: bool,
    /// It shows a system message.
    pub takes_system: bool,
    /// How it wants calls.
    pub style: CallStyle,
    /// What its model puts around thoughts.
    pub thoughts: Option<ThoughtTags>,
    /// How its model calls.
    pub format: &'static CallFormat,
    /// Whether its model writes messages on channels.
    pub channels: bool,
}

impl Default for Traits {
    fn default() -> Self {
        let style = CallStyle::default();
        Self {
            knows_tools: false,
            shows_calls: false,
            takes_system: false,
            style,
            thoughts: None,
            format: &GENERIC,
            channels: false,
        }
    }
}

impl Traits {
    /// Tries a template; `source` is its text.
    pub fn of(template: &Compiled, source: &str) -> Self {
        let rendered = |conversation: &Conversation, style| {
            let prompt = template.render(&conversation.messages, conversation, style);
            // An object that is joined to text is no JSON there.
            prompt.ok().filter(|prompt| !prompt.contains("'probe_argument'"))
        };
        let shows = |conversation: &Conversation, style, words: &[&str]| {
            rendered(conversation, style).is_some_and(|prompt| words.iter().all(|word| prompt.contains(word)))
        };
        let called = called();
        let shown = CallStyle::ALL.into_iter().filter_map(|style| {
            let prompt = rendered(&called, style).filter(|prompt| prompt.contains("probe_value"))?;
            // Better none of the words for no content.
            Some((["null", "None"].iter().any(|word| prompt.contains(word)), style))
        });
        let style =
            shown.min_by_key(|(spoilt, _)| *spoilt).map_or_else(CallStyle::default, |(_, style)| style);
        let mut asked = called.clone();
        asked.messages.truncate(1);
        let with_system = Conversation {
            messages: vec![Message::text("system", "probe_system"), Message::text("user", "probe_user")],
            tools: Vec::new(),
            ..called.clone()
        };
        let format = CallFormat::of(source);
        let as_text = Conversation {
            messages: called.messages.iter().map(|message| generic::called(message, format)).collect(),
            ..called.clone()
        };
        let results = ["probe_value", "probe_result"];
        let shows_calls = shows(&called, style, &results);
        Self {
            knows_tools: shows(&asked, style, &["probe_tool", "probe_description"])
                && (shows_calls || shows(&as_text, style, &results)),
            shows_calls,
            takes_system: shows(&with_system, style, &["probe_system"]),
            style,
            thoughts: ThoughtTags::of(source),
            format,
            channels: has_channels(source),
        }
    }
}

/// A question, a call and its result.
fn called() -> Conversation {
    let parameters = json!({
        "type": "object",
        "properties": { "probe_argument": { "type": "string", "description": "probe_parameter" } },
        "required": ["probe_argument"],
    });
    let function =
        json!({ "name": "probe_tool", "description": "probe_description", "parameters": parameters });
    let mut arguments = Map::new();
    arguments.insert("probe_argument".into(), "probe_value".into());
    let id = Some("call00001".to_owned());
    let name = "probe_tool".to_owned();
    let call = ToolCall { id: id.clone(), name: name.clone(), arguments };
    let assistant = Message { role: "assistant".into(), calls: vec![call], ..Message::default() };
    let result = Message { call_id: id, name: Some(name.clone()), ..Message::text("tool", "probe_result") };
    Conversation {
        messages: vec![Message::text("user", "probe_user"), assistant, result],
        tools: vec![Tool {
            name,
            parameters,
            definition: json!({ "type": "function", "function": function }),
        }],
        variables: Map::new(),
        now: SystemTime::UNIX_EPOCH,
    }
}
