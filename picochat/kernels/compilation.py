"""Where torch.compile is in force, and how functions go through it.

Small functions do, not the model: all blocks of a kind share one compiled function, so that compiling takes
as long for a deep model as for a flat one.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from picochat.errors import UserError

BACKEND = "inductor"
VARIANTS = 64
"""Shapes, dtypes and kinds of block that one function may be compiled for in a process: notebooks make many
models. torch's own limit is 8, after which it refuses."""


def compiles(kernels: str, device: torch.device) -> bool:
    """Whether training with these `kernels` (picochat.kernels.choice) goes through torch.compile here."""
    if kernels == "auto":
        return device.type == "cuda" and obstacle(device.type) is None
    return kernels == "compile"


def require_compile(kernels: str, device: torch.device) -> None:
    """Raise UserError if torch.compile is asked for and does not work here."""
    if kernels == "compile" and (problem := obstacle(device.type)):
        raise UserError(
            f"--kernels compile: torch.compile does not work here ({problem}); install a C++ compiler and "
            "Python's headers (on Debian: g++ and python3-dev), or use --kernels auto"
        )


@functools.cache
def obstacle(device_type: str) -> str | None:
    """Return why torch.compile does not work for a kind of device, None where it does; tried out once."""
    if device_type not in ("cpu", "cuda"):
        return f"it is used for cpu and cuda, not for {device_type}"
    try:
        torch.compile(_trial, fullgraph=True)(torch.ones(64, device=device_type))
    except RuntimeError as error:
        # No compiler, no headers, no Triton: torch wraps whatever it was, and says more than is of use.
        return " ".join(str(error).partition("\n\n")[0].split())
    return None


def _trial(x_N: torch.Tensor) -> torch.Tensor:
    return (2 * x_N).sum()


def through_compile(function: Callable, *, varies: bool = False) -> Any:
    """Return `function` through torch.compile, the same object each time; a graph break is an error.

    It is compiled when first called, and for each size anew; if sizes vary, at the second one for all.
    """
    return _through_compile(function, None if varies else False, BACKEND)


@functools.cache
def _through_compile(function: Callable, dynamic: bool | None, backend: str) -> Any:
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    return torch.compile(function, backend=backend, fullgraph=True, dynamic=dynamic)
