"""OpenAI's client for Python: chats, tools, schemas, completions, embeddings, models."""

import base64
import json
import struct

import pydantic
import pytest

from conftest import MODEL

FOX = [{"role": "user", "content": "Tell me about a fox."}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
ECHO = {"type": "function", "function": {"name": "echo", "parameters": {"type": "object", "properties": {}}}}


class Fox(pydantic.BaseModel):
    """What a schema holds the model to."""

    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(max_length=12)
    age: int = pydantic.Field(ge=0, le=20)
    red: bool


def test_a_chat_is_answered(client):
    answer = client.chat.completions.create(model=MODEL, messages=FOX, max_tokens=20, temperature=0)
    assert answer.object == "chat.completion" and answer.model == MODEL
    [choice] = answer.choices
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens <= 1024
    assert usage.prompt_tokens_details.cached_tokens >= 0


def test_a_stream_is_the_same_text_and_ends_with_its_usage(client):
    ask = dict(model=MODEL, messages=FOX, max_tokens=20, temperature=0)
    whole = client.chat.completions.create(**ask)
    text, usage, finish = "", None, None
    with client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            usage = chunk.usage or usage
    assert (text, finish) == (whole.choices[0].message.content, whole.choices[0].finish_reason)
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_choices_and_probabilities(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=FOX, max_tokens=5, n=3, seed=7, logprobs=True, top_logprobs=4
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert all(len(token.top_logprobs) == 4 and token.logprob <= 0 for token in choice.logprobs.content)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_what_must_be_called_is_called_and_its_result_is_heard(client, choice):
    tools = [ADD] if choice == "required" else [ECHO, ADD]
    messages = [{"role": "user", "content": "What is 12 + 30?"}]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, tools=tools, tool_choice=choice, temperature=0, max_tokens=200
    )
    [answered] = answer.choices
    assert answered.finish_reason == "tool_calls" and answered.message.content is None
    [call] = answered.message.tool_calls
    assert call.function.name == "add"
    arguments = json.loads(call.function.arguments)
    assert all(isinstance(arguments[name], int) for name in "ab")
    messages += [answered.message, {"role": "tool", "tool_call_id": call.id, "content": "42"}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=tools, max_tokens=16, temperature=0)
    assert answer.choices[0].message is not None


def test_calls_come_in_pieces(client):
    messages = [{"role": "user", "content": "What is 12 + 30?"}]
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[ADD], tool_choice="required", temperature=0, max_tokens=200, stream=True
    )
    names, arguments, ids, pieces, finish = "", "", [], 0, None
    for chunk in stream:
        [choice] = chunk.choices
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or []:
            assert call.index == 0
            ids += [call.id] if call.id else []
            names += call.function.name or ""
            arguments += call.function.arguments or ""
            pieces += 1
    assert (names, len(ids), finish) == ("add", 1, "tool_calls") and pieces > 2
    assert set(json.loads(arguments)) == {"a", "b"}


def test_a_schema_holds(client):
    schema = {"name": "fox", "strict": True, "schema": Fox.model_json_schema()}
    answer = client.chat.completions.create(
        model=MODEL,
        messages=FOX,
        max_tokens=300,
        temperature=1,
        seed=3,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert Fox.model_validate_json(answer.choices[0].message.content)


def test_a_class_is_parsed(client):
    answer = client.chat.completions.parse(
        model=MODEL, messages=FOX, max_tokens=300, temperature=1, seed=5, response_format=Fox
    )
    fox = answer.choices[0].message.parsed
    assert isinstance(fox, Fox) and 0 <= fox.age <= 20 and len(fox.name) <= 12


def test_completions(client):
    ask = dict(model=MODEL, prompt=["Once upon", "The fox"], max_tokens=6, temperature=0)
    answer = client.completions.create(**ask)
    assert [choice.index for choice in answer.choices] == [0, 1]
    texts = ["", ""]
    for chunk in client.completions.create(**ask, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in answer.choices]
    [echoed] = client.completions.create(model=MODEL, prompt="The fox", echo=True, max_tokens=2).choices
    assert echoed.text.startswith("The fox")


def test_embeddings_are_the_same_as_numbers_and_as_bytes(client):
    texts = ["The fox lives in the forest.", "What is 12 + 30?"]
    # The client asks for base64 by itself, and decodes it.
    usual = client.embeddings.create(model="vectors", input=texts)
    floats = client.embeddings.create(model="vectors", input=texts, encoding_format="float")
    encoded = client.embeddings.create(model="vectors", input=texts, encoding_format="base64")
    assert len(usual.data) == 2 and usual.usage.prompt_tokens > 4
    for ours, numbers, text in zip(usual.data, floats.data, encoded.data, strict=True):
        assert len(ours.embedding) == 256
        assert ours.embedding == pytest.approx(numbers.embedding, abs=1e-6)
        assert sum(value * value for value in ours.embedding) == pytest.approx(1, abs=1e-3)
        decoded = struct.unpack("<256f", base64.b64decode(text.embedding))
        assert decoded == pytest.approx(numbers.embedding, abs=1e-6)
    short = client.embeddings.create(model="vectors", input=texts[0], dimensions=64)
    assert len(short.data[0].embedding) == 64


def test_models(client):
    assert [model.id for model in client.models.list()] == [MODEL, "vectors", "scores"]
    assert client.models.retrieve("vectors").owned_by == "modelpool"
