"""Int8 weights from a trained model: each row of a matrix or table is divided by its own largest value.

The rounding is symmetric, to the nearest of -127..127. Activations are not quantized.
"""

import copy
import time
from dataclasses import dataclass

import torch

from picochat.engine.generate import Engine
from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.model.int8 import Int8Embedding, Int8Linear, is_int8, with_int8_layers
from picochat.tokenizer.tokenizer import Tokenizer

LEVELS = 127


@dataclass(frozen=True, kw_only=True)
class TensorError:
    """What rounding did to one tensor."""

    name: str
    relative: float
    """Root mean square of the error over that of the weights."""
    largest: float
    """Largest absolute error of a weight."""


def quantize_rows(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return int8 weights (O, I) and scales (O,) float32, such that weights * scales is about `weight`.

    A row of zeros gets the scale 0.
    """
    weight = weight.detach().float()
    scale = weight.abs().amax(dim=1) / LEVELS
    steps = weight / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    return steps.round().clamp(-LEVELS, LEVELS).to(torch.int8), scale


@torch.no_grad()
def quantize(model: GPT) -> tuple[GPT, list[TensorError]]:
    """Return an int8 copy of `model`, and the error of each of its int8 tensors.

    Raises UserError for a model that is int8 already.
    """
    if is_int8(model):
        raise UserError("this checkpoint is int8 already; quantize the one it was made from")
    weights = dict(model.named_parameters())
    small = with_int8_layers(copy.deepcopy(model))
    errors = []
    for name, module in small.named_modules():
        if isinstance(module, Int8Linear | Int8Embedding):
            weight = weights[f"{name}.weight"].float()
            int8, scale = quantize_rows(weight)
            module.weight.copy_(int8)
            module.scale.copy_(scale)
            error = module.float_weight() - weight
            relative = (error.square().mean() / weight.square().mean().clamp_min(1e-30)).sqrt().item()
            largest = error.abs().max().item()
            errors.append(TensorError(name=f"{name}.weight", relative=relative, largest=largest))
    return small, errors


def decode_rate(model: GPT, tokenizer: Tokenizer, *, num_tokens: int = 64, rounds: int = 3) -> float:
    """Return tokens a second of one stream that is read token by token: the fastest of some rounds."""
    engine = Engine(model, tokenizer)
    num_tokens = min(num_tokens, engine.context - 1)
    ids = [tokenizer.special["<|bos|>"], *tokenizer.encode("a" * num_tokens)[:num_tokens]]
    best = 0.0
    for _ in range(rounds):
        engine.forget()
        began = time.perf_counter()
        for length in range(1, len(ids) + 1):
            engine.next_logits(ids[:length])
        best = max(best, len(ids) / (time.perf_counter() - began))
    return best
