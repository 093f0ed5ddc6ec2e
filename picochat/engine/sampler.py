"""From logits to the next token.

B: rows, V: vocabulary, K: candidates (the tokens that can still be drawn).

The order is: forbidden ids out, repetition penalty, temperature, top-k, top-p, min-p, draw.

- The penalty p divides positive and multiplies negative logits of the tokens that the answer itself holds,
  once per distinct token (CTRL, arXiv 1909.05858). Prompt, tool results and control tokens are not
  penalised: a user's words and the end of the turn must stay as likely as they are.
- top-p keeps the fewest likeliest candidates whose share of what top-k left reaches p (arXiv 1904.09751).
- min-p keeps candidates at least min_p times as probable as the likeliest (arXiv 2407.01082).
- Greedy (temperature 0, or top-k 1) takes the lowest id among equals. Which of several equals is the k-th
  is open.

Each row draws from its own stream of uniform numbers, a function of its seed, its prompt and the index of the
token alone, by inverting the cumulative distribution in the order of ids. So a row's tokens do not depend
on its batch mates, nor on the order in which rows come and go.
"""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from picochat.engine.options import SamplingOptions

FEW = 500
"""On CPU, top-p alone looks for its tokens among this many first: sorting a whole vocabulary takes
milliseconds."""
_MASK64 = 2**64 - 1


class UniformStream:
    """Uniform numbers in [0, 1) by index, with nothing to save or restore: splitmix64 (Steele et al.
    2014)."""

    def __init__(self, seed: int, prompt_ids: Sequence[int]) -> None:
        # The prompt takes part so that a chat with a fixed seed does not meet the same numbers in every turn.
        digest = hashlib.blake2b(array("q", [seed, *prompt_ids]).tobytes(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "little")

    def __getitem__(self, index: int) -> float:
        z = (self._key + (index + 1) * 0x9E3779B97F4A7C15) & _MASK64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53


class Sampler:
    """Draws one token per row; each row has its own options. Built anew when rows come or go."""

    def __init__(
        self,
        options: Sequence[SamplingOptions],
        *,
        forbidden: Sequence[int] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        # Apple's GPUs know no float64.
        self.dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self._device = device
        self._forbidden = torch.tensor(forbidden, dtype=torch.long, device=device)
        self._top_ks = [o.top_k for o in options]
        self._num_candidates = max(self._top_ks) if all(self._top_ks) else 0
        greedy = [o.is_greedy for o in options]
        self._is_greedy = all(greedy)
        self._greedy_B = torch.tensor(greedy, device=device) if any(greedy) else None
        # Dividing float32 logits by 1e-30 is as good as by less, and can not overflow.
        temperatures = [1.0 if o.is_greedy else max(o.temperature, 1e-30) for o in options]
        self._temperature_B1 = torch.tensor(temperatures, device=device)[:, None]
        self._penalty_B1 = torch.tensor([[o.repetition_penalty] for o in options], device=device)
        self.has_penalty = any(o.repetition_penalty != 1 for o in options)
        self._cuts_p = any(o.top_p < 1 for o in options)
        self._top_p_B1 = self._column([o.top_p if o.top_p < 1 else 2.0 for o in options])
        self._min_p_B1 = self._column([o.min_p for o in options]) if any(o.min_p for o in options) else None
        # The temperature of the reported log-probabilities; greedy has none of its own.
        self._tempers = any(o.temperature not in (0, 1) for o in options)
        reported = [max(o.temperature, 1e-30) if o.temperature else 1.0 for o in options]
        self._reported_temperature_B1 = torch.tensor(reported, device=device)[:, None]

    def draw(
        self, logits_BV: torch.Tensor, uniforms: Sequence[float], seen_BV: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the ids drawn (B,), by one uniform number in [0, 1) per row.

        `seen_BV` says which tokens the repetition penalty counts for.
        """
        scores_BV = self._scores(logits_BV, seen_BV)
        if self._is_greedy:
            return scores_BV.argmax(dim=-1)
        ids_BK, weights_BK = self._candidates(scores_BV)
        cumulative_BK = weights_BK.cumsum(dim=-1, dtype=self.dtype)
        total_B1 = cumulative_BK[:, -1:]
        target_B1 = self._column(uniforms) * total_B1
        # In float32 the uniform number itself may round to 1: the target must stay before the total.
        target_B1 = torch.minimum(target_B1, torch.nextafter(total_B1, torch.zeros_like(total_B1)))
        index_B1 = torch.searchsorted(cumulative_BK, target_B1, right=True)
        ids_B = (index_B1 if ids_BK is None else ids_BK.gather(1, index_B1))[:, 0]
        return (
            ids_B if self._greedy_B is None else torch.where(self._greedy_B, scores_BV.argmax(dim=-1), ids_B)
        )

    def probabilities(self, logits_BV: torch.Tensor, seen_BV: torch.Tensor | None = None) -> torch.Tensor:
        """Return what `draw` draws from, (B, V) float64."""
        scores_BV = self._scores(logits_BV, seen_BV)
        best_B1 = scores_BV.argmax(dim=-1, keepdim=True)
        zeros_BV = torch.zeros(scores_BV.shape, dtype=self.dtype, device=self._device)
        greedy_BV = zeros_BV.scatter(1, best_B1, 1.0)
        if self._is_greedy:
            return greedy_BV
        ids_BK, weights_BK = self._candidates(scores_BV)
        weights_BK = weights_BK.to(self.dtype)
        weights_BV = weights_BK if ids_BK is None else zeros_BV.scatter(1, ids_BK, weights_BK)
        drawn_BV = weights_BV / weights_BV.sum(dim=-1, keepdim=True)
        return (
            drawn_BV if self._greedy_B is None else torch.where(self._greedy_B[:, None], greedy_BV, drawn_BV)
        )

    def logprobs(self, logits_BV: torch.Tensor, ids_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B,) twice: log-probabilities of the ids at temperature 1, and at the row's temperature."""
        chosen_B = logits_BV.gather(1, ids_B[:, None])[:, 0]
        logprob_B = chosen_B - logits_BV.logsumexp(dim=-1)
        if not self._tempers:
            return logprob_B, logprob_B
        tempered_BV = (logits_BV - logits_BV.amax(dim=-1, keepdim=True)) / self._reported_temperature_B1
        tempered_B = tempered_BV.gather(1, ids_B[:, None])[:, 0] - tempered_BV.logsumexp(dim=-1)
        return logprob_B, tempered_B

    def _column(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self._device)[:, None]

    def _scores(self, logits_BV: torch.Tensor, seen_BV: torch.Tensor | None) -> torch.Tensor:
        scores_BV = logits_BV.index_fill(1, self._forbidden, -torch.inf)
        if not self.has_penalty or seen_BV is None:
            return scores_BV
        p_B1 = self._penalty_B1
        penalised_BV = torch.where(scores_BV > 0, scores_BV / p_B1, scores_BV * p_B1)
        return torch.where(seen_BV, penalised_BV, scores_BV)

    def _candidates(self, scores_BV: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return candidates in the order of ids (None: all of them) and their weights, 1 for the
        likeliest."""
        ids_BK, weights_BK = self._ranked(scores_BV)
        if self._min_p_B1 is not None:
            weights_BK = weights_BK.where(weights_BK >= self._min_p_B1, 0.0)
        if ids_BK is None:
            return None, weights_BK
        if ids_BK.shape[1] == scores_BV.shape[1]:
            return None, torch.zeros_like(weights_BK).scatter(1, ids_BK, weights_BK)
        ids_BK, order_BK = ids_BK.sort(dim=-1)
        return ids_BK, weights_BK.gather(1, order_BK)

    def _ranked(self, scores_BV: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return ids and weights after top-k and top-p, likeliest first (or all, unsorted, where neither
        cuts)."""
        V = scores_BV.shape[-1]
        if self._num_candidates:
            values_BK, ids_BK = scores_BV.topk(min(self._num_candidates, V), dim=-1)
            return ids_BK, self._cut(self._weights(values_BK))
        if not self._cuts_p and not any(self._top_ks):
            return None, self._weights(scores_BV)
        if scores_BV.device.type == "cpu" and not any(self._top_ks) and V > FEW:
            values_BK, ids_BK = scores_BV.topk(FEW, dim=-1)
            weights_BK = self._weights(values_BK)
            total_B1 = self._weights(scores_BV).sum(dim=-1, keepdim=True, dtype=self.dtype)
            if (weights_BK.sum(dim=-1, keepdim=True, dtype=self.dtype) >= self._top_p_B1 * total_B1).all():
                return ids_BK, self._cut(weights_BK, total_B1)
        values_BV, ids_BV = scores_BV.sort(dim=-1, descending=True, stable=True)
        return ids_BV, self._cut(self._weights(values_BV))

    def _weights(self, values_BK: torch.Tensor) -> torch.Tensor:
        """Return probabilities relative to the likeliest token's, at the rows' temperatures."""
        # The largest becomes 0 before the division, so that no temperature overflows.
        return ((values_BK - values_BK.amax(dim=-1, keepdim=True)) / self._temperature_B1).exp()

    def _cut(self, weights_BK: torch.Tensor, total_B1: torch.Tensor | None = None) -> torch.Tensor:
        """Apply top-k and top-p to weights that fall from left to right; `total_B1` if they are not all."""
        K = weights_BK.shape[-1]
        if any(top_k and top_k < K for top_k in self._top_ks):
            limit_B1 = torch.tensor(self._top_ks, device=self._device)[:, None]
            rank_K = torch.arange(K, device=self._device)
            weights_BK = weights_BK.where((limit_B1 == 0) | (rank_K < limit_B1), 0.0)
        if self._cuts_p:
            cumulative_BK = weights_BK.cumsum(dim=-1, dtype=self.dtype)
            total_B1 = cumulative_BK[:, -1:] if total_B1 is None else total_B1
            # A candidate goes if those before it have reached p; so the first always stays.
            reached_BK = cumulative_BK >= self._top_p_B1 * total_B1
            weights_BK = weights_BK.clone()
            weights_BK[:, 1:].masked_fill_(reached_BK[:, :-1], 0.0)
        return weights_BK


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The next token's probabilities, likeliest first, over the whole vocabulary."""

    ids: list[int]
    before: list[float]
    """The model's own, at temperature 1."""
    after: list[float]
    """What is drawn from once all options have had their say; 0 for what they rule out."""


def distribution(
    logits_V: torch.Tensor,
    options: SamplingOptions,
    history: Iterable[int] = (),
    *,
    forbidden: Sequence[int] = (),
) -> Distribution:
    """Return the next token's probabilities before and after the options, to be shown.

    `history` holds the ids that the answer has so far (those the repetition penalty counts for).
    """
    sampler = Sampler([options], forbidden=forbidden, device=logits_V.device)
    seen_1V = torch.zeros(1, logits_V.shape[0], dtype=torch.bool, device=logits_V.device)
    seen_1V[0, list(set(history))] = True
    after_V = sampler.probabilities(logits_V[None], seen_1V)[0]
    before_V = logits_V.to(sampler.dtype).softmax(dim=-1)
    before_V, ids_V = before_V.sort(descending=True, stable=True)
    return Distribution(ids=ids_V.tolist(), before=before_V.tolist(), after=after_V[ids_V].tolist())
