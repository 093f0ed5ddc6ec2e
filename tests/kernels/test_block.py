"""The fused blocks of training against the model, value and gradients."""

from dataclasses import replace

import pytest
import torch

from picochat.kernels import block
from picochat.kernels.block import training_hidden
from picochat.kernels.head_loss import head_loss
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize

CONFIG = ModelConfig(sequence_len=40, vocab_size=100, n_layer=4, n_head=4, n_kv_head=2, n_embd=64)


def make_model(config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float32) -> GPT:
    model = GPT(config)
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            # No zeros and no ones: every weight has to count.
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=0.2 if parameter.dim() == 1 else 0.1)
    model.compute_dtype = dtype
    return model


def plain_hidden(model: GPT, ids_BT: torch.Tensor) -> torch.Tensor:
    return model.hidden(ids_BT)


def run(function, model: GPT, ids_BT: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    x_BTD = function(model, ids_BT)
    weight = torch.randn(x_BTD.shape, generator=torch.Generator().manual_seed(2))
    model.zero_grad()
    (x_BTD.float() * weight.to(model.device)).sum().backward()
    grads = {name: p.grad.clone().cpu() for name, p in model.named_parameters() if p.grad is not None}
    return x_BTD.detach().float().cpu(), grads


def random_ids(rows: int, length: int) -> torch.Tensor:
    return torch.randint(100, (rows, length), generator=torch.Generator().manual_seed(0))


def assert_near(mine, plain, tolerance: float) -> None:
    assert (mine[0] - plain[0]).norm() / plain[0].norm() < tolerance
    assert mine[1].keys() == plain[1].keys()
    # A single key takes all attention: gradients of queries are zero there, but for rounding.
    floor = 1e-2 * max(grad.norm().item() for grad in plain[1].values())
    for name, grad in plain[1].items():
        assert mine[1][name].dtype == grad.dtype
        error = (mine[1][name] - grad).norm() / grad.norm().clamp(min=floor)
        assert error < tolerance, f"{name}: {error:.1e}"


@pytest.mark.parametrize("tile", [7, 16, 128], ids=["uneven tiles", "tiles", "one tile"])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_equals_the_model(tile: int, length: int, monkeypatch):
    """Windows too: half of the layers see 20 positions back."""
    monkeypatch.setattr(block, "TILE", tile)
    ids_BT = random_ids(3, length)
    assert_near(run(training_hidden, make_model(), ids_BT), run(plain_hidden, make_model(), ids_BT), 1e-5)


@pytest.mark.parametrize("heads", [(1, 1), (4, 4), (8, 1)])
def test_all_ways_to_share_heads(heads: tuple[int, int]):
    config = replace(CONFIG, n_head=heads[0], n_kv_head=heads[1])
    ids_BT = random_ids(2, 9)
    mine = run(training_hidden, make_model(config), ids_BT)
    assert_near(mine, run(plain_hidden, make_model(config), ids_BT), 1e-5)


def test_bfloat16_is_as_near_to_float32_as_plain_bfloat16_is():
    ids_BT = random_ids(3, 40)
    exact = run(plain_hidden, make_model(), ids_BT)
    mine = run(training_hidden, make_model(dtype=torch.bfloat16), ids_BT)
    plain = run(plain_hidden, make_model(dtype=torch.bfloat16), ids_BT)
    for name in exact[1]:
        errors = [(grads[name] - exact[1][name]).norm() / exact[1][name].norm() for _, grads in (mine, plain)]
        # What a few scalars lose to rounding is a matter of luck.
        assert errors[0] < (1.3 * errors[1] if exact[1][name].dim() > 1 else 0.05), f"{name}: {errors}"


def test_gradients_are_those_of_finite_differences():
    """An oracle that shares no code with the twin: the loss along a random direction."""
    model, ids_BT = make_model(), random_ids(2, 12)
    targets_N = random_ids(2, 12).flatten().roll(3)

    def loss() -> torch.Tensor:
        x_ND = training_hidden(model, ids_BT).flatten(0, 1)
        return head_loss(x_ND, model.lm_head.weight, targets_N, 100)

    loss().backward()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        steps = {p: 1e-3 * torch.randn(p.shape, generator=generator) for p in model.parameters()}
        slope = sum((p.grad * step).sum() for p, step in steps.items()).item()
        values = []
        for sign in (1, -1):
            for p, step in steps.items():
                p.add_(step, alpha=sign)
            values.append(loss().item())
            for p, step in steps.items():
                p.sub_(step, alpha=sign)
    assert slope == pytest.approx((values[0] - values[1]) / 2, rel=2e-2)


def test_threads_do_not_change_it(monkeypatch):
    results = []
    for number in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda number=number: number)
        results.append(run(training_hidden, make_model(), random_ids(3, 40)))
    assert_near(*results, 1e-6)


@pytest.mark.parametrize("name", ["wte", "h.1.attn.c_k", "h.2.mlp.c_fc", "ve.3", "resid_lambdas"])
def test_what_is_not_a_number_is_not_hidden(name: str):
    model = make_model()
    with torch.no_grad():
        parameter = next(p for n, p in model.named_parameters() if n.startswith(name))
        parameter.view(-1)[:] = torch.nan
    assert training_hidden(model, random_ids(2, 5)).isnan().any()


@pytest.mark.parametrize("kernels", ["portable", "plain"])
def test_only_auto_compiles(kernels: str, monkeypatch):
    model = make_model()
    model.kernels = kernels
    monkeypatch.setattr(block, "_Block", None)
    assert torch.equal(training_hidden(model, random_ids(2, 5)), model.hidden(random_ids(2, 5)))
