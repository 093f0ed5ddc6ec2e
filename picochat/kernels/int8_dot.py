"""Products with int8 weights by the processor's own instruction for them, which LLVM does not find in a loop.

The instruction multiplies unsigned by signed bytes. Activations become 16-bit numbers, cut into a high and a
low byte: two instructions for each reading of a weight, which cost nothing where the reading is what takes
the time, and an error 256 times smaller than that of 8-bit activations.

B: rows, O, I: outputs and inputs of a matrix.
"""

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from picochat.kernels.compiled import f32, part

_FEATURES = llvm.get_host_cpu_features()
WIDTH = 64 if _FEATURES.get("avx512vnni") else 32 if _FEATURES.get("avxvnni") else 0
"""Bytes that one instruction takes; 0 where there is none."""
ZERO = 32768
"""The 16-bit number that stands for 0."""


def row_sums(weight_OI: np.ndarray) -> np.ndarray:
    """Return what `by_instruction` needs to know of a matrix besides the weights; empty where it can not do
    it."""
    if not WIDTH or weight_OI.dtype != np.int8 or weight_OI.shape[1] % WIDTH:
        return np.empty(0, np.int64)
    return weight_OI.sum(axis=1, dtype=np.int64)


def _dot(typingctx, weight, high, low, size):
    """Return 256 * sum(weight high) + sum(weight low) of int8 weights and unsigned bytes at the addresses."""
    signature = types.int64(types.int64, types.int64, types.int64, types.int64)

    def generate(context, builder, signature, arguments):
        i32, i64 = ir.IntType(32), ir.IntType(64)
        lanes = WIDTH // 4
        vector = ir.VectorType(i32, lanes)
        dot = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.x86.avx512.vpdpbusd.{8 * WIDTH}",
        )
        add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(i32, [vector]), f"llvm.vector.reduce.add.v{lanes}i32"
        )
        sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0] * lanes)) for _ in range(2)]
        step = ir.Constant(i64, WIDTH)
        with cgutils.for_range_slice(builder, ir.Constant(i64, 0), arguments[3], step) as (offset, _):
            loaded = []
            for address in arguments[:3]:
                place = builder.inttoptr(builder.add(address, offset), vector.as_pointer())
                loaded.append(builder.load(place, align=1))
            for total, activations in zip(sums, loaded[1:], strict=True):
                builder.store(builder.call(dot, [builder.load(total), activations, loaded[0]]), total)
        high, low = (builder.sext(builder.call(add, [builder.load(total)]), i64) for total in sums)
        return builder.add(builder.mul(high, ir.Constant(i64, 256)), low)

    return signature, generate


dot: Any = intrinsic(_dot)


@part
def _matrix(weight_OI, scale_O, sums_O, x_BI, out_BO, first, last):
    B, num_in = x_BI.shape
    high_BI, low_BI = np.empty((B, num_in), np.uint8), np.empty((B, num_in), np.uint8)
    unit_B = np.empty(B, f32)
    for b in range(B):
        largest = f32(0.0)
        for i in range(num_in):
            largest = max(largest, abs(x_BI[b, i]))
        unit_B[b] = largest / f32(ZERO - 1) if largest > f32(0.0) else f32(1.0)
        inverse = f32(1.0) / unit_B[b]
        for i in range(num_in):
            number = np.int32(np.floor(x_BI[b, i] * inverse + f32(0.5))) + np.int32(ZERO)
            high_BI[b, i] = np.uint8(number >> 8)
            low_BI[b, i] = np.uint8(number & 255)
    weights, high, low = weight_OI.ctypes.data, high_BI.ctypes.data, low_BI.ctypes.data
    for o in range(first, last):
        for b in range(B):
            total = dot(weights + o * num_in, high + b * num_in, low + b * num_in, num_in)
            out_BO[b, o] = f32(total - ZERO * sums_O[o]) * unit_B[b] * scale_O[o]


def by_instruction(weight_OI, scale_O, sums_O, x_BI, out_BO, first, last):
    """out = x W^T for the outputs first..last if `sums_O` (`row_sums`) is there; return whether it was
    done."""
    raise NotImplementedError("for compiled loops only")


@overload(by_instruction)
def _by_instruction(weight_OI, scale_O, sums_O, x_BI, out_BO, first, last):
    if not WIDTH or weight_OI.dtype != types.int8:
        return lambda weight_OI, scale_O, sums_O, x_BI, out_BO, first, last: False

    def done(weight_OI, scale_O, sums_O, x_BI, out_BO, first, last):
        if sums_O.size == 0:
            return False
        _matrix(weight_OI, scale_O, sums_O, x_BI, out_BO, first, last)
        return True

    return done
