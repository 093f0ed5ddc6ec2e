"""A batch that is filled while it runs: rows wait, have their prompts read in pieces, decode, and leave.

B: rows, T: new positions, V: vocabulary.

Memory is taken once: a cache of `max_rows` rows for decoding, and one of a single row that prompts are read
into, one after the other. What a prompt shares with the one before it is not read again.
"""

from collections import deque
from collections.abc import Collection

import torch

from picochat.engine.decode import DecodeBatch, Row, likeliest, num_shared
from picochat.engine.events import Event, Token
from picochat.engine.generate import Engine

Happened = list[tuple[Row, list[Event]]]

PROMPT_TOKENS = 64
"""Prompt tokens read between two steps: so long do the rows that decode wait for a newcomer."""


class ContinuousBatch:
    """Rows of one model. One thread at a time."""

    def __init__(self, engine: Engine, *, max_rows: int, prompt_tokens: int = PROMPT_TOKENS) -> None:
        self._engine = engine
        self._prompt_tokens = prompt_tokens
        self._batch = DecodeBatch(
            engine.model,
            engine.new_cache(0, engine.context, max_rows=max_rows),
            [],
            tokenizer=engine.tokenizer,
            forbidden=engine.forbidden,
        )
        self._reader = engine.new_cache(1, engine.context)
        # The ids that the reader's cache holds.
        self._read: list[int] = []
        self._waiting: deque[Row] = deque()

    @property
    def num_active(self) -> int:
        """Rows that decode."""
        return len(self._batch.rows)

    @property
    def num_waiting(self) -> int:
        """Rows that do not decode yet."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._batch.rows and not self._waiting

    @property
    def num_bytes(self) -> int:
        """Memory of the caches in bytes."""
        return self._batch.cache.num_bytes + self._reader.num_bytes

    def add(self, row: Row) -> None:
        """Let a row take part from the next step on in which there is room for it."""
        self._waiting.append(row)

    def cancel(self, rows: Collection[Row]) -> Happened:
        """End rows, waiting or decoding; return their last events. Rows that are over are left alone."""
        waiting = [row for row in self._waiting if row in rows]
        for row in waiting:
            self._waiting.remove(row)
        happened = [(row, row.state.cancel()) for row in waiting]
        return happened + self._batch.cancel([row for row in self._batch.rows if row in rows])

    def step(self) -> Happened:
        """Read some of the prompts that wait, then decode one token for each row; return their events."""
        happened = self._admit()
        if self._batch.rows:
            happened += self._batch.step()
        # A row may be admitted with events of its own and decode in the same step; it is told of once.
        events: dict[Row, list[Event]] = {}
        for row, some in happened:
            events[row] = events.get(row, []) + some
        return list(events.items())

    def _admit(self) -> Happened:
        happened: Happened = []
        budget = self._prompt_tokens
        while self._waiting and len(self._batch.rows) < self._batch.cache.max_rows:
            row = self._waiting[0]
            if not row.state.finish_reason:
                budget -= self._read_on(row, budget)
                if len(row.pending) > 1:
                    break
                self._batch.join(row, self._reader)
            self._waiting.popleft()
            if row.events:
                # A tool call that the prompt ends with was answered before the first step.
                happened.append((row, row.events))
                row.events = []
        return happened

    @torch.no_grad()
    def _read_on(self, row: Row, budget: int) -> int:
        """Read up to `budget` ids of a prompt, all but its last; return how many were read."""
        ids = row.ids
        held = self._read
        # A prompt that is scored is read anew: the model must say something at each of its places.
        is_new = row.scored_prompt is not None and not row.scored_prompt
        limit = 0 if is_new else len(ids) - 1
        shared = num_shared(held, ids[:limit])
        piece = ids[shared : min(shared + budget, len(ids) - 1)]
        self._reader.truncate([shared])
        self._read = ids[: shared + len(piece)]
        row.pending = ids[shared + len(piece) :]
        if piece:
            ids_1T = torch.tensor([piece], device=self._engine.model.device)
            is_scored = row.scored_prompt is not None
            logits_1TV = self._engine.model(ids_1T, cache=self._reader, last_only=not is_scored)
            if row.scored_prompt is not None:
                # Not what the calculator wrote behind a prompt that ends with a call.
                following = row.prompt_ids[shared + 1 : shared + len(piece) + 1]
                if following:
                    row.scored_prompt += score(logits_1TV[0, : len(following)], following, row.num_logprobs)
        return len(piece)


def score(logits_TV: torch.Tensor, ids: list[int], num_logprobs: int) -> list[Token]:
    """Return the ids with the log-probabilities that the logits give them."""
    ids_T1 = torch.tensor(ids, device=logits_TV.device)[:, None]
    logprobs = (logits_TV.gather(1, ids_T1)[:, 0] - logits_TV.logsumexp(dim=-1)).tolist()
    others, entropies = likeliest(logits_TV, [num_logprobs] * len(ids))
    rows = zip(ids, logprobs, others, entropies, strict=True)
    return [
        Token(id, logprob=logprob, sampling_logprob=logprob, alternatives=alternatives, entropy=entropy)
        for id, logprob, alternatives, entropy in rows
    ]
