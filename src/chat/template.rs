//! Renders a conversation with a model's own template.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde_json::Map;

use super::conversation::CallStyle;
use super::probe::Traits;
use super::{AnswerForm, ChatError, Conversation, generic, python};

/// Used where a file brings no template: ChatML, the form that most chat models without one were trained on.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content \
                      + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}\
                      {{ '<|im_start|>assistant\n' }}{% endif %}";

/// The template's name inside its environment.
const NAME: &str = "chat";

/// The most that one prompt may cost, in minijinja's unit: about one instruction, or 64 bytes. 26,000 messages, which
/// fill a body of 1 MiB, cost templates in use up to 2.3 million, unless each message looks at all others. A million takes
/// 50 to 100 ms.
const MAX_FUEL: u64 = 5_000_000;

/// The most that one try may cost of what a template does.
const MAX_PROBE_FUEL: u64 = 500_000;

/// The most bytes of a prompt: as many as a worker is sent.
const MAX_PROMPT_BYTES: usize = 64 << 20;

/// What templates get besides what a request may give them.
pub(crate) const RESERVED: [&str; 8] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "bos_token",
    "eos_token",
    "strftime_now",
    "raise_exception",
];

/// The templates that a model's file brings, and the two tokens that they are given as text.
#[derive(Clone, Copy, Debug, Default)]
pub struct TemplateSource<'a> {
    /// The usual one.
    pub usual: Option<&'a str>,
    /// One for conversations with tools, where the file has such a one.
    pub tool_use: Option<&'a str>,
    /// Begins a text.
    pub bos_token: &'a str,
    /// Ends one.
    pub eos_token: &'a str,
}

/// A model's compiled chat templates.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    usual: Compiled,
    tool_use: Option<Compiled>,
}

/// A prompt, and how the answer to it is to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatPrompt {
    /// The prompt.
    pub text: String,
    /// How thoughts and calls are written in the answer.
    pub form: AnswerForm,
}

impl ChatTemplate {
    /// Compiles the templates, or ChatML where there is none, and tries what they do with tools.
    ///
    /// # Errors
    ///
    /// [`ChatError::Template`] with the line at fault.
    pub fn new(source: TemplateSource<'_>) -> Result<Self, ChatError> {
        let compile = |text: &str| Compiled::new(text, source.bos_token, source.eos_token);
        Ok(Self {
            usual: compile(source.usual.unwrap_or(CHATML))?,
            tool_use: source.tool_use.map(compile).transpose()?,
        })
    }

    /// The prompt that asks for the assistant's next message. If the last message is the assistant's and calls nothing,
    /// the prompt ends with it: the model goes on.
    ///
    /// # Errors
    ///
    /// [`ChatError::Refused`] if the template fails on these messages, [`ChatError::TooMuch`] if it takes too long.
    pub fn prompt(&self, conversation: &Conversation) -> Result<ChatPrompt, ChatError> {
        let template = self.for_conversation(conversation);
        let traits = &template.traits;
        let calls = conversation.messages.iter().any(|message| !message.calls.is_empty());
        let explained = ((calls || !conversation.tools.is_empty()) && !traits.knows_tools)
            .then(|| generic::explain(conversation, traits.takes_system));
        let as_text = (calls && traits.knows_tools && !traits.shows_calls).then(|| {
            let messages = conversation.messages.iter();
            let messages = messages.map(|message| generic::called(message, traits.format)).collect();
            Conversation { messages, ..conversation.clone() }
        });
        let has_tools = !conversation.tools.is_empty();
        let conversation = explained.as_ref().or(as_text.as_ref()).unwrap_or(conversation);
        let (messages, begun) = match conversation.messages.split_last() {
            Some((last, before))
                if last.role == "assistant" && last.calls.is_empty() && !before.is_empty() =>
            {
                (before, last.content.as_deref())
            }
            _ => (conversation.messages.as_slice(), None),
        };
        let mut text = template.render(messages, conversation, traits.style)?;
        let form = AnswerForm::new(traits, &text, begun, explained.is_none(), has_tools);
        text.push_str(begun.unwrap_or_default());
        Ok(ChatPrompt { text, form })
    }

    /// What the template for this conversation writes, whether or not it knows tools.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::prompt`].
    pub fn render(&self, conversation: &Conversation) -> Result<String, ChatError> {
        let template = self.for_conversation(conversation);
        template.render(&conversation.messages, conversation, template.traits.style)
    }

    fn for_conversation(&self, conversation: &Conversation) -> &Compiled {
        match &self.tool_use {
            Some(tool_use) if !conversation.tools.is_empty() => tool_use,
            _ => &self.usual,
        }
    }
}

/// One template.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
    traits: Traits,
}

impl Compiled {
    fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, ChatError> {
        let fault = |error: minijinja::Error| ChatError::Template(explain(&error));
        let mut environment = Environment::new();
        // As in Hugging Face's `apply_chat_template`.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(fault)?);
        environment.set_fuel(Some(MAX_PROBE_FUEL));
        python::prepare(&mut environment);
        environment.add_template_owned(NAME, without_generation_marks(source)).map_err(fault)?;
        let (bos_token, eos_token) = (bos_token.into(), eos_token.into());
        let mut compiled = Self { environment, bos_token, eos_token, traits: Traits::default() };
        compiled.traits = Traits::of(&compiled, source);
        compiled.environment.set_fuel(Some(MAX_FUEL));
        Ok(compiled)
    }

    /// What the template writes for these messages, and what else is in the conversation.
    pub(super) fn render(
        &self,
        messages: &[super::Message],
        conversation: &Conversation,
        style: CallStyle,
    ) -> Result<String, ChatError> {
        let template = self.environment.get_template(NAME).map_err(|error| refused(&error))?;
        let messages: Vec<_> = messages.iter().map(|message| message.value(style)).collect();
        let tools: Vec<_> = conversation.tools.iter().map(|tool| &tool.definition).collect();
        let variables: &Map<String, serde_json::Value> = &conversation.variables;
        let context = context! {
            messages => Value::from(Serde(&messages)),
            // None and not undefined, as in `apply_chat_template`.
            tools => (!tools.is_empty()).then(|| Value::from(Serde(&tools))),
            documents => Value::from(()),
            add_generation_prompt => true,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            strftime_now => python::strftime(conversation.now),
            ..Value::from(Serde(variables))
        };
        let mut prompt = Bounded(Vec::new());
        template.render_captured_to(context, &mut prompt).map_err(|error| refused(&error))?;
        String::from_utf8(prompt.0).map_err(|error| ChatError::Refused(error.to_string()))
    }
}

/// Takes no more than a prompt may have.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn refused(error: &minijinja::Error) -> ChatError {
    match error.kind() {
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => ChatError::TooMuch { limit: MAX_PROMPT_BYTES },
        _ => ChatError::Refused(explain(error)),
    }
}

/// The error's own words; what `raise_exception` was given comes without the library's prefix.
fn explain(error: &minijinja::Error) -> String {
    let line = error.line().map_or(String::new(), |line| format!(" (line {line} of the template)"));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    format!("{detail}{line}")
}

/// A template whose `{% generation %}` blocks, which mark what a model says for its training, are blocks without a
/// meaning of their own.
fn without_generation_marks(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        text.push_str(before);
        rest = tag;
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        for (mark, block) in [("generation", "with"), ("endgeneration", "endwith")] {
            let end = word.strip_prefix(mark).map(str::trim_start);
            if end.is_some_and(|end| end.trim_start_matches(['-', '+']).starts_with("%}")) {
                text.push_str(&tag[..tag.len() - word.len()]);
                text.push_str(block);
                rest = &word[mark.len()..];
                break;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
