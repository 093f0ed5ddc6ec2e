"""Reads the files of the built-in world, as text, words and numbers."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from picochat.data.builtin.world import GOODS, OBJECTS, make_world

SEED, SCALE = 5, 0.25
THINGS = {form: many for one, many in (*OBJECTS, *GOODS) for form in (one, many)}
NAMES = {person.name for person in make_world(SEED).people}


def read_documents(path: Path) -> list[str]:
    return pq.read_table(path)["text"].to_pylist()


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+", text))


def digest(root: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in (".jsonl", ".json"):
            hasher.update(path.read_bytes())
        elif path.suffix == ".parquet":
            hasher.update("\0".join(read_documents(path)).encode())
    return hasher.hexdigest()
