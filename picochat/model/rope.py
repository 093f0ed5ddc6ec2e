"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), half-split layout.

B: rows, T: positions, H: heads, K: channels of a head.
"""

import torch


def rope_tables(positions_BT: torch.Tensor, head_dim: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines (..., T, 1, head_dim / 2), float32, of `positions_BT` (any leading shape)."""
    exponent = torch.arange(0, head_dim, 2, device=positions_BT.device, dtype=torch.float64) / head_dim
    frequency = torch.pow(torch.tensor(theta, dtype=torch.float64), exponent).float().reciprocal()
    angle = positions_BT[..., None].float() * frequency
    return angle.cos()[..., None, :], angle.sin()[..., None, :]


def rotate(x_BTHK: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs (first half, second half) of each head by minus the angle of their position."""
    x1, x2 = x_BTHK.chunk(2, dim=-1)
    cos, sin = cos.to(x1.dtype), sin.to(x1.dtype)
    return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)
