"""What makes the host wait for the device, found on one that has no numbers: torch's meta device."""

import pytest
import torch

from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.options import OptimizerOptions
from picochat.optim.schedule import Schedule
from picochat.train.trainer import CrossEntropy, Trainer
from tests.train.conftest import RandomBatches

CONFIG = ModelConfig(sequence_len=16, vocab_size=40, n_layer=2, n_head=2, n_kv_head=1, n_embd=32)


def meta_trainer(**options) -> Trainer:
    with torch.device("meta"):
        model = GPT(CONFIG)
    model.compute_dtype, model.kernels = torch.bfloat16, "portable"
    groups = build_groups(model, OptimizerOptions())
    optimizer = GroupedOptimizer(groups, dtype=torch.bfloat16, kernels="portable")
    batches = RandomBatches(masked=True)
    return Trainer(model, optimizer, Schedule(steps=9), batches, CrossEntropy(), **options)


def test_a_step_asks_the_device_once(monkeypatch):
    """Any other question raises, since the meta device has no answer. Every tenth step asks once more."""
    tolist, asked = torch.Tensor.tolist, []

    def answer(tensor: torch.Tensor) -> list:
        if not tensor.is_meta:
            return tolist(tensor)
        asked.append(tuple(tensor.shape))
        return torch.ones(tensor.shape).tolist()

    monkeypatch.setattr(torch.Tensor, "tolist", answer)
    trainer = meta_trainer(grad_accum=2, clip=0.5, measure_every=4)
    counts = []
    for _ in range(5):
        next(trainer)
        counts.append(len(asked))
        asked.clear()
    assert counts == [2, 1, 1, 1, 2]


def test_a_question_would_be_noticed():
    trainer = meta_trainer()
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        next(trainer)
