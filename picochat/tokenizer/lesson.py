"""What learning a vocabulary leaves behind: the merges with their counts, and the text as counted pieces.

BPE is greedy: the merges of a small vocabulary are the first ones of a large one. So a lesson learned up to
the largest size holds every smaller vocabulary too.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import LearnedMerge, Progress, count_pieces, learn_merges
from picochat.tokenizer.vocabulary import MIN_VOCAB_SIZE, check_vocab_size

_MERGES_BETWEEN_REPORTS = 64


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What was learned from a text."""

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

    @property
    def largest(self) -> int:
        """Return the vocabulary size that uses every merge."""
        return MIN_VOCAB_SIZE + len(self.merges)


def learn(
    texts: Iterable[str],
    vocab_size: int,
    *,
    progress: Progress | None = None,
    watch: Callable[[Lesson], None] | None = None,
) -> Lesson:
    """Return what `texts` teach, up to `vocab_size` ids; less where no pair occurs twice any more.

    progress: see `train_tokenizer`. watch: called with the lesson so far now and then.

    Raises:
        UserError: `vocab_size` is out of range.
    """
    check_vocab_size(vocab_size)
    seen = _Seen()
    counts = count_pieces(seen.count(texts), progress=progress)
    num_merges = vocab_size - MIN_VOCAB_SIZE
    merges: list[LearnedMerge] = []

    def lesson() -> Lesson:
        return Lesson(
            counts=counts, merges=tuple(merges), documents=seen.documents, characters=seen.characters
        )

    for merge in learn_merges(counts, num_merges):
        merges.append(merge)
        if len(merges) % _MERGES_BETWEEN_REPORTS == 0:
            if progress is not None:
                progress("merging", len(merges), num_merges)
            if watch is not None:
                watch(lesson())
    if progress is not None:
        progress("merging", num_merges, num_merges)
    return lesson()


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
