"""What a run reads: some of the documents of its training text."""

from collections.abc import Sequence

from picochat.data.ahead import Ahead
from picochat.data.packing import PackedDocuments
from picochat.train.run import Run

AMONG = 300
"""Documents that examples are looked for among."""


def example_documents(run: Run, count: int, *, about: Sequence[str] = ()) -> list[str]:
    """Return some documents of a pretraining run: the one with most of the words, then the first ones."""
    batches = run.trainer.batches
    source = batches.source if isinstance(batches, Ahead) else batches
    assert isinstance(source, PackedDocuments)
    shards = source.shards
    texts = [
        run.tokenizer.decode(shards.document(i).tolist()) for i in range(min(shards.num_documents, AMONG))
    ]
    best = max(texts, key=lambda text: sum(word in text for word in about))
    return [best, *(text for text in texts if text != best)][:count]
