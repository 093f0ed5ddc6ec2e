"""One decoding step of the whole model as compiled loops; what it computes is `GPT.forward`.

B: rows, D: width, E: key/value width, H: query heads, G: key/value heads, K: channels of a head, L: layers,
C: capacity of the cache, O, I: outputs and inputs of a matrix, V: vocabulary.

All arithmetic is in float32; matrices, tables and the cache are float32, int8 or bfloat16 (as uint16), and
are widened as they are read. A row's result depends on its mates by rounding only.
"""

import functools
from typing import Any

import numba
import numpy as np

from picochat.kernels.compiled import (
    c_function,
    clamp,
    compiled,
    exp32,
    f32,
    from_float32,
    inlined,
    part,
    pointer,
    to_float32,
)
from picochat.kernels.int8_dot import by_instruction
from picochat.kernels.team import TEAM, meet, place_in
from picochat.kernels.tile_dot import COLUMNS, LANES, ROWS, tile

EPS = 1e-6
WTE, Q, KEY, VALUE, OUT, UP, DOWN, GATE, TABLE = range(9)
"""Columns of the table of addresses, one row per layer; a layer without value embedding has 0 at the last
two. Behind each address stand those of the float32 scales and of the row sums of an int8 matrix, or 0."""
PANEL, CHUNK = 256 << 10, 24 << 10
"""Bytes of weights that stay in the second cache, and of activations that stay in the first one meanwhile."""
GATE_CHANNELS = 32
"""As in picochat.model.config, which compiled code cannot read."""
FIXED = (
    *(
        "D",
        "V",
        "L",
        "G",
        "K",
        "num_ids",
        "num_outputs",
        "windows",
        "matrices",
        "resid_lambdas",
        "x0_lambdas",
    ),
    *("table", "table_scale", "head", "head_scale", "head_sums"),
)
CHANGING = ("B", "R", "C", "ids", "lengths", "keys", "values", "cos", "sin", "work", "final", "logits")
STEP = np.dtype([(name, np.int64) for name in (*TEAM, *FIXED, *CHANGING)])
"""What a step is given, by fields that hold for a model and others: sizes, and addresses of memory, 0 where
there is none.

R: rows of the cache's memory. num_ids, num_outputs: rows of the token embeddings and of the head.
matrices: (L, 9, 3), see WTE. work: WORK_WIDTH numbers for each row and channel. logits: without them the step
ends with the residual stream, `final`.
"""
WORK_WIDTH = 10


@part
def _tiles(weight_OI, x_BI, out_BO, first, last):
    """out = x W^T without scales as far as whole tiles go; return to which output and row that is."""
    B, num_in = x_BI.shape
    if B < COLUMNS or num_in % LANES:
        return first, 0
    end_o, end_b = last - (last - first) % ROWS, B - B % COLUMNS
    weights, x, out = weight_OI.ctypes.data, x_BI.ctypes.data, out_BO.ctypes.data
    row, stride = num_in * weight_OI.itemsize, out_BO.shape[1]
    panel_rows = max(1, PANEL // (ROWS * row)) * ROWS
    chunk_rows = max(1, CHUNK // (COLUMNS * 4 * num_in)) * COLUMNS
    for panel in range(first, end_o, panel_rows):
        for chunk in range(0, end_b, chunk_rows):
            for o in range(panel, min(panel + panel_rows, end_o), ROWS):
                for b in range(chunk, min(chunk + chunk_rows, end_b), COLUMNS):
                    # The first tile waits for memory: what the next one needs is fetched beside it.
                    tile(
                        weights + o * row,
                        weight_OI,
                        ROWS if b == 0 else 0,
                        x + 4 * b * num_in,
                        num_in,
                        out + 4 * (b * stride + o),
                        stride,
                    )
    return end_o, end_b


@part
def matrix(weight_OI, scale_O, sums_O, x_BI, out_BO, first, last):
    """out = x W^T for the outputs first..last; `scale_O` multiplies them, an empty one does not."""
    if by_instruction(weight_OI, scale_O, sums_O, x_BI, out_BO, first, last):
        return
    B, num_in = x_BI.shape
    end_o, end_b = _tiles(weight_OI, x_BI, out_BO, first, last)
    for o in range(first, last):
        for b in range(end_b if o < end_o else 0, B):
            s = f32(0.0)
            for i in range(num_in):
                s += to_float32(weight_OI[o, i]) * x_BI[b, i]
            out_BO[b, o] = s
    if scale_O.size:
        for b in range(B):
            for o in range(first, last):
                out_BO[b, o] *= scale_O[o]


@part
def _softcap(logits_BV, first, last):
    """Replace the logits of the tokens first..last by 15 tanh(logits / 15)."""
    for b in range(logits_BV.shape[0]):
        part = logits_BV[b, first:last]  # a loop that may begin anywhere is not vectorised
        for v in range(part.shape[0]):
            z = clamp(part[v] * f32(2 / 15), f32(-40.0), f32(40.0))
            part[v] = f32(15.0) - f32(30.0) / (exp32(z) + f32(1.0))


@compiled
def softcap(logits_BV, first, last):
    """Soft-cap the logits of the tokens first..last."""
    _softcap(logits_BV, first, last)


@part
def _norm(x_I, out_I):
    square = f32(0.0)
    for i in range(x_I.shape[0]):
        square += x_I[i] * x_I[i]
    scale = f32(1.0) / np.sqrt(square / f32(x_I.shape[0]) + f32(EPS))
    for i in range(x_I.shape[0]):
        out_I[i] = x_I[i] * scale


@part
def _rotate(x_HK, num_heads, cos_k, sin_k):
    """Rotate and norm each head in place."""
    half = cos_k.shape[0]
    for h in range(num_heads):
        for k in range(half):
            a, b = x_HK[h * 2 * half + k], x_HK[h * 2 * half + half + k]
            x_HK[h * 2 * half + k] = a * cos_k[k] + b * sin_k[k]
            x_HK[h * 2 * half + half + k] = b * cos_k[k] - a * sin_k[k]
        one = x_HK[h * 2 * half : (h + 1) * 2 * half]
        _norm(one, one)


@part
def _attend(q_K, keys_CK, values_CK, first, length, scores, out_K):
    """Write softmax(q k^T / sqrt(K)) v over the positions first..length, for one query head."""
    K = q_K.shape[0]
    root = f32(1.0) / np.sqrt(f32(K))
    total = f32(0.0)
    for c in range(first, length):
        s = f32(0.0)
        for k in range(K):
            s += q_K[k] * to_float32(keys_CK[c, k])
        scores[c - first] = s * root
    # Of normed heads no score is over sqrt(K): no maximum has to be taken off.
    for c in range(length - first):
        scores[c] = exp32(clamp(scores[c], f32(-80.0), f32(80.0)))
        total += scores[c]
    for k in range(K):
        out_K[k] = f32(0.0)
    for c in range(first, length):
        p = scores[c - first] / total
        for k in range(K):
            out_K[k] += p * to_float32(values_CK[c, k])


@part
def _attend_group(queries, key_K, value_K, seen, first, at, rope, scores, out):
    """Put a key and a value at the position `at` of those that were seen; write what the query heads that
    share them attend to, from the position `first` on."""
    keys_CK, values_CK = seen
    K = key_K.shape[0]
    _rotate(queries, queries.shape[0] // K, rope[0], rope[1])
    _rotate(key_K, 1, rope[0], rope[1])
    for k in range(K):
        keys_CK[at, k] = from_float32(key_K[k], keys_CK)
        values_CK[at, k] = from_float32(value_K[k], values_CK)
    for h in range(queries.shape[0] // K):
        one = slice(h * K, (h + 1) * K)
        _attend(queries[one], keys_CK, values_CK, first, at + 1, scores, out[one])


@part
def _share(size, unit, team):
    """Return the first and last of this thread's part of range(size), cut at multiples of `unit`."""
    thread, num_threads = team
    units = (size + unit - 1) // unit
    first, last = units * thread // num_threads, units * (thread + 1) // num_threads
    return min(size, unit * first), min(size, unit * last)


@part
def _product(place, like, x_BI, out_BO, team):
    """out = x W^T for this thread's part of the outputs, which is returned. The matrix has the addresses
    `place` and numbers like those of `like`."""
    num_out = out_BO.shape[1]
    weight_OI = numba.carray(pointer(place[0]), (num_out, x_BI.shape[1]), like.dtype)
    scale_O = numba.carray(pointer(place[1]), (num_out if place[1] else 0,), np.float32)
    sums_O = numba.carray(pointer(place[2]), (num_out if place[2] else 0,), np.int64)
    first, last = _share(num_out, ROWS, team)
    matrix(weight_OI, scale_O, sums_O, x_BI, out_BO, first, last)
    return first, last


@part
def _add_value_embedding(gate, table, table_PD, id, n_D, gate_like, g, v_E, K):
    """v += 2 sigmoid(gate) * value embedding in the key/value head g, whose gate reads 32 channels."""
    E = v_E.shape[0]
    gate_GI = numba.carray(pointer(gate[0]), (E // K, GATE_CHANNELS), gate_like.dtype)
    table_PE = numba.carray(pointer(table[0]), (table_PD.shape[0], E), table_PD.dtype)
    scale_P = numba.carray(pointer(table[1]), (table_PD.shape[0] if table[1] else 0,), np.float32)
    s = f32(0.0)
    for i in range(GATE_CHANNELS):
        s += to_float32(gate_GI[g, i]) * n_D[i]
    weight = f32(2.0) / (f32(1.0) + exp32(clamp(-s, f32(-80.0), f32(80.0))))
    if scale_P.size:
        weight *= scale_P[id]
    for e in range(g * K, (g + 1) * K):
        v_E[e] += weight * to_float32(table_PE[id, e])


@part
def _embed(ids_B, table_PD, scale_P, x0_BD, x_BD):
    """Write the normed token embeddings to both."""
    for b in range(x_BD.shape[0]):
        scale = scale_P[ids_B[b]] if scale_P.size else f32(1.0)
        for d in range(x_BD.shape[1]):
            x_BD[b, d] = to_float32(table_PD[ids_B[b], d]) * scale
        _norm(x_BD[b], x0_BD[b])
        for d in range(x_BD.shape[1]):
            x_BD[b, d] = x0_BD[b, d]


@part
def _mix_and_norm(resid, x0, x0_BD, x_BD, n_BD):
    """x = resid x + x0 times the token embeddings; n = norm(x)."""
    for b in range(x_BD.shape[0]):
        for d in range(x_BD.shape[1]):
            x_BD[b, d] = resid * x_BD[b, d] + x0 * x0_BD[b, d]
        _norm(x_BD[b], n_BD[b])


@part
def _square_positive(up_BU, first, last):
    """up = relu(up)^2 for the channels first..last."""
    for b in range(up_BU.shape[0]):
        for u in range(first, last):
            up_BU[b, u] = (f32(0.0) if up_BU[b, u] < f32(0.0) else up_BU[b, u]) ** 2


@part
def _copy(n_BD, out_BD):
    for b in range(n_BD.shape[0]):
        for d in range(n_BD.shape[1]):
            out_BD[b, d] = n_BD[b, d]


@part
def _add_and_norm(new_BD, x_BD, n_BD):
    """x += new; n = norm(x)."""
    for b in range(x_BD.shape[0]):
        for d in range(x_BD.shape[1]):
            x_BD[b, d] += new_BD[b, d]
        _norm(x_BD[b], n_BD[b])


@part
def _floats(address, size):
    """Return the float32 numbers at an address, none where that is 0."""
    return numba.carray(pointer(address), (size if address else 0,), np.float32)


@part
def _integers(address, size):
    """Return the integers at an address, none where that is 0."""
    return numba.carray(pointer(address), (size if address else 0,), np.int64)


@part
def _table(address, num_rows, width):
    """Return the table of float32 numbers at an address."""
    return numba.carray(pointer(address), (num_rows, width), np.float32)


@inlined
def _blocks(s, first_row, last_row, team, table_PD, gate_like, lambda_like, cache_like):
    """Read one token each into the rows first_row..last_row of the cache; write the normed residual stream
    after the last block.

    The threads of a team share out products and heads, and wait for one another between them. What is short
    each does for itself, with numbers of its own.
    """
    B, D, L, G, K = last_row - first_row, s.D, s.L, s.G, s.K
    E = G * K
    ids_B = numba.carray(pointer(s.ids), (s.B,), np.int64)[first_row:last_row]
    lengths_B = numba.carray(pointer(s.lengths), (s.B,), np.int64)[first_row:last_row]
    keys_LRGCK = numba.carray(pointer(s.keys), (L, s.R, G, s.C, K), cache_like.dtype)
    values_LRGCK = numba.carray(pointer(s.values), (L, s.R, G, s.C, K), cache_like.dtype)
    windows_L = numba.carray(pointer(s.windows), (L,), np.int64)
    matrices = numba.carray(pointer(s.matrices), (L, 9, 3), np.int64)
    resid_L = numba.carray(pointer(s.resid_lambdas), (L,), lambda_like.dtype)
    x0_L = numba.carray(pointer(s.x0_lambdas), (L,), lambda_like.dtype)
    cos_CK, sin_CK = _table(s.cos, s.C, K // 2), _table(s.sin, s.C, K // 2)
    # What all threads of the team see: of other rows other teams make use.
    work = s.work + 4 * WORK_WIDTH * D * first_row
    q_BD, out_BD = _table(work, B, D), _table(work + 4 * B * D, B, D)
    k_BE, v_BE = _table(work + 8 * B * D, B, E), _table(work + 12 * B * D, B, E)
    attn_BD, mlp_BD = _table(work + 16 * B * D, B, D), _table(work + 20 * B * D, B, D)
    up_BU = _table(work + 24 * B * D, B, 4 * D)
    # And what each has for itself.
    x0_BD, x_BD, n_BD = np.empty((B, D), f32), np.empty((B, D), f32), np.empty((B, D), f32)
    scores = np.empty(s.C, f32)

    _embed(ids_B, table_PD, _floats(s.table_scale, s.num_ids), x0_BD, x_BD)
    for layer in range(L):
        _mix_and_norm(to_float32(resid_L[layer]), to_float32(x0_L[layer]), x0_BD, x_BD, n_BD)
        for column in range(3):  # one call: what it is compiled into is long
            _product(matrices[layer, Q + column], table_PD, n_BD, (q_BD, k_BE, v_BE)[column], team)
        meet(s, team[1])
        first, last = _share(B * G, 1, team)
        for item in range(first, last):
            b, g = item // G, item % G
            if matrices[layer, GATE, 0]:
                gate, table = matrices[layer, GATE], matrices[layer, TABLE]
                _add_value_embedding(gate, table, table_PD, ids_B[b], n_BD[b], gate_like, g, v_BE[b], K)
            mine, its = slice(g * (D // G), (g + 1) * (D // G)), slice(g * K, (g + 1) * K)
            seen = keys_LRGCK[layer, first_row + b, g], values_LRGCK[layer, first_row + b, g]
            at, rope = lengths_B[b], (cos_CK[lengths_B[b]], sin_CK[lengths_B[b]])
            first_seen = max(0, at - windows_L[layer])
            _attend_group(
                q_BD[b, mine], k_BE[b, its], v_BE[b, its], seen, first_seen, at, rope, scores, out_BD[b, mine]
            )
        meet(s, team[1])
        _product(matrices[layer, OUT], table_PD, out_BD, attn_BD, team)
        meet(s, team[1])
        _add_and_norm(attn_BD, x_BD, n_BD)
        first, last = _product(matrices[layer, UP], table_PD, n_BD, up_BU, team)
        _square_positive(up_BU, first, last)
        meet(s, team[1])
        _product(matrices[layer, DOWN], table_PD, up_BU, mlp_BD, team)
        meet(s, team[1])
        _add_and_norm(mlp_BD, x_BD, n_BD)
    if team[0] == 0:
        _copy(n_BD, _table(s.final + 4 * D * first_row, B, D))


@inlined
def _step(s, table_PD, head_VD, gate_like, lambda_like, cache_like):
    """Do one thread's part of a step."""
    everyone = place_in(s)
    if COLUMNS * everyone[1] <= s.B:
        # Rows enough for each thread to have tiles of its own, and to wait for nobody.
        first, last = _share(s.B, COLUMNS, everyone)
        rows, team = (first, last), (0, 1)
    else:
        rows, team = (0, s.B), everyone
    if rows[0] < rows[1]:
        _blocks(s, rows[0], rows[1], team, table_PD, gate_like, lambda_like, cache_like)
    if s.logits:
        meet(s, everyone[1])
        logits_BV = _table(s.logits, s.B, s.V)
        first, last = _share(s.V, ROWS, everyone)
        scale_V, sums_V = _floats(s.head_scale, s.num_outputs), _integers(s.head_sums, s.num_outputs)
        matrix(head_VD, scale_V, sums_V, _table(s.final, s.B, s.D), logits_BV, first, last)
        _softcap(logits_BV, first, last)


@functools.cache
def step_function(weight: Any, gate: Any, lambdas: Any, cache: Any) -> Any:
    """Return the C function that does one thread's part of a step, given a STEP, for these numpy types of
    weights, gates, lambdas and the cache."""

    @c_function
    def step(data):
        s = numba.carray(data, 1, STEP)[0]
        table_PD = numba.carray(pointer(s.table), (s.num_ids, s.D), weight)
        head_VD = numba.carray(pointer(s.head), (s.num_outputs, s.D), weight)
        # Of these only the types count.
        gate_like, lambda_like = numba.carray(data, 0, gate), numba.carray(data, 0, lambdas)
        _step(s, table_PD, head_VD, gate_like, lambda_like, numba.carray(data, 0, cache))

    return step
