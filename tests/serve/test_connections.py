"""What connections may do and how many there may be: slow ones, unread ones, ones that send no requests."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from picochat.serve import connection
from picochat.serve.app import Limits
from picochat.serve.models import Served
from tests.serve.conftest import ENDLESS, HELLO, running, wait_for
from tests.serve.driving import CHAT, client_of, post, read_all, read_until


def drip(sock: socket.socket, data: bytes) -> int:
    """Send a byte every 50 ms until the other side has had enough; return how many were sent."""
    for sent, byte in enumerate(data):
        try:
            sock.sendall(bytes([byte]))
        except OSError:
            return sent
        time.sleep(0.05)
    return len(data)


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
