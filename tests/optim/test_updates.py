"""The update rules against their definitions, torch's own AdamW and the singular value decomposition."""

import pytest
import torch

from picochat.optim.adamw import AdamWState, adamw_update, adamw_update_plain
from picochat.optim.muon import POLAR_EXPRESS, iterate, muon_update, orthogonalize

POLAR = [[-0.63926, 0.17587, 0.74861], [0.7063, 0.51928, 0.48114]]
"""The polar factor of [[1, 2, 3], [4, 5, 6.5]], U V^T of its singular value decomposition."""


def polar(x: torch.Tensor) -> torch.Tensor:
    u, _, vh = torch.linalg.svd(x.double(), full_matrices=False)
    return (u @ vh).float()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact(x_NRC: torch.Tensor) -> torch.Tensor:
    return orthogonalize(x_NRC, torch.float32)


def test_the_known_polar_factor():
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])
    torch.testing.assert_close(polar(x), torch.tensor(POLAR), atol=1e-5, rtol=0)
    near = orthogonalize(x[None], torch.float32)[0]
    assert (near - torch.tensor(POLAR)).norm() / 2**0.5 < 0.25


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 32, 128), (2, 128, 32), (1, 5, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_singular_values_come_near_one_and_directions_stay(shape, dtype, scale):
    x = scale * random(*shape)
    near = orthogonalize(x, dtype)
    assert near.shape == x.shape
    assert near.dtype == dtype
    near = near.float()
    # The smallest singular values of a square random matrix may be too small to be lifted.
    values = torch.linalg.svdvals(near)[:, : -4 if shape[1] == shape[2] else None]
    assert values.min() > 0.6
    assert values.max() < 1.35
    for one, exact in zip(near, polar(x), strict=True):
        cosine = (one * exact).sum() / one.norm() / exact.norm()
        assert cosine > 0.97


@pytest.mark.parametrize("shape", [(3, 32, 128), (2, 256, 64), (1, 64, 512)])
@pytest.mark.parametrize("rank", [1, 4, None])
def test_the_short_form_equals_the_iteration(shape, rank):
    """Also for gradients of low rank, where rounding in the Gram matrix alone would grow."""
    x = random(*shape)
    if rank is not None:
        x = random(shape[0], shape[1], rank) @ random(shape[0], rank, shape[2], seed=1)
    wide = (x.mT if shape[1] > shape[2] else x).double()
    exact = iterate(wide / (1.01 * wide.norm(dim=(1, 2), keepdim=True)), POLAR_EXPRESS)
    exact = exact.mT if shape[1] > shape[2] else exact
    near = orthogonalize(x, torch.float32)
    assert (near - exact).norm() / exact.norm() < 1e-3
    assert torch.linalg.svdvals(near).max() < 1.35


def test_nothing_is_made_orthogonal_to_nothing():
    assert torch.equal(orthogonalize(torch.zeros(1, 4, 6)).float(), torch.zeros(1, 4, 6))


def muon_by_definition(
    w: torch.Tensor, buffer: torch.Tensor, g: torch.Tensor, lr: float, momentum: float, decay: float
) -> tuple[torch.Tensor, torch.Tensor]:
    buffer = momentum * buffer + g
    update = orthogonalize((g + momentum * buffer)[None], torch.float32)[0]
    shrink = torch.where(update * w >= 0, lr * decay * w, torch.zeros_like(w))
    return w - shrink - lr * max(1, w.shape[0] / w.shape[1]) ** 0.5 * update, buffer


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16)])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_muon_is_its_definition_also_on_a_stack(shape: tuple[int, int], decay: float):
    weights = [torch.nn.Parameter(random(*shape, seed=seed)) for seed in range(3)]
    buffers = [torch.zeros(shape) for _ in weights]
    expected = [(weight.detach().clone(), torch.zeros(shape)) for weight in weights]
    for step in range(3):
        for index, weight in enumerate(weights):
            weight.grad = random(*shape, seed=10 * step + index)
        expected = [
            muon_by_definition(w, buffer, weight.grad, 0.1, 0.9, decay)
            for weight, (w, buffer) in zip(weights, expected, strict=True)
        ]
        muon_update(weights, buffers, lr=0.1, momentum=0.9, weight_decay=decay, orthogonalize=exact)
    for weight, buffer, (w, b) in zip(weights, buffers, expected, strict=True):
        torch.testing.assert_close(weight.detach(), w, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(buffer, b)


def test_muon_does_not_depend_on_the_scale_of_the_gradient():
    moved = []
    for scale in (1.0, 1e-4):
        weight = torch.nn.Parameter(random(8, 12))
        weight.grad = scale * random(8, 12, seed=1)
        muon_update([weight], [torch.zeros(8, 12)], lr=0.1, momentum=0.9, weight_decay=0, orthogonalize=exact)
        moved.append(weight.detach())
    torch.testing.assert_close(*moved, atol=1e-3, rtol=0)


@pytest.mark.parametrize("update", [adamw_update, adamw_update_plain])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_equals_torch(update, decay: float):
    options = {"betas": (0.8, 0.95), "eps": 1e-10, "weight_decay": decay}
    mine = [torch.nn.Parameter(random(5, 3)), torch.nn.Parameter(random(7, seed=1))]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in mine]
    states = [AdamWState.of(parameter.detach()) for parameter in mine]
    oracle = torch.optim.AdamW(theirs, lr=0.01, foreach=False, fused=False, **options)
    for step in range(6):
        for index, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            a.grad = random(*a.shape, seed=100 + 10 * step + index)
            b.grad = a.grad.clone()
        update(mine, states, lr=0.01, **options)
        oracle.step()
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    for state, parameter in zip(states, theirs, strict=True):
        torch.testing.assert_close(state.m, oracle.state[parameter]["exp_avg"])
        torch.testing.assert_close(state.v, oracle.state[parameter]["exp_avg_sq"])
        assert state.step.item() == 6


def test_the_first_step_of_adamw_is_the_learning_rate():
    """Bias correction: without it the first step would be (1 - b1) / sqrt(1 - b2) of it."""
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.tensor([1e-3, -5.0, 2.0, -1e4])
    adamw_update(
        [weight], [AdamWState.of(weight.detach())], lr=0.5, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0
    )
    torch.testing.assert_close(weight.detach(), -0.5 * weight.grad.sign())
