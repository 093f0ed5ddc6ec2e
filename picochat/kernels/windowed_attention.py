"""Attention of training through torch.compile; on CUDA flash where the whole past is visible, and in long
rows only the tiles that a window lets through. The plain twin is `picochat.model.attention.attend`.

B: rows, T: positions, H: query heads, G: key/value heads, K: channels of a head.
"""

import functools

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from picochat.model.attention import Visible, attend, attend_fused

TILES_FROM = 512
"""Positions from which on tiles are left out: shorter rows have few scores, and a tile is 128 wide."""

Mask = torch.Tensor | BlockMask | None
"""What `attend_windowed` goes by: booleans (1, 1, T, T), tiles, or None for the whole past."""


@functools.lru_cache(maxsize=16)
def training_mask(window: int, length: int, device: torch.device) -> Mask:
    """Return the mask of rows of `length` that see `window` positions back; made once for all steps."""
    if device.type == "cuda" and window >= length - 1:
        return None
    if device.type == "cuda" and length >= TILES_FROM:
        return tiles(window, length, device)
    positions_1T = torch.arange(length, device=device)[None]
    return Visible(positions_1T, length).mask(window)


def tiles(window: int, length: int, device: torch.device) -> BlockMask:
    """Return which tiles of the scores hold a visible key, and the rule within them."""

    def sees(row, head, query, key):
        return (query >= key) & (query - key <= window)

    return create_block_mask(sees, None, None, length, length, device=device)


def attend_windowed(
    q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, mask: Mask
) -> torch.Tensor:
    """Return softmax(q k^T / sqrt(K)) v as (B, T, H * K)."""
    k_BGTK, v_BGTK = k_BTGK.transpose(1, 2), v_BTGK.transpose(1, 2)
    if mask is None:
        return attend_fused(q_BTHK, k_BGTK, v_BGTK, None)
    if isinstance(mask, torch.Tensor):
        # Compiled, two products beat flex_attention on CPU, where it has no gradient either.
        return attend(q_BTHK, k_BGTK, v_BGTK, mask)
    out_BHTK = flex_attention(q_BTHK.transpose(1, 2), k_BGTK, v_BGTK, block_mask=mask, enable_gqa=True)
    assert isinstance(out_BHTK, torch.Tensor)
    return out_BHTK.transpose(1, 2).flatten(2)
