"""`prepare`: what is in the files is in the Parquet file, which appears whole or not at all."""

import re

import pyarrow.parquet as pq
import pytest

from picochat.data import prepare as module
from picochat.data.prepare import prepare
from picochat.data.text import iter_texts
from picochat.errors import UserError


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_bytes("\r\n\r\n".join(f"paragraph é {n}" for n in range(2500)).encode())
    (folder / "b.jsonl").write_text('{"text": "row"}\nbad\n', encoding="utf-8")
    return folder


def test_every_document_in_row_groups(corpus, tmp_path):
    out = tmp_path / "deep" / "folder" / "out.parquet"
    reports: list[tuple[int, int]] = []
    result = prepare([corpus], out, on_bad_row="skip", progress=lambda *report: reports.append(report))
    expected = list(iter_texts([corpus], on_bad_row="skip"))
    assert list(iter_texts([out])) == expected
    assert result.num_documents == len(expected) == 2501
    assert result.num_bytes == sum(len(text.encode()) for text in expected)
    assert re.match(r"1 bad row left out; the first: .*b\.jsonl:2: not valid JSON", result.bad_rows)
    file = pq.ParquetFile(out)
    assert file.schema_arrow.names == ["text"]
    assert [file.metadata.row_group(index).num_rows for index in range(3)] == [1024, 1024, 453]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    size = sum(path.stat().st_size for path in corpus.iterdir())
    assert reports[-1] == (size, size)
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]


def test_row_groups_of_long_documents_are_smaller(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHARS_PER_GROUP", 1000)
    prepare([corpus / "a.txt"], tmp_path / "out.parquet")
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_row_groups > 30


def test_an_error_leaves_the_old_file_and_no_other(corpus, tmp_path):
    out = tmp_path / "out.parquet"
    prepare([corpus / "a.txt"], out)
    before = out.read_bytes()
    with pytest.raises(UserError, match=r"b\.jsonl:2: not valid JSON"):
        prepare([corpus], out)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.parquet"]


def test_mistakes_are_named(corpus, tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"empty\.txt: no text in it"):
        prepare([tmp_path / "empty.txt"], tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    with pytest.raises(UserError, match=r"out\.txt: the output is a Parquet file; name it out\.parquet"):
        prepare([corpus], tmp_path / "out.txt")
    prepare([corpus / "a.txt"], corpus / "c.parquet")
    with pytest.raises(UserError, match=r"c\.parquet: is an input as well"):
        prepare([corpus], corpus / "c.parquet", on_bad_row="skip")
