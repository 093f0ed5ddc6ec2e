"""Answers from a CUDA device: recorded steps, eager ones and the CPU say the same."""

from typing import Any

import pytest
import torch

from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.engine.quantize import quantize
from picochat.kernels import decode_graph
from picochat.tokenizer.tokenizer import Tokenizer
from tests.cuda import CUDA, needs_cuda
from tests.tiny_model import tiny_model

pytestmark = needs_cuda

TEXTS = ("the cat", "12 and 34 more of them, then", "a", "the mat and the rat and the hat; the cat")
"""Prompts of different lengths: rows of a batch, and turns that share a beginning."""


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    """Exact products, and several numbers of slots within a short context."""
    torch.set_float32_matmul_precision("highest")
    monkeypatch.setattr(decode_graph, "FEWEST_SLOTS", 8)


def answers(tokenizer: Tokenizer, kernels: str, device: Any, is_int8: bool, **options) -> list[list[int]]:
    """Return what the tiny model says to all texts together, and then to each alone."""
    model = quantize(tiny_model())[0] if is_int8 else tiny_model()
    model = model.to(device)
    model.kernels = kernels
    engine = Engine(model, tokenizer)
    prompts = [[tokenizer.special["<|bos|>"], *tokenizer.encode(text)] for text in TEXTS]
    sampling = SamplingOptions(max_tokens=30, seed=1, **options)
    together = [answer.ids for group in engine.generate_batch(prompts, sampling, 2) for answer in group]
    alone = []
    for prompt in prompts:
        generation = engine.generate(prompt, sampling)
        assert list(generation)
        alone.append(generation.completion.ids)
    return together + alone


@pytest.mark.parametrize("is_int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_answers_do_not_depend_on_how_they_are_computed(tokenizer, is_int8: bool, temperature: float):
    recorded = answers(tokenizer, "auto", CUDA, is_int8, temperature=temperature)
    assert recorded == answers(tokenizer, "portable", CUDA, is_int8, temperature=temperature)
    assert recorded == answers(tokenizer, "plain", CUDA, is_int8, temperature=temperature)
    assert recorded == answers(tokenizer, "portable", "cpu", is_int8, temperature=temperature)
    assert sum(map(len, recorded)) > 50
