"""What is measured on: a model with random weights, and a batch that comes again and again."""

import torch

from picochat.data.batch import Batch
from picochat.engine.quantize import quantize
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize

VOCAB_SIZE = 32768


class SameBatch:
    """A batch source that always gives the same rows of random ids."""

    def __init__(self, rows: int, length: int, vocab_size: int) -> None:
        ids_BT = torch.randint(vocab_size, (rows, length + 1), generator=torch.Generator().manual_seed(0))
        self.batch = Batch(ids_BT=ids_BT[:, :-1].contiguous(), targets_BT=ids_BT[:, 1:].contiguous())

    def __next__(self) -> Batch:
        return self.batch

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


def make_model(depth: int, dtype: str, context: int = 256, vocab_size: int = VOCAB_SIZE) -> GPT:
    """Return a model whose weights are random everywhere, in float32, bfloat16 or int8."""
    model = GPT(ModelConfig.from_depth(depth, vocab_size=vocab_size, sequence_len=context))
    initialize(model, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "c_proj" in name or "lm_head" in name:
                parameter.normal_(0, 0.05)
    model.requires_grad_(False)
    if dtype == "int8":
        return quantize(model)[0]
    model.compute_dtype = getattr(torch, dtype)
    return model.to(model.compute_dtype)
