"""One token for each row of a cache on CUDA: the whole step recorded as a CUDA graph, and replayed.

In plain PyTorch the host takes longer to launch the hundreds of small operations of a step than the device to
do them. A recording launches all at once, but does the same on the same memory each time: so it reads ids
and lengths from fixed places, and attends to a fixed number of slots of the cache, masking those that hold
nothing. Steps are recorded for numbers of rows and of slots that are powers of two.

R: rows of the recording, D: width, V: vocabulary, S: slots attended to, C: capacity of the cache,
G: key/value heads, H: query heads, K: channels of a head, E: G * K, L: layers.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch

from picochat.kernels.addresses import addresses
from picochat.kernels.compilation import through_compile
from picochat.model.attention import norm
from picochat.model.cache import KVCache
from picochat.model.gpt import GPT, Block, mix

FEWEST_SLOTS = 128
"""Fewer slots make a step no faster."""

Step = Callable[[], torch.Tensor]
"""Reads one id per row from fixed places; returns the logits (R, V) of the next."""
Rope = tuple[torch.Tensor, torch.Tensor]


def graph_logits(model: GPT, ids_B: torch.Tensor, cache: KVCache) -> torch.Tensor:
    """Append one id to each row of `cache`; return the logits (B, V) of the next, the caller's own.

    It is `model(ids_B[:, None], cache=cache, last_only=True)[:, 0]` to rounding.
    """
    assert max(cache.lengths) < cache.capacity
    key = (model.compute_dtype, *addresses(model))
    steps = _steps.get(cache)
    if steps is None or steps.key != key:
        steps = _steps[cache] = _Steps(model, cache, key)
    logits_BV = steps.run(model, ids_B, cache)
    cache.advance([1] * len(ids_B))
    return logits_BV


class Recorder:
    """Records steps on a CUDA device. Its recordings share their memory: one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, step: Step) -> torch.Tensor:
        """Do the step on the stream that will record it; libraries set themselves up at the first use."""
        caller = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            out = step()
        caller.wait_stream(self._stream)
        out.record_stream(caller)
        return out

    def record(self, step: Step) -> Step:
        """Return what replays the step. Its result is overwritten by the next replay of any recording."""
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device, but not record.
        with (
            _recording,
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"),
        ):
            out = step()

        def replay() -> torch.Tensor:
            graph.replay()
            return out

        return replay


_recording = threading.Lock()


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream that records on a device. Libraries keep a workspace for each: one is enough."""
    return torch.cuda.Stream(device)


class _Steps:
    """The recorded steps for one cache and the weights of one model."""

    def __init__(self, model: GPT, cache: KVCache, key: tuple) -> None:
        device = cache.key_rows_LRGCK.device
        self.key = key
        # The cache itself must not be held: what is recorded goes when it does.
        self._keys_LRGCK, self._values_LRGCK = cache.key_rows_LRGCK, cache.value_rows_LRGCK
        self._rope = model.rope_at(torch.arange(cache.capacity, device=device), cache.capacity)
        self._ids_R = torch.zeros(cache.max_rows, dtype=torch.long, device=device)
        self._lengths_R = torch.zeros(cache.max_rows, dtype=torch.long, device=device)
        self._recorder = Recorder(device)
        self._warm: set[tuple[int, int]] = set()
        self._recorded: dict[tuple[int, int], Step] = {}

    def run(self, model: GPT, ids_B: torch.Tensor, cache: KVCache) -> torch.Tensor:
        """Return the logits (B, V). A size is recorded when it comes up for the second time."""
        B = len(ids_B)
        size = (
            power_of_two(B, most=cache.max_rows),
            power_of_two(max(cache.lengths) + 1, least=FEWEST_SLOTS, most=cache.capacity),
        )
        self._ids_R[:B].copy_(ids_B)
        # A fresh pinned buffer each time: the copy from the last one may not have been made yet.
        lengths_R = torch.tensor(cache.lengths + [0] * (size[0] - B))
        if self._lengths_R.is_cuda:
            lengths_R = lengths_R.pin_memory()
        self._lengths_R[: size[0]].copy_(lengths_R, non_blocking=True)

        @torch.no_grad()
        def step() -> torch.Tensor:
            return self._step(model, *size)

        if size in self._recorded:
            return self._recorded[size]()[:B].clone()
        if size not in self._warm:
            self._warm.add(size)
            return self._recorder.warm_up(step)[:B]
        self._recorded[size] = self._recorder.record(step)
        return self._recorded[size]()[:B].clone()

    def _step(self, model: GPT, num_rows: int, num_slots: int) -> torch.Tensor:
        return decode_step(
            model,
            self._ids_R[:num_rows],
            self._lengths_R[:num_rows],
            (self._keys_LRGCK[:, :num_rows], self._values_LRGCK[:, :num_rows]),
            self._rope,
            num_slots,
        )


_steps: WeakKeyDictionary[KVCache, _Steps] = WeakKeyDictionary()


def power_of_two(number: int, *, least: int = 1, most: int) -> int:
    """Return the lowest power of two of at least `number` and `least`, or `most` if that is less."""
    return min(most, 1 << (max(number, least) - 1).bit_length())


def decode_step(
    model: GPT,
    ids_R: torch.Tensor,
    lengths_R: torch.Tensor,
    cached: tuple[torch.Tensor, torch.Tensor],
    rope: Rope,
    num_slots: int,
) -> torch.Tensor:
    """Read one id per row; return the logits (R, V) of the next. No shape depends on what tensors hold.

    cached: keys and values (L, R, G, C, K), which row r has `lengths_R[r]` of. rope: tables (C, 1, K / 2).
    Rows that do not count have any id and length.
    """
    ids_R1, device = ids_R[:, None], ids_R.device
    distance_RS = lengths_R[:, None] - torch.arange(num_slots, device=device)
    unseen = {
        window: ((distance_RS < 0) | (distance_RS > window))[:, None, None]
        for window in set(model.config.windows)
    }
    places = torch.arange(len(ids_R), device=device), lengths_R
    cos_R, sin_R = (table[lengths_R[:, None]].to(model.compute_dtype) for table in rope)
    is_compiled = model.kernels == "compile"
    block_step: Any = through_compile(_block_step, varies=True) if is_compiled else _block_step
    x0_R1D = model.embed(ids_R1)
    x_R1D = x0_R1D.view_as(x0_R1D)
    for layer, block in enumerate(model.h):
        scales = model.resid_lambdas[layer], model.x0_lambdas[layer]
        value_embedding_R1E = model.value_embedding(layer, ids_R1)
        slots = cached[0][layer], cached[1][layer]
        unseen_R11S = unseen[model.config.windows[layer]]
        x_R1D = block_step(
            block, x_R1D, x0_R1D, scales, value_embedding_R1E, (cos_R, sin_R), slots, places, unseen_R11S
        )
    return model.logits(norm(x_R1D))[:, 0]


def _block_step(
    block: Block,
    x_R1D: torch.Tensor,
    x0_R1D: torch.Tensor,
    scales: tuple[torch.Tensor, torch.Tensor],
    value_embedding_R1E: torch.Tensor | None,
    rope: Rope,
    slots: tuple[torch.Tensor, torch.Tensor],
    places: tuple[torch.Tensor, torch.Tensor],
    unseen_R11S: torch.Tensor,
) -> torch.Tensor:
    """Return the residual stream after `block`, whose new keys and values go to `places` of `slots`.

    unseen_R11S: which slots a row must not see.
    """
    x_R1D = mix(x_R1D, x0_R1D, *scales)
    q_R1HK, k_R1GK, v_R1GK = block.attn.heads(norm(x_R1D), value_embedding_R1E, rope)
    (R, _, G, K), S = k_R1GK.shape, unseen_R11S.shape[-1]
    keys_RGCK, values_RGCK = slots
    rows_R, lengths_R = places
    keys_RGCK[rows_R, :, lengths_R] = k_R1GK[:, 0]
    values_RGCK[rows_R, :, lengths_R] = v_R1GK[:, 0]
    # The query is scaled, not the keys as in `attend`: they would be written once more.
    scores = (q_R1HK * K**-0.5).view(R, G, -1, K) @ keys_RGCK[:, :, :S].mT
    probs = scores.masked_fill(unseen_R11S, -torch.inf).softmax(dim=-1)
    x_R1D = x_R1D + block.attn.c_proj((probs @ values_RGCK[:, :, :S]).view(R, 1, -1))
    return x_R1D + block.mlp(norm(x_R1D))
