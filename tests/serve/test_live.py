"""A server on loopback: the openai client, clients that vanish, a full queue, a dead decoder."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from picochat.serve.app import Limits
from picochat.serve.models import Served
from tests.serve.conftest import ENDLESS, HELLO, running, wait_for
from tests.serve.driving import client_of, post, read_until
from tests.serve.test_chat import CALLING


def test_the_openai_client_chats(scripted: Callable[..., dict[str, Served]]):
    with running(scripted(CALLING)) as server, client_of(server) as client:
        (model,) = client.models.list()
        assert model.id == "scripted"
        messages: Any = HELLO
        answer = client.chat.completions.create(
            model=model.id, messages=messages, temperature=0, logprobs=True, top_logprobs=2, n=2
        )
        assert [choice.message.content for choice in answer.choices] == ["and 😀 the mat"] * 2
        choice = answer.choices[0]
        assert choice.finish_reason == "stop"
        assert choice.message.model_extra is not None
        assert choice.message.model_extra["reasoning_content"] == "the more"
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert len(choice.logprobs.content[0].top_logprobs) == 2
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

        texts, usage = "", None
        for chunk in client.chat.completions.create(
            model=model.id,
            messages=messages,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"top_k": 5, "thinking_budget": 50},
        ):
            usage = chunk.usage or usage
            texts += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        assert texts == "and 😀 the mat"
        assert usage is not None
        assert usage.completion_tokens_details is not None
        assert usage.completion_tokens_details.reasoning_tokens


def test_the_openai_client_completes_and_sees_errors(models: dict[str, Served]):
    with running(models) as server, client_of(server) as client:
        whole = client.completions.create(model="tiny", prompt="the", seed=4, logprobs=1)
        parts = list(client.completions.create(model="tiny", prompt="the", seed=4, stream=True))
        assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
        assert whole.choices[0].logprobs is not None
        assert len(whole.choices[0].logprobs.tokens or []) == 16
        with pytest.raises(openai.NotFoundError) as caught:
            client.completions.create(model="other", prompt="the")
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as caught_bad:
            client.completions.create(model="tiny", prompt="the " * 200)
        assert caught_bad.value.code == "context_length_exceeded"


def test_the_asynchronous_client_and_many_at_once(models: dict[str, Served]):
    async def main(url: str) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:

            async def one(seed: int) -> str:
                answer = await client.completions.create(
                    model="tiny", prompt="the", seed=seed % 8, max_tokens=20
                )
                return answer.choices[0].text

            return await asyncio.gather(*(one(seed) for seed in range(24)))

    with running(models) as server:
        texts = asyncio.run(main(server.url))
    # Whoever its mates were, a seed gives its answer.
    assert texts[:8] == texts[8:16] == texts[16:]
    assert len(set(texts)) == 8


def test_tokens_come_one_by_one(slow: dict[str, Served]):
    with running(slow) as server, server.connect() as sock:
        sock.sendall(post({"messages": HELLO, "stream": True, "max_tokens": 40, "temperature": 0}))
        began = time.monotonic()
        times = []
        data = b""
        while b"[DONE]" not in data:
            data += sock.recv(65536)
            times.append(time.monotonic() - began)
        assert len(times) > 15
        assert times[len(times) // 2] > 0.05
        assert data.count(b'"content":"') >= 40


def test_a_client_that_goes_away_frees_its_row(slow: dict[str, Served], monkeypatch: pytest.MonkeyPatch):
    """Before the next step: the model ends the one it is in, and takes no other for it."""
    with running(slow) as server:
        batcher, metrics = server.server.batcher, server.server.metrics
        batch = batcher._batches["scripted"]
        step, may_step, is_held = batch.step, threading.Semaphore(0), threading.Event()

        def step_when_told():
            is_held.set()
            assert may_step.acquire(timeout=30)
            is_held.clear()
            return step()

        monkeypatch.setattr(batch, "step", step_when_told)
        for stream in (True, False):
            sock = server.connect()
            sock.sendall(post({"messages": HELLO, "stream": stream, "max_tokens": 1500, "n": 3}))
            num_steps = metrics.num_steps
            while batcher.num_active < 3:
                may_step.release()
                num_steps += 1
                wait_for(lambda n=num_steps: metrics.num_steps == n)
            assert is_held.wait(20)
            sock.close()
            wait_for(lambda: bool(batcher._cancelled))
            # Of the step that it is in; it would wait in vain for another one's.
            may_step.release()
            wait_for(lambda: batcher.num_active == 0)
            assert metrics.num_steps == num_steps + 1
        assert metrics.num_cancelled == 6
        assert batcher.num_waiting == 0


def test_clients_killed_in_mid_stream(slow: dict[str, Served]):
    limits = Limits(max_rows=4, max_waiting=60)
    with running(slow, limits) as server:
        batcher = server.server.batcher
        socks = [server.connect() for _ in range(30)]
        for i, sock in enumerate(socks):
            sock.sendall(post({"messages": HELLO, "stream": i % 3 > 0, "max_tokens": 1500}))
        wait_for(lambda: batcher.num_active == 4 and batcher.num_waiting == 26)
        for sock in socks:
            # A reset, as of a process that was killed.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        wait_for(lambda: batcher.num_active == 0 and batcher.num_waiting == 0, 5)
        with client_of(server) as client:
            assert client.completions.create(model="scripted", prompt="a", max_tokens=3).usage


def test_a_full_queue_says_503(slow: dict[str, Served]):
    limits = Limits(max_rows=2, max_waiting=6)
    with running(slow, limits) as server:
        batcher = server.server.batcher
        socks = [server.connect() for _ in range(8)]
        for sock in socks:
            sock.sendall(post({"messages": HELLO, "stream": True, "max_tokens": 1500}))
        wait_for(lambda: batcher.num_active == 2 and batcher.num_waiting == 6)
        with client_of(server) as client:
            messages: Any = HELLO
            with pytest.raises(openai.InternalServerError) as caught:
                client.chat.completions.create(model="scripted", messages=messages)
        assert caught.value.status_code == 503
        assert caught.value.code == "queue_full"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert server.server.metrics.num_rejected == 1
        socks.pop(0).close()
        wait_for(lambda: batcher.num_active + batcher.num_waiting == 7)
        with server.connect() as sock:  # one place: two answers are one too many
            sock.sendall(post({"messages": HELLO, "n": 2}))
            assert b" 503 " in read_until(sock, b"queue_full")
        with client_of(server) as client:
            waiting = client.chat.completions.create(model="scripted", messages=messages, stream=True)
            for sock in socks:
                sock.close()
            assert next(iter(waiting)).choices
            waiting.close()


def test_answers_that_take_too_long(slow: dict[str, Served]):
    limits = Limits(answer_seconds=0.3)
    with running(slow, limits) as server:
        with server.connect() as sock:
            sock.sendall(post({"messages": HELLO, "max_tokens": 1500}))
            assert b" 504 " in read_until(sock, b'"code":"timeout"')
            sock.sendall(post({"messages": HELLO, "max_tokens": 1500, "stream": True}))
            data = read_until(sock, b"[DONE]")
        assert b" 200 " in data
        assert b'"code":"timeout"' in data
        wait_for(lambda: server.server.batcher.num_active == 0, 5)
        with client_of(server) as client, pytest.raises(openai.APIError, match="not complete"):
            list(client.completions.create(model="scripted", prompt="a", max_tokens=1500, stream=True))


def test_a_silent_stream_is_kept_alive(
    scripted: Callable[..., dict[str, Served]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("picochat.serve.app.PING_SECONDS", 0.05)
    with running(scripted(ENDLESS, seconds=0.3)) as server, server.connect() as sock:
        sock.sendall(post({"messages": HELLO, "stream": True}))
        assert b'"content":"' in read_until(sock, b": ping\n\n")


@pytest.mark.filterwarnings("ignore:Exception in thread picochat-decode")
def test_a_dead_decoder_is_told(models: dict[str, Served], monkeypatch: pytest.MonkeyPatch):
    with running(models) as server, client_of(server) as client:
        batcher = server.server.batcher

        def broken() -> None:
            raise RuntimeError("broken on purpose")

        monkeypatch.setattr(batcher._batches["tiny"], "step", broken)
        for _ in range(2):
            with pytest.raises(openai.InternalServerError, match="the decoder has died"):
                client.completions.create(model="tiny", prompt="a")
        with server.connect() as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 503 " in read_until(sock, b"error")
