"""--kernels: the same training whatever a model is computed with."""

import pytest
import torch

from picochat.data.batch import IGNORE, Batch
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.options import OptimizerOptions
from picochat.train import device as module
from picochat.train.device import prepare_training
from picochat.train.policy_loss import chosen_logprobs
from picochat.train.trainer import CrossEntropy

CONFIG = ModelConfig(sequence_len=32, vocab_size=600, n_layer=4, n_head=4, n_kv_head=2, n_embd=64)


def batch(seed: int) -> Batch:
    ids_BT = torch.randint(600, (3, 33), generator=torch.Generator().manual_seed(seed))
    targets_BT = ids_BT[:, 1:].clone()
    targets_BT[0, :7] = IGNORE
    return Batch(ids_BT=ids_BT[:, :-1], targets_BT=targets_BT)


def trained(kernels: str, steps: int, **options) -> tuple[list[float], GPT]:
    model = GPT(CONFIG)
    initialize(model, seed=0)
    model.kernels = kernels
    optimizer = GroupedOptimizer(build_groups(model, OptimizerOptions(**options)), kernels=kernels)
    losses = []
    for step in range(steps):
        loss = CrossEntropy()(model, batch(step)).total / 89
        loss.backward()
        losses.append(loss.item())
        if step + 1 < steps:
            optimizer.step(0.2)
            optimizer.zero_grad()
    return losses, model


@pytest.mark.parametrize("kernels", ["auto", "portable"])
def test_the_first_gradients_are_those_of_plain(kernels: str):
    (mine,), model = trained(kernels, 1)
    (plain,), twin = trained("plain", 1)
    assert mine == pytest.approx(plain, rel=1e-6)
    for (name, a), b in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("kernels", ["auto", "portable"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_loss_goes_down_alike(kernels: str, optimizer: str):
    """Rounding alone tells them apart, and a few steps let it grow only so far."""
    mine, _ = trained(kernels, 6, optimizer=optimizer)
    plain, _ = trained("plain", 6, optimizer=optimizer)
    assert mine == pytest.approx(plain, rel=2e-3)
    assert mine[-1] != mine[0]


def test_the_logprobs_of_grpo_do_not_depend_on_it():
    results = []
    for kernels in ("auto", "plain"):
        model = GPT(CONFIG)
        initialize(model, seed=0)
        model.kernels = kernels
        results.append(chosen_logprobs(model, batch(0).ids_BT, batch(0).targets_BT, 0.9))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kernels", "is_set"), [("auto", True), ("portable", False), ("plain", False)])
def test_the_allocator_is_only_told_where_everything_is_allowed(kernels: str, is_set: bool, monkeypatch):
    told = []
    monkeypatch.setattr(module, "keep_large_buffers", lambda: told.append(True))
    try:
        prepare_training(torch.device("cpu"), kernels)
    finally:
        monkeypatch.undo()
        prepare_training(torch.device("cpu"))
    assert bool(told) is is_set


@pytest.mark.parametrize(("processor", "precision"), [("Intel Xeon", "highest"), ("AMD EPYC", "medium")])
def test_products_go_to_the_faster_library_of_the_processor(processor: str, precision: str, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": processor})
    monkeypatch.setattr(module, "_product_error", lambda: 1e-7)
    try:
        prepare_training(torch.device("cpu"), "portable")
        assert torch.get_float32_matmul_precision() == precision
        monkeypatch.setattr(module, "_product_error", lambda: 1e-3)
        prepare_training(torch.device("cpu"), "portable")
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        monkeypatch.undo()
        prepare_training(torch.device("cpu"))
