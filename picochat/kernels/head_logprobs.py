"""Output head and log-probability of one token per position, without holding all logits.

Like head_loss, but for losses that need each token's log-probability by itself. What the gradient will be is
not known in the forward pass then, so the logits of a chunk are made a second time in the backward pass.

N: positions, D: width, V: vocabulary, P: padded vocabulary, C: positions of one chunk.
"""

import torch
from torch.utils.checkpoint import checkpoint

from picochat.kernels.head_loss import CHUNK_LOGITS
from picochat.model.gpt import softcap


def head_logprobs_plain(
    x_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log p(target) and the entropy of p, float32 (N,) in nats; the entropy carries no gradient.

    p is the softmax of the soft-capped logits x W^T over `temperature`.
    """
    logits_NV = softcap((x_ND @ weight_VD.mT).float()) / temperature
    total_N = logits_NV.logsumexp(dim=-1)
    logprob_N = logits_NV.gather(1, targets_N[:, None])[:, 0] - total_N
    with torch.no_grad():
        p_NV = (logits_NV - total_N[:, None]).exp()
        entropy_N = total_N - (p_NV * logits_NV).sum(dim=-1)
    return logprob_N, entropy_N


def head_logprobs(
    x_ND: torch.Tensor,
    weight_PD: torch.Tensor,
    targets_N: torch.Tensor,
    vocab_size: int,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do what `head_logprobs_plain` does, in chunks."""
    weight_VD = weight_PD[:vocab_size].to(x_ND.dtype)
    chunk = max(1, CHUNK_LOGITS // vocab_size)
    pairs = [
        checkpoint(
            head_logprobs_plain,
            x_CD,
            weight_VD,
            targets_C,
            temperature,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for x_CD, targets_C in zip(x_ND.split(chunk), targets_N.split(chunk), strict=True)
    ]
    logprobs, entropies = zip(*pairs, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)
