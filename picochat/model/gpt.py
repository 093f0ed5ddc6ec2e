"""The model: a decoder-only transformer.

B: rows, T: positions, D: width, E: key/value width, V: vocabulary, L: layers.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from picochat.model.attention import Attention, Linear, Visible, norm
from picochat.model.cache import KVCache
from picochat.model.config import ModelConfig
from picochat.model.rope import rope_tables

SOFTCAP = 15.0
"""Logits are squashed into (-15, 15) by 15 * tanh(x / 15)."""
IGNORE = -1
"""Target value of a position that carries no loss."""


def softcap(logits: torch.Tensor) -> torch.Tensor:
    """Return SOFTCAP * tanh(logits / SOFTCAP) (Gemma 2, arXiv 2408.00118)."""
    return SOFTCAP * torch.tanh(logits / SOFTCAP)


@dataclass(kw_only=True)
class Inspection:
    """What a forward pass leaves behind for a learner when it is handed one of these."""

    attention_LBHTS: list[torch.Tensor] = field(default_factory=list)
    """Attention probabilities of each layer, (B, H, T, S)."""
    residual_LBTD: list[torch.Tensor] = field(default_factory=list)
    """Residual stream before the first block and after each block, (B, T, D); n_layer + 1 of them."""

    def residual_norms(self) -> torch.Tensor:
        """Return the root mean square of the residual stream, (n_layer + 1, B, T)."""
        return torch.stack([x_BTD.float().square().mean(-1).sqrt() for x_BTD in self.residual_LBTD])


def mix(x_BTD: torch.Tensor, x0_BTD: torch.Tensor, resid: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return resid * x + share * x0: what a block reads of the residual stream and of the token embedding."""
    return resid.to(x_BTD.dtype) * x_BTD + share.to(x_BTD.dtype) * x0_BTD


class MLP(nn.Module):
    """Two products with a squared ReLU between them (Primer, arXiv 2109.08668)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """Return (B, T, D) for (B, T, D)."""
        return self.c_proj(F.relu(self.c_fc(x_BTD)).square())


class Block(nn.Module):
    """Attention, then MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attn = Attention(config, layer)
        self.mlp = MLP(config)

    def forward(
        self, x_BTD: torch.Tensor, value_embedding_BTE: torch.Tensor | None, **context
    ) -> torch.Tensor:
        """Return the residual stream after this block."""
        x_BTD = x_BTD + self.attn(norm(x_BTD), value_embedding_BTE, **context)
        return x_BTD + self.mlp(norm(x_BTD))


class GPT(nn.Module):
    """Token ids in, logits out. Weights are float32; `compute_dtype` is what the products run in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.kernels = "auto"
        """What training and decoding compute this model with (picochat.kernels.choice)."""
        rows, kv_dim = config.padded_vocab_size, config.n_kv_head * config.head_dim
        self.wte = nn.Embedding(rows, config.n_embd)
        self.h = nn.ModuleList([Block(config, layer) for layer in range(config.n_layer)])
        self.lm_head = Linear(config.n_embd, rows)
        self.resid_lambdas = nn.Parameter(torch.ones(config.n_layer))
        self.x0_lambdas = nn.Parameter(torch.full((config.n_layer,), 0.1))
        value_layers = [layer for layer in range(config.n_layer) if config.has_value_embedding(layer)]
        self.ve = nn.ModuleDict({str(layer): nn.Embedding(rows, kv_dim) for layer in value_layers})
        self._rope_tables: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm_head.weight.device

    def forward(
        self,
        ids_BT: torch.Tensor,
        *,
        cache: KVCache | None = None,
        num_new: list[int] | None = None,
        last_only: bool = False,
        inspection: Inspection | None = None,
    ) -> torch.Tensor:
        """Return soft-capped float32 logits (B, T, V) of the token that follows each position.

        With a `cache`, `ids_BT` continues the tokens that its rows hold; row b appends just its first
        `num_new[b]` ids (all of them by default), the rest is padding on the right. With `last_only`, the
        logits of each row's last appended position alone are computed, (B, 1, V).
        """
        x_BTD = self.hidden(ids_BT, cache=cache, inspection=inspection)
        num_new = num_new or [ids_BT.shape[1]] * ids_BT.shape[0]
        if cache is not None:
            cache.advance(num_new)
        if last_only:
            last_B = torch.tensor(num_new, device=x_BTD.device) - 1
            x_BTD = x_BTD[torch.arange(len(num_new), device=x_BTD.device), last_B][:, None]
        return self.logits(x_BTD)

    def hidden(
        self, ids_BT: torch.Tensor, *, cache: KVCache | None = None, inspection: Inspection | None = None
    ) -> torch.Tensor:
        """Return the normed residual stream after the last block, (B, T, D), in the compute dtype."""
        T = ids_BT.shape[1]
        if cache is None:
            positions_BT = torch.arange(T, device=ids_BT.device)[None]
            num_keys = T
        else:
            positions_BT = cache.positions(T)[:1] if cache.is_uniform else cache.positions(T)
            num_keys = max(cache.lengths) + T
        context = {
            "rope": self.rope_at(positions_BT, num_keys),
            "visible": Visible(positions_BT, num_keys),
            "cache": cache,
            "weights": None if inspection is None else inspection.attention_LBHTS,
            "fused": self.kernels != "plain" and ids_BT.is_cuda,
        }
        x0_BTD = x_BTD = self.embed(ids_BT)
        for layer, block in enumerate(self.h):
            if inspection is not None:
                inspection.residual_LBTD.append(x_BTD)
            x_BTD = mix(x_BTD, x0_BTD, self.resid_lambdas[layer], self.x0_lambdas[layer])
            x_BTD = block(x_BTD, self.value_embedding(layer, ids_BT), **context)
        if inspection is not None:
            inspection.residual_LBTD.append(x_BTD)
        return norm(x_BTD)

    def embed(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Return the normed token embeddings (B, T, D) in the compute dtype."""
        return norm(self.wte(ids_BT).to(self.compute_dtype))

    def value_embedding(self, layer: int, ids_BT: torch.Tensor) -> torch.Tensor | None:
        """Return what block `layer` may add to its values, (B, T, E) in the compute dtype, if it has any."""
        return self.ve[str(layer)](ids_BT).to(self.compute_dtype) if str(layer) in self.ve else None

    def logits(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """Return soft-capped float32 logits (B, T, V) of a normed residual stream."""
        return softcap(self.lm_head(x_BTD)[..., : self.config.vocab_size].float())

    def logit_lens(self, inspection: Inspection) -> torch.Tensor:
        """Return what the head would predict after each block, (n_layer + 1, B, T, V).

        Source: nostalgebraist, "interpreting GPT: the logit lens" (2020).
        """
        return torch.stack([self.logits(norm(x_BTD)) for x_BTD in inspection.residual_LBTD])

    def loss_per_token(self, ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        """Return -log p(target) in nats, float32 (B, T); 0 where the target is IGNORE."""
        logits_BTV = self(ids_BT)
        loss = F.cross_entropy(
            logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORE, reduction="none"
        )
        return loss.view_as(targets_BT)

    def rope_at(self, positions_BT: torch.Tensor, num_keys: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cosines and sines (..., 1, K / 2) of positions under `num_keys`, from tables that grow
        when needed."""
        tables = self._rope_tables
        if tables is None or tables[0].shape[0] < num_keys or tables[0].device != positions_BT.device:
            num_positions = max(num_keys, self.config.sequence_len)
            positions_T = torch.arange(num_positions, device=positions_BT.device)
            self._rope_tables = tables = rope_tables(
                positions_T, self.config.head_dim, self.config.rope_theta
            )
        cos, sin = tables
        return cos[positions_BT], sin[positions_BT]
