"""What a block does between its matrix products, compiled: one pass over each tensor, forward and backward.

N: positions of all rows, B: rows, T: positions of a row, D: width, H: query heads, G: key/value heads, K:
channels of a head, E: G * K, U: width of the MLP, S: keys, P: blocks of positions (sums do not depend on the
threads). Tensors are float32 or bfloat16 (as uint16); all arithmetic is float32.
"""

import numpy as np

from picochat.kernels.compiled import clamp, compiled, exp32, f32, from_float32, part, to_float32

EPS = 1e-6
GATE_CHANNELS = 32
BLOCK = 64


@compiled
def mix_and_norm(x_ND, x0_ND, resid, x0, mixed_ND, normed_ND, scale_N, first, last):
    """mixed = resid x + x0 x0; normed = mixed * scale with scale = 1 / rms(mixed)."""
    D = x_ND.shape[1]
    for n in range(first, last):
        square = f32(0.0)
        for d in range(D):
            m = resid * to_float32(x_ND[n, d]) + x0 * to_float32(x0_ND[n, d])
            mixed_ND[n, d] = from_float32(m, mixed_ND)
            square += m * m
        scale_N[n] = f32(1.0) / np.sqrt(square / f32(D) + f32(EPS))
        for d in range(D):
            normed_ND[n, d] = from_float32(to_float32(mixed_ND[n, d]) * scale_N[n], normed_ND)


@compiled
def norm(x_ND, normed_ND, scale_N, first, last):
    """normed = x * scale with scale = 1 / rms(x)."""
    D = x_ND.shape[1]
    for n in range(first, last):
        square = f32(0.0)
        for d in range(D):
            x = to_float32(x_ND[n, d])
            square += x * x
        scale_N[n] = f32(1.0) / np.sqrt(square / f32(D) + f32(EPS))
        for d in range(D):
            normed_ND[n, d] = from_float32(to_float32(x_ND[n, d]) * scale_N[n], normed_ND)


@compiled
def norm_backward(grad_normed_ND, normed_ND, scale_N, grad_ND, first, last):
    """grad += scale (grad_normed - normed mean(grad_normed normed))."""
    D = normed_ND.shape[1]
    for n in range(first, last):
        dot = f32(0.0)
        for d in range(D):
            dot += to_float32(grad_normed_ND[n, d]) * to_float32(normed_ND[n, d])
        dot /= f32(D)
        for d in range(D):
            g = to_float32(grad_normed_ND[n, d]) - to_float32(normed_ND[n, d]) * dot
            grad_ND[n, d] = from_float32(to_float32(grad_ND[n, d]) + scale_N[n] * g, grad_ND)


@compiled
def mix_backward(grad_ND, x_ND, x0_ND, resid, x0, grad_x_ND, grad_x0_ND, sums_P2, first, last):
    """grad_x = resid grad, grad_x0 = x0 grad; the blocks first..last sum grad x and grad x0."""
    N, D = x_ND.shape
    for p in range(first, last):
        sum_x = sum_x0 = f32(0.0)
        for n in range(p * BLOCK, min(N, (p + 1) * BLOCK)):
            for d in range(D):
                g = to_float32(grad_ND[n, d])
                sum_x += g * to_float32(x_ND[n, d])
                sum_x0 += g * to_float32(x0_ND[n, d])
                grad_x_ND[n, d] = from_float32(resid * g, grad_x_ND)
                grad_x0_ND[n, d] = from_float32(x0 * g, grad_x0_ND)
        sums_P2[p, 0] = sum_x
        sums_P2[p, 1] = sum_x0


@compiled
def relu_square(h_NU, out_NU, first, last):
    """out = relu(h)^2; h = relu(h) in place."""
    for n in range(first, last):
        for u in range(h_NU.shape[1]):
            h = to_float32(h_NU[n, u])
            h = f32(0.0) if h < f32(0.0) else h
            h_NU[n, u] = from_float32(h, h_NU)
            out_NU[n, u] = from_float32(h * h, out_NU)


@compiled
def relu_square_backward(grad_NU, h_NU, first, last):
    """grad *= 2 relu(h), in place."""
    for n in range(first, last):
        for u in range(h_NU.shape[1]):
            grad_NU[n, u] = from_float32(
                f32(2.0) * to_float32(grad_NU[n, u]) * to_float32(h_NU[n, u]), grad_NU
            )


@part
def _rotate_and_norm(x_K, cos_k, sin_k, out_K, factor):
    """Write the rotated head divided by its root mean square, times `factor`; return what it was multiplied
    by."""
    half = cos_k.shape[0]
    square = f32(0.0)
    for k in range(2 * half):
        x = to_float32(x_K[k])
        square += x * x  # a rotation does not change it
    scale = factor / np.sqrt(square / f32(2 * half) + f32(EPS))
    for k in range(half):
        a, b = to_float32(x_K[k]), to_float32(x_K[half + k])
        out_K[k] = from_float32((a * cos_k[k] + b * sin_k[k]) * scale, out_K)
        out_K[half + k] = from_float32((b * cos_k[k] - a * sin_k[k]) * scale, out_K)
    return scale


@compiled
def split_heads(qkv_NX, ve_NE, gate_NG, cos_Tk, sin_Tk, q_BHTK, k_BGTK, v_BGTK, scale_NX, first, last):
    """From the three products make rotated, normed queries (times 1 / sqrt(K)) and keys, and gated values.

    `gate_NG` are the factors of the value embeddings; both are empty in a layer without. `scale_NX`
    (N, H + G) keeps what the heads were multiplied by.
    """
    _, H, T, K = q_BHTK.shape
    G = k_BGTK.shape[1]
    root = f32(1.0) / np.sqrt(f32(K))
    for n in range(first, last):
        b, t = n // T, n % T
        for h in range(H):
            scale_NX[n, h] = _rotate_and_norm(
                qkv_NX[n, h * K : (h + 1) * K], cos_Tk[t], sin_Tk[t], q_BHTK[b, h, t], root
            )
        for g in range(G):
            at = (H + g) * K
            scale_NX[n, H + g] = _rotate_and_norm(
                qkv_NX[n, at : at + K], cos_Tk[t], sin_Tk[t], k_BGTK[b, g, t], f32(1.0)
            )
            at = (H + G + g) * K
            for k in range(K):
                v = to_float32(qkv_NX[n, at + k])
                if gate_NG.shape[0]:
                    v += gate_NG[n, g] * to_float32(ve_NE[n, g * K + k])
                v_BGTK[b, g, t, k] = from_float32(v, v_BGTK)


@part
def _rotate_and_norm_backward(grad_K, out_K, cos_k, sin_k, scale, factor, grad_x_K):
    """Undo `_rotate_and_norm` for a gradient: first the norm, then the rotation backwards."""
    half = cos_k.shape[0]
    dot = f32(0.0)
    for k in range(2 * half):
        dot += to_float32(grad_K[k]) * to_float32(out_K[k])
    dot /= f32(2 * half) * factor * factor
    for k in range(half):
        a = scale * (to_float32(grad_K[k]) - to_float32(out_K[k]) * dot)
        b = scale * (to_float32(grad_K[half + k]) - to_float32(out_K[half + k]) * dot)
        grad_x_K[k] = from_float32(a * cos_k[k] - b * sin_k[k], grad_x_K)
        grad_x_K[half + k] = from_float32(b * cos_k[k] + a * sin_k[k], grad_x_K)


@compiled
def split_heads_backward(
    grad_q_BHTK, grad_k_BGTK, grad_v_BGTK, q_BHTK, k_BGTK, scale_NX, cos_Tk, sin_Tk, ve_NE, gate_NG,
    grad_qkv_NX, grad_ve_NE, grad_gate_NG, first, last,
):  # fmt: skip
    """Gradients of the three products, of the value embeddings and of their factors."""
    _, H, T, K = q_BHTK.shape
    G = k_BGTK.shape[1]
    root = f32(1.0) / np.sqrt(f32(K))
    for n in range(first, last):
        b, t = n // T, n % T
        for h in range(H):
            _rotate_and_norm_backward(
                grad_q_BHTK[b, h, t], q_BHTK[b, h, t], cos_Tk[t], sin_Tk[t], scale_NX[n, h], root,
                grad_qkv_NX[n, h * K : (h + 1) * K],
            )  # fmt: skip
        for g in range(G):
            at = (H + g) * K
            _rotate_and_norm_backward(
                grad_k_BGTK[b, g, t], k_BGTK[b, g, t], cos_Tk[t], sin_Tk[t], scale_NX[n, H + g], f32(1.0),
                grad_qkv_NX[n, at : at + K],
            )  # fmt: skip
            at = (H + G + g) * K
            total = f32(0.0)
            for k in range(K):
                grad_qkv_NX[n, at + k] = grad_v_BGTK[b, g, t, k]
                if gate_NG.shape[0]:
                    v = to_float32(grad_v_BGTK[b, g, t, k])
                    total += v * to_float32(ve_NE[n, g * K + k])
                    grad_ve_NE[n, g * K + k] = from_float32(v * gate_NG[n, g], grad_ve_NE)
            if gate_NG.shape[0]:
                grad_gate_NG[n, g] = total


@compiled
def softmax(scores_XTS, start, key_start, window, first, last):
    """Softmax in place of the matrices first..last, over the keys that each query sees; 0 for the others.

    Row i is the query at start + i, column j the key at key_start + j.
    """
    _, T, S = scores_XTS.shape
    for x in range(first, last):
        for i in range(T):
            low = max(0, start + i - window - key_start)
            high = min(S, start + i + 1 - key_start)
            # Slices, for a loop that may begin anywhere is not vectorised.
            seen, total = scores_XTS[x, i, low:high], f32(0.0)
            # Of normed heads no score is over sqrt(K): no maximum has to be taken off.
            for j in range(seen.shape[0]):
                e = exp32(clamp(to_float32(seen[j]), f32(-80.0), f32(80.0)))
                seen[j] = from_float32(e, seen)
                total += e
            factor = f32(1.0) / total
            for j in range(seen.shape[0]):
                seen[j] = from_float32(to_float32(seen[j]) * factor, seen)
            for j in range(low):
                scores_XTS[x, i, j] = from_float32(f32(0.0), scores_XTS)
            for j in range(high, S):
                scores_XTS[x, i, j] = from_float32(f32(0.0), scores_XTS)


@compiled
def softmax_backward(probs_XTS, grad_XTS, start, key_start, window, first, last):
    """grad = probs (grad - sum(probs grad)), in place."""
    _, T, S = probs_XTS.shape
    for x in range(first, last):
        for i in range(T):
            low = max(0, start + i - window - key_start)
            high = min(S, start + i + 1 - key_start)
            probs, grad, dot = probs_XTS[x, i, low:high], grad_XTS[x, i, low:high], f32(0.0)
            for j in range(grad.shape[0]):
                dot += to_float32(probs[j]) * to_float32(grad[j])
            for j in range(grad.shape[0]):
                grad[j] = from_float32(to_float32(probs[j]) * (to_float32(grad[j]) - dot), grad)
            for j in range(low):
                grad_XTS[x, i, j] = from_float32(f32(0.0), grad_XTS)
            for j in range(high, S):
                grad_XTS[x, i, j] = from_float32(f32(0.0), grad_XTS)
