"""Output head, soft-cap and cross entropy in one pass that never holds all logits.

The logits of a small model with a large vocabulary are its largest tensor by far. Here they exist for a few
hundred positions at a time; the gradient is made in the forward pass while they are at hand.

With y = 15 tanh(z / 15) and s = sum exp(y), the gradient of -log p(target) by the logit z is
(exp(y) / s - one_hot) dy/dz. The buffer of logits is turned into exp(y) dy/dz in one pass over it, which
needs no maximum taken off first (the cap bounds y) and does not have to wait for s: s is the same for all
logits of a position, so the products with the gradient divide by it.

N: positions, D: width, V: vocabulary, P: padded vocabulary, C: positions of one chunk.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from picochat.kernels.compilation import compiles, through_compile
from picochat.kernels.threads import in_parallel
from picochat.model.gpt import IGNORE, SOFTCAP, softcap

CHUNK_BYTES = {"cpu": 1 << 25, "cuda": 1 << 28}
"""Logits computed at a time. On CPU 256 positions in float32 at a vocabulary of 32768: fewer make products
slow, more make the buffer leave the cache. On CUDA 4096 in bfloat16: caches are too small for any, and each
chunk goes over the whole gradient of the head."""
TILE = 1 << 17
"""Logits that the portable loop works on at a time: with its scratch they stay in a core's own cache."""


def head_loss_plain(
    x_ND: torch.Tensor, weight_PD: torch.Tensor, targets_N: torch.Tensor, vocab_size: int
) -> torch.Tensor:
    """Return the summed cross entropy in nats of the soft-capped logits x W^T; IGNORE targets count not."""
    logits_NV = softcap((x_ND @ weight_PD.to(x_ND.dtype).mT)[:, :vocab_size].float())
    return F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORE, reduction="sum")


def head_loss(
    x_ND: torch.Tensor,
    weight_PD: torch.Tensor,
    targets_N: torch.Tensor,
    vocab_size: int,
    kernels: str = "auto",
) -> torch.Tensor:
    """Do what `head_loss_plain` does, in chunks, skipping positions without a target.

    The gradient may be asked for once.
    """
    if kernels == "plain":
        return head_loss_plain(x_ND, weight_PD, targets_N, vocab_size)
    if x_ND.device.type == "cpu":  # elsewhere the host would wait for the device
        valid_N = targets_N != IGNORE
        if not valid_N.all():
            x_ND, targets_N = x_ND[valid_N], targets_N[valid_N]
    return _HeadLoss.apply(x_ND, weight_PD, targets_N, vocab_size, kernels)  # pyright: ignore[reportReturnType]


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_ND, weight_PD, targets_N, vocab_size, kernels):  # pyright: ignore[reportIncompatibleMethodOverride]
        needs_grad = any(ctx.needs_input_grad[:2])
        weight_VD = weight_PD[:vocab_size].to(x_ND.dtype)
        weigh_chunk = _weigher(kernels, x_ND.device)
        grad_x_ND = torch.empty_like(x_ND) if needs_grad else None
        grad_weight_PD = torch.empty_like(weight_PD) if needs_grad else None
        if grad_weight_PD is not None:
            grad_weight_PD[vocab_size:] = 0
        loss = x_ND.new_zeros((), dtype=torch.float64 if x_ND.device.type == "cpu" else torch.float32)
        chunks = _Chunks(x_ND, vocab_size)
        for number, chunk in enumerate(chunks.slices):
            x_CD, targets_C = x_ND[chunk], targets_N[chunk]
            logits_VC = chunks.buffer(x_CD.shape[0])
            torch.mm(weight_VD, x_CD.mT, out=logits_VC)
            valid_C, index_1C = targets_C != IGNORE, targets_C.clamp(min=0)[None]
            # The target's logit, which the loss hangs on, is computed in float32 whatever the dtype.
            target_C = (x_CD.float() * weight_PD[index_1C[0]].float()).sum(dim=-1)
            tanh_C = torch.tanh(target_C / SOFTCAP)
            sum_C = weigh_chunk(logits_VC)
            loss += ((sum_C.log() - SOFTCAP * tanh_C) * valid_C).sum()
            if grad_x_ND is None or grad_weight_PD is None:
                continue
            step_1C = (sum_C * (1 - tanh_C.square())).to(logits_VC.dtype)[None]
            logits_VC.scatter_add_(0, index_1C, -step_1C)
            scale_C1 = (valid_C / sum_C)[:, None]
            torch.mm(logits_VC.mT, weight_VD, out=grad_x_ND[chunk]).mul_(scale_C1)
            _accumulate(grad_weight_PD[:vocab_size], logits_VC, (x_CD * scale_C1).to(x_CD.dtype), number == 0)
        if grad_weight_PD is not None and not chunks.slices:
            grad_weight_PD.zero_()
        ctx.grads = (grad_x_ND, grad_weight_PD)
        return loss.float()

    @staticmethod
    def backward(ctx, grad_loss):  # pyright: ignore[reportIncompatibleMethodOverride]
        # Scaled where they lie: they are as large as the weights, and nobody else has them.
        grads, ctx.grads = ctx.grads, None
        assert grads is not None, "the gradient of a head_loss can be asked for only once"
        grad_x_ND, grad_weight_PD = grads
        return grad_x_ND.mul_(grad_loss), grad_weight_PD.mul_(grad_loss), None, None, None


class _Chunks:
    """Slices of the positions, and one buffer for the logits of any of them."""

    def __init__(self, x_ND: torch.Tensor, vocab_size: int) -> None:
        num_positions = x_ND.shape[0]
        num_bytes = CHUNK_BYTES.get(x_ND.device.type, CHUNK_BYTES["cpu"])
        chunk = max(1, min(num_positions, num_bytes // (vocab_size * x_ND.element_size())))
        self.vocab_size = vocab_size
        self.slices = [slice(start, start + chunk) for start in range(0, num_positions, chunk)]
        self._flat = torch.empty(vocab_size * chunk, device=x_ND.device, dtype=x_ND.dtype)

    def buffer(self, num_positions: int) -> torch.Tensor:
        """Return (V, C): that way round the products with the gradient are the faster ones."""
        return self._flat[: self.vocab_size * num_positions].view(self.vocab_size, num_positions)


def _accumulate(
    grad_weight_VD: torch.Tensor, grad_VC: torch.Tensor, x_CD: torch.Tensor, is_first: bool
) -> None:
    """Add grad x to the gradient of the weights, which holds nothing yet if `is_first`."""
    if grad_VC.dtype != grad_weight_VD.dtype:
        product_VD = grad_VC @ x_CD
        if is_first:
            grad_weight_VD.copy_(product_VD)
        else:
            grad_weight_VD.add_(product_VD)
    elif is_first:
        torch.mm(grad_VC, x_CD, out=grad_weight_VD)
    else:
        grad_weight_VD.addmm_(grad_VC, x_CD)


def _weigher(kernels: str, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what turns the logits of a chunk into their gradient."""
    if compiles(kernels, device):
        return through_compile(weigh, varies=True)
    # A compiled loop would cost every process half a second for importing the compiler.
    return _weigh_compiled if kernels == "auto" and device.type == "cpu" else _weigh_portable


def weigh(logits_VC: torch.Tensor) -> torch.Tensor:
    """Do what `_weigh_portable` does as it would be written, for torch.compile."""
    tanh_VC = torch.tanh(logits_VC.float() / SOFTCAP)
    exp_VC = torch.exp(SOFTCAP * tanh_VC)
    logits_VC.copy_(exp_VC * (1 - tanh_VC.square()))
    return exp_VC.sum(dim=0)


def _weigh_portable(logits_VC: torch.Tensor) -> torch.Tensor:
    """Turn logits z into exp(y) dy/dz in place; return the sums of exp(y) over the vocabulary, float32."""
    V, C = logits_VC.shape
    sum_C = torch.zeros(C, device=logits_VC.device)
    rows = V if logits_VC.is_cuda else max(1, TILE // C)
    exp = torch.empty(min(rows, V), C, device=logits_VC.device)
    for tile_VC in logits_VC.split(rows):
        exp_VC = exp[: tile_VC.shape[0]]
        tanh_VC = tile_VC if tile_VC.dtype == torch.float32 else tile_VC.float()
        tanh_VC.mul_(1 / SOFTCAP).tanh_()
        torch.mul(tanh_VC, SOFTCAP, out=exp_VC).exp_()
        sum_C += exp_VC.sum(dim=0)
        # exp(y) (1 - tanh^2)
        torch.addcmul(exp_VC, exp_VC, tanh_VC.mul_(tanh_VC), value=-1.0, out=tanh_VC)
        if tanh_VC is not tile_VC:
            tile_VC.copy_(tanh_VC)
    return sum_C


def _weigh_compiled(logits_VC: torch.Tensor) -> torch.Tensor:
    """Do what `_weigh_portable` does, each logit read and written once."""
    from picochat.kernels import softcap_loops as loops

    sums_PC = loops.new_sums(*logits_VC.shape)
    if logits_VC.dtype == torch.bfloat16:
        loop, bits_VC = loops.weigh_bfloat16, logits_VC.view(torch.uint16).numpy()
    else:
        loop, bits_VC = loops.weigh_float32, logits_VC.numpy()
    in_parallel(lambda first, last: loop(bits_VC, sums_PC, first, last), len(sums_PC))
    return torch.from_numpy(sums_PC).sum(dim=0)
