//! Renders a conversation into a prompt with the model's own chat template.
//!
//! PURE: a Jinja template from the GGUF file and messages in, text out. Hugging Face's conventions
//! (`raise_exception`, Python's string methods, trimmed blocks) are followed, because the templates expect them.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Serialize;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, …
    pub role: String,
    /// What was said.
    pub content: String,
}

/// Why a conversation has no prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The file's template is not one that can be read.
    #[error("the model's chat template cannot be used: {0}")]
    Template(String),
    /// The template refuses these messages, in its own words or because it fails on them.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
}

/// Used where a file brings no template: ChatML, the form that most chat models without one were trained on.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content \
                      + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}\
                      {{ '<|im_start|>assistant\n' }}{% endif %}";

/// The template's name inside its environment.
const NAME: &str = "chat";

/// A compiled chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Compiles `source`, or ChatML where the file has none. The two tokens are given to the template as text.
    ///
    /// # Errors
    ///
    /// [`ChatError::Template`] with the line at fault.
    pub fn new(source: Option<&str>, bos_token: &str, eos_token: &str) -> Result<Self, ChatError> {
        let mut environment = Environment::new();
        // As in Hugging Face's `apply_chat_template`.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| ChatError::Template(explain(&error)))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(NAME, source.unwrap_or(CHATML).to_owned())
            .map_err(|error| ChatError::Template(explain(&error)))?;
        Ok(Self { environment, bos_token: bos_token.into(), eos_token: eos_token.into() })
    }

    /// The prompt that asks for the assistant's next message.
    ///
    /// # Errors
    ///
    /// [`ChatError::Refused`] if the template fails on these messages.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        let refused = |error: minijinja::Error| ChatError::Refused(explain(&error));
        let template = self.environment.get_template(NAME).map_err(refused)?;
        template
            .render(context! {
                messages => Value::from(Serde(messages)),
                add_generation_prompt => true,
                bos_token => self.bos_token.as_str(),
                eos_token => self.eos_token.as_str(),
            })
            .map_err(refused)
    }
}

/// The error's own words; what `raise_exception` was given comes without the library's prefix.
fn explain(error: &minijinja::Error) -> String {
    let line = error.line().map_or(String::new(), |line| format!(" (line {line} of the template)"));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    format!("{detail}{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    #[test]
    fn renders_chatml_where_a_file_has_no_template() {
        let template = ChatTemplate::new(None, "", "").unwrap();
        assert_eq!(
            template.render(&[message("system", "Be brief."), message("user", "Hi {{ x }}")]).unwrap(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi {{ x }}<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn follows_the_conventions_that_templates_rely_on() {
        let source = "{{ bos_token }}{% for m in messages %}\n    {% if m['role'] == 'system' %}\n\
                      {{ m['content'].strip() | upper }}\n    {% endif %}\n{% endfor %}";
        let template = ChatTemplate::new(Some(source), "<s>", "</s>").unwrap();
        assert_eq!(template.render(&[message("system", "  hi  ")]).unwrap(), "<s>HI\n");
    }

    #[test]
    fn a_template_that_fails_says_why() {
        let broken = ChatTemplate::new(Some("{% if %}"), "", "").unwrap_err();
        assert!(matches!(&broken, ChatError::Template(text) if text.contains("line 1")), "{broken}");
        let source =
            "{% if messages[0].role != 'user' %}{{ raise_exception('begin with the user') }}{% endif %}";
        let template = ChatTemplate::new(Some(source), "", "").unwrap();
        let error = template.render(&[message("system", "x")]).unwrap_err();
        assert_eq!(error, ChatError::Refused("begin with the user (line 1 of the template)".into()));
    }
}
