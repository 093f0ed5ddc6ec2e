"""Clients of a running server, bare and of openai, what its errors are, and the command in a process."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from tests.serve.conftest import Running

CHAT = "/v1/chat/completions"


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


def client_of(server: Running, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, **options)


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


def check_error(response: Any, status: int, code: str, param: str | None = None) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"]
    assert len(error["message"]) < 400
    assert param is None or error["param"] == param
