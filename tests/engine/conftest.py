"""A tiny random model and its tokenizer, shared by the engine's tests."""

import pytest

from picochat.engine.generate import Engine
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from tests.tiny_model import tiny_model, tiny_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def model() -> GPT:
    return tiny_model()


@pytest.fixture
def engine(model: GPT, tokenizer: Tokenizer) -> Engine:
    return Engine(model, tokenizer)
