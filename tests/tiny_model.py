"""A tiny model with random weights, and its tokenizer."""

import torch

from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer

VOCAB_SIZE = 300
CONTEXT = 96
"""The short window is 48: every longer test crosses it."""
TEXTS = ["the cat and the hat, the mat and the rat; then 12 and 34 more of them 😀 naïve"] * 3


def tiny_tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, VOCAB_SIZE)


def random_model(
    depth: int = 2, *, vocab_size: int = VOCAB_SIZE, context: int = CONTEXT, spread: float = 0.08
) -> GPT:
    """A model with weights so large that every logit depends on every input; the same at each call."""
    model = GPT(ModelConfig.from_depth(depth, vocab_size=vocab_size, sequence_len=context))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, spread, generator=generator)
    return model


def tiny_model() -> GPT:
    """Two layers, one of them windowed, that are only asked, never trained."""
    return random_model().requires_grad_(False)
