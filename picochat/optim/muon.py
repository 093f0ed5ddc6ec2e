"""Muon (Jordan et al. 2024): momentum whose update is made orthogonal.

N: matrices stacked because they share a shape, R: rows, C: columns.
"""

from collections.abc import Callable

import torch

SAFETY = 1.01
"""What each polynomial's argument is divided by: rounding, most of all that of bfloat16, may carry a singular
value over 1, and there the next polynomial would blow it up."""
POLAR_EXPRESS = tuple(
    (a / SAFETY, b / SAFETY**3, c / SAFETY**5)
    for a, b, c in (
        (8.287212, -23.595887, 17.300387),
        (4.107059, -2.947850, 0.544843),
        (3.948691, -2.908902, 0.551819),
        (3.318420, -2.488488, 0.510049),
        (2.300652, -1.668904, 0.418807),
    )
)
"""Coefficients (a, b, c) of the first five iterations (Amsel et al. 2025, arXiv 2505.16932)."""


GRAM_STEPS = 3
"""Iterations after which the short form returns to the matrix itself: rounding that grows in the Gram matrix
alone would make gradients of low rank come out wrong."""


def orthogonalize(x_NRC: torch.Tensor, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Return the nearest semi-orthogonal matrix of each of `x_NRC`, to about 20 %, in `dtype`.

    Iterates X = a X + (b A + c A^2) X with A = X X^T, from X scaled to a spectral norm under one.
    """
    is_tall = x_NRC.shape[1] > x_NRC.shape[2]
    x_NRC = (x_NRC.mT if is_tall else x_NRC).to(dtype)
    x_NRC = x_NRC / (1.01 * x_NRC.norm(dim=(1, 2), keepdim=True) + 1e-7)
    # bfloat16 has not the digits for the short form, and a square matrix nothing to save by it.
    if dtype == torch.float32 and x_NRC.shape[2] >= 2 * x_NRC.shape[1]:
        x_NRC = iterate_gram(iterate_gram(x_NRC, POLAR_EXPRESS[:GRAM_STEPS]), POLAR_EXPRESS[GRAM_STEPS:])
    else:
        x_NRC = iterate(x_NRC, POLAR_EXPRESS)
    return x_NRC.mT if is_tall else x_NRC


Coefficients = tuple[tuple[float, float, float], ...]


def iterate(x_NRC: torch.Tensor, coefficients: Coefficients) -> torch.Tensor:
    """Return X after X = a X + (b A + c A^2) X for each (a, b, c)."""
    for a, b, c in coefficients:
        gram = x_NRC @ x_NRC.mT
        x_NRC = torch.baddbmm(x_NRC, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x_NRC, beta=a)
    return x_NRC


def iterate_gram(x_NRC: torch.Tensor, coefficients: Coefficients) -> torch.Tensor:
    """Do what `iterate` does with two large products in all.

    X = P X with P = a + b A + c A^2 turns A into P A P, so that only R x R matrices take part until the
    product of all P meets X.
    """
    gram = x_NRC @ x_NRC.mT
    product = None
    for index, (a, b, c) in enumerate(coefficients):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if index + 1 < len(coefficients):
            gram = factor @ gram @ factor
    assert product is not None
    return product @ x_NRC


@torch.no_grad()
def muon_update(
    parameters: list[torch.Tensor],
    buffers: list[torch.Tensor],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    orthogonalize: Callable[[torch.Tensor], torch.Tensor],
    shape: torch.Size | None = None,
) -> None:
    """Update equally shaped matrices in place from their `.grad`.

    They may be some rows of matrices of another `shape`; `orthogonalize` knows the rest then.

    buffer = m buffer + g; the direction g + m buffer (Nesterov) is made orthogonal and scaled by
    sqrt(max(1, rows / columns)), so that the update changes the output of every matrix alike. Weights shrink
    by lr * decay only where the update would not enlarge them ("cautious", arXiv 2411.16085).
    """
    grads = [parameter.grad for parameter in parameters]
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, grads)  # pyright: ignore[reportCallIssue, reportArgumentType]
    direction = torch._foreach_add(  # pyright: ignore[reportCallIssue]
        grads,  # pyright: ignore[reportArgumentType]
        buffers,
        alpha=momentum,
    )
    update_NRC = orthogonalize(torch.stack(direction))
    rows, columns = shape or parameters[0].shape
    scale = lr * max(1.0, rows / columns) ** 0.5
    for parameter, update_RC in zip(parameters, update_NRC, strict=True):
        if weight_decay:
            shrinks = (update_RC * parameter) >= 0
            parameter.sub_(lr * weight_decay * parameter * shrinks)
        parameter.add_(update_RC.to(parameter.dtype), alpha=-scale)
