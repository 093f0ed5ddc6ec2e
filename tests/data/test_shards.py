"""Token shards: what is in them, when they are made again, and that they are whole or not there at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from picochat.data import cache, shards, token_workers
from picochat.data.shards import TokenShards, tokenize_to_shards
from picochat.data.text import iter_texts
from picochat.errors import UserError
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([(104, 101), (108, 108), (256, 257)], 300)  # he, ll, hell
TEXT = "hello there\n\nshell 😀\n\n<|bos|>\n\n"


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus" / "a.txt"
    path.parent.mkdir()
    path.write_text(TEXT * 50, encoding="utf-8")
    (path.parent / "b.jsonl").write_text('{"text": "the end"}\n', encoding="utf-8")
    return path.parent


def documents(token_shards: TokenShards) -> list[list[int]]:
    return [token_shards.document(index).tolist() for index in range(token_shards.num_documents)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shards_hold_the_tokens_of_every_document_in_order(corpus, tmp_path, num_workers, monkeypatch):
    monkeypatch.setattr(shards, "_BATCH_CHARS", 100)  # many batches: their order is kept
    made = tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache", num_workers=num_workers)
    texts = list(iter_texts([corpus]))
    assert documents(made) == [TOKENIZER.encode(text) for text in texts]
    assert made.num_documents == len(texts) == 151
    assert made.num_tokens == sum(map(len, documents(made)))
    assert made.num_bytes == sum(len(text.encode()) for text in texts)
    assert made.document(0).dtype == np.uint16


@pytest.mark.parametrize("kernels", ["auto", "portable", "plain"])
def test_workers_compile_for_a_large_corpus_where_they_may(corpus, tmp_path, monkeypatch, kernels):
    modes = []
    monkeypatch.setattr(token_workers, "_LARGE_BYTES", 1000)
    start = token_workers._Worker.__init__
    monkeypatch.setattr(
        token_workers._Worker,
        "__init__",
        lambda worker, path, mode: (modes.append(mode), start(worker, path, mode))[1],
    )
    made = tokenize_to_shards(
        [corpus], TOKENIZER, cache_dir=tmp_path / "cache", num_workers=1, kernels=kernels
    )
    assert modes == ["compiled" if kernels == "auto" else "portable"]
    assert documents(made) == [TOKENIZER.encode(text) for text in iter_texts([corpus])]
    modes.clear()
    tokenize_to_shards(
        [corpus / "b.jsonl"], TOKENIZER, cache_dir=tmp_path / "cache", num_workers=1, kernels=kernels
    )
    assert modes == ["portable"]  # too small a corpus


def test_ids_past_16_bits_are_kept(tmp_path):
    (tmp_path / "t.txt").write_text("hello", encoding="utf-8")
    large = Tokenizer.from_merges(TOKENIZER.merges, 70_000)
    made = tokenize_to_shards([tmp_path / "t.txt"], large, cache_dir=tmp_path / "cache")
    assert made.document(0).dtype == np.uint32
    assert made.document(0).tolist() == large.encode("hello")


def test_the_second_time_nothing_is_read(corpus, tmp_path, monkeypatch):
    first = tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache")

    def fail(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(shards, "iter_groups", fail)
    monkeypatch.setattr(cache, "file_sha256", fail)
    again = tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache")
    assert documents(again) == documents(first)
    assert again.fingerprint == first.fingerprint


def test_the_cache_goes_by_content_tokenizer_and_options(corpus, tmp_path):
    def fingerprint(path, tokenizer=TOKENIZER, **options) -> str:
        return tokenize_to_shards([path], tokenizer, cache_dir=tmp_path / "cache", **options).fingerprint

    text = corpus / "a.txt"
    first = fingerprint(text)
    copy = tmp_path / "copy.txt"
    copy.write_bytes(text.read_bytes())
    assert fingerprint(copy) == first
    assert fingerprint(text, split="file") != first
    assert fingerprint(text, Tokenizer.from_merges(TOKENIZER.merges[:2], 300)) != first
    stat = text.stat()
    text.write_text(TEXT.replace("shell", "bells") * 50, encoding="utf-8")  # as long as before
    os.utime(text, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert fingerprint(text) != first


def flip_a_bit(content: bytes) -> bytes:
    return content[:7] + bytes([content[7] ^ 64]) + content[8:]


def without_checksum(content: bytes) -> bytes:
    """What an older picochat wrote."""
    return json.dumps(
        {name: value for name, value in json.loads(content).items() if name != "crc32"}
    ).encode()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("tokens.bin", lambda content: content[:10]),
        ("tokens.bin", flip_a_bit),  # one id is 16384 more than it was, out of the vocabulary
        ("offsets.bin", flip_a_bit),
        ("meta.json", lambda content: content[:-4]),
        ("meta.json", lambda content: b"\xff"),
        ("meta.json", lambda content: b""),
        ("meta.json", lambda content: b"[]"),
        ("meta.json", lambda content: b"{}"),
        ("meta.json", lambda content: content.replace(b'"num_bytes": ', b'"num_bytes": 1')),
        ("meta.json", without_checksum),
        ("tokens.bin", None),
        ("meta.json", None),
    ],
)
def test_a_damaged_shard_is_made_again(corpus, tmp_path, name, damage):
    def tokenize() -> TokenShards:
        return tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache")

    first = tokenize()
    expected, num_bytes = documents(first), first.num_bytes
    file = tmp_path / "cache" / "shards" / first.fingerprint / name
    whole = file.read_bytes()
    file.unlink()  # not in place: `first` is mapped
    if damage is not None:
        assert damage(whole) != whole
        file.write_bytes(damage(whole))
    again = tokenize()
    assert (documents(again), again.num_bytes) == (expected, num_bytes)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"{}"])
def test_a_damaged_note_of_a_hash_is_written_again(corpus, tmp_path, content):
    file = corpus / "a.txt"
    expected = cache.remembered_sha256(file, tmp_path)
    (note,) = (tmp_path / "hashes").iterdir()
    known = json.loads(note.read_bytes())
    for damaged in (content, json.dumps({**known, "sha256": None}).encode()):
        note.write_bytes(damaged)
        assert cache.remembered_sha256(file, tmp_path) == expected
        assert json.loads(note.read_bytes()) == known


def test_an_error_leaves_nothing_and_a_dead_builder_is_swept(corpus, tmp_path):
    folder = tmp_path / "cache" / "shards"
    (corpus / "b.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"b\.jsonl:1: not valid JSON"):
        tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache")
    assert [path for path in folder.iterdir() if path.is_dir()] == []

    (folder / ".tmp-dead").mkdir()
    (folder / ".tmp-alive").mkdir()
    with FileLock(folder / "alive.lock"):
        made = tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache", on_bad_row="skip")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [".tmp-alive", made.fingerprint]
    assert made.bad_rows.startswith("1 bad row left out; the first: ")
    assert tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache", on_bad_row="skip").bad_rows


def test_a_part_is_shards_of_its_own(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_TOKENS_PER_COUNT", 100)
    whole = tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache")
    part = whole.part(10, 140, num_bytes_V=TOKENIZER.num_bytes)
    assert documents(part) == documents(whole)[10:140]
    assert part.num_tokens == sum(map(len, documents(part)))
    assert part.num_bytes == sum(len(text.encode()) for text in list(iter_texts([corpus]))[10:140])
    assert part.fingerprint not in (
        whole.fingerprint,
        whole.part(9, 140, num_bytes_V=TOKENIZER.num_bytes).fingerprint,
    )


def test_pages_given_back_are_read_again(corpus, tmp_path):
    made = tokenize_to_shards([corpus], TOKENIZER, cache_dir=tmp_path / "cache")
    before = documents(made)
    made.release_pages()
    assert documents(made) == before


@pytest.mark.parametrize("content", ["", "\n\n \n"])
def test_a_corpus_without_text_is_an_error(tmp_path, content):
    path = tmp_path / "t.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="no text in it"):
        tokenize_to_shards([path], TOKENIZER, cache_dir=tmp_path / "cache")


def test_progress_ends_at_the_total(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_BATCH_CHARS", 100)
    calls: list[tuple[int, int]] = []
    tokenize_to_shards(
        [corpus],
        TOKENIZER,
        cache_dir=tmp_path / "cache",
        progress=lambda done, total: calls.append((done, total)),
    )
    size = sum(path.stat().st_size for path in corpus.iterdir())
    assert len(calls) > 5
    assert calls == sorted(calls)
    assert calls[-1] == (size, size)


def test_two_processes_that_want_the_same_build_it_once(corpus, tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer.json")
    script = tmp_path / "build.py"  # no `if __name__ == "__main__"`: workers must not need it
    script.write_text(
        "import json, sys\n"
        "from pathlib import Path\n"
        "from picochat.data import shards\n"
        "from picochat.tokenizer.tokenizer import Tokenizer\n"
        "calls = []\n"
        "tokenizer = Tokenizer.load(sys.argv[2])\n"
        "made = shards.tokenize_to_shards([sys.argv[1]], tokenizer, cache_dir=Path(sys.argv[3]),\n"
        "    num_workers=1, progress=lambda done, total: calls.append(done))\n"
        "print(json.dumps([made.fingerprint, made.num_tokens, bool(calls)]))\n",
        encoding="utf-8",
    )
    command = [
        sys.executable,
        str(script),
        str(corpus),
        str(tmp_path / "tokenizer.json"),
        str(tmp_path / "cache"),
    ]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    (first, second) = sorted(json.loads(run.communicate(timeout=60)[0]) for run in runs)
    assert first[:2] == second[:2]
    assert [first[2], second[2]] == [False, True]


def test_the_default_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("PICOCHAT_CACHE", str(tmp_path))
    assert cache.default_cache_dir() == Path(tmp_path)
