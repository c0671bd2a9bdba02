"""Anthropic's client for Python: messages, whole and streamed, tools, token counts and errors."""

import anthropic
import pytest

from conftest import MODEL

FOX = [{"role": "user", "content": "Tell me about a fox."}]
ADD = {
    "name": "add",
    "description": "Adds two numbers",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}


def test_a_message_is_answered(claude):
    answer = claude.messages.create(model=MODEL, max_tokens=20, messages=FOX, system="You are kind.", extra_body={"temperature": 0})
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL)
    [block] = answer.content
    assert block.type == "text" and block.text
    assert answer.stop_reason in ("end_turn", "max_tokens") and answer.usage.output_tokens <= 20


def test_a_stream_is_the_same_text(claude):
    ask = dict(model=MODEL, max_tokens=20, messages=FOX, extra_body={"temperature": 0})
    whole = claude.messages.create(**ask)
    with claude.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_that_must_be_used_is_used_and_its_result_is_heard(claude, streamed):
    messages = [{"role": "user", "content": "What is 12 + 30?"}]
    ask = dict(model=MODEL, max_tokens=200, tools=[ADD], tool_choice={"type": "tool", "name": "add"}, extra_body={"temperature": 0})
    if streamed:
        with claude.messages.stream(**ask, messages=messages) as stream:
            answer = stream.get_final_message()
    else:
        answer = claude.messages.create(**ask, messages=messages)
    assert answer.stop_reason == "tool_use"
    use = answer.content[-1]
    assert (use.type, use.name) == ("tool_use", "add") and set(use.input) == {"a", "b"}
    messages += [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "42"}]},
    ]
    assert claude.messages.create(model=MODEL, max_tokens=8, tools=[ADD], messages=messages).content is not None


def test_tokens_are_counted(claude):
    count = claude.messages.count_tokens(model=MODEL, messages=FOX).input_tokens
    usage = claude.messages.create(model=MODEL, max_tokens=1, messages=FOX).usage
    assert count == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_errors_are_of_their_classes(claude, narrow):
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        claude.messages.create(model=MODEL, max_tokens=5, messages=FOX, extra_body={"temperature": 5})
    with pytest.raises(anthropic.NotFoundError, match="claude-99"):
        claude.messages.create(model="claude-99", max_tokens=5, messages=FOX)
    with anthropic.Anthropic(base_url=narrow, api_key="mp-nobody", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            stranger.messages.create(model=MODEL, max_tokens=5, messages=FOX)
    with anthropic.Anthropic(base_url=narrow, api_key="mp-bound", max_retries=0) as bound:
        with pytest.raises(anthropic.PermissionDeniedError):
            bound.messages.create(model=MODEL, max_tokens=5, messages=FOX)
