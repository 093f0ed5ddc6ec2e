"""Tokenising into shards and training a tokenizer, against Hugging Face's `tokenizers`."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as HuggingFaceTokenizer

from picochat.data.builtin.write import default_world_dir
from picochat.data.shards import tokenize_to_shards
from picochat.data.text import iter_texts
from picochat.tokenizer.pieces import PATTERN
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer
from tests.bench.cases import Repeat, Settings

TRAINING_CHARACTERS = 4_000_000
"""Text that the tokenizer of the first comparison is trained on."""


def documents(settings: Settings, characters: int) -> list[str]:
    """Return documents of so many characters in all; a shorter corpus is begun again."""
    source = settings.text or str(default_world_dir() / "pretrain" / "train.parquet")
    texts = list(iter_texts([source]))

    def repeated() -> Iterator[str]:
        left = characters
        while True:
            for text in texts:
                if left <= 0:
                    return
                left -= len(text)
                yield text

    return list(repeated())


def _tokenizer(settings: Settings, folder: Path) -> Path:
    path = folder / "tokenizer.json"
    train_tokenizer(documents(settings, TRAINING_CHARACTERS), 8192).save(path)
    return path


def _megabytes(settings: Settings, full: float) -> int:
    return int((full / 10 if settings.quick else full) * 1e6)


def shards(settings: Settings) -> Repeat:
    """Return the tokenising of a file into a shard folder, with its reading, hashing and writing."""
    folder = Path(tempfile.mkdtemp(prefix="picochat-bench-"))
    tokenizer = Tokenizer.load(_tokenizer(settings, folder))
    corpus = folder / "corpus.jsonl"
    texts = documents(settings, _megabytes(settings, 50))
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")

    def repeat() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            return tokenize_to_shards(
                [str(corpus)], tokenizer, cache_dir=Path(cache), num_workers=settings.threads
            ).num_bytes

    return repeat


def encode_batch(settings: Settings) -> Repeat:
    """Return the encoding of the same texts, which lie in memory, with the library's own threads."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = HuggingFaceTokenizer.from_file(str(_tokenizer(settings, Path(folder))))
    texts = documents(settings, _megabytes(settings, 50))
    num_bytes = sum(len(text.encode()) for text in texts)

    def repeat() -> float:
        # In parts: the objects of all encodings at once would need gigabytes.
        for start in range(0, len(texts), 1000):
            sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts[start : start + 1000]))
        return num_bytes

    return repeat


def train(settings: Settings) -> Repeat:
    """Return the training of a tokenizer by picochat."""
    texts = documents(settings, _megabytes(settings, 20))

    def repeat() -> float:
        train_tokenizer(texts, 32768)
        return sum(map(len, texts))

    return repeat


def train_hugging_face(settings: Settings) -> Repeat:
    """Return the training of the same tokenizer by `tokenizers`."""
    texts = documents(settings, _megabytes(settings, 20))

    def repeat() -> float:
        tokenizer = HuggingFaceTokenizer(models.BPE())
        split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
        trainer = trainers.BpeTrainer(
            vocab_size=32768 - 16,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            min_frequency=2,
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return sum(map(len, texts))

    return repeat
