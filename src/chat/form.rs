//! How families of models write what they think and which functions they call.
//!
//! A family is told by the marks in its template. The marks and the shapes between them are those of the models' own
//! templates and model cards.

use super::answer::CHANNEL_MARKS;
use super::probe::Traits;

/// What stands around a model's thoughts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThoughtTags {
    /// Before them; often a part of the prompt already.
    pub open: &'static str,
    /// After them.
    pub close: &'static str,
}

/// How calls are written.
#[derive(Debug, PartialEq, Eq)]
pub struct CallFormat {
    /// What calls begin with; empty where there is no such mark.
    pub begin: &'static str,
    /// Whether an answer that begins with a JSON object of the right shape is a call, too.
    pub bare: bool,
    /// A call.
    pub syntax: CallSyntax,
    /// What follows the calls that `begin` has begun; may be missing.
    pub end: &'static str,
    /// What JSON calls the function's arguments.
    pub arguments_key: &'static str,
    /// All marks that can be special tokens, whose text an engine leaves out unless it is asked for them.
    pub marks: &'static [&'static str],
    /// What ids of calls look like.
    pub ids: CallIds,
}

/// What a template, or the model, takes for the id of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallIds {
    /// Any text.
    Any,
    /// Nine letters and digits.
    Short,
    /// `functions.name:0`, counted.
    Counted,
}

/// How one call is written.
#[derive(Debug, PartialEq, Eq)]
pub enum CallSyntax {
    /// `{"name": …, "arguments": {…}}`
    Object,
    /// An array of such objects.
    Array,
    /// `begin`, the name, `separator`, the arguments as JSON, `end`.
    Named {
        /// Before the name.
        begin: &'static str,
        /// Between name and arguments.
        separator: &'static str,
        /// After the arguments.
        end: &'static str,
    },
    /// `begin`, the name, `name_end`; for each argument `key_begin`, its name, `key_end`, its value, `value_end`; `end`.
    /// Texts are written as they are, everything else as JSON.
    Parameters {
        /// Before the name.
        begin: &'static str,
        /// After it; empty where the line ends.
        name_end: &'static str,
        /// Before an argument's name.
        key_begin: &'static str,
        /// After it.
        key_end: &'static str,
        /// Before an argument's value.
        value_begin: &'static str,
        /// After it.
        value_end: &'static str,
        /// After all arguments.
        end: &'static str,
    },
}

/// A call as a JSON object; the others say what differs.
const OBJECT: CallFormat = CallFormat {
    begin: "",
    bare: false,
    syntax: CallSyntax::Object,
    end: "",
    arguments_key: "arguments",
    marks: &[],
    ids: CallIds::Any,
};

/// A JSON object and nothing else: for models whose template knows no calls, or in a form that is not known here.
pub(super) const GENERIC: CallFormat = CallFormat { bare: true, ..OBJECT };

/// Hermes 2 and 3, Qwen 2.5 and 3, and many that were trained like them.
const HERMES: CallFormat = CallFormat {
    begin: "<tool_call>",
    end: "</tool_call>",
    marks: &["<tool_call>", "</tool_call>"],
    ..OBJECT
};

/// Llama 3.1, 3.2 and 3.3, which may put a mark before the object.
const LLAMA_3: CallFormat = CallFormat {
    begin: "<|python_tag|>",
    bare: true,
    arguments_key: "parameters",
    marks: &["<|python_tag|>"],
    ..OBJECT
};

/// Mistral's until the middle of 2025.
const MISTRAL: CallFormat = CallFormat {
    begin: "[TOOL_CALLS]",
    syntax: CallSyntax::Array,
    marks: &["[TOOL_CALLS]"],
    ids: CallIds::Short,
    ..OBJECT
};

/// Mistral's since then.
const MISTRAL_NAMED: CallFormat = CallFormat {
    begin: "[TOOL_CALLS]",
    syntax: CallSyntax::Named { begin: "", separator: "[ARGS]", end: "" },
    marks: &["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
    ids: CallIds::Short,
    ..OBJECT
};

const DEEPSEEK_MARKS: &[&str] = &[
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
];

/// DeepSeek V2.5, V3 and R1.
const DEEPSEEK: CallFormat = CallFormat {
    begin: "<｜tool▁calls▁begin｜>",
    syntax: CallSyntax::Named {
        begin: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        separator: "\n```json\n",
        end: "\n```<｜tool▁call▁end｜>",
    },
    end: "<｜tool▁calls▁end｜>",
    marks: DEEPSEEK_MARKS,
    ..OBJECT
};

/// DeepSeek V3.1.
const DEEPSEEK_3_1: CallFormat = CallFormat {
    syntax: CallSyntax::Named {
        begin: "<｜tool▁call▁begin｜>",
        separator: "<｜tool▁sep｜>",
        end: "<｜tool▁call▁end｜>",
    },
    ..DEEPSEEK
};

/// Granite 3, and Phi 4 mini with a mark at the end.
const GRANITE: CallFormat = CallFormat {
    begin: "<|tool_call|>",
    syntax: CallSyntax::Array,
    end: "<|/tool_call|>",
    marks: &["<|tool_call|>", "<|/tool_call|>"],
    ..OBJECT
};

/// Nemotron Nano 2.
const NEMOTRON: CallFormat = CallFormat {
    begin: "<TOOLCALL>",
    syntax: CallSyntax::Array,
    end: "</TOOLCALL>",
    marks: &["<TOOLCALL>", "</TOOLCALL>"],
    ..OBJECT
};

/// Command R7B and its successors.
const COMMAND: CallFormat = CallFormat {
    begin: "<|START_ACTION|>",
    syntax: CallSyntax::Array,
    end: "<|END_ACTION|>",
    arguments_key: "parameters",
    marks: &["<|START_ACTION|>", "<|END_ACTION|>"],
    ..OBJECT
};

/// Functionary 3.1, and Llama 3.1 where it is told to.
const FUNCTION_TAG: CallFormat = CallFormat {
    begin: "<function=",
    syntax: CallSyntax::Named { begin: "", separator: ">", end: "</function>" },
    ..OBJECT
};

/// Qwen3-Coder, Qwen 3.5, Nemotron 3.
const QWEN_CODER: CallFormat = CallFormat {
    syntax: CallSyntax::Parameters {
        begin: "<function=",
        name_end: ">",
        key_begin: "<parameter=",
        key_end: ">",
        value_begin: "",
        value_end: "</parameter>",
        end: "</function>",
    },
    ..HERMES
};

/// Seed-OSS.
const SEED: CallFormat = CallFormat {
    begin: "<seed:tool_call>",
    end: "</seed:tool_call>",
    marks: &["<seed:tool_call>", "</seed:tool_call>"],
    ..QWEN_CODER
};

/// GLM 4.5 and 4.6.
const GLM: CallFormat = CallFormat {
    syntax: CallSyntax::Parameters {
        begin: "",
        name_end: "",
        key_begin: "<arg_key>",
        key_end: "</arg_key>",
        value_begin: "<arg_value>",
        value_end: "</arg_value>",
        end: "",
    },
    marks: &["<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"],
    ..HERMES
};

/// MiniMax M2.
const MINIMAX: CallFormat = CallFormat {
    begin: "<minimax:tool_call>",
    syntax: CallSyntax::Parameters {
        begin: "<invoke name=\"",
        name_end: "\">",
        key_begin: "<parameter name=\"",
        key_end: "\">",
        value_begin: "",
        value_end: "</parameter>",
        end: "</invoke>",
    },
    end: "</minimax:tool_call>",
    marks: &["<minimax:tool_call>", "</minimax:tool_call>"],
    ..OBJECT
};

/// Kimi K2, which writes the id instead of the name.
const KIMI: CallFormat = CallFormat {
    begin: "<|tool_calls_section_begin|>",
    syntax: CallSyntax::Named {
        begin: "<|tool_call_begin|>functions.",
        separator: "<|tool_call_argument_begin|>",
        end: "<|tool_call_end|>",
    },
    end: "<|tool_calls_section_end|>",
    marks: &[
        "<|tool_calls_section_begin|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        "<|tool_calls_section_end|>",
    ],
    ids: CallIds::Counted,
    ..OBJECT
};

/// gpt-oss, whose calls are messages on a channel; only what must be one is in this form.
const CHANNELS: CallFormat = CallFormat {
    syntax: CallSyntax::Named {
        begin: "<|channel|>commentary to=functions.",
        separator: " <|constrain|>json<|message|>",
        end: "",
    },
    ..OBJECT
};

/// Marks that a template must all have, and the family that has them; the first that fits.
const FAMILIES: [(&[&str], &CallFormat); 18] = [
    (&[CHANNEL, MESSAGE], &CHANNELS),
    (&["<minimax:tool_call>"], &MINIMAX),
    (&["<|tool_calls_section_begin|>"], &KIMI),
    (&["<｜tool▁calls▁begin｜>", "```json"], &DEEPSEEK),
    (&["<｜tool▁calls▁begin｜>"], &DEEPSEEK_3_1),
    (&["[TOOL_CALLS]", "[ARGS]"], &MISTRAL_NAMED),
    (&["[TOOL_CALLS]"], &MISTRAL),
    (&["<seed:tool_call>"], &SEED),
    (&["<tool_call>", "<arg_key>"], &GLM),
    (&["<tool_call>", "<parameter="], &QWEN_CODER),
    (&["<tool_call>"], &HERMES),
    (&["<|tool_call|>"], &GRANITE),
    (&["<|START_ACTION|>"], &COMMAND),
    (&["<TOOLCALL>"], &NEMOTRON),
    (&["<function="], &FUNCTION_TAG),
    (&["<|python_tag|>"], &LLAMA_3),
    (&["<|start_header_id|>", "\"parameters\""], &LLAMA_3),
    (&[], &GENERIC),
];

/// Marks of messages on channels.
const CHANNEL: &str = "<|channel|>analysis";
const MESSAGE: &str = "<|message|>";

/// What a model on channels puts around its thoughts, as far as a grammar is concerned.
pub(super) const CHANNEL_THOUGHTS: ThoughtTags =
    ThoughtTags { open: "<|channel|>analysis<|message|>", close: "<|end|><|start|>assistant" };

/// Whether a model with this template writes messages on channels.
pub(super) fn has_channels(source: &str) -> bool {
    source.contains(CHANNEL) && source.contains(MESSAGE)
}

/// The tags that templates are searched for.
const THOUGHTS: [ThoughtTags; 5] = [
    ThoughtTags { open: "<think>", close: "</think>" },
    ThoughtTags { open: "[THINK]", close: "[/THINK]" },
    ThoughtTags { open: "<seed:think>", close: "</seed:think>" },
    ThoughtTags { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
    ThoughtTags { open: "<|inner_prefix|>", close: "<|inner_suffix|>" },
];

impl CallFormat {
    /// How a model with this template calls functions.
    pub(super) fn of(source: &str) -> &'static Self {
        let fits = |marks: &[&str]| marks.iter().all(|mark| source.contains(mark));
        FAMILIES.iter().find(|(marks, _)| fits(marks)).map_or(&GENERIC, |(_, format)| format)
    }
}

impl ThoughtTags {
    /// What a model with this template puts around its thoughts; `None` where the template does not say.
    pub(super) fn of(source: &str) -> Option<Self> {
        THOUGHTS.into_iter().find(|tags| source.contains(tags.close))
    }
}

/// How an answer is to be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerForm {
    /// What stands around thoughts.
    pub thoughts: Option<ThoughtTags>,
    /// Whether the prompt has begun them already.
    pub thinking: bool,
    /// How calls are written; `None` where there is nothing to call.
    pub calls: Option<&'static CallFormat>,
    /// Whether it consists of messages on channels.
    pub channels: bool,
}

impl AnswerForm {
    /// The form of the answer to a prompt. `begun`: the beginning of the answer, which was given. `knows_tools`: the
    /// prompt has its tools from the template.
    pub(super) fn new(
        traits: &Traits,
        prompt: &str,
        begun: Option<&str>,
        knows_tools: bool,
        has_tools: bool,
    ) -> Self {
        let thinking = traits.thoughts.is_some_and(|tags| {
            let begun = begun.unwrap_or_default();
            let opened = prompt.trim_end().ends_with(tags.open) || begun.trim_start().starts_with(tags.open);
            opened && !begun.contains(tags.close)
        });
        let format = if knows_tools { traits.format } else { &GENERIC };
        Self {
            thoughts: traits.thoughts,
            thinking,
            calls: has_tools.then_some(format),
            channels: traits.channels,
        }
    }

    /// The marks that the answer is read by. Some of them can be special tokens.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        let tags = self.thoughts.iter().flat_map(|tags| [tags.open, tags.close]);
        let calls = self.calls.iter().flat_map(|format| format.marks.iter().copied());
        let channels = CHANNEL_MARKS.into_iter().filter(|_| self.channels);
        tags.chain(calls).chain(channels).map(ToOwned::to_owned).collect()
    }
}
