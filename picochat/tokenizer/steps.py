"""BPE on one text, join by join: in which order merges touch it, and what a smaller vocabulary makes of it.

The joins of a piece go up in rank: a pair that holds a new id was learned after that id. So one pass with all
merges tells the tokens of every smaller vocabulary too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from picochat.tokenizer.pieces import replace_surrogates, splitter
from picochat.tokenizer.vocabulary import NUM_BYTES, Merge

Ranks = Mapping[Merge, int]
"""Pair of ids -> place of its merge, from 0."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A text after some merges, and the merge that changes it next."""

    ids: tuple[int, ...]
    """The tokens of the text."""
    rank: int | None
    """The merge that comes next; None when no merge is left that changes the text."""
    places: tuple[int, ...]
    """Where it joins: indices into `ids` of each pair's left one."""


def rank_merges(merges: Sequence[Merge]) -> dict[Merge, int]:
    """Return the rank of each pair."""
    return {merge: rank for rank, merge in enumerate(merges)}


def steps(text: str, merges: Sequence[Merge]) -> list[Step]:
    """Return the text as bytes, then after each merge that changes it; the last is the finished encoding."""
    ranks = rank_merges(merges)
    pieces = [list(piece.encode()) for piece in splitter().findall(replace_surrogates(text))]
    found: list[Step] = []
    while True:
        rank = min((best for piece in pieces if (best := _best(piece, ranks)) is not None), default=None)
        ids = tuple(id for piece in pieces for id in piece)
        if rank is None:
            found.append(Step(ids=ids, rank=None, places=()))
            return found
        places: list[int] = []
        joined: list[list[int]] = []
        before = 0
        for piece in pieces:
            whole, starts = _join(piece, merges[rank], NUM_BYTES + rank)
            joined.append(whole)
            places += [before + start for start in starts]
            before += len(piece)
        found.append(Step(ids=ids, rank=rank, places=tuple(places)))
        pieces = joined


def count_joins(counts: Mapping[str, int], merges: Sequence[Merge]) -> np.ndarray:
    """Return how often each merge joins two ids in a text of these pieces, shape (number of merges,).

    With the first n merges the text has (its bytes) - sum(joins[:n]) tokens.
    """
    ranks = rank_merges(merges)
    joins_M = np.zeros(len(merges), dtype=np.int64)
    for piece, count in counts.items():
        ids = list(piece.encode())
        while (rank := _best(ids, ranks)) is not None:
            ids, starts = _join(ids, merges[rank], NUM_BYTES + rank)
            joins_M[rank] += count * len(starts)
    return joins_M


def bytes_per_token(counts: Mapping[str, int], merges: Sequence[Merge]) -> np.ndarray:
    """Return the bytes per token of a text with the first 0, 1, ..., all merges, shape (merges + 1,)."""
    num_bytes = sum(count * len(piece.encode()) for piece, count in counts.items())
    saved_M1 = np.concatenate(([0], np.cumsum(count_joins(counts, merges))))
    return num_bytes / (num_bytes - saved_M1)


def _best(ids: Sequence[int], ranks: Ranks) -> int | None:
    """Return the lowest rank of a pair of neighbours."""
    known = [rank for pair in pairwise(ids) if (rank := ranks.get(pair)) is not None]
    return min(known, default=None)


def _join(ids: Sequence[int], pair: Merge, new_id: int) -> tuple[list[int], list[int]]:
    """Return the ids with every `pair` joined, and the indices in `ids` where one began."""
    joined: list[int] = []
    starts: list[int] = []
    at = 0
    while at < len(ids):
        if at + 1 < len(ids) and (ids[at], ids[at + 1]) == pair:
            starts.append(at)
            joined.append(new_id)
            at += 2
        else:
            joined.append(ids[at])
            at += 1
    return joined, starts
