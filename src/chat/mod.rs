//! Turns a conversation into a prompt with the model's own chat template, and the model's text into an answer: what
//! it thought, what it says, which functions it calls.
//!
//! PURE: a Jinja template from the GGUF file, messages and a moment in, text out; text in, pieces of an answer out.
//! Templates come from files of somebody else and messages from clients, so both are bounded.
//!
//! In reading order: [`conversation`](Conversation) is what is said; [`template`](ChatTemplate) renders it, with what
//! templates expect of Python in `python`, and what it does with tools found by trying in `probe`; `generic` tells a
//! model of tools whose template cannot; `form` is how a family of models writes thoughts and calls; `forced` makes it
//! call, and `answer` reads what it wrote.

mod answer;
mod conversation;
mod forced;
mod form;
mod generic;
mod probe;
mod python;
mod template;

pub use answer::{AnswerParser, Delta};
pub use conversation::{Conversation, Message, Tool, ToolCall};
pub use forced::forced_calls;
pub use form::{AnswerForm, CallFormat, CallIds, CallSyntax, ThoughtTags};
pub(crate) use template::RESERVED;
pub use template::{ChatPrompt, ChatTemplate, TemplateSource};

/// Why a conversation has no prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The file's template is not one that can be read.
    #[error("the model's chat template cannot be used: {0}")]
    Template(String),
    /// The template refuses these messages, in its own words or because it fails on them.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    /// It does more than a template may.
    #[error(
        "the model's chat template takes too long for these messages, or makes more of them than {limit} bytes; \
         send fewer or shorter ones"
    )]
    TooMuch {
        /// The most bytes of a prompt.
        limit: usize,
    },
}
