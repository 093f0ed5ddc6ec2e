"""`picochat tokenizer`: what each command writes, and one line for each mistake."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from picochat.commands.tokenizer import EncodeText, ShowTokenizer, TrainTokenizer
from picochat.commands.tokenizer_view import coloured_tokens, visible
from picochat.errors import UserError
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer

TEXT = "the cat sat on the mat\n\nthe dog sat on the log\n\nthe end of the tale\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a tokenizer.json."""
    Tokenizer.from_merges([(116, 104), (256, 101), (32, 257)], 300).save(tmp_path)
    return tmp_path


def test_train_learns_from_several_files(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"body": "tea at the sea"}) + "\n", encoding="utf-8")
    data = (str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl"))
    TrainTokenizer(data=data, column="body", vocab_size=280, out=tmp_path / "new" / "tok").execute()
    texts = [*(text.strip() for text in TEXT.split("\n\n")), "tea at the sea"]
    assert Tokenizer.load(tmp_path / "new" / "tok").merges == train_tokenizer(texts, 280).merges
    printed = capsys.readouterr()
    assert "280 ids, 8 merges" in printed.out
    assert "in 4 documents" in printed.out
    assert printed.err.splitlines() == ["reading ...", "merging ..."]


def test_train_says_when_the_text_was_too_small(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("abcabcab", encoding="utf-8")
    TrainTokenizer(data=(str(tmp_path),), vocab_size=400, out=tmp_path).execute()
    assert "126 ids are unused" in capsys.readouterr().out


def test_train_without_text(tmp_path):
    (tmp_path / "a.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no text|empty|nothing"):
        TrainTokenizer(data=(str(tmp_path / "a.txt"),), out=tmp_path / "tok").execute()
    assert not (tmp_path / "tok" / "tokenizer.json").exists()


def test_a_bad_size_is_told_before_any_work(tmp_path):
    with pytest.raises(UserError, match="vocabulary size 100"):
        TrainTokenizer(data=(str(tmp_path),), vocab_size=100, out=tmp_path / "tok").execute()
    assert not (tmp_path / "tok").exists()


def test_a_bad_place_is_told_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(TrainTokenizer, "learn", lambda self, **options: pytest.fail("worked in vain"))
    with pytest.raises(UserError, match="file: is no folder"):
        TrainTokenizer(data=(str(tmp_path),), out=tmp_path / "file" / "tok").execute()


def test_encode_piped_prints_ids_and_pieces(folder, capsys):
    EncodeText(tokenizer=str(folder), text="the the\n€").execute()
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    ids = [int(id) for id, _ in lines]
    assert ids == Tokenizer.load(folder).encode("the the\n€")
    assert [json.loads(piece) for _, piece in lines] == ["the", " the", "\n", r"\xe2", r"\x82", r"\xac"]


def test_encode_reads_a_file_as_it_is(folder, capsys):
    (folder / "text.txt").write_bytes("é\r\n".encode())
    EncodeText(tokenizer=str(folder / "tokenizer.json"), file=folder / "text.txt").execute()
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        "195",
        "169",
        "13",
        "10",
    ]


def test_tokens_are_coloured_on_a_terminal(folder):
    tokenizer = Tokenizer.load(folder)
    text = coloured_tokens(tokenizer, tokenizer.encode("the the\nx"))
    assert text.plain == "the257 ·the258 ↵10\nx120 "
    output = io.StringIO()
    Console(file=output, force_terminal=True, color_system="standard", legacy_windows=False).print(text)
    assert "\x1b[37;44mthe\x1b[0m" in output.getvalue()


@pytest.mark.parametrize(
    ("token", "shown"),
    [(b" a", "·a"), (b"\t\r\n", "⇥␍↵"), (b"\x1b[", r"\u001b["), (b"\xf0\x9f", r"\xf0\x9f")],
)
def test_what_the_eye_can_not_see_is_made_visible(token, shown):
    assert visible(token) == shown


def test_show_counts_compression(folder, capsys):
    (folder / "text.txt").write_text("the the the the ", encoding="utf-8")
    ShowTokenizer(tokenizer=str(folder), text_file=folder / "text.txt").execute()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["raw bytes", "16", "1.00"] in rows
    assert ["this vocabulary", "5", "3.20"] in rows  # the ·the ·the ·the ·
    assert ["unused", "25 (ids 259 to 283)"] in rows
    assert ["258", "·", "the", "·the"] in rows
    assert ["258", "4", "·the"] in rows


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "either by --text"),
        ({"text": "a", "file": Path("b")}, "either by --text"),
        ({"text": "a", "tokenizer": "missing.json"}, r"missing\.json: no tokenizer here"),
        ({"text": "a", "tokenizer": "no-such-run"}, "no-such-run"),
    ],
)
def test_wrong_options_of_encode(folder, options, reason):
    with pytest.raises(UserError, match=reason):
        EncodeText(**{"tokenizer": str(folder), **options}).execute()


def test_a_file_that_is_not_text(folder):
    (folder / "x.bin").write_bytes(b"abc\xff")
    with pytest.raises(UserError, match=r"x\.bin: not UTF-8 text \(byte 3\)"):
        EncodeText(tokenizer=str(folder), file=folder / "x.bin").execute()
