"""A tiny random model, one that says what a test wants, and servers around them."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from picochat.engine.generate import Engine
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.serve.app import Limits, Server, create_app
from picochat.serve.connection import HttpServer, server_config
from picochat.serve.models import Served
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import save_checkpoint
from tests.tiny_model import tiny_model, tiny_tokenizer

PAGE = Path(__file__).parent / "page"
HELLO = [{"role": "user", "content": "the cat"}]
ENDLESS = "the " * 1500


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def model() -> GPT:
    return tiny_model()


@pytest.fixture
def models(model: GPT, tokenizer: Tokenizer) -> dict[str, Served]:
    """One model whose answers never end by themselves, so that a test knows how long they are."""
    engine = Engine(model, tokenizer)
    engine.forbidden += [tokenizer.special[name] for name in ("<|assistant_end|>", "<|bos|>")]
    return {"tiny": Served(name="tiny", engine=engine, stage="sft", created=1)}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, model: GPT, tokenizer: Tokenizer) -> Path:
    """The model on disk, for servers in processes of their own."""
    path = tmp_path_factory.mktemp("serve") / "tiny"
    save_checkpoint(path, model=model, tokenizer=tokenizer)
    return path


class Scripted(torch.nn.Module):
    """Says `script` after a prompt of `num_prompt` tokens, whatever it is; a step takes `seconds`."""

    def __init__(self, script: list[int], vocab_size: int, context: int, seconds: float = 0.0) -> None:
        super().__init__()
        self.config = ModelConfig.from_depth(1, vocab_size=vocab_size, sequence_len=context)
        self.compute_dtype = torch.float32
        self.device = torch.device("cpu")
        self.kernels = "plain"
        self.script = script
        self.num_prompt = 0
        self.seconds = seconds
        self.num_steps = 0

    def forward(self, ids_BT, *, cache, num_new=None, last_only=True):
        time.sleep(self.seconds)
        self.num_steps += 1
        cache.advance(num_new or [ids_BT.shape[1]] * ids_BT.shape[0])
        places = [min(max(n - self.num_prompt, 0), len(self.script) - 1) for n in cache.lengths]
        said = torch.tensor([self.script[place] for place in places])
        return 10.0 * torch.nn.functional.one_hot(said, self.config.vocab_size)[:, None].float()


@pytest.fixture
def scripted(tokenizer: Tokenizer) -> Callable[..., dict[str, Served]]:
    """Make a model that answers `HELLO` with what `script` spells: tags, and the results of its calls too."""

    def make(script: str, *, context: int = 2000, seconds: float = 0.0) -> dict[str, Served]:
        ids: list[int] = []
        while script:
            tag = next((tag for tag in tokenizer.special if script.startswith(tag)), None)
            if tag is None:
                end = script.find("<|") if "<|" in script else len(script)
                ids += tokenizer.encode(script[:end])
                script = script[end:]
            else:
                ids.append(tokenizer.special[tag])
                script = script.removeprefix(tag)
        model = Scripted(ids, tokenizer.vocab_size, context, seconds)
        model.num_prompt = 4 + len(tokenizer.encode(HELLO[0]["content"]))
        engine = Engine(model, tokenizer)  # pyright: ignore[reportArgumentType]
        return {"scripted": Served(name="scripted", engine=engine)}

    return make


@pytest.fixture
def slow(scripted: Callable[..., dict[str, Served]]) -> dict[str, Served]:
    """A model that takes five milliseconds a step and does not end by itself."""
    return scripted(ENDLESS, seconds=0.005)


@contextmanager
def client_of(
    models: dict[str, Served], limits: Limits | None = None, **options: Any
) -> Iterator[TestClient]:
    """Yield a client of a server in this process, without sockets."""
    app = create_app(models, limits, **{"page": PAGE, **options})
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(models: dict[str, Served]) -> Iterator[TestClient]:
    with client_of(models) as client:
        yield client


@dataclass(frozen=True)
class Running:
    """A server on loopback, in a thread of this process."""

    port: int
    server: Server
    uvicorn: HttpServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        """Open a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@contextmanager
def running(models: dict[str, Served], limits: Limits | None = None, **options: Any) -> Iterator[Running]:
    """Run a server with the connection class that the command uses."""
    before = threading.enumerate()
    app = create_app(models, limits, **{"page": PAGE, **options})
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        server = HttpServer(server_config(app), on_start=lambda: None)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Running(listener.getsockname()[1], app.state.server, server)
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()
            check_threads_are_gone(before)


def check_threads_are_gone(before: list[threading.Thread]) -> None:
    """A server that has ended leaves none of its threads behind; those of the kernels stay for the next."""
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    assert not [name for name in names if name.startswith(("picochat-decode", "picochat-json"))]


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def tiny_models(model: GPT, tokenizer: Tokenizer) -> dict[str, Served]:
    """The same model as it is, shared by the tests of a file."""
    return {"tiny": Served(name="tiny", engine=Engine(model, tokenizer))}
