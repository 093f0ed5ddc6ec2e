"""The blocks of a model in training through torch.compile, one after the other.

B: rows, T: positions, D: width, E: key/value width.
"""

import torch

from picochat.kernels.compilation import through_compile
from picochat.kernels.windowed_attention import Mask, attend_windowed, training_mask
from picochat.model.attention import norm
from picochat.model.gpt import GPT, Block, mix


def compiled_hidden(model: GPT, ids_BT: torch.Tensor) -> torch.Tensor:
    """Do what `model.hidden(ids_BT)` does."""
    T, device = ids_BT.shape[1], ids_BT.device
    rope = model.rope_at(torch.arange(T, device=device)[None], T)
    resid_L, share_L = model.resid_lambdas.unbind(), model.x0_lambdas.unbind()
    block_pass = through_compile(_block_pass)
    x0_BTD = model.embed(ids_BT)
    # A tensor of its own: torch.compile would make a variant for the layer where both are the same one.
    x_BTD = x0_BTD.view_as(x0_BTD)
    for layer, block in enumerate(model.h):
        value_embedding_BTE = model.value_embedding(layer, ids_BT)
        mask = training_mask(model.config.windows[layer], T, device)
        scales = resid_L[layer], share_L[layer]
        x_BTD = block_pass(block, x_BTD, x0_BTD, scales, value_embedding_BTE, rope, mask)
    return norm(x_BTD)


def _block_pass(
    block: Block,
    x_BTD: torch.Tensor,
    x0_BTD: torch.Tensor,
    scales: tuple[torch.Tensor, torch.Tensor],
    value_embedding_BTE: torch.Tensor | None,
    rope: tuple[torch.Tensor, torch.Tensor],
    mask: Mask,
) -> torch.Tensor:
    """Return the residual stream after `block`; `scales` are those of the stream and of the embedding."""
    x_BTD = mix(x_BTD, x0_BTD, *scales)
    q_BTHK, k_BTGK, v_BTGK = block.attn.heads(norm(x_BTD), value_embedding_BTE, rope)
    x_BTD = x_BTD + block.attn.c_proj(attend_windowed(q_BTHK, k_BTGK, v_BTGK, mask))
    return x_BTD + block.mlp(norm(x_BTD))
