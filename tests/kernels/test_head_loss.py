"""The fused loss head against its plain twin, and the allocator switch."""

import platform
from functools import partial

import pytest
import torch

from picochat.kernels import head_loss as module
from picochat.kernels.head_loss import head_loss, head_loss_plain
from picochat.kernels.memory import keep_large_buffers
from picochat.model.gpt import IGNORE

N, D, VOCAB, PADDED = 37, 16, 100, 128


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_ND = 3 * torch.randn(N, D, generator=generator)
    weight_PD = 2 * torch.randn(PADDED, D, generator=generator)
    targets_N = torch.randint(VOCAB, (N,), generator=generator)
    return x_ND.requires_grad_(), weight_PD.requires_grad_(), targets_N


@pytest.fixture(params=["auto", "portable"])
def fused(request):
    return partial(head_loss, kernels=request.param)


def value_and_grads(function, x, weight, targets, factor: float = 1.0):
    loss = function(x, weight, targets, VOCAB)
    return loss.detach(), *torch.autograd.grad(factor * loss, (x, weight))


@pytest.mark.parametrize("chunk", [1, 7, 64], ids=["single rows", "odd chunks", "one chunk"])
@pytest.mark.parametrize("ignored", ["none", "some", "first chunk", "all"])
@pytest.mark.parametrize("factor", [1.0, -0.37])
def test_equals_the_plain_twin(chunk, ignored, factor, inputs, fused, monkeypatch):
    monkeypatch.setitem(module.CHUNK_BYTES, "cpu", 4 * VOCAB * chunk)
    x, weight, targets = inputs
    where = {"none": slice(0, 0), "some": slice(0, None, 3), "first chunk": slice(0, 10), "all": slice(None)}
    targets[where[ignored]] = IGNORE
    mine = value_and_grads(fused, x, weight, targets, factor)
    plain = value_and_grads(head_loss_plain, x, weight, targets, factor)
    for a, b in zip(mine, plain, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)
    if ignored == "all":
        assert all((tensor == 0).all() for tensor in mine)


def test_positions_without_target_are_masked_where_they_are_not_skipped(inputs):
    """As on an accelerator, where picking rows would wait for the device."""
    x, weight, targets = inputs
    targets[::4] = IGNORE

    def masked(x, weight, targets, vocab_size):
        return module._HeadLoss.apply(x, weight, targets, vocab_size, "portable")

    for a, b in zip(
        value_and_grads(masked, x, weight, targets),
        value_and_grads(head_loss_plain, x, weight, targets),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)


def test_rows_that_pad_the_vocabulary_get_no_gradient(inputs, fused):
    _, _, grad_weight = value_and_grads(fused, *inputs)
    assert (grad_weight[VOCAB:] == 0).all()
    assert (grad_weight[:VOCAB] != 0).any(dim=1).all()


def test_gradients_are_those_of_finite_differences(inputs, fused):
    x, weight, targets = (tensor.detach() for tensor in inputs)
    direction = torch.randn(N, D, generator=torch.Generator().manual_seed(1)).double()
    _, grad_x, _ = value_and_grads(fused, *inputs)
    step = 1e-5
    there, back = (
        head_loss_plain((x.double() + sign * step * direction), weight.double(), targets, VOCAB).double()
        for sign in (1, -1)
    )
    # The twin rounds its logits to float32, so the difference quotient is good to about 1 %.
    assert (grad_x.double() * direction).sum().item() == pytest.approx(
        ((there - back) / (2 * step)).item(), rel=2e-2, abs=0.5
    )


def test_bfloat16_stays_near_float32(inputs, fused):
    x, weight, targets = inputs
    exact = value_and_grads(head_loss_plain, x, weight, targets)
    rounded = value_and_grads(fused, x.detach().bfloat16().requires_grad_(), weight, targets)
    assert [tensor.dtype for tensor in rounded] == [torch.float32, torch.bfloat16, torch.float32]
    for a, b in zip(rounded, exact, strict=True):
        assert (a.float() - b).norm() / b.norm() < 0.03


def test_without_gradients_it_is_only_the_value(inputs, fused):
    x, weight, targets = inputs
    with torch.no_grad():
        loss = fused(x, weight, targets, VOCAB)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, head_loss_plain(x, weight, targets, VOCAB).detach())


def test_the_gradient_is_there_once(inputs, fused):
    x, weight, targets = inputs
    loss = fused(x, weight, targets, VOCAB)
    loss.backward(retain_graph=True)
    with pytest.raises(AssertionError, match="only once"):
        loss.backward()


def test_a_large_vocabulary_of_many_blocks(fused):
    """Several blocks of the compiled loop and several tiles of the portable one, the last ones cut."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(600, 8, generator=generator).requires_grad_()
    weight = (3 * torch.randn(1344, 8, generator=generator)).requires_grad_()
    targets = torch.randint(1300, (600,), generator=generator)
    mine, plain = (
        (loss := function(x, weight, targets, 1300), *torch.autograd.grad(loss, (x, weight)))
        for function in (fused, head_loss_plain)
    )
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-5)


def test_threads_do_not_change_it(inputs, monkeypatch):
    results = []
    for number in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda number=number: number)
        results.append(value_and_grads(head_loss, *inputs))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_huge_logits_stay_finite(inputs, fused):
    x, weight, targets = inputs
    for tensor in value_and_grads(fused, (x.detach() * 1e6).requires_grad_(), weight, targets):
        assert tensor.isfinite().all()


def test_the_allocator_switch_says_whether_it_worked():
    assert keep_large_buffers() is (platform.libc_ver()[0] == "glibc")


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_large_buffers() is False
