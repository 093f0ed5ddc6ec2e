"""What a safetensors file holds, from its header alone: at once, however large the file is.

Format: eight bytes with the header's length (little endian), the header as JSON, then the values.
Source: https://huggingface.co/docs/safetensors
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picochat.errors import UserError

BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
"""Size of a value of each number format that is known here."""
LARGEST_HEADER = 100_000_000
"""What the format allows."""


@dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """One tensor, as the header tells of it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Where its values begin in the file."""
    num_bytes: int
    problem: str = ""

    @property
    def num_values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """The header of a safetensors file."""

    path: Path
    num_bytes: int
    tensors: tuple[TensorFacts, ...]
    """In the order of their names, numbers in names by their value."""
    metadata: dict[str, str]

    @property
    def num_values(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.num_values for tensor in self.tensors)

    @classmethod
    def read(cls, path: Path) -> "TensorFile":
        """Read the header. Raises UserError if it is damaged, OSError if there is no such file."""
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, LARGEST_HEADER):
                raise UserError(f"{path}: not a safetensors file, or only the beginning of one")
            text = file.read(length)
        try:
            header = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: the header is no JSON; the file is damaged") from error
        if not isinstance(header, dict):
            raise UserError(f"{path}: the header is no JSON object; the file is damaged")
        metadata = header.pop("__metadata__", {})
        tensors = [_facts(path, name, entry, 8 + length, size) for name, entry in header.items()]
        return cls(
            path=path,
            num_bytes=size,
            tensors=tuple(sorted(tensors, key=lambda tensor: natural(tensor.name))),
            metadata={str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {},
        )

    def find(self, name: str) -> TensorFacts | None:
        """Return the tensor of this name, if there is one."""
        return next((tensor for tensor in self.tensors if tensor.name == name), None)


def _facts(path: Path, name: str, entry: Any, base: int, size: int) -> TensorFacts:
    try:
        dtype, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        num_values = math.prod(shape)
        is_sound = all(isinstance(n, int) and n >= 0 for n in (*shape, first, last)) and first <= last
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path}: what the header says of {name!r} is damaged") from error
    if not is_sound or not isinstance(dtype, str):
        raise UserError(f"{path}: what the header says of {name!r} is damaged")
    problem = ""
    if base + last > size:
        problem = "its values lie behind the end of the file"
    elif dtype in BYTES and num_values * BYTES[dtype] != last - first:
        problem = "shape and size do not agree"
    return TensorFacts(
        name=name, dtype=dtype, shape=shape, start=base + first, num_bytes=last - first, problem=problem
    )


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts h.2 before h.10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def layer_of(name: str) -> tuple[str, int | None]:
    """Return a tensor's name without its layer, and the layer.

    >>> layer_of("h.11.attn.c_q.weight"), layer_of("lm_head.weight")
    (('h.*.attn.c_q', 11), ('lm_head', None))
    """
    short = name.removesuffix(".weight")
    match = re.search(r"(^|\.)(\d+)(\.|$)", short)
    if match is None:
        return short, None
    return f"{short[: match.start(2)]}*{short[match.end(2) :]}", int(match[2])
