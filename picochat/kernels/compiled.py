"""Loops that numba compiles for this processor. Importing this module imports numba.

Compiled code assigns to array slices in loops: as one statement that would drag in the making of error
messages, which takes longer to compile than all the rest.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload


def _choose_vectors() -> None:
    """Let LLVM use the processor's widest vectors: by itself it stays at half of AVX-512's.

    Holds for the whole process and for what numba compiles from now on; a user's own choice is kept.
    """
    features = llvm.get_host_cpu_features()
    if features.get("avx512f") and not numba.config.CPU_NAME and not numba.config.CPU_FEATURES:  # pyright: ignore[reportAttributeAccessIssue]
        numba.config.CPU_NAME = llvm.get_host_cpu_name()  # pyright: ignore[reportAttributeAccessIssue]
        numba.config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"  # pyright: ignore[reportAttributeAccessIssue]


_choose_vectors()

FAST = {"contract", "nsz", "arcp", "reassoc"}
"""Freedom in rounding and in the order of sums; the tests hold the results to their plain twins. What is not
a number has to stay so, for the trainer to see it: no freedom there."""


def compiled(function: Callable) -> Any:
    """Compile a loop when it is first called; without the lock of the interpreter, kept on disk."""
    return numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST, boundscheck=False)(function)


def part(function: Callable) -> Any:
    """Compile a function into every loop that calls it, and never by itself.

    Where a loop called it as a function of its own, what LLVM had made of either could differ between the
    process that compiled them and those that found them on disk: the last bit of a sum was another.
    """
    return numba.njit(nogil=True, error_model="numpy", fastmath=FAST, boundscheck=False, forceinline=True)(
        function
    )


def c_function(function: Callable) -> Any:
    """Compile a function of the address of its data, for C to call on any thread; kept on disk."""
    return numba.cfunc(types.void(types.voidptr), cache=True, error_model="numpy", fastmath=FAST)(function)


def inlined(function: Callable) -> Any:
    """Compile a function as a part of those that call it."""
    return numba.njit(inline="always", error_model="numpy", fastmath=FAST)(function)


f32 = np.float32


@inlined
def exp32(x):
    """Return e^x for float32 |x| < 87, to 2 units in the last place (Cephes, expf); it vectorises."""
    n = np.floor(x * f32(1.44269504) + f32(0.5))
    r = (x - n * f32(0.693359375)) + n * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * r * r + r + f32(1.0)
    power = (np.int32(n) + np.int32(127)) << np.int32(23)
    return p * np.int32(power).view(np.float32)


@inlined
def clamp(x, low, high):
    """Return x between low and high; unlike with min and max, what is not a number stays so."""
    x = low if x < low else x
    return high if x > high else x


@inlined
def widen(bits):
    """Return the float32 of a bfloat16 held as uint16."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@inlined
def narrow(x):
    """Return a finite float32 rounded to bfloat16, to even, as uint16."""
    bits = np.float32(x).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


def to_float32(value):
    """Return a float32, int8 or (as uint16) bfloat16 number as float32; for compiled loops only."""
    raise NotImplementedError


@overload(to_float32, inline="always")
def _to_float32(value):
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: np.float32(value)


def from_float32(value, like):
    """Return a float32 as the kind of number that the array `like` holds; for compiled loops only."""
    raise NotImplementedError


@overload(from_float32, inline="always")
def _from_float32(value, like):
    if like.dtype == types.uint16:
        return lambda value, like: narrow(value)
    return lambda value, like: value


def _pointer(typingctx, address):
    """Return an integer as the address of memory, for numba.carray."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


pointer: Any = intrinsic(_pointer)
