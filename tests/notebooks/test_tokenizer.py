"""The tokenizer notebook without a browser: as a script, exported, and run by another program."""

import sys
from pathlib import Path

import pytest

from notebooks import tokenizer_views as views
from picochat.tokenizer.steps import steps
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import learn
from tests.notebooks.scripts import run_python

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "tokenizer.py"
TEXT = "the cat sat on the mat\n\nthe dog sat on the log\n\nthe end of the tale of the cat\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.mark.script
def test_as_a_script_it_does_what_the_command_does(folder: Path):
    options = ("--data", "text.txt", "--vocab-size", "280")
    done = run_python(NOTEBOOK, "--", *options, "--out", "notebook")
    assert done.returncode == 0, done.stderr
    expected = run_python("-m", "picochat", "tokenizer", "train", *options, "--out", "command")
    assert (folder / "notebook/tokenizer.json").read_bytes() == (
        folder / "command/tokenizer.json"
    ).read_bytes()
    said, of_command = (one.stdout.split(", from")[1].rpartition(",")[0] for one in (done, expected))
    assert said == of_command
    exported = run_python("-m", "marimo", "export", "script", NOTEBOOK, "-o", "flat.py")
    assert exported.returncode == 0, exported.stderr
    flat = run_python("flat.py", *options, "--out", "flat")
    assert flat.returncode == 0, flat.stderr
    assert (folder / "flat/tokenizer.json").read_bytes() == (folder / "command/tokenizer.json").read_bytes()


@pytest.mark.script
def test_a_mistake_is_one_line(folder: Path):
    for options in (["--data", "missing.txt"], ["--vocab-size", "3"]):
        done = run_python(NOTEBOOK, "--", *options)
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in done.stderr
    assert not (folder / "tok").exists()


def test_both_countings_of_merges_are_told_apart():
    lesson = learn(["ab ab ab", "cd cd", "abab"], 280)
    tokenizer = lesson.tokenizer(275)
    trail = steps("cd", tokenizer.merges)
    said = views.next_merge(lesson, tokenizer, trail, 0)
    rank = trail[0].rank
    assert rank is not None
    assert rank > 0, "merges before it find nothing in this text"
    assert f"number 1 of the {len(trail) - 1} that change this text" in said
    assert f"merge {rank + 1}:" in said
    assert "No merge is left" in views.next_merge(lesson, tokenizer, trail, len(trail) - 1)


def test_another_program_can_run_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["x", "--data", "text.txt", "--vocab-size", "276", "--out", "tok"])
    from notebooks import tokenizer as notebook

    _, defined = notebook.app.run()
    assert defined["tokenizer"].vocab_size == 276
    assert defined["sizes"] == [272, 273, 274, 275, 276]
    assert Tokenizer.load("tok").merges == defined["tokenizer"].merges
    assert set(defined["ratios"]) > {"prose", "code", "numbers"}
    assert all(len(ratio_S) == 5 for ratio_S in defined["ratios"].values())
