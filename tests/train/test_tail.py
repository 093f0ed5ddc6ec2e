"""Files of JSON lines that grow, are cut or replaced while they are read."""

import json
import os
import random
from pathlib import Path
from typing import Any

from picochat.train.tail import Tail


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_a_growing_file_is_read_piece_by_piece(tmp_path):
    path = tmp_path / "a.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
    assert tail.read() == [{"a": 1}, {"a": 2}]
    assert tail.read() == []
    with path.open("ab") as file:
        file.write(b": 3}\n[1]\nno\n\xff\n")
    assert tail.read() == [{"a": 3}]
    assert tail.damaged == 3


def test_any_split_of_a_file_gives_the_same_rows(tmp_path):
    draw = random.Random(0)
    rows = [{"n": number, "text": "x" * draw.randrange(50)} for number in range(300)]
    whole = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / "a.jsonl"
    tail, found, written = Tail(path), [], 0
    while written < len(whole):
        size = draw.randrange(1, 200)
        with path.open("ab") as file:
            file.write(whole[written : written + size])
        written += size
        found += tail.read()
    assert found == rows


def test_a_file_that_was_cut_or_replaced_is_read_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n')
    tail = Tail(path)
    tail.read()
    path.write_bytes(b'{"a": 9}\n')
    assert (tail.read(), tail.began_anew()) == ([{"a": 9}], True)
    other = tmp_path / "b.jsonl"
    other.write_bytes(b'{"a": 7}\n{"a": 8}\n')
    os.replace(other, path)
    assert (tail.read(), tail.began_anew()) == ([{"a": 7}, {"a": 8}], True)
    path.unlink()
    assert tail.read() == []
    assert not tail.began_anew()


def test_only_the_end_of_a_long_file_is_read_if_asked(tmp_path):
    path = tmp_path / "a.jsonl"
    write_rows(path, [{"n": number} for number in range(1000)])
    rows = Tail(path, newest=100).read()
    assert rows[-1] == {"n": 999}
    assert 5 < len(rows) < 12


def test_only_the_end_of_a_long_file_is_read_of_a_replaced_one_too(tmp_path):
    path, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_rows(path, [{"n": 0}])
    tail = Tail(path, newest=100)
    tail.read()
    write_rows(other, [{"n": number} for number in range(1000)])
    os.replace(other, path)
    rows = tail.read()
    assert tail.began_anew()
    assert rows[-1] == {"n": 999}
    assert 5 < len(rows) < 12
    # What is longer than that may still come: nothing of it is passed over.
    with path.open("a") as file:
        file.writelines(json.dumps({"n": number}) + "\n" for number in range(1000, 2000))
    assert [row["n"] for row in tail.read()] == list(range(1000, 2000))


def test_a_line_longer_than_a_chunk_is_one_row(tmp_path):
    path = tmp_path / "a.jsonl"
    write_rows(path, [{"text": "y" * 1_000_000}, {"text": "z"}])
    assert [len(row["text"]) for row in Tail(path).read()] == [1_000_000, 1]
