"""OpenAI's Responses with its client for Python."""

import json

import openai
import pydantic
import pytest

from conftest import MODEL

ADD = {
    "type": "function",
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Colour(pydantic.BaseModel):
    """What a schema holds the model to."""

    model_config = pydantic.ConfigDict(extra="forbid")
    red: bool
    depth: int = pydantic.Field(ge=0, le=9)


def test_a_response_whole_and_streamed(client):
    ask = dict(model=MODEL, input="Tell me about a fox.", instructions="Be kind.", max_output_tokens=20, temperature=0)
    whole = client.responses.create(**ask)
    assert whole.output_text and whole.status in ("completed", "incomplete")
    text, final = "", None
    for event in client.responses.create(**ask, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type in ("response.completed", "response.incomplete"):
            final = event.response
    assert text == whole.output_text == final.output_text
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_a_function_is_called_and_its_result_is_heard(client):
    asked = [{"role": "user", "content": "What is 12 + 30?"}]
    answer = client.responses.create(
        model=MODEL, input=asked, tools=[ADD], tool_choice="required", temperature=0, max_output_tokens=200
    )
    [call] = [item for item in answer.output if item.type == "function_call"]
    assert call.name == "add" and set(json.loads(call.arguments)) == {"a", "b"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
    told = client.responses.create(model=MODEL, input=[*asked, *answer.output, result], tools=[ADD], max_output_tokens=8)
    assert told.usage.output_tokens <= 8


def test_a_class_is_parsed(client):
    answer = client.responses.parse(
        model=MODEL, input="What colour is a fox?", text_format=Colour, max_output_tokens=200, temperature=1
    )
    assert isinstance(answer.output_parsed, Colour)


def test_errors_name_the_field(client):
    for fields, param in [({"temperature": 5}, "temperature"), ({"previous_response_id": "a"}, "previous_response_id")]:
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=MODEL, input="hi", **fields)
        assert caught.value.param == param
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="gpt-7", input="hi")
