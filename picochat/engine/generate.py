"""The engine: prompts in, answers out, as a stream of events or many at once.

B: rows, T: positions, V: vocabulary.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from picochat.engine.decode import DecodeBatch, Row, num_shared
from picochat.engine.events import Completion, Event
from picochat.engine.options import MAX_SEED, SamplingOptions
from picochat.engine.reasoning import AnswerState, forbidden_ids
from picochat.errors import UserError
from picochat.kernels.decode import next_logits
from picochat.model.cache import KVCache
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer

__all__ = ["Engine", "Generation", "SamplingOptions"]

TOOL_TOKENS = 64
"""Room for tool results in a batch's first cache; where they need more it grows."""


class Generation(Iterator[Event]):
    """One answer as an iterator of events, the last of which is `Done`.

    It may be stopped between tokens: by `cancel` (a `Done("cancelled")` follows), by `close`, or by simply
    not iterating on. Starting another generation of the same engine cancels it too.
    """

    def __init__(self, engine: "Engine", row: Row, batch: DecodeBatch) -> None:
        self._engine = engine
        self._row = row
        self._batch = batch
        self._events = deque(row.events)
        self._is_cancelled = False

    def __next__(self) -> Event:
        """Return the next event, decoding as many tokens as it takes."""
        state = self._row.state
        while not self._events and not state.finish_reason:
            if self._is_cancelled or self._engine.current is not self:
                self._events.extend(state.cancel())
            else:
                for _, events in self._batch.step():
                    self._events.extend(events)
        if not self._events:
            raise StopIteration
        return self._events.popleft()

    def cancel(self) -> None:
        """Stop before the next token. May be called from another thread or a signal handler."""
        self._is_cancelled = True

    def close(self) -> None:
        """Stop, and report no more events."""
        self._is_cancelled = True
        if not self._row.state.finish_reason:
            self._row.state.cancel()
        self._events.clear()

    @property
    def completion(self) -> Completion:
        """The answer so far."""
        return self._row.state.completion

    @property
    def cached_ids(self) -> list[int]:
        """The ids whose keys and values the engine's cache holds."""
        return self._row.ids[: self._batch.cache.lengths[0]]


class Engine:
    """Generates with a model. One thread at a time; several engines may share a model.

    The context is the model's `sequence_len`. The cache of a stream is allocated once, and what a new
    prompt shares with the last one and its answer is not read again.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer) -> None:
        if tokenizer.vocab_size != model.config.vocab_size:
            raise UserError(
                f"the tokenizer has {tokenizer.vocab_size} ids and the model {model.config.vocab_size}; "
                "use the tokenizer the model was trained with"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.context = model.config.sequence_len
        self.forbidden = forbidden_ids(tokenizer)
        """Ids that are never sampled."""
        self.current: Generation | None = None
        """The generation that has the cache."""
        self._cache = self.new_cache(1, self.context)
        # What the cache holds while no generation has it.
        self._held: list[int] = []

    def generate(
        self, prompt_ids: Sequence[int], options: SamplingOptions | None = None, *, num_logprobs: int = 0
    ) -> Generation:
        """Return the answer to `prompt_ids` as an iterator of events.

        A prompt may hold the beginning of an answer behind `<|assistant_start|>`; it is continued. Every
        token comes with its log-probability, and with the `num_logprobs` likeliest ones at its place.

        Raises UserError for an empty prompt, one longer than the context, or ids outside of the vocabulary.
        """
        row = self.new_row(prompt_ids, (options or SamplingOptions()).seeded(), num_logprobs=num_logprobs)
        shared = self._truncate_to_shared(row.prompt_ids)
        del row.pending[:shared]
        batch = DecodeBatch(
            self.model,
            self._cache,
            [row],
            tokenizer=self.tokenizer,
            forbidden=self.forbidden,
        )
        self.current = Generation(self, row, batch)
        return self.current

    def generate_batch(
        self,
        prompts: Sequence[Sequence[int]],
        options: SamplingOptions | None = None,
        num_samples: int = 1,
        *,
        num_logprobs: int = 0,
    ) -> list[list[Completion]]:
        """Return `num_samples` answers to each prompt, decoded together.

        Sample j uses the seed `options.seed + j`, and equals what `generate` gives alone with that seed.
        Each prompt is read once. Memory: one cache row of prompt + max_tokens per sample.

        Raises UserError as `generate` does.
        """
        options = (options or SamplingOptions()).seeded()
        assert options.seed is not None
        seeds = [(options.seed + j) % (MAX_SEED + 1) for j in range(num_samples)]
        rows = [
            [
                self.new_row(prompt_ids, replace(options, seed=seed), num_logprobs=num_logprobs)
                for seed in seeds
            ]
            for prompt_ids in prompts
        ]
        # A row is over before it began where a tool result that the prompt waits for does not fit.
        active = [row for group in rows for row in group if not row.state.finish_reason]
        if active:
            batch = DecodeBatch(
                self.model,
                self._prefill(active, options.max_tokens),
                active,
                tokenizer=self.tokenizer,
                forbidden=self.forbidden,
            )
            while batch.rows:
                batch.step()
        return [[row.state.completion for row in group] for group in rows]

    @torch.no_grad()
    def next_logits(self, prompt_ids: Sequence[int]) -> torch.Tensor:
        """Return the logits (V,) float32 of the token that would follow `prompt_ids`."""
        self._check(prompt_ids)
        shared = self._truncate_to_shared(prompt_ids)
        ids_1T = torch.tensor([list(prompt_ids[shared:])], device=self.model.device)
        logits_V = next_logits(self.model, ids_1T, self._cache)[0]
        self._held = list(prompt_ids)
        return logits_V

    def warm_up(self) -> None:
        """Make a step for nobody: the first one may compile something, or load what is compiled."""
        self.next_logits([self.tokenizer.special["<|bos|>"]])

    def forget(self) -> None:
        """Empty the cache: to be called when the model's weights have changed."""
        self.current, self._held = None, []
        self._cache = self.new_cache(1, self.context)

    def _check(self, prompt_ids: Sequence[int]) -> None:
        if not prompt_ids:
            raise UserError("the prompt is empty; a chat prompt begins with <|bos|>, so does a text")
        if len(prompt_ids) > self.context:
            raise UserError(
                f"the prompt has {len(prompt_ids)} tokens and the model's context holds {self.context}; "
                "shorten the prompt or clear the conversation"
            )
        if min(prompt_ids) < 0 or max(prompt_ids) >= self.tokenizer.vocab_size:
            raise UserError(
                f"the prompt has ids outside of the vocabulary (0 to {self.tokenizer.vocab_size - 1})"
            )

    def new_row(
        self,
        prompt_ids: Sequence[int],
        options: SamplingOptions,
        *,
        num_logprobs: int = 0,
        score_prompt: bool = False,
    ) -> Row:
        """Return an answer that has not begun, for a batch; `options` are seeded.

        Raises UserError as `generate` does.
        """
        self._check(prompt_ids)
        # The model may still say what follows a full context.
        room = self.context + 1 - len(prompt_ids)
        state = AnswerState(self.tokenizer, options, room=room)
        return Row(prompt_ids, options, state, num_logprobs=num_logprobs, score_prompt=score_prompt)

    def new_cache(self, batch_size: int, capacity: int, *, max_rows: int | None = None) -> KVCache:
        """Return an empty cache for the model."""
        return KVCache(
            self.model.config,
            batch_size=batch_size,
            max_rows=max_rows,
            capacity=capacity,
            device=self.model.device,
            dtype=self.model.compute_dtype,
        )

    def _truncate_to_shared(self, prompt_ids: Sequence[int]) -> int:
        """Keep in the cache what the prompt shares with it, all but the last token; return its length."""
        held = self.current.cached_ids if self.current is not None else self._held
        shared = num_shared(held, prompt_ids[:-1])
        self._cache.truncate([shared])
        self.current, self._held = None, list(prompt_ids[:shared])
        return shared

    @torch.no_grad()
    def _prefill(self, rows: Sequence[Row], max_tokens: int) -> KVCache:
        """Read all but the last pending id of each row, every distinct prompt once."""
        distinct: dict[tuple[int, ...], int] = {}
        index = [distinct.setdefault(tuple(row.pending), len(distinct)) for row in rows]
        num_read = [len(ids) - 1 for ids in distinct]
        longest = max(num_read)
        capacity = min(self.context, longest + 1 + max_tokens + TOOL_TOKENS)
        cache = self.new_cache(len(distinct), capacity)
        if longest:
            padded = [list(ids[:-1]) + [0] * (longest - len(ids) + 1) for ids in distinct]
            ids_BT = torch.tensor(padded, device=self.model.device)
            self.model(ids_BT, cache=cache, num_new=num_read, last_only=True)
        for row in rows:
            del row.pending[:-1]
        return cache.keep(index) if len(index) > len(distinct) else cache
