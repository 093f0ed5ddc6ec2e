"""One token for each row of a cache: the whole step as one compiled function where the processor decodes, as
one recording where a CUDA device does (`decode_graph`).

A small model's step in plain PyTorch is some 150 operations, each of which costs more than its arithmetic.
What is left in the compiled step is the reading of the weights, once.
"""

import functools
import time
from collections import defaultdict
from dataclasses import dataclass, field
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
FEWEST_BETWEEN, MOST_BETWEEN = 64, 1024
"""Steps until the slower of both, all threads or one, is tried again; twice as many after a trial in vain."""
TRIAL = 4
"""Steps of a trial, of which the fastest counts: in the first one the other threads are asleep."""
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
            return plan.step(model, ids_BT[:, 0].tolist(), cache)
    return model(ids_BT, cache=cache, last_only=True)[:, 0]


@dataclass
class _Pace:
    """Chooses between all threads and one, for steps of one number of rows, by the time they took.

    Threads that wait for one another gain nothing where something else keeps a core busy: one alone is
    several times as fast then. The results are the same to the bit.
    """

    seconds: dict[bool, float] = field(default_factory=dict)
    """Of a step on all threads and on one, lately."""
    interval: int = FEWEST_BETWEEN
    """Steps from one trial of the slower of both to the next."""
    num_since: int = 0
    """Steps since the last trial."""
    trial: list[float] = field(default_factory=list)
    """Seconds of the steps of the trial that goes on."""

    def choose(self) -> bool:
        """Return whether the next step should be made on all threads."""
        if len(self.seconds) < 2:
            return True not in self.seconds
        self.num_since += 1
        return self._faster() != (self.num_since >= self.interval)

    def tell(self, on_all_threads: bool, seconds: float) -> None:
        """Say how long a step took."""
        if len(self.seconds) < 2 or on_all_threads == self._faster():
            self.seconds[on_all_threads] = (self.seconds.get(on_all_threads, seconds) + seconds) / 2
            return
        self.trial.append(seconds)
        if len(self.trial) < TRIAL:
            return
        self.seconds[on_all_threads] = min(self.trial)
        self.trial.clear()
        is_in_vain = on_all_threads != self._faster()
        self.interval = min(2 * self.interval, MOST_BETWEEN) if is_in_vain else FEWEST_BETWEEN
        self.num_since = 0

    def _faster(self) -> bool:
        """Return whether that is all threads."""
        return self.seconds[True] < self.seconds[False]


@dataclass(kw_only=True)
class _Plan:
    """Where the numbers of a model lie, for the compiled step. They are not copied: training may go on."""

    key: list[int]
    """Addresses of the tensors, by which it is seen that the model got others."""
    numbers: tuple[Any, ...]
    """The numpy types of its numbers."""
    given: np.ndarray
    """The numbers that every step is given."""
    num_weights: int
    """Of all matrices."""
    kept: list[Any]
    """What was computed and `given` points to."""
    rope: torch.Tensor | None = None
    paces: defaultdict[int, _Pace] = field(default_factory=lambda: defaultdict(_Pace))
    """By the number of rows."""

    def step(self, model: GPT, ids: list[int], cache: KVCache) -> torch.Tensor:
        """Read one id per row; return the logits (B, V) of the next."""
        from picochat.kernels import decode_loops as loops
        from picochat.kernels.team import run

        assert max(cache.lengths) < cache.capacity
        B, V, D = len(ids), model.config.vocab_size, model.config.n_embd
        if min(ids) < 0 or max(ids) >= model.wte.weight.shape[0]:
            raise IndexError(f"token ids are 0 to {V - 1}")
        function = loops.step_function(*self.numbers, _number_type(cache.key_rows_LRGCK.dtype))
        rope = self._rope(model, cache.capacity)
        rows = np.array((ids, cache.lengths), np.int64)
        work = np.empty((loops.WORK_WIDTH, B, D), np.float32)
        final_BD, logits_BV = torch.empty(B, D), torch.empty(B, V)
        is_product = B >= PRODUCT_ROWS and model.lm_head.weight.dtype == torch.float32
        changing = (
            *(B, cache.max_rows, cache.capacity),
            *(rows.ctypes.data, rows.ctypes.data + rows.nbytes // 2),
            *(cache.key_rows_LRGCK.data_ptr(), cache.value_rows_LRGCK.data_ptr()),
            *(rope.data_ptr(), rope.data_ptr() + rope.nbytes // 2),
            *(work.ctypes.data, final_BD.data_ptr(), 0 if is_product else logits_BV.data_ptr()),
        )
        given = np.concatenate((self.given, np.array(changing, np.int64)))
        pace = self.paces[B]
        is_shared = B * self.num_weights >= SHARED_WORK and pace.choose()
        began = time.perf_counter()
        run(function, given, on_all_threads=is_shared)
        pace.tell(is_shared, time.perf_counter() - began)
        cache.advance([1] * B)
        if is_product:
            # The head has more rows than there are tokens.
            torch.mm(final_BD, model.lm_head.weight.detach()[:V].T, out=logits_BV)
            out_BV = logits_BV.numpy()
            in_parallel(lambda first, last: loops.softcap(out_BV, first, last), V)
        return logits_BV

    def _rope(self, model: GPT, capacity: int) -> torch.Tensor:
        """Return cosines and sines (2, C, K/2) of at least so many positions."""
        if self.rope is None or self.rope.shape[1] < capacity:
            cos, sin = model.rope_at(torch.arange(capacity), capacity)
            self.rope = torch.stack((cos[:, 0], sin[:, 0])).float()
        return self.rope


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
    from picochat.kernels.team import TEAM

    config, kept = model.config, []
    matrices = np.zeros((config.n_layer, 9, 3), dtype=np.int64)
    windows = np.array(config.windows, np.int64)
    weights, gates, lambdas = [], [], [model.resid_lambdas, model.x0_lambdas]

    def places(module: Any) -> tuple[int, int, int]:
        """Return the addresses of a matrix or table, of its scales and of the sums of its rows, or 0."""
        scale = np.empty(0, np.float32)
        if isinstance(module, Int8Linear | Int8Embedding):
            scale = module.scale.detach().float().contiguous().numpy()
        sums = row_sums(_numbers(module.weight))
        weights.append(module.weight)
        kept.extend((scale, sums))
        return module.weight.data_ptr(), _address(scale), _address(sums)

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
        for column, module in modules.items():
            matrices[layer, column] = places(module)
    head, num_weights = places(model.lm_head), sum(weight.numel() for weight in weights)
    table = places(model.wte)
    for layer, block in enumerate(blocks):
        if block.attn.ve_gate is not None:
            gates.append(block.attn.ve_gate.weight)
            matrices[layer, loops.GATE, 0] = gates[-1].data_ptr()
            matrices[layer, loops.TABLE] = places(model.ve[str(layer)])
    kinds = [{tensor.dtype for tensor in group} for group in (weights, gates or lambdas, lambdas)]
    if any(len(kind) > 1 for kind in kinds) or not all(x.is_contiguous() for x in model.parameters()):
        return None
    given = dict(
        D=config.n_embd, V=config.vocab_size, L=config.n_layer, G=config.n_kv_head, K=config.head_dim
    )
    given |= dict(num_ids=len(model.wte.weight), num_outputs=len(model.lm_head.weight))
    given |= dict(matrices=_address(matrices), windows=_address(windows))
    given |= dict(resid_lambdas=lambdas[0].data_ptr(), x0_lambdas=lambdas[1].data_ptr())
    given |= zip(("table", "table_scale"), table[:2], strict=True)
    given |= zip(("head", "head_scale", "head_sums"), head, strict=True)
    return _Plan(
        key=addresses(model),
        numbers=tuple(_number_type(group[0].dtype) for group in (weights, gates or lambdas, lambdas)),
        given=np.array([0] * len(TEAM) + [given[name] for name in loops.FIXED], np.int64),
        num_weights=num_weights,
        kept=[*kept, matrices, windows],
    )


def _address(array: np.ndarray) -> int:
    """Return where an array lies, 0 for an empty one."""
    return array.ctypes.data if array.size else 0


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    """Return a view of a tensor; bfloat16, which numpy has not, as uint16."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


@functools.cache
def _number_type(dtype: torch.dtype) -> Any:
    """Return the numpy type of such tensors' numbers."""
    return _numbers(torch.empty(0, dtype=dtype)).dtype.type
