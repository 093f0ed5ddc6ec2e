"""Where a model runs and in which number format."""

import pytest
import torch

from picochat.errors import UserError
from picochat.train import device as module
from picochat.train.device import measure_peak_flops, pick_device, pick_dtype, prepare_training

CPU = torch.device("cpu")


def test_auto_is_a_device_that_is_there():
    assert torch.zeros(1, device=pick_device("auto")).sum() == 0
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cpu:x", ""])
def test_a_device_that_is_none_is_named(name: str):
    with pytest.raises(UserError, match=f"--device {name}: no such device; use auto, cpu, cuda"):
        pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_device_that_is_missing_is_named():
    with pytest.raises(UserError, match="torch sees no CUDA device here; use --device cpu"):
        pick_device("cuda:1")


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it(capabilities, dtype, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert pick_dtype("auto", CPU) == dtype
    assert pick_dtype("float32", CPU) == torch.float32


def test_a_format_that_is_none_is_named():
    with pytest.raises(UserError, match="--dtype float8: use auto, float32 or bfloat16"):
        pick_dtype("float8", CPU)


def test_float32_products_are_as_exact_as_float32():
    prepare_training(CPU)
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 200, 200, generator=generator)
    exact = a.double() @ b.double()
    assert (a @ b - exact).norm() / exact.norm() < 1e-6


def test_the_peak_is_over_what_a_product_reaches_and_measured_once(monkeypatch):
    measure_peak_flops.cache_clear()
    monkeypatch.setattr(module, "PEAK_SECONDS", 0.05)
    peak = measure_peak_flops(CPU, torch.float32)
    assert 1e8 < peak < 1e15
    assert measure_peak_flops(CPU, torch.float32) == peak
    measure_peak_flops.cache_clear()
