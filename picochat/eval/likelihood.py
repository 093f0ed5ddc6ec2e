"""How likely a model finds given continuations of given contexts.

C: contexts of a batch, R: rows (a context with the beginning of one of its continuations), T: positions,
V: vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from picochat.model.cache import KVCache
from picochat.model.gpt import GPT


@dataclass(frozen=True, kw_only=True)
class Alternatives:
    """Token ids that a text may go on with."""

    context: tuple[int, ...]
    """What stands before, `<|bos|>` included; at least one id."""
    continuations: tuple[tuple[int, ...], ...]
    """At least one id each."""

    @property
    def num_rows(self) -> int:
        """Distinct inputs the model has to read: continuations that differ in their last id share one."""
        return len({continuation[:-1] for continuation in self.continuations})

    @property
    def num_positions(self) -> int:
        """Positions the longest of them takes; the last id of a continuation is only predicted."""
        return len(self.context) + max(map(len, self.continuations)) - 1


class Likelihood(NamedTuple):
    logprob: float
    """Sum of log p(token | what stands before it) over the continuation, in nats."""
    is_greedy: bool
    """Whether each of its tokens is the likeliest at its place."""


def log_likelihoods(
    model: GPT,
    requests: Sequence[Alternatives],
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Likelihood]]:
    """Return the likelihood of each continuation of each request.

    Each context is read once, whatever the number of its continuations. Neither the batch size nor the
    padding changes the result but for the rounding of the model's own sums.

    batch_size: rows at a time (one request's rows stay together). progress: called with (done, all).
    """
    results: list[list[Likelihood]] = [[] for _ in requests]
    done = 0
    for batch in _batches(requests, batch_size):
        for index, scored in zip(batch, _score(model, [requests[i] for i in batch]), strict=True):
            results[index] = scored
        done += len(batch)
        if progress is not None:
            progress(done, len(requests))
    return results


def _batches(requests: Sequence[Alternatives], batch_size: int) -> Iterator[list[int]]:
    """Yield indices of requests of about equal length, longest first: memory runs out early or never."""
    batch: list[int] = []
    num_rows = 0
    for index in sorted(range(len(requests)), key=lambda i: -len(requests[i].context)):
        if batch and num_rows + requests[index].num_rows > batch_size:
            yield batch
            batch, num_rows = [], 0
        batch.append(index)
        num_rows += requests[index].num_rows
    if batch:
        yield batch


@torch.no_grad()
def _score(model: GPT, requests: Sequence[Alternatives]) -> list[list[Likelihood]]:
    # Row -> (context, what it reads of a continuation): the last id is only predicted, so that the letters
    # A to E behind one context are a single row.
    rows: dict[tuple[int, tuple[int, ...]], int] = {}
    for c, request in enumerate(requests):
        for continuation in request.continuations:
            rows.setdefault((c, continuation[:-1]), len(rows))
    inputs = [(requests[c].context[-1], *beginning) for c, beginning in rows]
    num_new = [len(ids) for ids in inputs]
    cache = _read(model, [request.context[:-1] for request in requests], room=max(num_new))
    ids_RT = _padded(inputs, model.device)
    logits_RTV = model(ids_RT, cache=cache.keep([c for c, _ in rows]), num_new=num_new)
    best_RT = logits_RTV.argmax(dim=-1).tolist()
    total_RT = logits_RTV.logsumexp(dim=-1).cpu().double()

    scored: list[list[Likelihood]] = []
    for c, request in enumerate(requests):
        scored.append([])
        for continuation in request.continuations:
            row, T = rows[c, continuation[:-1]], len(continuation)
            targets_T1 = torch.tensor(continuation, device=model.device)[:, None]
            chosen_T = logits_RTV[row, :T].gather(-1, targets_T1)[:, 0].cpu().double()
            logprob = float((chosen_T - total_RT[row, :T]).sum())
            scored[-1].append(Likelihood(logprob, best_RT[row][:T] == list(continuation)))
    return scored


def _read(model: GPT, contexts: Sequence[Sequence[int]], *, room: int) -> KVCache:
    """Return a cache that holds the contexts, with room for as many more tokens."""
    longest = max(map(len, contexts))
    cache = KVCache(
        model.config,
        batch_size=len(contexts),
        capacity=longest + room,
        device=model.device,
        dtype=model.compute_dtype,
    )
    if longest:
        num_new = [len(ids) for ids in contexts]
        model(_padded(contexts, model.device), cache=cache, num_new=num_new, last_only=True)
    return cache


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    # Padding stands on the right, where nothing attends to it.
    longest = max(map(len, rows))
    return torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in rows], device=device)
