"""The model whose logits the Rust picochat wrote down, filled by the formula in golden_logits.json."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from picochat.model.config import RUST_ROPE_THETA, ModelConfig
from picochat.model.gpt import GPT

GOLDEN = json.loads((Path(__file__).parent / "golden_logits.json").read_text(encoding="utf-8"))


def amplitude(name: str, shape: torch.Size) -> float:
    if name.startswith(("wte.", "ve.")) or "ve_gate" in name:
        return 1.0
    if name.startswith("lm_head."):
        return 0.5
    return 0.3 if name == "x0_lambdas" else 2 / math.sqrt(shape[-1])


def filled(config: ModelConfig) -> GPT:
    """Return a model whose every weight is a known sine."""
    model = GPT(config).requires_grad_(False)
    for name, parameter in model.named_parameters():
        i = torch.arange(parameter.numel(), dtype=torch.float64)
        phase = sum(name.encode()) % 97
        if name == "resid_lambdas":
            values = 1 + 0.1 * torch.sin(i + phase)
        else:
            wave = torch.sin(0.7 * (i % 1009) + 0.013 * torch.floor(i / 1009) + phase)
            values = amplitude(name, parameter.shape) * wave
        parameter.copy_(values.view(parameter.shape))
    return model


@pytest.fixture(scope="session", params=GOLDEN["cases"], ids=["context 2048", "context 16, 40 tokens"])
def golden(request: pytest.FixtureRequest) -> tuple[GPT, torch.Tensor, dict[str, Any]]:
    """The model, the ids (1, T), and what the Rust picochat computed from them."""
    case = request.param
    config = ModelConfig(**case["config"], rope_theta=RUST_ROPE_THETA)
    ids = [(7 * i * i + 3 * i + 1) % config.vocab_size for i in range(case["num_tokens"])]
    return filled(config), torch.tensor([ids]), case


@pytest.fixture(scope="session")
def windowed() -> GPT:
    """Four layers, three of which see no more than eight positions back."""
    config = ModelConfig(sequence_len=16, vocab_size=50, n_layer=4, n_head=4, n_kv_head=2, n_embd=64)
    return filled(config)
