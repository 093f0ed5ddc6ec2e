"""Requests that are decoded together: eight clients get at least three times the tokens of one."""

import json
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import save_checkpoint
from tests.serve.driving import command, post, read_all
from tests.tiny_model import VOCAB_SIZE

NUM_TOKENS = 150


@pytest.fixture(scope="module")
def demo_sized(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A model of the demo's depth and context."""
    model = GPT(ModelConfig.from_depth(4, vocab_size=VOCAB_SIZE, sequence_len=256))
    initialize(model, seed=0)
    path = tmp_path_factory.mktemp("throughput") / "model"
    save_checkpoint(path, model=model, tokenizer=tokenizer)
    return path


def one(port: int) -> int:
    """Let one client stream an answer; return its number of tokens."""
    body = {
        "prompt": "the",
        "max_tokens": NUM_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = post(body, "/v1/completions").replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(request)
        answer = read_all(sock)
    last = next(line for line in reversed(answer.split(b"\n")) if b'"usage":{' in line)
    return json.loads(last.removeprefix(b"data: "))["usage"]["completion_tokens"]


def rate(port: int, num_clients: int) -> float:
    """Return tokens a second of so many clients together."""
    began = time.perf_counter()
    with ThreadPoolExecutor(num_clients) as pool:
        num_tokens = sum(pool.map(one, [port] * num_clients))
    return num_tokens / (time.perf_counter() - began)


@pytest.mark.slow
def test_eight_clients_get_three_times_as_much(demo_sized: Path):
    with command("--load", str(demo_sized), "--device", "cpu", "--quiet", OMP_NUM_THREADS="1") as (_, url):
        port = int(url.rpartition(":")[2])
        rate(port, 8)
        pairs = [(rate(port, 1), rate(port, 8)) for _ in range(7)]
    ratios = [eight / one for one, eight in pairs]
    print([f"{one:.0f}/{eight:.0f}" for one, eight in pairs], f"{statistics.median(ratios):.2f}")
    assert statistics.median(ratios) >= 3
