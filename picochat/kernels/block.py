"""The blocks of a model in training, on CPU with few passes over memory between the matrix products.

Plain PyTorch goes over every tensor of a block some thirty times, forward and backward, and keeps most of
what it makes for the backward pass. Here each stretch between two products is one pass, query, key and value
are one product, and attention computes only tiles that the causal window lets through.

B: rows, T: positions, N: B * T, D: width, H: query heads, G: key/value heads, R: H / G, K: channels of a
head, E: G * K, U: width of the MLP, X: matrices of attention scores.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from picochat.kernels.compilation import compiles
from picochat.kernels.threads import in_parallel
from picochat.model.attention import norm
from picochat.model.config import GATE_CHANNELS
from picochat.model.gpt import GPT

TILE = 128
"""Queries whose scores are computed at a time, against the keys that any of them sees."""


def training_hidden(model: GPT, ids_BT: torch.Tensor, *, is_steady: bool = True) -> torch.Tensor:
    """Do what `model.hidden(ids_BT)` does; twice differentiable it is not.

    is_steady: most calls have ids of the same shape, so that compiling for it is worth the while.
    """
    # Sharded weights are whole only inside the modules that they belong to.
    is_sharded = hasattr(model.wte.weight, "device_mesh")
    if is_sharded:
        return model.hidden(ids_BT)
    if is_steady and compiles(model.kernels, model.device):
        from picochat.kernels.compiled_block import compiled_hidden

        return compiled_hidden(model, ids_BT)
    if model.kernels in ("auto", "compile") and model.device.type == "cpu":
        return _fused_hidden(model, ids_BT)
    return model.hidden(ids_BT)


def _fused_hidden(model: GPT, ids_BT: torch.Tensor) -> torch.Tensor:
    T = ids_BT.shape[1]
    cos, sin = (table[:, 0].contiguous() for table in model.rope_at(torch.arange(T), T))
    x0_BTD = x_BTD = model.embed(ids_BT)
    blocks: list[Any] = list(model.h)
    for layer, block in enumerate(blocks):
        attn, mlp = block.attn, block.mlp
        x_BTD = _Block.apply(
            x_BTD,
            x0_BTD,
            model.resid_lambdas[layer],
            model.x0_lambdas[layer],
            model.value_embedding(layer, ids_BT),
            None if attn.ve_gate is None else attn.ve_gate.weight,
            attn.c_q.weight,
            attn.c_k.weight,
            attn.c_v.weight,
            attn.c_proj.weight,
            mlp.c_fc.weight,
            mlp.c_proj.weight,
            _Shape(B=ids_BT.shape[0], T=T, G=attn.num_kv_heads, K=attn.head_dim, window=attn.window),
            (_array(cos), _array(sin)),
        )
    return norm(x_BTD)


class _Shape(NamedTuple):
    B: int
    T: int
    G: int
    K: int
    window: int

    def tiles(self) -> list[tuple[int, int, int]]:
        """Return (first query, end of queries, first key) of each tile."""
        starts = range(0, self.T, TILE)
        return [(start, min(self.T, start + TILE), max(0, start - self.window)) for start in starts]


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Return a view of a tensor; bfloat16, which numpy has not, as uint16."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _each(loop: Any, size: int, *arguments: Any) -> None:
    """Call loop(*arguments, first, last) in parallel over range(size); tensors become arrays."""
    arrays = [_array(a) if isinstance(a, torch.Tensor) else a for a in arguments]
    in_parallel(lambda first, last: loop(*arrays, first, last), size)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, x_BTD, x0_BTD, resid, x0, ve_BTE, gate, q, k, v, out, up, down, shape, rope
    ):
        from picochat.kernels import block_loops as loops

        dtype, N, D = x_BTD.dtype, shape.B * shape.T, x_BTD.shape[-1]
        x_ND, x0_ND = x_BTD.reshape(N, D), x0_BTD.reshape(N, D)
        factors = np.float32(resid.item()), np.float32(x0.item())
        mixed_ND, normed_ND, scale_N = torch.empty_like(x_ND), torch.empty_like(x_ND), torch.empty(N)
        _each(loops.mix_and_norm, N, x_ND, x0_ND, *factors, mixed_ND, normed_ND, scale_N)
        qkv_XD, out, up, down = torch.cat((q, k, v)).to(dtype), out.to(dtype), up.to(dtype), down.to(dtype)
        ve_NE, gate_NG = ve_BTE, None
        if ve_BTE is not None:
            ve_NE = ve_BTE.reshape(N, -1)
            gate_NG = 2 * torch.sigmoid((normed_ND[:, :GATE_CHANNELS] @ gate.to(dtype).mT).float())
        heads = _split_heads(normed_ND @ qkv_XD.mT, ve_NE, gate_NG, shape, rope)
        attended_ND, probs = _attend(heads, shape)
        middle_ND = torch.addmm(mixed_ND, attended_ND, out.mT)
        normed2_ND, scale2_N = torch.empty_like(x_ND), torch.empty(N)
        _each(loops.norm, N, middle_ND, normed2_ND, scale2_N)
        relu_NU = normed2_ND @ up.mT
        square_NU = torch.empty_like(relu_NU)
        _each(loops.relu_square, N, relu_NU, square_NU)
        ctx.shape, ctx.rope, ctx.factors, ctx.heads, ctx.probs = shape, rope, factors, heads, probs
        ctx.scales = scale_N, scale2_N
        ctx.save_for_backward(
            x_ND, x0_ND, ve_NE, gate_NG, gate, normed_ND, attended_ND, normed2_ND, relu_NU, square_NU,
            qkv_XD, out, up, down,
        )  # fmt: skip
        return torch.addmm(middle_ND, square_NU, down.mT).view_as(x_BTD)

    @staticmethod
    def backward(ctx, grad_BTD):  # pyright: ignore[reportIncompatibleMethodOverride]
        from picochat.kernels import block_loops as loops

        (x_ND, x0_ND, ve_NE, gate_NG, gate, normed_ND, attended_ND, normed2_ND, relu_NU, square_NU,
         qkv_XD, out, up, down) = ctx.saved_tensors  # fmt: skip
        scale_N, scale2_N = ctx.scales
        shape, (N, D), E = ctx.shape, x_ND.shape, ctx.shape.G * ctx.shape.K
        grad_ND = grad_BTD.reshape(N, D).clone()
        # The MLP.
        grad_down = grad_ND.mT @ square_NU
        grad_NU = grad_ND @ down
        _each(loops.relu_square_backward, N, grad_NU, relu_NU)
        grad_up = grad_NU.mT @ normed2_ND
        _each(loops.norm_backward, N, grad_NU @ up, normed2_ND, scale2_N, grad_ND)
        # Attention.
        grad_out = grad_ND.mT @ attended_ND
        grads = _attend_backward(grad_ND @ out, ctx.heads, ctx.probs, shape)
        grad_qkv_NX, grad_ve_NE, grad_gate_NG = _split_heads_backward(
            grads, ctx.heads, ve_NE, gate_NG, shape, ctx.rope
        )
        grad_qkv_XD = grad_qkv_NX.mT @ normed_ND
        grad_normed_ND = grad_qkv_NX @ qkv_XD
        grad_gate = None
        if gate_NG is not None:
            # gate = 2 sigmoid(z): its derivative is gate (1 - gate / 2).
            grad_gate_NG = (grad_gate_NG * gate_NG * (1 - gate_NG / 2)).to(normed_ND.dtype)
            grad_gate = (grad_gate_NG.mT @ normed_ND[:, :GATE_CHANNELS]).to(gate.dtype)
            grad_normed_ND[:, :GATE_CHANNELS] += grad_gate_NG @ gate.to(normed_ND.dtype)
        _each(loops.norm_backward, N, grad_normed_ND, normed_ND, scale_N, grad_ND)
        # The residual stream.
        grad_x_ND, grad_x0_ND = torch.empty_like(x_ND), torch.empty_like(x_ND)
        sums_P2 = torch.empty(-(-N // loops.BLOCK), 2)
        _each(
            loops.mix_backward,
            len(sums_P2),
            grad_ND,
            x_ND,
            x0_ND,
            *ctx.factors,
            grad_x_ND,
            grad_x0_ND,
            sums_P2,
        )
        sum_x, sum_x0 = sums_P2.sum(dim=0)
        ctx.heads = ctx.probs = None
        full = [g.float() for g in (*grad_qkv_XD.split((D, E, E)), grad_out, grad_up, grad_down)]
        whole = grad_BTD.shape
        grad_ve = None if grad_ve_NE is None else grad_ve_NE.view(*whole[:2], E)
        return (
            grad_x_ND.view(whole),
            grad_x0_ND.view(whole),
            sum_x,
            sum_x0,
            grad_ve,
            grad_gate,
            *full,
            None,
            None,
        )


class _Heads(NamedTuple):
    q_BHTK: torch.Tensor
    k_BGTK: torch.Tensor
    v_BGTK: torch.Tensor
    scale_NX: torch.Tensor
    """What each query and key head was multiplied by, (N, H + G)."""


def _split_heads(qkv_NX, ve_NE, gate_NG, shape: _Shape, rope) -> _Heads:
    from picochat.kernels import block_loops as loops

    B, T, G, K, _ = shape
    H = qkv_NX.shape[1] // K - 2 * G
    heads = _Heads(
        qkv_NX.new_empty(B, H, T, K),
        qkv_NX.new_empty(B, G, T, K),
        qkv_NX.new_empty(B, G, T, K),
        torch.empty(B * T, H + G),
    )
    ve_NE = qkv_NX.new_empty(0, 0) if ve_NE is None else ve_NE
    gate_NG = torch.empty(0, 0) if gate_NG is None else gate_NG
    _each(loops.split_heads, B * T, qkv_NX, ve_NE, gate_NG, *rope, *heads)
    return heads


def _split_heads_backward(grads: _Heads, heads: _Heads, ve_NE, gate_NG, shape: _Shape, rope):
    """Return the gradients of the products (N, D + 2 E), of the value embeddings and of their factors."""
    from picochat.kernels import block_loops as loops

    B, T, G, K, _ = shape
    H = heads.q_BHTK.shape[1]
    new = heads.q_BHTK.new_empty
    grad_qkv_NX = new(B * T, (H + 2 * G) * K)
    grad_ve_NE = None if ve_NE is None else torch.empty_like(ve_NE)
    grad_gate_NG = None if gate_NG is None else torch.empty_like(gate_NG)
    none, nothing = new(0, 0), torch.empty(0, 0)
    _each(
        loops.split_heads_backward,
        B * T,
        *grads[:3],
        heads.q_BHTK,
        heads.k_BGTK,
        heads.scale_NX,
        *rope,
        none if ve_NE is None else ve_NE,
        nothing if gate_NG is None else gate_NG,
        grad_qkv_NX,
        none if grad_ve_NE is None else grad_ve_NE,
        nothing if grad_gate_NG is None else grad_gate_NG,
    )
    return grad_qkv_NX, grad_ve_NE, grad_gate_NG


def _attend(heads: _Heads, shape: _Shape) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return softmax(q k^T) v as (N, D), and the probabilities of each tile as (B G, R tile, keys)."""
    from picochat.kernels import block_loops as loops

    B, T, G, K, window = shape
    H = heads.q_BHTK.shape[1]
    q, k, v = (
        heads.q_BHTK.view(B * G, -1, T, K),
        heads.k_BGTK.view(B * G, T, K),
        heads.v_BGTK.view(B * G, T, K),
    )
    out_BTHK = q.new_empty(B, T, H, K)
    probs = []
    for start, stop, first in shape.tiles():
        tile = q[:, :, start:stop].reshape(B * G, -1, K)
        scores = tile @ k[:, first:stop].mT
        matrices_XTS = scores.view(B * H, stop - start, stop - first)
        _each(loops.softmax, B * H, matrices_XTS, start, first, window)
        probs.append(scores)
        out_BHTK = (scores @ v[:, first:stop]).view(B, H, stop - start, K)
        out_BTHK[:, start:stop] = out_BHTK.transpose(1, 2)
    return out_BTHK.view(B * T, H * K), probs


def _attend_backward(
    grad_ND: torch.Tensor, heads: _Heads, probs: list[torch.Tensor], shape: _Shape
) -> _Heads:
    """Return the gradients of queries, keys and values."""
    from picochat.kernels import block_loops as loops

    B, T, G, K, window = shape
    H = heads.q_BHTK.shape[1]
    q, k, v = (
        heads.q_BHTK.view(B * G, -1, T, K),
        heads.k_BGTK.view(B * G, T, K),
        heads.v_BGTK.view(B * G, T, K),
    )
    grad_BHTK = grad_ND.view(B, T, H, K).transpose(1, 2)
    grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for (start, stop, first), probs_tile in zip(shape.tiles(), probs, strict=True):
        tile = q[:, :, start:stop].reshape(B * G, -1, K)
        grad_tile = grad_BHTK[:, :, start:stop].reshape(B * G, -1, K)
        grad_v[:, first:stop].baddbmm_(probs_tile.mT, grad_tile)
        grad_scores = grad_tile @ v[:, first:stop].mT
        matrix = (B * H, stop - start, stop - first)
        _each(
            loops.softmax_backward,
            B * H,
            probs_tile.view(matrix),
            grad_scores.view(matrix),
            start,
            first,
            window,
        )
        grad_q[:, :, start:stop] = (grad_scores @ k[:, first:stop]).view(B * G, -1, stop - start, K)
        grad_k[:, first:stop].baddbmm_(grad_scores.mT, tile)
    shape_k = (B, G, T, K)
    return _Heads(grad_q.view(B, H, T, K), grad_k.view(shape_k), grad_v.view(shape_k), heads.scale_NX)
