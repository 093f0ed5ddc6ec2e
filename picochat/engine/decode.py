"""The decode core: sequences that step together, one forward pass and one token per step.

B: rows, T: new positions, V: vocabulary.

Rows may come from different prompts, have different lengths and options, and join and leave at any step. A
row whose tool result or other forced ids are due reads them while its mates go on sampling.
"""

from collections.abc import Collection, Sequence
from itertools import takewhile

import torch

from picochat.engine.events import Event, Token
from picochat.engine.options import SamplingOptions
from picochat.engine.reasoning import AnswerState
from picochat.engine.sampler import Sampler, UniformStream
from picochat.kernels.decode import next_logits
from picochat.model.cache import KVCache
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer


def num_shared(held: Sequence[int], ids: Sequence[int]) -> int:
    """Return how many ids both begin with."""
    pairs = zip(held, ids, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class Row:
    """One sequence: its prompt, its answer so far, and the ids that the model has still to read."""

    def __init__(
        self,
        prompt_ids: Sequence[int],
        options: SamplingOptions,
        state: AnswerState,
        *,
        num_logprobs: int = 0,
        score_prompt: bool = False,
    ) -> None:
        """`num_logprobs` is how many of the likeliest tokens are told beside each one chosen."""
        assert options.seed is not None
        self.prompt_ids = list(prompt_ids)
        self.options = options
        self.state = state
        self.num_logprobs = num_logprobs
        self.scored_prompt: list[Token] | None = [] if score_prompt else None
        """The prompt from its second token on with log-probabilities, once it is read; None if not asked
        for."""
        self.uniforms = UniformStream(options.seed, self.prompt_ids)
        opening = state.begin(self.prompt_ids)
        self.events: list[Event] = opening.events
        """What happened before the first step: an open tool call of the prompt is answered at once."""
        self.pending = self.prompt_ids + opening.forced
        """Ids that are not in the cache yet."""

    @property
    def ids(self) -> list[int]:
        """The prompt and the answer so far."""
        return self.prompt_ids + [token.id for token in self.state.tokens]


class DecodeBatch:
    """Rows of a KV cache that are decoded together; row b of `rows` is row b of `cache`."""

    def __init__(
        self,
        model: GPT,
        cache: KVCache,
        rows: Sequence[Row],
        *,
        tokenizer: Tokenizer,
        forbidden: Sequence[int],
    ) -> None:
        assert cache.batch_size == len(rows)
        self.model = model
        self.cache = cache
        self.rows = list(rows)
        self._tokenizer = tokenizer
        self._forbidden = list(forbidden)
        self._sampler: Sampler | None = None
        self._seen_BV: torch.Tensor | None = None

    @torch.no_grad()
    def join(self, row: Row, read: KVCache) -> None:
        """Add a row between steps. `read`, a cache of one row, holds all but its pending ids; it is copied.

        The batch's cache must have a row to spare.
        """
        if not self.rows:
            self.cache.drop(range(self.cache.batch_size))
        self.cache.append(read)
        self.rows.append(row)
        self._sampler = None

    def cancel(self, rows: Collection[Row]) -> list[tuple[Row, list[Event]]]:
        """End rows of this batch between steps; return their last events."""
        happened = [(row, row.state.cancel()) for row in rows]
        self._drop_finished()
        return happened

    @torch.no_grad()
    def step(self) -> list[tuple[Row, list[Event]]]:
        """Read what is pending, sample a token for each row that is ready; return their events.

        Rows that finish leave the batch. As many ids are read at once as every row has: one token after
        another in a batch, a tool result at once in a single stream.
        """
        T = min(len(row.pending) for row in self.rows)
        self._make_room(T)
        ids_BT = torch.tensor([row.pending[:T] for row in self.rows], device=self.model.device)
        logits_BV = next_logits(self.model, ids_BT, self.cache)
        for row in self.rows:
            del row.pending[:T]
        tokens = self._sample(logits_BV)
        happened = []
        for b, (row, token) in enumerate(zip(self.rows, tokens, strict=True)):
            if row.pending:
                continue
            step = row.state.push(token)
            row.pending = [token.id, *step.forced]
            happened.append((row, step.events))
            if self._seen_BV is not None and not self._tokenizer.is_special(token.id):
                self._seen_BV[b, token.id] = True
        self._drop_finished()
        return happened

    def _sample(self, logits_BV: torch.Tensor) -> list[Token]:
        uniforms = [row.uniforms[row.state.num_sampled] for row in self.rows]
        sampler = self._sampler or self._meet_rows()
        ids_B = sampler.draw(logits_BV, uniforms, self._seen_BV)
        logprob_B, sampling_logprob_B = sampler.logprobs(logits_BV, ids_B)
        # One transfer from the device per step.
        results = torch.stack((ids_B.to(logprob_B.dtype), logprob_B, sampling_logprob_B), dim=1).tolist()
        alternatives, entropies = likeliest(logits_BV, [row.num_logprobs for row in self.rows])
        return [
            Token(int(id), logprob=logprob, sampling_logprob=sampled, alternatives=others, entropy=entropy)
            for (id, logprob, sampled), others, entropy in zip(results, alternatives, entropies, strict=True)
        ]

    def _meet_rows(self) -> Sampler:
        """Prepare the sampler for the rows there are since some came or left."""
        options = [row.options for row in self.rows]
        self._sampler = Sampler(options, forbidden=self._forbidden, device=self.model.device)
        self._seen_BV = None
        if self._sampler.has_penalty:
            shape = (len(self.rows), self.model.config.vocab_size)
            self._seen_BV = torch.zeros(shape, dtype=torch.bool, device=self.model.device)
            for b, row in enumerate(self.rows):
                sampled = [token.id for token in row.state.tokens if not token.forced]
                self._seen_BV[b, [id for id in sampled if not self._tokenizer.is_special(id)]] = True
        return self._sampler

    def _drop_finished(self) -> None:
        finished = [b for b, row in enumerate(self.rows) if row.state.finish_reason]
        if len(finished) == len(self.rows):
            # The last row's cache stays as it is: its owner may go on with it.
            self.rows = []
        elif finished:
            self.rows = [self.rows[b] for b in self.cache.drop(finished)]
            self._sampler = None

    def _make_room(self, num_new: int) -> None:
        """Replace the cache by a larger one if the next ids do not fit (tools may write more than was
        foreseen)."""
        needed = max(self.cache.lengths) + num_new
        if needed > self.cache.capacity:
            self.cache = _enlarged(self.cache, max(needed, self.cache.capacity * 3 // 2))


def likeliest(
    logits_BV: torch.Tensor, counts: Sequence[int]
) -> tuple[list[tuple[tuple[int, float], ...]], list[float | None]]:
    """Return for each row its `counts[b]` likeliest ids with their log-probabilities, best first, and the
    entropy of all in nats; nothing and None where no ids are wanted."""
    pairs: list[tuple[tuple[int, float], ...]] = [()] * len(counts)
    entropies: list[float | None] = [None] * len(counts)
    wanting = [b for b, count in enumerate(counts) if count]
    if wanting:
        logprobs_BV = logits_BV[wanting].log_softmax(dim=-1)
        entropy_B = torch.special.entr(logprobs_BV.exp()).sum(dim=-1).tolist()
        top = logprobs_BV.topk(max(counts), dim=-1)
        rows = zip(wanting, top.indices.tolist(), top.values.tolist(), entropy_B, strict=True)
        for b, ids, logprobs, entropy in rows:
            pairs[b] = tuple(zip(ids, logprobs, strict=True))[: counts[b]]
            entropies[b] = entropy
    return pairs, entropies


def _enlarged(cache: KVCache, capacity: int) -> KVCache:
    """Return a cache with the same rows and space for `capacity` tokens."""
    larger = KVCache(
        cache.config,
        batch_size=cache.batch_size,
        max_rows=cache.max_rows,
        capacity=capacity,
        device=cache.keys_LBGCK.device,
        dtype=cache.keys_LBGCK.dtype,
    )
    larger.keys_LBGCK[:, :, :, : cache.capacity] = cache.keys_LBGCK
    larger.values_LBGCK[:, :, :, : cache.capacity] = cache.values_LBGCK
    larger.advance(cache.lengths)
    return larger
