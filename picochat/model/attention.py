"""Causal self-attention with shared key/value heads, a sliding window and gated value embeddings.

B: rows, T: new positions, S: positions attended to, D: width, H: query heads, G: key/value heads,
K: channels of a head.
"""

import torch
import torch.nn.functional as F
from torch import nn

from picochat.model.cache import KVCache
from picochat.model.config import GATE_CHANNELS, ModelConfig
from picochat.model.rope import rotate

NORM_EPS = 1e-6


def norm(x: torch.Tensor) -> torch.Tensor:
    """Return x divided by the root mean square of its last dimension (RMSNorm without weights)."""
    return F.rms_norm(x, (x.shape[-1],), eps=NORM_EPS)


class Linear(nn.Linear):
    """A matrix product without bias whose weight takes the dtype of its input.

    The weight stays float32 for the optimizer while the products run in the compute dtype.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return input @ weight.T in the dtype of the input."""
        return F.linear(input, self.weight.to(input.dtype))


class Visible:
    """Which earlier positions each new position may attend to; the masks are shared by all layers."""

    def __init__(self, positions_BT: torch.Tensor, num_keys: int) -> None:
        self.positions_BT = positions_BT
        self.num_keys = num_keys
        self._masks: dict[int, torch.Tensor] = {}

    def mask(self, window: int) -> torch.Tensor:
        """Return booleans (B or 1, 1, T, S): key j is visible from i iff j <= i and i - j <= window."""
        window = min(window, self.num_keys)
        if window not in self._masks:
            keys_S = torch.arange(self.num_keys, device=self.positions_BT.device)
            distance_BTS = self.positions_BT[..., None] - keys_S
            self._masks[window] = ((distance_BTS >= 0) & (distance_BTS <= window))[:, None]
        return self._masks[window]


def attend(
    q_BTHK: torch.Tensor,
    k_BGSK: torch.Tensor,
    v_BGSK: torch.Tensor,
    mask_B1TS: torch.Tensor | None,
    *,
    weights: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return softmax(q k^T / sqrt(K)) v as (B, T, H * K), as the formula is written.

    Query head h reads key/value head h // (H / G). `mask_B1TS` is None where every key is visible. With
    `weights`, the attention probabilities (B, H, T, S) are appended to it.
    """
    B, T, H, K = q_BTHK.shape
    G, S = k_BGSK.shape[1], k_BGSK.shape[2]
    # On CPU two plain products beat scaled_dot_product_attention, most of all in bfloat16.
    grouped_BGRTK = q_BTHK.reshape(B, T, G, H // G, K).permute(0, 2, 3, 1, 4)
    scores_BGRTS = grouped_BGRTK.reshape(B, G, -1, K) @ (k_BGSK.transpose(2, 3) * K**-0.5)
    scores_BGRTS = scores_BGRTS.view(B, G, H // G, T, S)
    if mask_B1TS is not None:
        scores_BGRTS = scores_BGRTS.masked_fill(~mask_B1TS[:, :, None], -torch.inf)
    probs_BGRTS = scores_BGRTS.softmax(dim=-1)
    if weights is not None:
        weights.append(probs_BGRTS.reshape(B, H, T, S))
    out_BGRTK = (probs_BGRTS.view(B, G, -1, S) @ v_BGSK).view(B, G, H // G, T, K)
    return out_BGRTK.permute(0, 3, 1, 2, 4).reshape(B, T, H * K)


def attend_fused(
    q_BTHK: torch.Tensor, k_BGSK: torch.Tensor, v_BGSK: torch.Tensor, mask_B1TS: torch.Tensor | None
) -> torch.Tensor:
    """Do what `attend` does by scaled_dot_product_attention; without a mask it is causal where T is not 1.

    On CUDA no scores reach memory then. T has to be 1 or S where there is no mask.
    """
    T, H = q_BTHK.shape[1:3]
    # Flash attention shares heads; the kernel for masks and float32 does not in every version of torch.
    shares_heads = mask_B1TS is None and q_BTHK.dtype != torch.float32
    if not shares_heads:
        k_BGSK, v_BGSK = _one_head_each(k_BGSK, H), _one_head_each(v_BGSK, H)
    out_BHTK = F.scaled_dot_product_attention(
        q_BTHK.transpose(1, 2),
        k_BGSK,
        v_BGSK,
        attn_mask=mask_B1TS,
        is_causal=mask_B1TS is None and T > 1,
        enable_gqa=shares_heads,
    )
    return out_BHTK.transpose(1, 2).flatten(2)


def _one_head_each(x_BGSK: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return each key or value head as often as query heads read it, (B, H, S, K)."""
    B, G, S, K = x_BGSK.shape
    return x_BGSK[:, :, None].expand(B, G, num_heads // G, S, K).reshape(B, num_heads, S, K)


class Attention(nn.Module):
    """The attention half of block `layer`."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.window = config.windows[layer]
        self.num_kv_heads, self.head_dim = config.n_kv_head, config.head_dim
        kv_dim = config.n_kv_head * config.head_dim
        self.c_q = Linear(config.n_embd, config.n_embd)
        self.c_k = Linear(config.n_embd, kv_dim)
        self.c_v = Linear(config.n_embd, kv_dim)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        has_gate = config.has_value_embedding(layer)
        self.ve_gate = Linear(GATE_CHANNELS, config.n_kv_head) if has_gate else None

    def heads(
        self,
        x_BTD: torch.Tensor,
        value_embedding_BTE: torch.Tensor | None,
        rope: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries (B, T, H, K), keys and values (B, T, G, K) of the normed input `x_BTD`."""
        B, T, _ = x_BTD.shape
        q_BTHK = self.c_q(x_BTD).view(B, T, -1, self.head_dim)
        k_BTGK = self.c_k(x_BTD).view(B, T, self.num_kv_heads, self.head_dim)
        v_BTGK = self.c_v(x_BTD).view(B, T, self.num_kv_heads, self.head_dim)
        if self.ve_gate is not None:
            assert value_embedding_BTE is not None
            gate_BTG = 2 * torch.sigmoid(self.ve_gate(x_BTD[..., :GATE_CHANNELS]))
            v_BTGK = v_BTGK + gate_BTG[..., None] * value_embedding_BTE.view_as(v_BTGK)
        return norm(rotate(q_BTHK, *rope)), norm(rotate(k_BTGK, *rope)), v_BTGK

    def forward(
        self,
        x_BTD: torch.Tensor,
        value_embedding_BTE: torch.Tensor | None,
        rope: tuple[torch.Tensor, torch.Tensor],
        visible: Visible,
        *,
        cache: KVCache | None = None,
        weights: list[torch.Tensor] | None = None,
        fused: bool = False,
    ) -> torch.Tensor:
        """Return the block's attention output (B, T, D) for the normed input `x_BTD`.

        fused: by `attend_fused`, unless the `weights` are asked for.
        """
        T = x_BTD.shape[1]
        q_BTHK, k_BTGK, v_BTGK = self.heads(x_BTD, value_embedding_BTE, rope)
        if cache is None:
            k_BGSK, v_BGSK = k_BTGK.transpose(1, 2), v_BTGK.transpose(1, 2)
            first = 0
        else:
            cache.write(self.layer, k_BTGK, v_BTGK)
            # Keys that lie before the window of every new position are not even read.
            first = max(0, min(cache.lengths) - self.window)
            k_BGSK = cache.keys_LBGCK[self.layer, :, :, first : visible.num_keys]
            v_BGSK = cache.values_LBGCK[self.layer, :, :, first : visible.num_keys]
        fused = fused and weights is None
        sees_all = T == 1 and (cache is None or cache.is_uniform)
        # Nothing was read before, and the window is no limit: what `attend_fused` takes for granted.
        is_causal = fused and visible.num_keys == T <= self.window + 1
        mask_B1TS = None if sees_all or is_causal else visible.mask(self.window)[..., first:]
        if fused:
            return self.c_proj(attend_fused(q_BTHK, k_BGSK, v_BGSK, mask_B1TS))
        return self.c_proj(attend(q_BTHK, k_BGSK, v_BGSK, mask_B1TS, weights=weights))
