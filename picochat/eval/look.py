"""What one forward pass shows of a model at work on a text.

T: tokens, <|bos|> included; L: layers; H: heads; K: candidates that are named.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from picochat.model.gpt import GPT, Inspection
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.visible import visible


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a model made of a text. All arrays are NumPy's, so that any thread may draw them."""

    step: int | None
    """Optimizer steps that the model has behind it, where that is known."""
    tokens: list[str]
    """The text's tokens behind <|bos|>, for the eye; T of them."""
    attention_LHTT: np.ndarray
    """How much of its attention each token (row) gives to each before it (column); rows sum to 1."""
    loss_T: np.ndarray
    """-log p of each token in nats; not a number for <|bos|>, which is given."""
    lens_tokens_LT: list[list[str]]
    """The likeliest next token if the model ended after 0, 1, ... L layers; L + 1 rows of T."""
    lens_probs_LT: np.ndarray
    """Its probability."""
    next_tokens: list[str]
    """The likeliest tokens behind the text, the likeliest first."""
    next_probs_K: np.ndarray

    @property
    def num_layers(self) -> int:
        return self.attention_LHTT.shape[0]

    @property
    def num_heads(self) -> int:
        return self.attention_LHTT.shape[1]


@torch.no_grad()
def look_at(
    model: GPT,
    tokenizer: Tokenizer,
    text: str,
    *,
    step: int | None = None,
    max_tokens: int = 64,
    num_candidates: int = 12,
) -> Look:
    """Return what `model` makes of the first `max_tokens` tokens of `text`. One forward pass."""
    room = min(max_tokens, model.config.sequence_len)
    ids = [tokenizer.special["<|bos|>"], *tokenizer.encode(text)][:room]
    ids_1T = torch.tensor([ids], device=model.device)
    inspection = Inspection()
    logits_1TV = model(ids_1T, inspection=inspection)
    probs_TV = logits_1TV[0].softmax(-1)
    targets_T1 = ids_1T[0, 1:, None]
    loss_T = -logits_1TV[0, :-1].log_softmax(-1).gather(1, targets_T1)[:, 0]
    lens_probs_LT, lens_ids_LT = model.logit_lens(inspection)[:, 0].softmax(-1).max(-1)
    next_probs_K, next_ids_K = probs_TV[-1].topk(min(num_candidates, probs_TV.shape[-1]))

    def numpy(tensor: torch.Tensor) -> np.ndarray:
        return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()

    def spell(ids: Iterable[int]) -> list[str]:
        return [visible(tokenizer.token_bytes(id)) for id in ids]

    return Look(
        step=step,
        tokens=spell(ids),
        attention_LHTT=numpy(torch.stack([weights[0] for weights in inspection.attention_LBHTS])),
        loss_T=np.concatenate(([np.nan], numpy(loss_T))),
        lens_tokens_LT=[spell(row) for row in lens_ids_LT.tolist()],
        lens_probs_LT=numpy(lens_probs_LT),
        next_tokens=spell(next_ids_K.tolist()),
        next_probs_K=numpy(next_probs_K),
    )
