"""Where a model runs and in which number format."""

import functools
import time

import torch

from picochat.errors import UserError
from picochat.kernels.compilation import require_compile
from picochat.kernels.memory import keep_large_buffers

PEAK_SECONDS = 0.15
"""Time spent on measuring the peak rate of a device."""
BF16_CPU_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
"""Names under which processors report bfloat16 products."""


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the first of cuda, mps, cpu that is there."""
    if name == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = next(name for name, is_there in there.items() if is_there)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: no such device; use auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: torch sees no Apple GPU here; use --device cpu or auto")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the compute dtype called `name`; `auto` is bfloat16 where the device computes in it natively."""
    if name == "auto":
        if device.type == "cuda":
            name = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        elif device.type == "cpu":
            features = torch.cpu.get_capabilities()
            name = "bfloat16" if any(features.get(key) for key in BF16_CPU_FEATURES) else "float32"
        else:
            name = "float32"
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in dtypes:
        raise UserError(f"--dtype {name}: use auto, float32 or bfloat16")
    return dtypes[name]


def prepare_training(device: torch.device, kernels: str = "auto") -> None:
    """Set what makes this process train fast on `device` (`kernels` as in picochat.kernels.choice).

    Raises UserError where torch.compile is asked for and does not work.
    """
    require_compile(kernels, device)
    torch.set_float32_matmul_precision("high" if device.type == "cuda" and kernels != "plain" else "highest")
    if device.type != "cpu" or kernels == "plain":
        return
    # "medium" sends float32 products to oneDNN. On all but Intel's processors torch's own BLAS (MKL) leaves
    # half of the vector unit idle, and oneDNN does not; on Intel's, MKL is the faster one. By name and not by
    # measurement: the same machine must round alike every time. Where "medium" means bfloat16 instead (AMX),
    # float32 would no longer be what was asked for.
    if "Intel" not in str(torch.cpu.get_capabilities().get("cpu_name")):
        torch.set_float32_matmul_precision("medium")
        if _product_error() > 1e-5:
            torch.set_float32_matmul_precision("highest")
    if kernels in ("auto", "compile"):
        keep_large_buffers()


def _product_error() -> float:
    """Return the relative error of a float32 product under the present settings."""
    a = torch.linspace(-1, 1, 64 * 64).view(64, 64)
    exact = a.double() @ a.double()
    return ((a @ a).double() - exact).norm().div(exact.norm()).item()


@functools.cache
def measure_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the fastest of many large matrix products, in floating-point operations a second.

    Many, for on a machine that does other work too only few are left alone. Measured once per process.
    """
    size = 1024 if device.type == "cpu" else 8192
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    end = time.perf_counter() + PEAK_SECONDS
    while (began := time.perf_counter()) < end or best == float("inf"):
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
