//! Templates that are read, that fail, that do too much; tools that a template knows, or does not.

use std::time::SystemTime;

use serde_json::json;

use super::*;
use crate::chat::{Message, Tool, ToolCall};

fn template(source: &str) -> ChatTemplate {
    let source = TemplateSource {
        usual: Some(source),
        bos_token: "<s>",
        eos_token: "</s>",
        ..TemplateSource::default()
    };
    ChatTemplate::new(source).unwrap()
}

fn conversation(messages: Vec<Message>) -> Conversation {
    Conversation { messages, tools: Vec::new(), variables: Map::new(), now: SystemTime::UNIX_EPOCH }
}

fn one_tool() -> Vec<Tool> {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let function = json!({ "name": "weather", "parameters": parameters });
    vec![Tool {
        name: "weather".into(),
        parameters,
        definition: json!({ "type": "function", "function": function }),
    }]
}

fn call() -> Message {
    let arguments = json!({ "city": "Bern" }).as_object().unwrap().clone();
    let call = ToolCall { id: Some("c1".into()), name: "weather".into(), arguments };
    Message { role: "assistant".into(), calls: vec![call], ..Message::default() }
}

fn prompt(template: &ChatTemplate, messages: Vec<Message>, tools: Vec<Tool>) -> ChatPrompt {
    template.prompt(&Conversation { tools, ..conversation(messages) }).unwrap()
}

#[test]
fn chatml_is_used_where_a_file_has_no_template() {
    let template = ChatTemplate::new(TemplateSource::default()).unwrap();
    let messages = vec![Message::text("system", "Be brief."), Message::text("user", "Hi {{ x }}")];
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi {{ x }}<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(prompt(&template, messages, Vec::new()).text, expected);
}

#[test]
fn conventions_that_templates_rely_on_are_followed() {
    let source = "{{ bos_token }}{% for m in messages %}\n    {% if m['role'] == 'system' %}\n\
                  {{ m['content'].strip() | upper }}\n    {% endif %}\n{% endfor %}";
    assert_eq!(
        prompt(&template(source), vec![Message::text("system", "  hi  ")], Vec::new()).text,
        "<s>HI\n"
    );
    let source = "{%- for m in messages -%}{% generation %}\n{{ m.content }}{%- endgeneration -%}  {% break %}{% endfor %}";
    assert_eq!(prompt(&template(source), vec![Message::text("user", "a")], Vec::new()).text, "a");
    let source = "{{ tools is none }} {{ strftime_now('%Y') }} {{ colour }}";
    let mut given = conversation(vec![Message::text("user", "a")]);
    given.variables.insert("colour".into(), "red".into());
    assert_eq!(template(source).prompt(&given).unwrap().text, "True 1970 red");
}

#[test]
fn a_template_that_fails_says_why() {
    let broken = TemplateSource { usual: Some("{% if %}"), ..TemplateSource::default() };
    let broken = ChatTemplate::new(broken).unwrap_err();
    assert!(matches!(&broken, ChatError::Template(text) if text.contains("line 1")), "{broken}");
    let source = "{% if messages[0].role != 'user' %}{{ raise_exception('begin with the user') }}{% endif %}";
    let error = template(source).prompt(&conversation(vec![Message::text("system", "x")])).unwrap_err();
    assert_eq!(error, ChatError::Refused("begin with the user (line 1 of the template)".into()));
}

#[test]
fn a_template_that_does_too_much_is_stopped() {
    for source in [
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x='abcdefgh') %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{{ ('x' * 1000000) * 100 }}",
        "{% set a = ['x'] * 1000 %}{% set b = [a] * 1000 %}{% set c = [b] * 1000 %}{{ c | tojson }}",
        "{% set a = ['x' * 100000] * 1000 %}{{ ','.join(a * 1000) }}",
        "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
        "{{ '{:>999999999}'.format('x') }}",
        "{{ ('\n' * 1000000) | indent('x' * 100000) }}",
        "{% macro m(x) %}{{ m(x + x) }}{% endmacro %}{{ m('aaaaaaaa') }}",
    ] {
        let error = template(source).prompt(&conversation(vec![Message::text("user", "x")])).unwrap_err();
        assert!(matches!(error, ChatError::TooMuch { .. } | ChatError::Refused(_)), "{source}: {error}");
    }
}

#[test]
fn a_template_that_knows_tools_gets_them_as_it_wants_them() {
    // One that takes arguments for text, as some do.
    let source = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}[{{ m.role }}]{% if m.content is not none %}\
                  {{ m.content }}{% endif %}{% for c in m.tool_calls %}{{ c.function.name + c.function.arguments }}\
                  {% endfor %}{% endfor %}";
    let result = Message { call_id: Some("c1".into()), ..Message::text("tool", "sun") };
    let found = prompt(&template(source), vec![Message::text("user", "?"), call(), result], one_tool());
    let tools = r#"[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]"#;
    assert_eq!(found.text, format!("{tools}[user]?[assistant]weather{{\"city\": \"Bern\"}}[tool]sun"));
}

#[test]
fn calls_that_a_template_leaves_out_are_said_in_the_way_of_its_family() {
    let source = "{{ tools | tojson }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{# <tool_call> #}";
    let result = Message { call_id: Some("c1".into()), ..Message::text("tool", "sun") };
    let found = prompt(&template(source), vec![Message::text("user", "?"), call(), result], one_tool());
    let turns = "[user]?[assistant]<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call>[tool]sun";
    assert!(found.text.starts_with("[{\"type\"") && found.text.ends_with(turns), "{}", found.text);
}

#[test]
fn a_template_that_knows_none_has_them_told_in_words() {
    let template = ChatTemplate::new(TemplateSource::default()).unwrap();
    let result = Message { call_id: Some("c1".into()), ..Message::text("tool", "sun") };
    let messages = vec![Message::text("user", "Weather?"), call(), result, Message::text("user", "So?")];
    let found = prompt(&template, messages.clone(), one_tool());
    assert!(found.text.starts_with("<|im_start|>system\nYou can call these functions"), "{}", found.text);
    let turns = "<|im_start|>user\nWeather?<|im_end|>\n\
                 <|im_start|>assistant\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}<|im_end|>\n\
                 <|im_start|>user\nResult of weather: sun\n\nSo?<|im_end|>\n<|im_start|>assistant\n";
    assert!(found.text.ends_with(turns), "{}", found.text);
    assert!(found.form.calls.is_some_and(|format| format.bare));
    let without = prompt(&template, messages, Vec::new());
    assert_eq!((without.text.as_str(), without.form.calls), (turns, None), "calls are history");

    let refuses_system = self::template(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}{% endfor %}",
    );
    let found = prompt(&refuses_system, vec![Message::text("user", "Hi")], one_tool());
    assert!(found.text.starts_with("You can call") && found.text.ends_with("\n\nHi"), "{}", found.text);
}

#[test]
fn the_template_for_tools_is_used_with_tools() {
    let source = TemplateSource {
        usual: Some("usual"),
        tool_use: Some("{{ tools[0].function.name }}"),
        ..TemplateSource::default()
    };
    let template = ChatTemplate::new(source).unwrap();
    let rendered = |tools| {
        template.render(&Conversation { tools, ..conversation(vec![Message::text("user", "x")]) }).unwrap()
    };
    assert_eq!((rendered(Vec::new()), rendered(one_tool())), ("usual".into(), "weather".into()));
}

#[test]
fn an_answer_that_has_begun_goes_on() {
    let template = ChatTemplate::new(TemplateSource::default()).unwrap();
    let messages = vec![Message::text("user", "Hi"), Message::text("assistant", "Hello, ")];
    assert_eq!(
        prompt(&template, messages, Vec::new()).text,
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello, "
    );
}

#[test]
fn thoughts_that_the_prompt_begins_are_known() {
    let thinks = template(
        "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}{% if enable_thinking is defined and not \
         enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}",
    );
    let messages = vec![Message::text("user", "Hi")];
    let form = prompt(&thinks, messages.clone(), Vec::new()).form;
    assert!(form.thinking && form.thoughts.is_some_and(|tags| tags.open == "<think>"));
    let mut off = conversation(messages);
    off.variables.insert("enable_thinking".into(), false.into());
    assert!(!thinks.prompt(&off).unwrap().form.thinking);
    let plain = template("{% for m in messages %}{{ m.content }}{% endfor %}");
    assert_eq!(
        prompt(&plain, vec![Message::text("user", "<think>")], Vec::new()).form,
        AnswerForm::default()
    );
}
