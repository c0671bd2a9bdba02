#!/usr/bin/env python3
"""Renders every template here with Python's Jinja, the way Hugging Face's `apply_chat_template` does.

    pip install jinja2==3.1.6
    python3 tests/templates/reference.py

Writes expected/NAME.json for each NAME.jinja: for each conversation of conversations.json the prompt, or the words
with which the template refuses. tests/templates.rs compares the program's own prompts with these.
"""

import copy
import datetime
import json
from pathlib import Path

from jinja2 import TemplateError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = Path(__file__).parent
NOW = datetime.datetime(2026, 3, 7, 9, 5, 3)


class Generation(Extension):
    """`{% generation %}` marks what a model says, for training; it prints what is in it."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message):
    raise TemplateError(message)


ENVIRONMENT = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, LoopControlExtension]
)
ENVIRONMENT.filters["tojson"] = tojson
ENVIRONMENT.globals["raise_exception"] = raise_exception
ENVIRONMENT.globals["strftime_now"] = NOW.strftime


def render(template, conversation, style):
    """The prompt for a conversation whose calls are given in a style: null or empty content, objects or text."""
    empty, text = style
    messages = copy.deepcopy(conversation["messages"])
    for message in messages:
        if message.get("tool_calls"):
            if message["content"] is None and empty:
                message["content"] = ""
            for call in message["tool_calls"]:
                if text:
                    call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return template.render(
        messages=messages,
        tools=conversation.get("tools"),
        documents=None,
        add_generation_prompt=True,
        bos_token="<s>",
        eos_token="</s>",
        **conversation.get("chat_template_kwargs", {}),
    )


def style_of(template, probe):
    """The style in which the template shows a call's arguments as JSON, if possible without a word for no content; what
    the program finds, too."""
    shown = []
    for style in [(False, False), (True, False), (False, True), (True, True)]:
        try:
            prompt = render(template, probe, style)
        except Exception:
            continue
        if "probe_value" in prompt and "'probe_argument'" not in prompt:
            shown.append((style, "null" in prompt or "None" in prompt))
    shown.sort(key=lambda found: found[1])
    return shown[0][0] if shown else (False, False)


def main():
    conversations = json.loads((HERE / "conversations.json").read_text())
    probe = conversations.pop("probe")
    (HERE / "expected").mkdir(exist_ok=True)
    for path in sorted(HERE.glob("*.jinja")):
        source = path.read_text()
        template = ENVIRONMENT.from_string(source)
        style = style_of(template, probe)
        expected = {}
        for name, conversation in conversations.items():
            switches = conversation.get("chat_template_kwargs", {})
            if switches and not any(switch in source for switch in switches):
                continue
            try:
                expected[name] = {"prompt": render(template, conversation, style)}
            except Exception as error:
                own = type(error) is TemplateError
                expected[name] = {"refused": str(error)} if own else {"failed": f"{type(error).__name__}: {error}"}
        text = json.dumps(expected, ensure_ascii=False, indent=1)
        (HERE / "expected" / f"{path.stem}.json").write_text(text + "\n")


main()
