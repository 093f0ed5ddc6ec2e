"""Output head and log-probability of one token per position, without holding all logits.

Like head_loss, but for losses that need each token's log-probability by itself. What the gradient will be is
not known in the forward pass then, so the logits of a chunk are made a second time in the backward pass.

N: positions, D: width, V: vocabulary, P: padded vocabulary, C: positions of one chunk.
"""

import torch

from picochat.model.gpt import SOFTCAP, softcap

CHUNK_LOGITS = 1 << 21
"""Logits computed at a time: 8 MiB in float32."""


def head_logprobs_plain(
    x_ND: torch.Tensor,
    weight_PD: torch.Tensor,
    targets_N: torch.Tensor,
    vocab_size: int,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log p(target) and the entropy of p, float32 (N,) in nats; the entropy carries no gradient.

    p is the softmax of the soft-capped logits x W^T over `temperature`.
    """
    logits_NV = softcap((x_ND @ weight_PD[:vocab_size].to(x_ND.dtype).mT).float()) / temperature
    logp_NV = logits_NV.log_softmax(dim=-1)
    entropy_N = -(logp_NV.exp() * logp_NV).sum(dim=-1).detach()
    return logp_NV.gather(1, targets_N[:, None])[:, 0], entropy_N


def head_logprobs(
    x_ND: torch.Tensor,
    weight_PD: torch.Tensor,
    targets_N: torch.Tensor,
    vocab_size: int,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do what `head_logprobs_plain` does, in chunks."""
    return _HeadLogprobs.apply(x_ND, weight_PD, targets_N, vocab_size, temperature)  # pyright: ignore[reportReturnType]


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_ND, weight_PD, targets_N, vocab_size, temperature):  # pyright: ignore[reportIncompatibleMethodOverride]
        weight_VD = weight_PD[:vocab_size].to(x_ND.dtype)
        logprob_N = torch.empty(x_ND.shape[0], device=x_ND.device)
        entropy_N = torch.empty_like(logprob_N)
        for chunk in _chunks(x_ND.shape[0], vocab_size):
            logits_CV = (x_ND[chunk] @ weight_VD.mT).float().mul_(1 / SOFTCAP).tanh_()
            logits_CV.mul_(SOFTCAP / temperature)
            logp_CV = logits_CV.sub_(logits_CV.logsumexp(dim=-1, keepdim=True))
            logprob_N[chunk] = logp_CV.gather(1, targets_N[chunk, None])[:, 0]
            entropy_N[chunk] = -(logp_CV.exp().mul_(logp_CV)).sum(dim=-1)
        ctx.save_for_backward(x_ND, weight_PD, targets_N)
        ctx.vocab_size, ctx.temperature = vocab_size, temperature
        ctx.mark_non_differentiable(entropy_N)
        return logprob_N, entropy_N

    @staticmethod
    def backward(ctx, grad_N, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_ND, weight_PD, targets_N = ctx.saved_tensors
        weight_VD = weight_PD[: ctx.vocab_size].to(x_ND.dtype)
        grad_x_ND, grad_weight_PD = torch.empty_like(x_ND), torch.zeros_like(weight_PD)
        for chunk in _chunks(x_ND.shape[0], ctx.vocab_size):
            capped_CV = (x_ND[chunk] @ weight_VD.mT).float().mul_(1 / SOFTCAP).tanh_()
            # d log p(target) / d logit = (one_hot - p) / temperature * (1 - tanh^2)
            grad_CV = (capped_CV * (SOFTCAP / ctx.temperature)).softmax(dim=-1).neg_()
            grad_CV.scatter_add_(1, targets_N[chunk, None], torch.ones_like(grad_CV[:, :1]))
            grad_CV.mul_(capped_CV.square_().neg_().add_(1.0)).mul_(grad_N[chunk, None] / ctx.temperature)
            grad_CV = grad_CV.to(x_ND.dtype)
            grad_x_ND[chunk] = grad_CV @ weight_VD
            grad_weight_PD[: ctx.vocab_size] += grad_CV.mT @ x_ND[chunk]
        return grad_x_ND, grad_weight_PD, None, None, None


def _chunks(num_positions: int, vocab_size: int) -> list[slice]:
    """Return slices of positions whose logits fit into CHUNK_LOGITS."""
    size = max(1, CHUNK_LOGITS // vocab_size)
    return [slice(start, start + size) for start in range(0, num_positions, size)]
