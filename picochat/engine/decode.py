"""The decode core: sequences that step together, one forward pass and one token per step.

B: rows, T: new positions, V: vocabulary.

Rows may come from different prompts, have different lengths and options, and leave at any step. A row whose
tool result or other forced ids are due reads them while its mates go on sampling.
"""

from collections.abc import Sequence

import torch

from picochat.engine.events import Event, Token
from picochat.engine.options import SamplingOptions
from picochat.engine.reasoning import AnswerState
from picochat.engine.sampler import Sampler, UniformStream
from picochat.model.cache import KVCache
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer


class Row:
    """One sequence: its prompt, its answer so far, and the ids that the model has still to read."""

    def __init__(self, prompt_ids: Sequence[int], options: SamplingOptions, state: AnswerState) -> None:
        assert options.seed is not None
        self.prompt_ids = list(prompt_ids)
        self.options = options
        self.state = state
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
        num_alternatives: int = 0,
    ) -> None:
        assert cache.batch_size == len(rows)
        self.model = model
        self.cache = cache
        self.rows = list(rows)
        self._tokenizer = tokenizer
        self._forbidden = list(forbidden)
        self._num_alternatives = num_alternatives
        self._sampler = self._new_sampler()
        self._seen_BV: torch.Tensor | None = None
        if self._sampler.has_penalty:
            shape = (len(rows), model.config.vocab_size)
            self._seen_BV = torch.zeros(shape, dtype=torch.bool, device=model.device)

    @torch.no_grad()
    def step(self) -> list[tuple[Row, list[Event]]]:
        """Read what is pending, sample a token for each row that is ready; return their events.

        Rows that finish leave the batch. As many ids are read at once as every row has: one token after
        another in a batch, a tool result at once in a single stream.
        """
        T = min(len(row.pending) for row in self.rows)
        self._make_room(T)
        ids_BT = torch.tensor([row.pending[:T] for row in self.rows], device=self.model.device)
        logits_BV = self.model(ids_BT, cache=self.cache, last_only=True)[:, 0]
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
        ids_B = self._sampler.draw(logits_BV, uniforms, self._seen_BV)
        logprob_B, sampling_logprob_B = self._sampler.logprobs(logits_BV, ids_B)
        # One transfer from the device per step.
        results = torch.stack((ids_B.to(logprob_B.dtype), logprob_B, sampling_logprob_B), dim=1).tolist()
        alternatives: list[tuple[tuple[int, float], ...]] = [()] * len(self.rows)
        entropies: list[float | None] = [None] * len(self.rows)
        if self._num_alternatives:
            logprobs_BV = logits_BV.log_softmax(dim=-1)
            entropies = torch.special.entr(logprobs_BV.exp()).sum(dim=-1).tolist()
            top = logprobs_BV.topk(self._num_alternatives, dim=-1)
            pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            alternatives = [tuple(zip(ids, logprobs, strict=True)) for ids, logprobs in pairs]
        return [
            Token(int(id), logprob=logprob, sampling_logprob=sampled, alternatives=others, entropy=entropy)
            for (id, logprob, sampled), others, entropy in zip(results, alternatives, entropies, strict=True)
        ]

    def _new_sampler(self) -> Sampler:
        options = [row.options for row in self.rows]
        return Sampler(options, forbidden=self._forbidden, device=self.model.device)

    def _drop_finished(self) -> None:
        kept = [b for b, row in enumerate(self.rows) if not row.state.finish_reason]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[b] for b in kept]
        # The last row's cache stays as it is: its owner may go on with it.
        if kept:
            self.cache = self.cache.keep(kept)
            self._sampler = self._new_sampler()
            if self._seen_BV is not None:
                self._seen_BV = self._seen_BV[kept]

    def _make_room(self, num_new: int) -> None:
        """Replace the cache by a larger one if the next ids do not fit (tools may write more than was
        foreseen)."""
        needed = max(self.cache.lengths) + num_new
        if needed > self.cache.capacity:
            self.cache = _enlarged(self.cache, max(needed, self.cache.capacity * 3 // 2))


def _enlarged(cache: KVCache, capacity: int) -> KVCache:
    """Return a cache with the same rows and space for `capacity` tokens."""
    larger = KVCache(
        cache.config,
        batch_size=cache.batch_size,
        capacity=capacity,
        device=cache.keys_LBGCK.device,
        dtype=cache.keys_LBGCK.dtype,
    )
    larger.keys_LBGCK[:, :, :, : cache.capacity] = cache.keys_LBGCK
    larger.values_LBGCK[:, :, :, : cache.capacity] = cache.values_LBGCK
    larger.advance(cache.lengths)
    return larger
