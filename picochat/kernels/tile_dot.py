"""A tile of dot products at once, for steps of several rows.

Of a loop over one product at a time LLVM makes code that reads as much as it computes and that adds up the
lanes of each sum by itself. In a tile each number that is read is used several times, and all sums are
folded together: half of each into one vector with half of its neighbour, until every lane is a result.
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FEATURES = llvm.get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx2") else 4
"""Numbers in a vector; a row must have a multiple of them."""
ROWS, COLUMNS = (2 if LANES == 8 else 4), 4
"""Rows of weights and of activations in a tile. Its sums stay in registers, of which AVX2 has 16 only."""

_i8, _i32, _i64, _float = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()


def _load(builder, address, lanes, dtype):
    """Load a vector of float32, int8 or (as uint16) bfloat16 numbers as float32."""
    floats, wide = ir.VectorType(_float, lanes), ir.VectorType(_i32, lanes)
    kind = floats if dtype == types.float32 else ir.VectorType(ir.IntType(dtype.bitwidth), lanes)
    loaded = builder.load(builder.inttoptr(address, kind.as_pointer()), align=dtype.bitwidth // 8)
    if dtype == types.float32:
        return loaded
    if dtype == types.int8:
        return builder.sitofp(builder.sext(loaded, wide), floats)
    return builder.bitcast(builder.shl(builder.zext(loaded, wide), ir.Constant(wide, [16] * lanes)), floats)


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_i32, len(lanes)), list(lanes)))


def _fold(builder, sums, num_lanes):
    """Add up the lanes of each vector; return vectors that hold the totals in the order of the vectors."""
    span = num_lanes
    while span > 1:
        firsts = [start + lane for start in range(0, 2 * num_lanes, span) for lane in range(span // 2)]
        seconds = [lane + span // 2 for lane in firsts]
        sums = [
            builder.fadd(_shuffle(builder, a, b, firsts), _shuffle(builder, a, b, seconds))
            for a, b in zip(sums[::2], sums[1::2], strict=True)
        ]
        span //= 2
    return sums


def make_tile(num_lanes: int, num_rows: int) -> Any:
    """Return a function of compiled loops, tile(weight, kind, ahead, x, size, out, stride).

    weight, x, out: addresses of `num_rows` rows of `size` numbers like those of the array `kind`, of COLUMNS
    rows of as many float32, and of the results, whose COLUMNS rows are `stride` float32 apart. The weights
    that lie `ahead` rows further on are fetched meanwhile.
    """
    vector, address = ir.VectorType(_float, num_lanes), _i8.as_pointer()

    def tile(typingctx, weight, kind, ahead, x, size, out, stride):
        dtype, numbers = kind.dtype, [types.int64] * 5

        def generate(context, builder, signature, arguments):
            weight, _, ahead, x, size, out, stride = arguments

            def built_in(name, result, parameters):
                kind = ir.FunctionType(result, parameters)
                return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}")

            def after(start, count, width):
                """Return the address behind `count` numbers of `width` bytes."""
                return builder.add(start, builder.mul(count, ir.Constant(_i64, width)))

            def rows_at(start, width, count):
                """Return the addresses of neighbouring rows of `size` numbers."""
                return [after(start, size, width * row) for row in range(count)]

            multiply_add = built_in(f"fmuladd.v{num_lanes}f32", vector, [vector] * 3)
            fetch = built_in("prefetch.p0", ir.VoidType(), [address, _i32, _i32, _i32])
            to_read_soon = [
                ir.Constant(_i32, number) for number in (0, 3, 1)
            ]  # into the first cache, as data
            width = dtype.bitwidth // 8
            further = builder.mul(ahead, size)
            weights, columns = rows_at(weight, width, num_rows), rows_at(x, 4, COLUMNS)
            zero = ir.Constant(vector, [0.0] * num_lanes)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in weights] for _ in columns]
            step = ir.Constant(_i64, num_lanes)
            with cgutils.for_range_slice(builder, ir.Constant(_i64, 0), size, step) as (i, _):
                xs = [_load(builder, after(column, i, 4), num_lanes, types.float32) for column in columns]
                for row, start in enumerate(weights):
                    place = after(start, i, width)
                    builder.call(
                        fetch, [builder.inttoptr(after(place, further, width), address), *to_read_soon]
                    )
                    w = _load(builder, place, num_lanes, dtype)
                    for x_i, totals in zip(xs, sums, strict=True):
                        total = builder.call(multiply_add, [w, x_i, builder.load(totals[row])])
                        builder.store(total, totals[row])
            folded = _fold(builder, [builder.load(sum) for totals in sums for sum in totals], num_lanes)
            for column in range(COLUMNS):
                which, first = divmod(column * num_rows, num_lanes)
                results = _shuffle(builder, folded[which], folded[which], range(first, first + num_rows))
                place = after(out, stride, 4 * column)
                builder.store(results, builder.inttoptr(place, results.type.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(types.int64, kind, *numbers), generate

    return intrinsic(tile)


tile: Any = make_tile(LANES, ROWS)
