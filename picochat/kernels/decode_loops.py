"""One decoding step of the whole model as compiled loops; what it computes is `GPT.forward`.

B: rows, D: width, E: key/value width, H: query heads, G: key/value heads, K: channels of a head, L: layers,
C: capacity of the cache, O, I: outputs and inputs of a matrix, V: vocabulary.

All arithmetic is in float32; matrices, tables and the cache are float32, int8 or bfloat16 (as uint16), and
are widened as they are read. A row's result depends on its mates by rounding only.
"""

import numba
import numpy as np

from picochat.kernels.compiled import clamp, compiled, exp32, f32, from_float32, part, pointer, to_float32
from picochat.kernels.int8_dot import by_instruction
from picochat.kernels.tile_dot import COLUMNS, LANES, ROWS, tile

EPS = 1e-6
WTE, Q, KEY, VALUE, OUT, UP, DOWN, GATE, TABLE = range(9)
"""Columns of the table of addresses, one row per layer; a layer without value embedding has 0 at the last
two. Behind each address stand those of the float32 scales and of the row sums of an int8 matrix, or 0."""
PANEL, CHUNK = 256 << 10, 24 << 10
"""Bytes of weights that stay in the second cache, and of activations that stay in the first one meanwhile."""
GATE_CHANNELS = 32
"""As in picochat.model.config, which compiled code cannot read."""


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


@compiled
def head(weight_OI, scale_O, sums_O, x_BI, logits_BV, first, last):
    """Write the logits of the tokens first..last, before their soft-cap."""
    matrix(weight_OI, scale_O, sums_O, x_BI, logits_BV, first, last)


@compiled
def softcap(logits_BV, first, last):
    """Replace the logits of the tokens first..last by 15 tanh(logits / 15)."""
    for b in range(logits_BV.shape[0]):
        part = logits_BV[b, first:last]  # a loop that may begin anywhere is not vectorised
        for v in range(part.shape[0]):
            z = clamp(part[v] * f32(2 / 15), f32(-40.0), f32(40.0))
            part[v] = f32(15.0) - f32(30.0) / (exp32(z) + f32(1.0))


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
def _attend(q_D, keys_GCK, values_GCK, first, length, scores, out_D):
    """Write softmax(q k^T / sqrt(K)) v over the positions first..length for every query head."""
    G, _, K = keys_GCK.shape
    H = q_D.shape[0] // K
    root = f32(1.0) / np.sqrt(f32(K))
    for h in range(H):
        g = h // (H // G)
        q_K, out_K = q_D[h * K : (h + 1) * K], out_D[h * K : (h + 1) * K]
        total = f32(0.0)
        for c in range(first, length):
            s = f32(0.0)
            for k in range(K):
                s += q_K[k] * to_float32(keys_GCK[g, c, k])
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
                out_K[k] += p * to_float32(values_GCK[g, c, k])


@part
def _product(place, like, x_BI, out_BO):
    """out = x W^T with the matrix whose addresses are `place` and whose numbers are like those of `like`."""
    num_out = out_BO.shape[1]
    weight_OI = numba.carray(pointer(place[0]), (num_out, x_BI.shape[1]), like.dtype)
    size = num_out if place[1] else 0
    scale_O = numba.carray(pointer(place[1]), (size,), np.float32)
    sums_O = numba.carray(pointer(place[2]), (num_out if place[2] else 0,), np.int64)
    matrix(weight_OI, scale_O, sums_O, x_BI, out_BO, 0, num_out)


@part
def _add_value_embedding(gate, table, num_rows, ids_B, n_BD, like, gate_like, v_BE, K):
    """v += 2 sigmoid(gate) * value embedding, one gate for each key/value head, read from 32 channels."""
    B, E = v_BE.shape
    gate_GI = numba.carray(pointer(gate[0]), (E // K, GATE_CHANNELS), gate_like.dtype)
    table_PE = numba.carray(pointer(table[0]), (num_rows, E), like.dtype)
    size = num_rows if table[1] else 0
    scale_P = numba.carray(pointer(table[1]), (size,), np.float32)
    for b in range(B):
        scale = f32(2.0) * scale_P[ids_B[b]] if size else f32(2.0)
        for g in range(E // K):
            s = f32(0.0)
            for i in range(GATE_CHANNELS):
                s += to_float32(gate_GI[g, i]) * n_BD[b, i]
            weight = scale / (f32(1.0) + exp32(clamp(-s, f32(-80.0), f32(80.0))))
            for k in range(K):
                v_BE[b, g * K + k] += weight * to_float32(table_PE[ids_B[b], g * K + k])


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
def _add_and_norm(new_BD, x_BD):
    """x += new; new = norm(x)."""
    for b in range(x_BD.shape[0]):
        for d in range(x_BD.shape[1]):
            x_BD[b, d] += new_BD[b, d]
        _norm(x_BD[b], new_BD[b])


@compiled
def blocks(weights, lambdas, windows, rope, rows, cached, final_BD, first_row, last_row):
    """Read one token each into the rows first_row..last_row of the cache; write the normed residual stream
    after the last block.

    weights: addresses (L, 9, 3), token embeddings and their scales, an empty array like the gates. lambdas
    (2, L): of the residual stream and of the token embedding. rope (2, C, K/2). rows: ids and lengths.
    """
    addresses, table_PD, table_scale_P, gate_like = weights
    keys, values = cached
    ids_B, lengths_B = rows[0][first_row:last_row], rows[1][first_row:last_row]
    B, D = ids_B.shape[0], table_PD.shape[1]
    L, _, G, capacity, K = keys.shape
    E = G * K
    x0_BD, x_BD, n_BD = np.empty((B, D), f32), np.empty((B, D), f32), np.empty((B, D), f32)
    q_BD, out_BD = np.empty((B, D), f32), np.empty((B, D), f32)
    k_BE, v_BE, up_BU = np.empty((B, E), f32), np.empty((B, E), f32), np.empty((B, 4 * D), f32)
    scores = np.empty(capacity, f32)
    _embed(ids_B, table_PD, table_scale_P, x0_BD, x_BD)
    for layer in range(L):
        for b in range(B):
            for d in range(D):
                x_BD[b, d] = lambdas[0, layer] * x_BD[b, d] + lambdas[1, layer] * x0_BD[b, d]
            _norm(x_BD[b], n_BD[b])
        for column in range(3):  # one call: what it is compiled into is long
            _product(addresses[layer, Q + column], table_PD, n_BD, (q_BD, k_BE, v_BE)[column])
        if addresses[layer, GATE, 0]:
            gate, table = addresses[layer, GATE], addresses[layer, TABLE]
            _add_value_embedding(gate, table, table_PD.shape[0], ids_B, n_BD, table_PD, gate_like, v_BE, K)
        for b in range(B):
            at = lengths_B[b]
            _rotate(q_BD[b], D // K, rope[0, at], rope[1, at])
            _rotate(k_BE[b], G, rope[0, at], rope[1, at])
            seen = keys[layer, first_row + b], values[layer, first_row + b]
            for g in range(G):
                for k in range(K):
                    seen[0][g, at, k] = from_float32(k_BE[b, g * K + k], keys)
                    seen[1][g, at, k] = from_float32(v_BE[b, g * K + k], values)
            _attend(q_BD[b], *seen, max(0, at - windows[layer]), at + 1, scores, out_BD[b])
        _product(addresses[layer, OUT], table_PD, out_BD, n_BD)
        _add_and_norm(n_BD, x_BD)
        _product(addresses[layer, UP], table_PD, n_BD, up_BU)
        for b in range(B):
            for u in range(4 * D):
                up_BU[b, u] = (f32(0.0) if up_BU[b, u] < f32(0.0) else up_BU[b, u]) ** 2
        _product(addresses[layer, DOWN], table_PD, up_BU, n_BD)
        _add_and_norm(n_BD, x_BD)
    for b in range(B):
        for d in range(D):
            final_BD[first_row + b, d] = n_BD[b, d]
