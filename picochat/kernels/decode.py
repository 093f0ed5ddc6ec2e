"""One token for each row of a cache: the whole step as one compiled function where the processor decodes, as
one recording where a CUDA device does (`decode_graph`).

A small model's step in plain PyTorch is some 150 operations, each of which costs more than its arithmetic.
What is left in the compiled step is the reading of the weights, once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from picochat.kernels.addresses import addresses
from picochat.kernels.decode_graph import graph_logits
from picochat.kernels.threads import in_parallel
from picochat.model.cache import KVCache
from picochat.model.gpt import GPT
from picochat.model.int8 import Int8Embedding, Int8Linear

SHARED_WORK = 2 << 20
"""Fewer multiplications than this are not worth waking other threads for."""
PRODUCT_ROWS = 48
"""From so many rows on torch's product with the head is faster than the compiled loops."""


def next_logits(model: GPT, ids_BT: torch.Tensor, cache: KVCache) -> torch.Tensor:
    """Append `ids_BT` to the rows of `cache`; return the logits (B, V) of the token that follows each row.

    It is `model(ids_BT, cache=cache, last_only=True)[:, 0]` to rounding: the compiled step sums in another
    order, and keeps float32 where a bfloat16 model rounds between operations. On CPU it raises IndexError for
    an unknown id.
    """
    is_fused = isinstance(model, GPT) and model.kernels in ("auto", "compile") and ids_BT.shape[1] == 1
    if is_fused and model.device.type == "cuda":
        return graph_logits(model, ids_BT[:, 0], cache)
    if is_fused and model.device.type == "cpu":
        plan = _plan_of(model)
        if plan is not None:
            return plan.step(model, ids_BT[:, 0], cache)
    return model(ids_BT, cache=cache, last_only=True)[:, 0]


@dataclass(kw_only=True)
class _Plan:
    """Where the numbers of a model lie, for the compiled step. They are not copied: training may go on."""

    key: list[int]
    """Addresses of the tensors, by which it is seen that the model got others."""
    addresses: np.ndarray
    table: np.ndarray
    table_scale: np.ndarray
    head: np.ndarray
    head_scale: np.ndarray
    head_sums: np.ndarray
    gate_like: np.ndarray
    windows: np.ndarray
    num_weights: int
    """Of all blocks' matrices."""
    kept: list[Any]
    """What was computed and `addresses` point to."""
    rope: np.ndarray | None = None

    def step(self, model: GPT, ids_B: torch.Tensor, cache: KVCache) -> torch.Tensor:
        """Read one id per row; return the logits (B, V) of the next."""
        from picochat.kernels import decode_loops as loops

        assert max(cache.lengths) < cache.capacity
        if int(ids_B.min()) < 0 or int(ids_B.max()) >= len(self.table):
            raise IndexError(f"token ids are 0 to {model.config.vocab_size - 1}")
        lambdas = torch.stack([model.resid_lambdas.detach(), model.x0_lambdas.detach()]).float()
        arrays = (
            (self.addresses, self.table, self.table_scale, self.gate_like),
            lambdas.numpy(),
            self.windows,
            self._rope(model, cache.capacity),
            (ids_B.numpy(), np.array(cache.lengths)),
            (_numbers(cache.key_rows_LRGCK), _numbers(cache.value_rows_LRGCK)),
        )
        B = len(ids_B)
        final_BD = np.empty((B, model.config.n_embd), np.float32)
        _share(
            lambda a, b: loops.blocks(*arrays, final_BD, a, b),
            B,
            work=B * self.num_weights,
            unit=loops.COLUMNS,
        )
        cache.advance([1] * B)
        logits_BV = torch.empty(B, model.config.vocab_size)
        self._head(final_BD, logits_BV, model.lm_head.weight)
        return logits_BV

    def _head(self, x_BD: np.ndarray, logits_BV: torch.Tensor, weight_VD: torch.Tensor) -> None:
        from picochat.kernels import decode_loops as loops

        out_BV, (B, V) = logits_BV.numpy(), logits_BV.shape
        if B >= PRODUCT_ROWS and weight_VD.dtype == torch.float32:
            # The head has more rows than there are tokens.
            torch.mm(torch.from_numpy(x_BD), weight_VD.detach()[:V].T, out=logits_BV)
            _share(lambda a, b: loops.softcap(out_BV, a, b), V, work=B * V, unit=loops.LANES)
            return

        def work_on(first: int, last: int) -> None:
            loops.head(self.head, self.head_scale, self.head_sums, x_BD, out_BV, first, last)
            loops.softcap(out_BV, first, last)

        _share(work_on, V, work=B * self.head.size, unit=loops.ROWS)

    def _rope(self, model: GPT, capacity: int) -> np.ndarray:
        if self.rope is None or self.rope.shape[1] < capacity:
            cos, sin = model.rope_at(torch.arange(capacity), capacity)
            self.rope = torch.stack((cos[:, 0], sin[:, 0])).contiguous().numpy()
        return self.rope


def _share(work_on: Callable[[int, int], object], size: int, *, work: int, unit: int) -> None:
    """Call work_on(start, stop) for range(size), or for parts of it that begin at multiples of `unit`."""
    if work < SHARED_WORK:
        work_on(0, size)
    else:
        in_parallel(lambda a, b: work_on(unit * a, min(unit * b, size)), -(-size // unit))


_plans: WeakKeyDictionary[GPT, _Plan] = WeakKeyDictionary()


def _plan_of(model: GPT) -> _Plan | None:
    """Return the plan of a model, None for one whose numbers are of several kinds."""
    plan = _plans.get(model)
    if plan is None or plan.key != addresses(model):
        plan = _make_plan(model)
        if plan is not None:
            _plans[model] = plan
    return plan


def _make_plan(model: GPT) -> _Plan | None:
    from picochat.kernels import decode_loops as loops
    from picochat.kernels.int8_dot import row_sums

    kept: list[Any] = []
    table = np.zeros((model.config.n_layer, 9, 3), dtype=np.int64)
    dtypes = {model.wte.weight.dtype, model.lm_head.weight.dtype}
    gate_like, num_weights = torch.empty(0), 0

    def scale_of(module: Any) -> torch.Tensor:
        if not isinstance(module, Int8Linear | Int8Embedding):
            return torch.empty(0)
        kept.append(module.scale.detach().float().contiguous())
        return kept[-1]

    blocks: list[Any] = list(model.h)
    for layer, block in enumerate(blocks):
        attn, mlp = block.attn, block.mlp
        modules = {
            loops.Q: attn.c_q,
            loops.KEY: attn.c_k,
            loops.VALUE: attn.c_v,
            loops.OUT: attn.c_proj,
            loops.UP: mlp.c_fc,
            loops.DOWN: mlp.c_proj,
        }
        if attn.ve_gate is not None:
            table[layer, loops.GATE, 0] = attn.ve_gate.weight.data_ptr()
            gate_like = attn.ve_gate.weight.detach()[:0]
            modules[loops.TABLE] = model.ve[str(layer)]
        for column, module in modules.items():
            scale = scale_of(module)
            sums = row_sums(_numbers(module.weight))
            kept.append(sums)
            table[layer, column] = (
                module.weight.data_ptr(),
                scale.data_ptr() if scale.numel() else 0,
                sums.ctypes.data if sums.size else 0,
            )
            dtypes.add(module.weight.dtype)
            num_weights += module.weight.numel() if column != loops.TABLE else 0
    if len(dtypes) > 1 or not all(tensor.is_contiguous() for tensor in model.parameters()):
        return None
    return _Plan(
        key=addresses(model),
        addresses=table,
        table=_numbers(model.wte.weight),
        table_scale=scale_of(model.wte).numpy(),
        head=_numbers(model.lm_head.weight),
        head_scale=scale_of(model.lm_head).numpy(),
        head_sums=row_sums(_numbers(model.lm_head.weight)),
        gate_like=_numbers(gate_like),
        windows=np.array(model.config.windows),
        num_weights=num_weights,
        kept=kept,
    )


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    """Return a view of a tensor; bfloat16, which numpy has not, as uint16."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
