"""The command, in a process of its own: it serves, ends as it is told, and refuses what can not be."""

import contextlib
import signal
import socket
import time
from pathlib import Path

import openai
import pytest

from tests.serve.conftest import HELLO, running
from tests.serve.driving import command, post, read_all, read_until


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
