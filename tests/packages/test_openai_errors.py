"""What OpenAI's client for Python makes of refusals, of limits, and of time."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from conftest import MODEL, open_ai

HI = [{"role": "user", "content": "hi"}]


def refused(kind, ask, **fields):
    """The error of a request that must fail with this kind of it."""
    with pytest.raises(kind) as caught:
        ask(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 5}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "pirate", "content": "x"}]}, "messages[0].role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 99}, "n"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"extra_body": {"grammar": "root ::= nope"}}, "grammar"),
    ],
)
def test_a_bad_field_is_named(client, fields, param):
    ask = {"model": MODEL, "messages": HI, **fields}
    error = refused(openai.BadRequestError, client.chat.completions.create, **ask)
    assert (error.status_code, error.code, error.param) == (400, "invalid_request", param)
    assert error.type == "invalid_request_error" and error.request_id


def test_a_long_prompt_is_told_apart(client):
    messages = [{"role": "user", "content": "hello " * 2000}]
    error = refused(openai.BadRequestError, client.chat.completions.create, model=MODEL, messages=messages)
    assert (error.code, error.param) == ("context_length_exceeded", "messages")


def test_a_model_that_there_is_not(client):
    error = refused(openai.NotFoundError, client.chat.completions.create, model="gpt-7", messages=HI)
    assert (error.code, error.param) == ("model_not_found", "model")
    assert refused(openai.NotFoundError, client.models.retrieve, model="gpt-7").code == "model_not_found"
    assert refused(openai.BadRequestError, client.embeddings.create, model=MODEL, input="a").param == "model"


def test_keys(narrow):
    with open_ai(narrow, "mp-nobody") as stranger:
        error = refused(openai.AuthenticationError, stranger.chat.completions.create, model=MODEL, messages=HI)
        assert (error.status_code, error.code) == (401, "invalid_api_key")
    with open_ai(narrow, "mp-bound") as bound:
        error = refused(openai.PermissionDeniedError, bound.chat.completions.create, model=MODEL, messages=HI)
        assert (error.status_code, error.code) == (403, "model_not_allowed")
        assert [model.id for model in bound.models.list()] == ["vectors"]
        assert bound.embeddings.create(model="vectors", input="a").data


def test_a_limit_is_told_with_the_time_to_come_back(narrow):
    with open_ai(narrow, "mp-rare") as rare:
        answer = rare.embeddings.with_raw_response.create(model="vectors", input="a")
        assert answer.headers["x-ratelimit-limit-requests"] == "1"
        error = refused(openai.RateLimitError, rare.embeddings.create, model="vectors", input="a")
    assert (error.status_code, error.code, error.type) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert 1 <= int(error.response.headers["retry-after"]) <= 60
    assert "requests_per_minute" in error.message


def test_who_is_told_to_come_back_does_and_is_answered(narrow):
    """Six at once, where one is served and one waits: the others are refused, and the client asks again by itself."""
    long = {"max_tokens": 300, "extra_body": {"ignore_eos": True}}

    def ask(client):
        return client.chat.completions.with_raw_response.create(model=MODEL, messages=HI, **long)

    with open_ai(narrow, "mp-wide") as hasty, ThreadPoolExecutor(6) as threads:
        errors = [future.exception() for future in [threads.submit(ask, hasty) for _ in range(6)]]
    refusals = [error for error in errors if error]
    assert refusals and all(isinstance(error, openai.RateLimitError) for error in refusals)
    assert {error.code for error in refusals} == {"queue_full"}
    assert all(1 <= int(error.response.headers["retry-after"]) <= 60 for error in refusals)

    with open_ai(narrow, "mp-wide", max_retries=20) as patient, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(ask, [patient] * 6))
    assert all(answer.parse().usage.completion_tokens == 300 for answer in answers)
    assert sum(answer.retries_taken for answer in answers) > 0


def test_time_that_is_over_is_told(client):
    ask = dict(model=MODEL, messages=HI, max_tokens=900, n=8)
    more = {"ignore_eos": True}
    error = refused(
        openai.InternalServerError, client.chat.completions.create, **ask, extra_body={**more, "timeout": 0.05}
    )
    assert (error.status_code, error.code) == (504, "deadline_exceeded")
    # The client gives up by itself; it told the server when, which may be first.
    impatient = client.with_options(timeout=0.05)
    error = refused(openai.APIError, impatient.chat.completions.create, **ask, extra_body=more)
    assert isinstance(error, openai.APITimeoutError) or error.code == "deadline_exceeded"
    stream = client.chat.completions.create(**ask, stream=True, extra_body={**more, "timeout": 0.2})
    with pytest.raises(openai.APIError, match="not complete within"):
        for _ in stream:
            pass
