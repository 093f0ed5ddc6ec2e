"""Text <-> ids: byte-level BPE with sixteen special tokens that no text can spell."""

import codecs
import json
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from picochat.errors import UserError
from picochat.files import write_whole
from picochat.tokenizer.bulk import CutsDiffer, PieceCache, can_cache
from picochat.tokenizer.formats import (
    build_huggingface,
    parse_huggingface,
    parse_rust,
    rust_document,
    spell,
)
from picochat.tokenizer.pieces import PATTERN, replace_surrogates
from picochat.tokenizer.special import NUM_SPECIAL
from picochat.tokenizer.vocabulary import Merge, Vocabulary, as_merges

if TYPE_CHECKING:
    import numpy as np

    from picochat.tokenizer.piece_table import BulkEncoder

FILE_NAME = "tokenizer.json"


class Tokenizer:
    """Encodes ordinary text and decodes ids; made by `load`, `from_merges` or `train_tokenizer`.

    vocab_size: number of ids V, the specials (last sixteen) included.  special: literal -> id.
    num_bytes: length V, UTF-8 bytes that each id stands for, 0 for specials and unused ids.
    merges: pairs of ids in order; merge i makes id 256+i.  fingerprint: sha256 of what decides the ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.vocab_size: int = vocabulary.vocab_size
        self.special: dict[str, int] = vocabulary.special_ids()
        self.merges: list[Merge] = list(vocabulary.merges)
        self.fingerprint: str = vocabulary.fingerprint()
        self._table = vocabulary.token_table()
        self._first_special = self.vocab_size - NUM_SPECIAL
        self.num_bytes: list[int] = [len(token) for token in self._table[:-NUM_SPECIAL]] + [0] * NUM_SPECIAL
        self._definition = build_huggingface(vocabulary)
        self._bulk: BulkEncoder | None = None
        self._cache = PieceCache(self._encode_piece, self._split) if can_cache(vocabulary.pattern) else None

    @classmethod
    def from_merges(cls, merges: Iterable[Iterable[int]], vocab_size: int, pattern: str = PATTERN) -> Self:
        """Raises UserError when the merges do not fit the size or join unknown ids."""
        return cls(Vocabulary(merges=as_merges(merges), vocab_size=vocab_size, pattern=pattern))

    def __reduce__(self) -> tuple[Any, ...]:
        # For worker processes: a tokenizer travels as its three facts.
        return type(self), (self.vocabulary,)

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text: never a special id, whatever it spells. Lone surrogates count as U+FFFD."""
        return memoryview(self.encode_packed(text)).cast("I").tolist()

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text."""
        return [self.encode(text) for text in texts]

    def encode_packed(self, text: str) -> bytes:
        """`encode` as native uint32 bytes, for `numpy.frombuffer(_, numpy.uint32)`: the fastest form."""
        text = replace_surrogates(text)
        if self._cache is None:
            return self._encode_by_definition(text)
        try:
            return self._cache.encode(text)
        except CutsDiffer:
            return self._encode_by_definition(text)

    def encode_documents(self, documents: Sequence[bytes]) -> "tuple[np.ndarray, np.ndarray]":
        """`encode` of documents in UTF-8: all ids one after another, uint32, and how many each has, int64.

        For tens of megabytes: it is several times as fast as `encode`, by loops that are compiled at first.
        """
        if self._cache is None:
            return _joined([self._encode_by_definition(document.decode()) for document in documents])
        if self._bulk is None:
            from picochat.tokenizer.piece_table import BulkEncoder

            self._bulk = BulkEncoder(
                self.merges, encode_piece=self._encode_piece, check=self._cache.check_character
            )
        try:
            return self._bulk.encode(documents)
        except CutsDiffer:
            return _joined([self.encode_packed(document.decode()) for document in documents])

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids: specials as their literal, broken UTF-8 as U+FFFD.

        Raises ValueError for an id outside of the vocabulary.
        """
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """Bytes of an id: the literal's for a special, none for an unused id. Raises ValueError outside."""
        if not 0 <= id < self.vocab_size:
            raise ValueError(f"id {id} is outside of the vocabulary (0 to {self.vocab_size - 1})")
        return self._table[id]

    def is_special(self, id: int) -> bool:
        """Whether the id is one of the sixteen specials."""
        return id >= self._first_special

    def stream(self) -> "StreamDecoder":
        """A decoder for ids that come one by one."""
        return StreamDecoder(self)

    def save(self, path: str | Path) -> None:
        """Write the Hugging Face `tokenizers` file; into a folder as tokenizer.json. Whole or not at all."""
        _write(Path(path), self._definition.to_str(pretty=False))

    def save_rust(self, path: str | Path) -> None:
        """Write the Rust picochat's JSON; into a folder as tokenizer.json."""
        _write(Path(path), json.dumps(rust_document(self.vocabulary), ensure_ascii=False, indent=2))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file, or a folder's tokenizer.json, in our (Hugging Face) or the Rust picochat's format.

        Raises UserError naming the file and the reason when it is neither.
        """
        file = _file_of(Path(path))
        try:
            return cls(_parse(file.read_bytes()))
        except UserError as error:
            raise UserError(f"{file}: {error}") from error

    def _encode_by_definition(self, text: str) -> bytes:
        return array("I", self._definition.encode(text, add_special_tokens=False).ids).tobytes()

    def _encode_piece(self, piece: str) -> list[int]:
        return [token.id for token in self._definition.model.tokenize(spell(piece.encode()))]

    def _split(self, text: str) -> list[str]:
        split = self._definition.pre_tokenizer
        pieces, position = [], 0
        for _, (start, end) in split.pre_tokenize_str(text) if split is not None else []:
            assert start == position
            pieces.append(text[start:end])
            position = end
        return pieces


class StreamDecoder:
    """Ids one by one to text, character by character: half a character waits for its other bytes.

    The texts of all pushes and of flush, joined, are `Tokenizer.decode` of the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """The text that this id completes, maybe ""."""
        return self._utf8.decode(self._tokenizer.token_bytes(id))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character, else ""."""
        return self._utf8.decode(b"", final=True)


def _joined(packed: Sequence[bytes]) -> "tuple[np.ndarray, np.ndarray]":
    import numpy as np

    lengths = np.array([len(ids) // 4 for ids in packed], dtype=np.int64)
    return np.frombuffer(b"".join(packed), dtype=np.uint32), lengths


def _file_of(path: Path) -> Path:
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{file}: no tokenizer here; give a tokenizer.json or a folder with one, "
            f"or make it with `picochat tokenizer train`"
        )
    return file


def _parse(content: bytes) -> Vocabulary:
    try:
        document = json.loads(content.decode())
    except RecursionError as error:
        raise UserError("not a tokenizer: its JSON is nested too deeply") from error
    except ValueError as error:
        raise UserError(f"not JSON ({error}); the file is damaged or no tokenizer") from error
    if not isinstance(document, dict):
        raise UserError("not a tokenizer: its JSON is not an object")
    return parse_rust(document) if "vocab_size" in document else parse_huggingface(document)


def _write(path: Path, content: str) -> None:
    file = path / FILE_NAME if path.is_dir() else path
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)
