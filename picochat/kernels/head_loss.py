"""Output head, soft-cap and cross entropy in one pass that never holds all logits.

The logits of a small model with a large vocabulary are its largest tensor by far. Here they exist for a few
hundred positions at a time; the gradient is made in the forward pass while they are at hand.

N: positions, D: width, V: vocabulary, P: padded vocabulary, C: positions of one chunk.
"""

import torch
import torch.nn.functional as F

from picochat.model.gpt import IGNORE, SOFTCAP, softcap

CHUNK_LOGITS = 1 << 21
"""Logits computed at a time: 8 MiB in float32."""


def head_loss_plain(
    x_ND: torch.Tensor, weight_PD: torch.Tensor, targets_N: torch.Tensor, vocab_size: int
) -> torch.Tensor:
    """Return the summed cross entropy in nats of the soft-capped logits x W^T; IGNORE targets count not."""
    logits_NV = softcap((x_ND @ weight_PD.to(x_ND.dtype).mT)[:, :vocab_size].float())
    return F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORE, reduction="sum")


def head_loss(
    x_ND: torch.Tensor, weight_PD: torch.Tensor, targets_N: torch.Tensor, vocab_size: int
) -> torch.Tensor:
    """Do what `head_loss_plain` does, in chunks, skipping positions without a target."""
    if not x_ND.is_cuda:
        valid_N = targets_N != IGNORE
        if not valid_N.all():
            x_ND, targets_N = x_ND[valid_N], targets_N[valid_N]
    return _HeadLoss.apply(x_ND, weight_PD, targets_N, vocab_size)  # pyright: ignore[reportReturnType]


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_ND, weight_PD, targets_N, vocab_size):  # pyright: ignore[reportIncompatibleMethodOverride]
        needs_grad = any(ctx.needs_input_grad[:2])
        weight_VD = weight_PD[:vocab_size].to(x_ND.dtype)
        grad_x_ND = torch.empty_like(x_ND) if needs_grad else None
        grad_weight_PD = torch.zeros_like(weight_PD) if needs_grad else None
        loss = x_ND.new_zeros((), dtype=torch.float64 if x_ND.device.type == "cpu" else torch.float32)
        chunk = max(1, CHUNK_LOGITS // vocab_size)
        for start in range(0, x_ND.shape[0], chunk):
            x_CD, targets_C = x_ND[start : start + chunk], targets_N[start : start + chunk]
            valid_C1 = (targets_C != IGNORE)[:, None]
            index_C1 = targets_C.clamp(min=0)[:, None]
            capped_CV = (x_CD @ weight_VD.mT).float().mul_(1 / SOFTCAP).tanh_()
            # The cap bounds the logits to 15, so exp cannot overflow and needs no maximum taken off.
            exp_CV = (capped_CV * SOFTCAP).exp_()
            sum_C1 = exp_CV.sum(dim=-1, keepdim=True)
            nll_C1 = sum_C1.log() - SOFTCAP * capped_CV.gather(1, index_C1)
            loss += (nll_C1 * valid_C1).sum()
            if grad_x_ND is not None and grad_weight_PD is not None:
                # d loss / d logit = (p - one_hot) * (1 - tanh^2)
                grad_CV = exp_CV.div_(sum_C1)
                grad_CV.scatter_add_(1, index_C1, grad_CV.new_full(index_C1.shape, -1.0))
                grad_CV.mul_(capped_CV.square_().neg_().add_(1.0)).mul_(valid_C1)
                grad_CV = grad_CV.to(x_ND.dtype)
                grad_x_ND[start : start + chunk] = grad_CV @ weight_VD
                grad_weight_PD[:vocab_size] += grad_CV.mT @ x_CD
        if needs_grad:
            ctx.save_for_backward(grad_x_ND, grad_weight_PD)
        return loss.float()

    @staticmethod
    def backward(ctx, grad_loss):  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_x_ND, grad_weight_PD = ctx.saved_tensors
        return grad_x_ND * grad_loss.to(grad_x_ND.dtype), grad_weight_PD * grad_loss, None, None
