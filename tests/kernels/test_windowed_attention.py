"""Attention of training on CUDA, by what it runs as on CPU, against its plain twin."""

import pytest
import torch
from torch.nn.attention import flex_attention

from picochat.kernels.windowed_attention import Mask, attend_windowed, tiles, training_mask
from picochat.model.attention import attend_fused

CPU = torch.device("cpu")
SHAPES = [(1, (2, 1), 3), (40, (4, 2), 11), (129, (4, 1), 0), (200, (2, 2), 130)]
"""Positions, query and key/value heads, window: around the size of a tile, which is 128."""


def run(attention, length: int, heads: tuple[int, int]) -> list[torch.Tensor]:
    """Return the output and the gradients of queries, keys and values."""
    generator = torch.Generator().manual_seed(0)
    H, G = heads
    inputs = [torch.randn(2, length, n, 16, generator=generator).requires_grad_() for n in (H, G, G)]
    out_BTD = attention(*inputs)
    weight_BTD = torch.randn(out_BTD.shape, generator=generator)
    return [out_BTD.detach(), *torch.autograd.grad((out_BTD * weight_BTD).sum(), inputs)]


def assert_alike(mine: list[torch.Tensor], plain: list[torch.Tensor]) -> None:
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def by_mask(mask: Mask):
    return lambda q, k, v: attend_windowed(q, k, v, mask)


@pytest.mark.parametrize(("length", "heads", "window"), SHAPES[1:])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_tiles_let_through_what_the_window_does(length, heads, window, monkeypatch):
    # torch has no fast gradient of it on CPU and refuses; the slow one is good enough to compare with.
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *inputs: None)
    assert_alike(
        run(by_mask(tiles(window, length, CPU)), length, heads),
        run(by_mask(training_mask(window, length, CPU)), length, heads),
    )


@pytest.mark.parametrize(("length", "heads", "window"), SHAPES)
@pytest.mark.parametrize("is_windowed", [True, False])
def test_torchs_own_attention_equals_the_plain_one(length, heads, window, is_windowed: bool):
    window = window if is_windowed else length
    mask = training_mask(window, length, CPU)

    def fused(q_BTHK, k_BTGK, v_BTGK):
        return attend_fused(
            q_BTHK, k_BTGK.transpose(1, 2), v_BTGK.transpose(1, 2), mask if is_windowed else None
        )

    assert_alike(run(fused, length, heads), run(by_mask(mask), length, heads))


def test_a_mask_is_made_once():
    assert training_mask(5, 20, CPU) is training_mask(5, 20, CPU)
    assert training_mask(5, 20, CPU) is not training_mask(6, 20, CPU)


def test_tiles_leave_out_what_no_window_lets_through():
    """Of 16 x 16 tiles, with a window of three tiles: the diagonal and three below it are left."""
    mask = tiles(3 * 128, 16 * 128, CPU)
    assert mask.full_kv_num_blocks is not None
    assert int(mask.kv_num_blocks.sum() + mask.full_kv_num_blocks.sum()) == 16 * 4 - 6
