"""Readers: what a file holds comes out as documents, whole and in order, or an error names the place."""

import gzip
import json
import re
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picochat.data import jsonl, parquet, plain_text
from picochat.data.bad_rows import BadRows
from picochat.data.text import find_files, iter_texts
from picochat.errors import UserError

ANY_BLOCK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ---- which files


def test_a_folder_gives_its_readable_files_in_order_at_any_depth(tmp_path):
    for name in ["b.txt", "a/z.jsonl", "a/b/c.parquet", "notes.md", ".hidden/x.txt", "a/.y.txt", "A.TXT"]:
        write(tmp_path / name, "x")
    found = [file.relative_to(tmp_path).as_posix() for file in find_files([tmp_path])]
    assert found == ["A.TXT", "a/b/c.parquet", "a/z.jsonl", "b.txt"]
    assert find_files(str(tmp_path / "b.txt")) == [tmp_path / "b.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.txt", "no such file"),
        ("table.csv", "unknown kind"),
        ("empty", "no file to read in this folder"),
    ],
)
def test_paths_that_can_not_be_read_are_named(tmp_path, name, message):
    write(tmp_path / "table.csv", "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message) as error:
        find_files([tmp_path / name])
    assert str(tmp_path / name) in str(error.value)


# ---- plain text


def whole_file_oracle(text: str, split: str) -> list[str]:
    text = text.replace("\r\n", "\n")
    if split == "paragraphs":
        pieces = re.split(r"\n[^\S\n]*\n\s*", text)
    else:
        pieces = [text] if split == "file" else text.split(split)
    return [piece.strip() for piece in pieces if piece.strip()]


TEXTS = st.lists(
    st.sampled_from(["a", "b", "é", "😀", "\n", "\n\n", "\r\n", "\r", " ", "\t", "<|x|>", "|", "<"])
)


@given(TEXTS.map("".join), st.integers(1, 9), st.sampled_from(["paragraphs", "file", "<|x|>", "\n\n", "\n<"]))
@ANY_BLOCK
def test_plain_text_streamed_in_blocks_of_any_size_equals_the_whole(tmp_path, text, block, split):
    path = write(tmp_path / "t.txt", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_text, "_BLOCK_BYTES", block)
        assert list(iter_texts([path], split=split)) == whole_file_oracle(text, split)


@given(TEXTS.map("".join), st.integers(1, 9), st.integers(1, 9), st.sampled_from(["file", "<|x|>"]))
@ANY_BLOCK
def test_documents_are_cut_at_the_cap_and_nothing_is_lost(tmp_path, text, block, cap, split):
    path = write(tmp_path / "t.txt", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_text, "_BLOCK_BYTES", block)
        patch.setattr(plain_text, "MAX_DOCUMENT_CHARS", cap)
        pieces = list(iter_texts([path], split=split))
    assert all(0 < len(piece) <= cap for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join("".join(whole_file_oracle(text, split)).split())


def test_a_long_document_is_cut_at_a_line_end(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_text, "MAX_DOCUMENT_CHARS", 10)
    path = write(tmp_path / "t.txt", "one\ntwo\nthree\nfou\n")
    assert list(iter_texts([path])) == ["one\ntwo", "three\nfou"]


@pytest.mark.parametrize(
    "content", [b"x" * 24_000_000, b"word word\n" * 2_400_000], ids=["no line end", "lines"]
)
def test_memory_is_bounded_without_any_blank_line(tmp_path, content):
    path = write(tmp_path / "t.txt", content)
    tracemalloc.start()
    total = sum(len(text) for text in iter_texts([path]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 23_999_000
    assert peak < 8_000_000


def test_a_byte_order_mark_is_not_text(tmp_path):
    assert list(iter_texts([write(tmp_path / "t.txt", b"\xef\xbb\xbfhello")])) == ["hello"]


def test_text_that_is_not_utf8_is_named_by_line(tmp_path):
    path = write(tmp_path / "t.txt", b"good\nnaive\nna\xefve\nlast\xff")
    with pytest.raises(UserError, match=re.escape(f"{path}:3: not UTF-8 (byte 0xef at byte 2")):
        list(iter_texts([path]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_text, "_BLOCK_BYTES", 5)
        with pytest.raises(UserError, match=":3: not UTF-8"):  # lines are counted over blocks
            list(iter_texts([path]))
    bad_rows = BadRows("skip")
    assert list(iter_texts([path], on_bad_row=bad_rows)) == ["good\nnaive"]
    assert bad_rows.count == 2
    assert bad_rows.summary().startswith("2 bad rows left out; the first: ")


# ---- JSON Lines


def test_jsonl_of_any_shape_of_line(tmp_path):
    lines = [
        b'\xef\xbb\xbf{"text": "one"}\r\n',
        b"\n",
        b"  \r\n",
        b'{"text": null}\n',
        b'{"id": 1, "text": "\\u0000"}\n',
    ]
    lines += [b'{"text": " "}\n', '{"text": "zwei é"}'.encode()]
    assert list(iter_texts([write(tmp_path / "t.jsonl", b"".join(lines))])) == ["one", "\0", "zwei é"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "cut', "not valid JSON: Unterminated string"),
        (b'{"text": "x"}\0', "not valid JSON: Extra data at column 14"),
        (b'{"text": NaN}', "NaN is not a JSON value"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"text": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b"[1]", "expected an object"),
        (b'{"text": 5}', "'text' is a number, not a string"),
        (
            b'{"text": "x", "id": 1, "text": "y"}',
            'not valid JSON: the name "text" stands twice in one object',
        ),
        (b'{"text": "x", "of": [{"a": 1, "\\u0061": 2}]}', 'the name "a" stands twice in one object'),
        (b'{"body": "x", "id": 1}', "no field 'text'; it has: body, id; choose with --column"),
    ],
)
def test_a_bad_jsonl_row_is_named_or_skipped(tmp_path, line, message):
    path = write(tmp_path / "t.jsonl", b'{"text": "a"}\n\n' + line + b'\n{"text": "b"}\n')
    with pytest.raises(UserError, match=re.escape(message)) as error:
        list(iter_texts([path]))
    assert str(error.value).startswith(f"{path}:3: ")
    assert "\n" not in str(error.value)
    bad_rows = BadRows("skip")
    assert list(iter_texts([path], on_bad_row=bad_rows)) == ["a", "b"]
    assert bad_rows.count == 1


def test_a_last_line_that_was_cut_is_a_bad_row(tmp_path):
    line = '{"text": "é"}'.encode()
    for length in range(1, len(line)):
        path = write(tmp_path / "t.jsonl", b'{"text": "a"}\n' + line[:length])
        with pytest.raises(UserError, match=re.escape(f"{path}:2: not ")):
            list(iter_texts([path]))
        assert list(iter_texts([path], on_bad_row="skip")) == ["a"]


def test_lone_surrogates_become_replacement_characters(tmp_path):
    path = write(tmp_path / "t.jsonl", rb'{"text": "a\ud800b\ude00c \ud83d\ude00"}')
    assert list(iter_texts([path])) == ["a\ufffdb\ufffdc 😀"]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 20)
    path = write(tmp_path / "t.jsonl", b'{"text": "a"}\n' + b"x" * 95 + b'\n{"text": "b"}\n')
    with pytest.raises(UserError, match=":2: longer than"):
        list(iter_texts([path]))
    assert list(iter_texts([path], on_bad_row="skip")) == ["a", "b"]


def test_gzip_is_read_and_a_broken_one_named(tmp_path):
    content = b'{"body": "one"}\n' * 500
    whole = write(tmp_path / "t.jsonl.gz", gzip.compress(content))
    assert list(iter_texts([whole], column="body")) == ["one"] * 500
    for name, data in [("cut", gzip.compress(content)[:-12]), ("junk", b"not gzip at all")]:
        path = write(tmp_path / f"{name}.txt.gz", data)
        with pytest.raises(UserError, match=re.escape(f"{path}: not a whole gzip file")):
            list(iter_texts([path]))


# ---- Parquet

KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_parquet_of_any_codec_and_string_type(tmp_path, codec, kind):
    texts = ["one", None, "", "zwei é 😀", "one"] * 200
    table = pa.table({"id": range(1000), "text": pa.array(texts, pa.string()).cast(kind)})
    path = tmp_path / "deep" / "t.parquet"
    path.parent.mkdir()
    pq.write_table(table, path, compression=codec, row_group_size=300)
    assert list(iter_texts([tmp_path])) == [text for text in texts if text]


def test_parquet_that_is_not_whole_or_of_another_shape_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"body": ["x" * 50] * 5000, "id": range(5000)}), path, compression="snappy")
    with pytest.raises(
        UserError, match=re.escape(f"{path}: no column 'text'; it has: body, id; choose with --column")
    ):
        list(iter_texts([path]))
    with pytest.raises(UserError, match="column 'id' holds int64, not text"):
        list(iter_texts([path], column="id"))
    data = path.read_bytes()
    broken = [data[:-100], data[:6], b"PAR1 no parquet", data[:20] + bytes(200) + data[220:]]
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(UserError, match=re.escape(f"{path}: not a whole Parquet file")) as error:
            list(iter_texts([path], column="body"))
        assert "\n" not in str(error.value)


def test_a_parquet_value_that_is_not_utf8_is_a_bad_row(tmp_path):
    path = tmp_path / "t.parquet"
    raw = pa.array([b"a", b"\xff", b"c"], pa.binary())
    pq.write_table(
        pa.table({"text": pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])}), path
    )
    with pytest.raises(UserError, match="row 2: not UTF-8"):
        list(iter_texts([path]))
    assert list(iter_texts([path], on_bad_row="skip")) == ["a", "c"]


def test_a_parquet_value_that_is_too_long_is_a_bad_row(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_LINE_BYTES", 20)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": ["a", None, "x" * 21, "é" * 10]}), path)
    with pytest.raises(UserError, match="row 3: longer than"):
        list(iter_texts([path]))
    assert list(iter_texts([path], on_bad_row="skip")) == ["a", "é" * 10]


def test_parquet_rows_read_at_once_are_bounded_by_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 4 << 20)
    path = tmp_path / "t.parquet"
    texts = ["x" * (1 << 20)] * 200  # once in the file, in its dictionary
    pq.write_table(pa.table({"text": texts, "id": range(200)}), path)
    assert path.stat().st_size < 1 << 20
    before, peak = pa.total_allocated_bytes(), 0
    for text, expected in zip(iter_texts([path]), texts, strict=True):
        assert text == expected
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 16 << 20


@pytest.mark.parametrize("num_groups", [0, 1])
def test_a_parquet_file_without_rows_gives_no_documents(tmp_path, num_groups):
    path = tmp_path / "t.parquet"
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(num_groups):
            writer.write_table(schema.empty_table())
    assert pq.ParquetFile(path).num_row_groups == num_groups
    assert list(iter_texts([path])) == []
    with pytest.raises(UserError, match="no column 'body'"):
        list(iter_texts([path], column="body"))


def test_files_without_documents_give_none(tmp_path):
    write(tmp_path / "a.txt", "\n \n\n")
    write(tmp_path / "b.jsonl", "")
    write(tmp_path / "c.parquet", "")
    write(tmp_path / "d.jsonl", json.dumps({"text": ""}))
    assert list(iter_texts([tmp_path])) == []
