"""The part of the fused loss that is done element by element, compiled.

V: vocabulary, C: positions of one chunk, P: blocks of the vocabulary.
"""

import numpy as np

from picochat.kernels.compiled import clamp, compiled, exp32, f32, inlined, narrow, widen

BLOCK = 512
"""Rows whose exponentials are summed in float32; the sums of blocks are added up outside."""


@inlined
def _weigh(logit):
    """Return exp(y) and exp(y) * dy/dlogit of the soft-capped logit y = 15 tanh(logit / 15)."""
    z = clamp(logit * f32(2 / 15), f32(-30.0), f32(30.0))
    # q = (1 - tanh) / 2; from it 1 - tanh^2 = 4 q (1 - q) without cancellation.
    q = f32(1.0) / (exp32(z) + f32(1.0))
    e = exp32(f32(15.0) - f32(30.0) * q)
    return e, e * (f32(4.0) * q * (f32(1.0) - q))


@compiled
def weigh_float32(logits_VC, sums_PC, first, last):
    """Turn logits of the blocks first..last into exp(y) dy/dlogit in place; sum exp(y) of each block."""
    V, C = logits_VC.shape
    for p in range(first, last):
        for c in range(C):
            sums_PC[p, c] = f32(0.0)
        for v in range(p * BLOCK, min(V, (p + 1) * BLOCK)):
            for c in range(C):
                e, slope = _weigh(logits_VC[v, c])
                sums_PC[p, c] += e
                logits_VC[v, c] = slope


@compiled
def weigh_bfloat16(logits_VC, sums_PC, first, last):
    """Do the same for bfloat16 held as uint16."""
    V, C = logits_VC.shape
    for p in range(first, last):
        for c in range(C):
            sums_PC[p, c] = f32(0.0)
        for v in range(p * BLOCK, min(V, (p + 1) * BLOCK)):
            for c in range(C):
                e, slope = _weigh(widen(logits_VC[v, c]))
                sums_PC[p, c] += e
                logits_VC[v, c] = narrow(slope)


def new_sums(vocab_size: int, chunk: int) -> np.ndarray:
    """Return the buffer for the sums of all blocks."""
    return np.empty((-(-vocab_size // BLOCK), chunk), dtype=np.float32)
