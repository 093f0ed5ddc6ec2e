"""Requests that a server must refuse, with the right status, and be alive behind it."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from picochat.serve.app import Limits
from picochat.serve.models import Served
from tests.serve.conftest import HELLO, client_of
from tests.serve.driving import CHAT, check_error
from tests.tiny_model import CONTEXT

COMPLETIONS = "/v1/completions"
JSON = {"Content-Type": "application/json"}


def check_alive(client: TestClient) -> None:
    response = client.post(CHAT, json={"messages": HELLO, "max_tokens": 2})
    assert response.status_code == 200


@pytest.mark.parametrize("tail", [["<|tool_call_start|>", "1+1", "<|tool_call_end|>"], ["<|think_start|>"]])
def test_a_prompt_that_is_answered_and_ended_in_one_step(client, models, tail):
    """The calculator or the budget answers before the first token, which is the last one too."""
    tokenizer = models["tiny"].engine.tokenizer
    ids = [
        tokenizer.special[tag] for tag in ("<|bos|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>")
    ]
    for word in tail:
        ids += [tokenizer.special[word]] if word in tokenizer.special else tokenizer.encode(word)
    body = {"prompt": ids, "max_tokens": 1, "thinking_budget": 0}
    assert client.post(COMPLETIONS, json=body).status_code == 200
    check_alive(client)


FIELDS: list[tuple[str, Any]] = [
    ("temperature", -0.1),
    ("temperature", 101),
    ("temperature", True),
    ("temperature", "0.5"),
    ("temperature", [1]),
    ("top_p", 0),
    ("top_p", 1.1),
    ("top_p", False),
    ("top_k", -1),
    ("top_k", 1.5),
    ("top_k", 10**7),
    ("top_k", True),
    ("min_p", 2),
    ("repetition_penalty", 0),
    ("seed", -1),
    ("seed", 2**63),
    ("seed", True),
    ("seed", 10**400),
    ("max_tokens", 0),
    ("max_tokens", True),
    ("max_tokens", 10**9),
    ("max_tokens", 1.0),
    ("max_tokens", "12"),
    ("thinking_budget", -1),
    ("n", 0),
    ("n", 9),
    ("n", 10**6),
    ("n", True),
    ("stop", ["x"] * 17),
    ("stop", "x" * 257),
    ("stop", ""),
    ("stop", [1]),
    ("stop", {"a": 1}),
    ("stream", 1),
    ("stream", "yes"),
    ("stream_options", {"include_usage": True}),
    ("model", 3),
    ("model", "x" * 201),
]
CHAT_FIELDS: list[tuple[str, Any]] = [
    ("logprobs", 3),
    ("logprobs", "true"),
    ("top_logprobs", 3),
    ("top_logprobs", 21),
    ("max_completion_tokens", 0),
    ("messages", []),
    ("messages", "hello"),
    ("messages", {}),
    ("messages", [{"role": "user", "content": "a"}] * 1001),
    ("messages", [{"role": "user"}]),
    ("messages", [{"role": "wizard", "content": "a"}]),
    ("messages", [{"role": ["user"], "content": "a"}]),
    ("messages", [{"role": "user", "content": 5}]),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
    ("messages", [{"role": "user", "content": [{"type": "thinking", "text": "x"}]}]),
    ("messages", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
    ("messages", [{"role": "assistant", "content": [{"type": "tool_result", "text": "1"}]}, *HELLO]),
    ("messages", [None]),
]
COMPLETION_FIELDS: list[tuple[str, Any]] = [
    ("prompt", []),
    ("prompt", 5),
    ("prompt", {"a": 1}),
    ("prompt", ["a"] * 9),
    ("prompt", [[]]),
    ("prompt", [1, "a"]),
    ("prompt", [1, True]),
    ("prompt", [-1]),
    ("prompt", [300]),
    ("prompt", [10**30]),
    ("logprobs", 21),
    ("logprobs", True),
    ("echo", 1),
]
UNSUPPORTED: list[tuple[str, Any]] = [
    ("logit_bias", {"5": 100}),
    ("frequency_penalty", 1),
    ("presence_penalty", -0.5),
    ("presence_penalty", False),
    ("best_of", 4),
    ("tools", [{"type": "function"}]),
    ("tool_choice", {"type": "function"}),
    ("response_format", {"type": "json_object"}),
    ("truncation", "middle"),
]


@pytest.fixture(scope="module")
def client(tiny_models: dict[str, Served]) -> Iterator[TestClient]:
    with client_of(tiny_models, Limits(max_body=60_000)) as client:
        yield client


@pytest.mark.parametrize(("name", "value"), FIELDS + CHAT_FIELDS)
def test_chat_fields_are_bounded(client: TestClient, name: str, value: Any):
    check_error(client.post(CHAT, json={"messages": HELLO, name: value}), 400, "invalid_value", name)


@pytest.mark.parametrize(("name", "value"), FIELDS + COMPLETION_FIELDS)
def test_completion_fields_are_bounded(client: TestClient, name: str, value: Any):
    check_error(client.post(COMPLETIONS, json={"prompt": "a", name: value}), 400, "invalid_value", name)


@pytest.mark.parametrize(("name", "value"), UNSUPPORTED)
def test_what_is_not_supported_is_said(client: TestClient, name: str, value: Any):
    response = client.post(CHAT, json={"messages": HELLO, name: value})
    check_error(response, 400, "unsupported_value", name)


def test_unknown_and_missing_fields(client: TestClient):
    check_error(
        client.post(CHAT, json={"messages": HELLO, "max_token": 5}), 400, "unknown_field", "max_token"
    )
    check_error(client.post(CHAT, json={"messages": HELLO, "x" * 1000: 5}), 400, "unknown_field")
    lone = client.post(COMPLETIONS, content=b'{"prompt": "a", "\\ud800": 5}', headers=JSON)
    check_error(lone, 400, "unknown_field", "\ud800")
    check_error(client.post(CHAT, json={}), 400, "missing_field", "messages")
    check_error(client.post(COMPLETIONS, json={}), 400, "missing_field", "prompt")
    response = client.post(CHAT, json={"messages": HELLO, "model": "other"})
    check_error(response, 404, "model_not_found", "model")
    options = {"stream": True, "stream_options": {"usage": True}}
    check_error(client.post(CHAT, json={"messages": HELLO, **options}), 400, "unknown_field", "usage")


NESTED = b"[" * 20_000 + b"]" * 20_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b'{"messages": NaN}',
        b'{"temperature": Infinity}',
        b'{"a": "\xff"}',
        b'{"messages": ' + NESTED + b"}",
        b'{"messages": ' + b'{"a":' * 9000 + b"1" + b"}" * 9000 + b"}",
        b'{"seed": ' + b"9" * 5000 + b"}",
        "{}".encode("utf-16"),
    ],
    ids=lambda body: body[:16].decode(errors="replace"),
)
def test_bodies_that_are_no_json(client: TestClient, body: bytes):
    check_error(client.post(CHAT, content=body, headers=JSON), 400, "invalid_json")
    check_alive(client)


def test_numbers_that_are_no_numbers(client: TestClient):
    for value in (b"1e999", b"-1e999"):
        body = b'{"prompt": "a", "temperature": %b}' % value
        check_error(client.post(COMPLETIONS, content=body, headers=JSON), 400, "invalid_value", "temperature")


def test_prompts_over_the_context(client: TestClient):
    for prompt in ("a " * CONTEXT, "x" * 50_000, [5] * (CONTEXT + 1)):
        response = client.post(COMPLETIONS, json={"prompt": prompt})
        check_error(response, 400, "context_length_exceeded", "prompt")
    for text in ("a " * CONTEXT, "x" * 50_000):
        messages = [{"role": "user", "content": text}]
        check_error(
            client.post(CHAT, json={"messages": messages}), 400, "context_length_exceeded", "messages"
        )
        response = client.post(CHAT, json={"messages": messages, "truncation": "auto"})
        check_error(response, 400, "context_length_exceeded", "messages")
    exactly = client.post(COMPLETIONS, json={"prompt": [5] * CONTEXT, "max_tokens": 9})
    assert exactly.json()["usage"]["completion_tokens"] == 1


def test_bodies_that_are_too_large(client: TestClient):
    body = b'{"prompt": "' + b"x" * 60_000 + b'"}'
    check_error(client.post(CHAT, content=body, headers=JSON), 413, "body_too_large")

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    check_error(client.post(CHAT, content=pieces(), headers=JSON), 413, "body_too_large")
    for length in ("1" * 30, "-5", "x"):
        response = client.post(CHAT, content=b"{}", headers={**JSON, "Content-Length": length})
        check_error(response, 413, "body_too_large")
    check_alive(client)


def test_errors_have_openais_shape_on_every_route(client: TestClient):
    check_error(client.get("/v1/nothing"), 404, "not_found")
    check_error(client.get(CHAT), 405, "method_not_allowed")
    check_error(client.delete("/v1/models"), 405, "method_not_allowed")
    assert "content-security-policy" in client.get("/v1/nothing").headers


def test_no_text_is_logged(client: TestClient, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    client.post(CHAT, json={"messages": [{"role": "user", "content": "sesame"}], "max_tokens": 2})
    client.post(CHAT, json={"messages": HELLO, "sesame": 2})
    client.get("/v1/models/sesame")
    client.get("/sesame?sesame=sesame")
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert any(CHAT in line for line in ours)
    assert not any("sesame" in line for line in ours)
