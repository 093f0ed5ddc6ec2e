"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

from dataclasses import dataclass, field

import torch


@dataclass(kw_only=True)
class AdamWState:
    """Moments of one parameter."""

    m: torch.Tensor
    """Running mean of the gradient."""
    v: torch.Tensor
    """Running mean of the squared gradient."""
    step: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    """Updates done, a float32 scalar on the CPU or beside a CUDA parameter."""

    @classmethod
    def of(cls, parameter: torch.Tensor) -> "AdamWState":
        """Return the state before the first update."""
        step = torch.zeros((), device=parameter.device if parameter.is_cuda else "cpu")
        return cls(m=torch.zeros_like(parameter), v=torch.zeros_like(parameter), step=step)


@torch.no_grad()
def adamw_update(
    parameters: list[torch.Tensor],
    states: list[AdamWState],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Update `parameters` in place from their `.grad` in one pass over memory.

    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w = w (1 - lr decay) - lr m^ / (sqrt(v^) + eps), where ^
    divides by 1 - b^step.
    """
    grads = [parameter.grad for parameter in parameters]
    for state in states:
        state.step += 1
    torch._fused_adamw_(  # pyright: ignore[reportCallIssue]
        parameters,
        grads,  # pyright: ignore[reportArgumentType]
        [state.m for state in states],
        [state.v for state in states],
        [],
        [state.step for state in states],
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=weight_decay,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )


@torch.no_grad()
def adamw_update_plain(
    parameters: list[torch.Tensor],
    states: list[AdamWState],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Do what `adamw_update` does, one operation after another over all parameters."""
    grads = [parameter.grad for parameter in parameters]
    means, squares = [state.m for state in states], [state.v for state in states]
    for state in states:
        state.step += 1
    torch._foreach_lerp_(means, grads, 1 - betas[0])  # pyright: ignore[reportCallIssue, reportArgumentType]
    torch._foreach_mul_(squares, betas[1])
    torch._foreach_addcmul_(squares, grads, grads, 1 - betas[1])  # pyright: ignore[reportCallIssue, reportArgumentType]
    roots = torch._foreach_sqrt(squares)
    torch._foreach_div_(roots, [(1 - betas[1] ** state.step.item()) ** 0.5 for state in states])
    torch._foreach_add_(roots, eps)
    if weight_decay:
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)
    steps = [-lr / (1 - betas[0] ** state.step.item()) for state in states]
    torch._foreach_addcdiv_(parameters, means, roots, steps)
