"""A server on loopback: the openai client, clients that vanish or dawdle, a full queue, the end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from picochat.serve import connection
from picochat.serve.app import Limits
from picochat.serve.models import Served
from tests.serve.conftest import HELLO, Running, running, wait_for
from tests.serve.test_chat import CALLING

CHAT = "/v1/chat/completions"
ENDLESS = "the " * 1500


def post(body: dict[str, Any], path: str = CHAT) -> bytes:
    """Return a request as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def read_until(sock: socket.socket, words: bytes) -> bytes:
    data = b""
    while words not in data:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    return data


def read_all(sock: socket.socket) -> bytes:
    """Return what comes until the other side closes the connection."""
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def drip(sock: socket.socket, data: bytes) -> int:
    """Send a byte every 50 ms until the other side has had enough; return how many were sent."""
    for sent, byte in enumerate(data):
        try:
            sock.sendall(bytes([byte]))
        except OSError:
            return sent
        time.sleep(0.05)
    return len(data)


@pytest.fixture
def slow(scripted: Callable[..., dict[str, Served]]) -> dict[str, Served]:
    """A model that takes five milliseconds a step and does not end by itself."""
    return scripted(ENDLESS, seconds=0.005)


def client_of(server: Running, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, **options)


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


def test_slow_bodies_and_heads(models: dict[str, Served], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
    with running(models, Limits(body_seconds=0.5)) as server:
        whole = post({"messages": HELLO, "max_tokens": 1})
        head_end = whole.index(b"\r\n\r\n") + 4
        with server.connect() as sock:
            sock.sendall(whole[: head_end + 5])
            answer = read_all(sock)
        assert b" 408 " in answer
        assert b"request_timeout" in answer
        for begin in (b"", b"GET / HT", b"GET /health HTTP/1.1\r\nHost: x\r\nX: "):
            with server.connect() as sock:
                sock.sendall(begin)
                assert read_all(sock) == b""
        # One byte now and then does not help, nor does a request that went well before.
        with server.connect() as sock:
            sock.sendall(whole)
            read_until(sock, b'"usage"')
            num_sent = drip(sock, b"GET /health HTTP/1.1\r\nX-Slow: " + b"x" * 200)
            assert num_sent < 60
        with server.connect() as sock:
            for byte in whole[:20]:
                sock.sendall(bytes([byte]))
            sock.sendall(whole[20:])
            assert b" 200 " in read_until(sock, b'"usage"')


def test_a_client_that_does_not_read_is_dropped(
    scripted: Callable[..., dict[str, Served]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "UNREAD_SECONDS", 0.3)
    made = connection.Connection.connection_made

    def with_small_buffer(self: connection.Connection, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(self, transport)

    monkeypatch.setattr(connection.Connection, "connection_made", with_small_buffer)
    with running(scripted(ENDLESS)) as server, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(post({"messages": HELLO, "max_tokens": 300, "stream": True}))
        metrics = server.server.metrics
        wait_for(lambda: metrics.requests[CHAT, 200] == 1)
        assert b"[DONE]" not in read_all(sock)


def test_bytes_that_are_no_requests(models: dict[str, Served], caplog: pytest.LogCaptureFixture):
    junk = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(b"X-%d: y\r\n" % i for i in range(9000))
        + b"\r\n",
    ]
    with running(models) as server:
        for data in junk:
            with server.connect() as sock:
                try:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                    answer = read_all(sock)
                except OSError:
                    continue
                assert not answer or b" 400 " in answer.split(b"\r\n")[0]
        with client_of(server) as client:
            assert client.models.list().data


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


# The command, in a process of its own


@contextmanager
def command(*args: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `picochat serve` on any free port; yield the process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "picochat", "serve", "--port", "0", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stdout.read()
        yield process, found[0]
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_the_command_serves_drains_and_ends(checkpoint: Path):
    with command("--load", str(checkpoint), "--device", "cpu") as (process, url):
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["tiny"]
            stream = client.completions.create(
                model="tiny", prompt="the", max_tokens=80, n=8, stream=True, temperature=1.0
            )
            first = next(iter(stream))
            process.send_signal(signal.SIGINT)
            rest = list(stream)
            reasons = {part.choices[0].finish_reason for part in (first, *rest)}
            assert reasons <= {None, "stop", "length"}
            assert sum(part.choices[0].finish_reason is not None for part in rest) == 8
        assert process.wait(timeout=20) == 0
        assert process.stdout is not None
        *lines, last = process.stdout.read().splitlines()
        assert last == "stopped"
        assert [line.split()[1:4] for line in lines] == [
            ["GET", "/v1/models", "200"],
            ["POST", "/v1/completions", "200"],
        ]


def test_a_second_interrupt_ends_at_once(checkpoint: Path):
    with (
        command("--load", str(checkpoint), "--device", "cpu") as (process, url),
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as sock,
    ):
        sock.sendall(post({})[:-1])  # a request that is not complete
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None, "it waits for the request"
        process.send_signal(signal.SIGINT)
        # By itself the server gives the request up after ten seconds.
        assert process.wait(timeout=8) == 0


def test_a_second_interrupt_cuts_an_answer_off(slow):
    """uvicorn from Python 3.12 on waits for open connections even then."""
    with running(slow) as server, server.connect() as sock:
        sock.sendall(post({"messages": HELLO, "stream": True}))
        read_until(sock, b"data: ")
        for _ in range(2):
            server.uvicorn.handle_exit(signal.SIGINT, None)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            read_all(sock)
        assert time.monotonic() - began < 3


def test_the_head_of_a_request_is_bounded(tiny_models):
    with running(tiny_models) as server, server.connect() as sock:
        sock.sendall(
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * (connection.MAX_HEAD_BYTES + 1)
        )
        assert b" 400 " in read_all(sock).split(b"\r\n")[0]
        with server.connect() as other:
            other.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in read_until(other, b"ok")


def test_connections_are_bounded(tiny_models, monkeypatch):
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 3)
    with running(tiny_models) as server, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(4)]
        wait_for(lambda: len(server.uvicorn.server_state.connections) == len(socks))
        socks[-1].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 503 " in read_until(socks[-1], b"\r\n\r\n").split(b"\r\n")[0]


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have thousands of files open."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 4096:
        pytest.skip("so many connections are not allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_and_one_connections_are_survived(tiny_models, many_files):
    """The last one below the limit is answered; those beyond it are refused, until others end."""

    def status(sock: socket.socket) -> str:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return read_until(sock, b"\r\n\r\n").split(b" ", 2)[1].decode()

    def connections() -> int:
        return len(server.uvicorn.server_state.connections)

    with running(tiny_models) as server:
        with contextlib.ExitStack() as stack:

            def open_until(count: int) -> socket.socket:
                socks = [stack.enter_context(server.connect()) for _ in range(count - connections())]
                wait_for(lambda: connections() == count)
                return socks[-1]

            assert status(open_until(connection.MAX_CONNECTIONS - 1)) == "200"
            assert status(open_until(connection.MAX_CONNECTIONS)) == "503"
            wait_for(lambda: connections() < connection.MAX_CONNECTIONS)
            assert status(open_until(1001)) == "503"
        wait_for(lambda: connections() == 0)
        with server.connect() as sock:
            assert status(sock) == "200"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--host", "0.0.0.0"], "give a key as --api-key or PICOCHAT_API_KEY"),
        (["--host", "::"], "give a key"),
        (["--port", "70000"], "--port must be from 0 to 65535"),
        (["--max-batch", "0"], "--max-batch must be at least 1"),
        (["--max-batch", "2", "--max-queue", "5"], "at least 8"),
        (["--timeout", "0"], "must be over 0"),
        (["--api-key", "two words"], "no spaces"),
        (["--api-key", ""], "no spaces"),
        (["--host", "no.such.name.invalid"], "can not listen on no.such.name.invalid"),
    ],
)
def test_what_the_command_refuses(args: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    from picochat import cli

    with pytest.raises(SystemExit) as caught:
        cli.main(
            [
                "serve",
                "--load",
                "nothing",
                *(["--api-key", "k"] if "no.such.name.invalid" in args else []),
                *args,
            ]
        )
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]):
    from picochat import cli

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit):
        cli.main(["serve", "--load", "x", "--port", str(taken.getsockname()[1])])
    assert "Address already in use" in capsys.readouterr().err
