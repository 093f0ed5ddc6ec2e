"""Learning the merges of byte-pair encoding from text.

The rule is the Rust picochat's: each round joins the pair of neighbouring ids that is most frequent over all
pieces of the text (overlaps count: "aaa" holds two pairs "aa"); of equally frequent pairs the one with the
smallest ids; it ends when no pair occurs twice. Sennrich et al. 2016, arXiv:1508.07909.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from picochat.tokenizer.pieces import replace_surrogates, splitter
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.vocabulary import MIN_VOCAB_SIZE, NUM_BYTES, check_vocab_size

# Exact up to this many distinct pieces (tens of GB of clean prose); beyond it the rarest are forgotten.
MAX_DISTINCT_PIECES = 2_000_000

# So many characters are cut by `regex`; where more come it pays to compile the loops for them.
_REGEX_CHARACTERS = 8_000_000
_BATCH_CHARACTERS = 1 << 20

# A pair of ids as one integer, left above right: as small and as ordered as the pair, and quicker to hash.
_SHIFT = 20
_RIGHT = (1 << _SHIFT) - 1
_PAIR_BITS = 2 * _SHIFT
_PAIR = (1 << _PAIR_BITS) - 1

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class LearnedMerge:
    """One round: ids left and right become id 256 + round; count is how often they stood side by side."""

    left: int
    right: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What was learned from a text.

    BPE is greedy: the merges of a small vocabulary are the first ones of a large one. So a lesson learned up
    to the largest size holds every smaller vocabulary too.
    """

    counts: Counter[str]
    """How often each piece of the text occurs."""
    merges: tuple[LearnedMerge, ...]
    """In the order they were learned."""
    documents: int
    characters: int

    def tokenizer(self, vocab_size: int) -> Tokenizer:
        """Return the tokenizer of `vocab_size` ids; those that no merge was learned for are unused."""
        check_vocab_size(vocab_size)
        merges = [(merge.left, merge.right) for merge in self.merges[: vocab_size - MIN_VOCAB_SIZE]]
        return Tokenizer.from_merges(merges, vocab_size)


def train_tokenizer(texts: Iterable[str], vocab_size: int, *, progress: Progress | None = None) -> Tokenizer:
    """Learn a tokenizer of `vocab_size` ids; see `learn`."""
    return learn(texts, vocab_size, progress=progress).tokenizer(vocab_size)


def learn(texts: Iterable[str], vocab_size: int, *, progress: Progress | None = None) -> Lesson:
    """Learn a vocabulary of `vocab_size` ids (256 bytes, merges, sixteen specials) from a stream of texts.

    Memory holds the distinct pieces, not the texts. A text too small for the size leaves ids unused.
    progress is called now and then with ("reading", characters read, None), then ("merging", done, of).
    Raises UserError when vocab_size is below 272.
    """
    check_vocab_size(vocab_size)
    seen = _Seen()
    counts = count_pieces(seen.count(texts), progress=progress)
    num_merges = vocab_size - MIN_VOCAB_SIZE
    merges: list[LearnedMerge] = []
    for merge in learn_merges(counts, num_merges):
        merges.append(merge)
        if progress is not None and len(merges) % 64 == 0:
            progress("merging", len(merges), num_merges)
    if progress is not None:
        progress("merging", num_merges, num_merges)
    return Lesson(counts=counts, merges=tuple(merges), documents=seen.documents, characters=seen.characters)


class _Seen:
    """Counts what passes by."""

    def __init__(self) -> None:
        self.documents = 0
        self.characters = 0

    def count(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            self.documents += 1
            self.characters += len(text)
            yield text


def count_pieces(texts: Iterable[str], *, progress: Progress | None = None) -> Counter[str]:
    """How often each piece of the split pattern occurs in all texts together."""
    counts: Counter[str] = Counter()
    findall = splitter().findall
    num_characters, next_report = 0, 0
    remaining = iter(texts)
    for text in remaining:
        counts.update(findall(replace_surrogates(text)))
        if len(counts) > MAX_DISTINCT_PIECES:
            _forget_rarest(counts, MAX_DISTINCT_PIECES // 2)
        num_characters += len(text)
        if progress is not None and num_characters >= next_report:
            progress("reading", num_characters, None)
            next_report = num_characters + (1 << 18)
        if num_characters >= _REGEX_CHARACTERS:
            _count_compiled(remaining, counts, num_characters, progress)
    return counts


def _count_compiled(
    texts: Iterator[str], counts: Counter[str], num_characters: int, progress: Progress | None
) -> None:
    """Count the pieces of the texts that are left."""
    from picochat.tokenizer.piece_table import PieceCounter

    counter = PieceCounter()
    for batch in _batches(texts):
        counter.add([replace_surrogates(text).encode() for text in batch], counts)
        if len(counts) > MAX_DISTINCT_PIECES:
            _forget_rarest(counts, MAX_DISTINCT_PIECES // 2)
        num_characters += sum(map(len, batch))
        if progress is not None:
            progress("reading", num_characters, None)
    counter.flush(counts)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _forget_rarest(counts: Counter[str], keep: int) -> None:
    threshold = 1
    while len(counts) > keep:
        for piece in [piece for piece, count in counts.items() if count <= threshold]:
            del counts[piece]
        threshold *= 2


def learn_merges(counts: Mapping[str, int], num_merges: int) -> Iterator[LearnedMerge]:
    """The merges in order, each as soon as it is known: step through them to see BPE at work."""
    learner = _Learner(counts)
    for new_id in range(NUM_BYTES, NUM_BYTES + num_merges):
        best = learner.pop_best()
        if best is None:
            return
        pair, count = best
        learner.merge(pair, new_id)
        yield LearnedMerge(left=pair >> _SHIFT, right=pair & _RIGHT, count=count)


class _Learner:
    """Distinct pieces as lists of ids, with the count of every pair and where to find it.

    After its first round a pair's count only falls (a pair that gains holds the newest id). So the heap may
    hold counts that are too high, never too low: what comes out on top is looked up and put back if it fell.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._words: list[list[int]] = []
        self._frequencies: list[int] = []
        self._pair_counts: dict[int, int] = {}
        self._places: dict[int, list[int]] = {}  # pair -> indices of words that hold or held it
        for piece, frequency in counts.items():
            word = list(piece.encode())
            if len(word) > 1:
                self._add(word, frequency)
        # One integer sorts by falling count, then by rising pair.
        self._heap = [(-count << _PAIR_BITS) + pair for pair, count in self._pair_counts.items()]
        heapq.heapify(self._heap)

    def _add(self, word: list[int], frequency: int) -> None:
        index = len(self._words)
        self._words.append(word)
        self._frequencies.append(frequency)
        pair_counts, places = self._pair_counts, self._places
        for left, right in pairwise(word):
            pair = left << _SHIFT | right
            if pair in pair_counts:
                pair_counts[pair] += frequency
                if places[pair][-1] != index:
                    places[pair].append(index)
            else:
                pair_counts[pair] = frequency
                places[pair] = [index]

    def pop_best(self) -> tuple[int, int] | None:
        """The pair to join next and its count; None when no pair occurs twice."""
        heap = self._heap
        while heap:
            pair = heap[0] & _PAIR
            count = self._pair_counts.get(pair, 0)
            entry = (-count << _PAIR_BITS) + pair
            if entry == heap[0]:
                heapq.heappop(heap)
                return (pair, count) if count >= 2 else None
            if count >= 2:
                heapq.heapreplace(heap, entry)
            else:
                heapq.heappop(heap)
        return None

    def merge(self, pair: int, new_id: int) -> None:
        """Join the pair to new_id in every word, from left to right."""
        changes: dict[int, int] = {}
        places = self._places
        for index in places.pop(pair):
            appeared = self._merge_word(index, pair, new_id, changes)
            for new_pair in appeared:
                indices = places.setdefault(new_pair, [])
                if not indices or indices[-1] != index:
                    indices.append(index)
        del self._pair_counts[pair]
        for changed, change in changes.items():
            count = self._pair_counts.get(changed, 0) + change
            if count > 0:
                self._pair_counts[changed] = count
            else:
                self._pair_counts.pop(changed, None)
                places.pop(changed, None)
            if count >= 2 and change > 0:
                heapq.heappush(self._heap, (-count << _PAIR_BITS) + changed)

    def _merge_word(self, index: int, pair: int, new_id: int, changes: dict[int, int]) -> list[int]:
        """Rewrite one word; adds to `changes` what each pair's count gains. Returns the new pairs."""
        word, frequency = self._words[index], self._frequencies[index]
        left, right = pair >> _SHIFT, pair & _RIGHT
        merged: list[int] = []
        appeared: list[int] = []
        done, last = 0, len(word) - 1
        while True:
            try:
                at = word.index(left, done, last)
            except ValueError:
                break
            if word[at + 1] != right:
                merged += word[done : at + 1]
                done = at + 1
                continue
            merged += word[done:at]
            # Neighbours as they are now: the one before may be a new_id of this very call.
            if merged:
                before = merged[-1] << _SHIFT
                changes[before | left] = changes.get(before | left, 0) - frequency
                changes[before | new_id] = changes.get(before | new_id, 0) + frequency
                appeared.append(before | new_id)
            if at + 2 <= last:
                after = word[at + 2]
                gone, come = right << _SHIFT | after, new_id << _SHIFT | after
                changes[gone] = changes.get(gone, 0) - frequency
                changes[come] = changes.get(come, 0) + frequency
                appeared.append(come)
            merged.append(new_id)
            done = at + 2
        if merged:
            merged += word[done:]
            self._words[index] = merged
        return appeared
