"""`picochat runs`: list, show, compare, delete; without torch, and in one line when a file is damaged."""

import doctest
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from picochat import cli
from picochat.commands import runs_view, text_plot
from picochat.commands.text_plot import curve, smooth, sparkline
from picochat.train.run_dir import RunDir


@pytest.fixture
def runs(tmp_path: Path, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `runs` below the working directory with the run `base`."""
    shutil.copytree(runs_dir / "base", tmp_path / "runs" / "base")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def run_command(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    cli.main(line.split())
    return capsys.readouterr().out


def fail(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main(line.split())
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]*\n", err)
    return err


def test_no_runs_yet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "no runs in runs yet" in run_command("runs list", capsys)


def test_list_has_a_line_per_run(runs, train, capsys):
    train(runs, "other", "--steps 3 --seed 1")
    capsys.readouterr()
    header, base, other = run_command("runs list", capsys).splitlines()
    assert " ".join(header.split()) == "run stage state step loss score params age size parent curve"
    metrics = RunDir(runs / "base").rows("eval")[-1]["metrics"]
    assert base.split()[:4] == ["base", "pretrain", "finished", "8/8"]
    assert f"bpb {metrics['bpb']:.3f}" in base
    assert other.split()[:4] == ["other", "pretrain", "finished", "3/3"]


def test_a_damaged_run_does_not_hide_the_others(runs, train, capsys):
    shutil.copytree(runs / "base", runs / "broken")
    with (runs / "broken" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("{not json\n")
    cli.main(["runs", "list"])
    out, err = capsys.readouterr()
    assert "base" in out
    number = len((runs / "broken" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    assert err == f"damaged: {Path('runs/broken/metrics.jsonl')}:{number}: not JSON; the file is damaged\n"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("status.json", "{"),
        ("status.json", "[]"),
        ("status.json", "{}"),
        ("run.json", '{"stage": "pretrain"}'),
        ("run.json", "\udc80"),
        ("metrics.jsonl", "[1]\n"),
        ("metrics.jsonl", '{"event": "step", "step": "x"}\n'),
        ("samples.jsonl", "\n"),
    ],
)
def test_a_damaged_file_is_one_line(file, text, runs, capsys):
    (runs / "base" / file).write_bytes(text.encode(errors="surrogateescape"))
    assert file in fail("runs show base", capsys)


def test_show_tells_all_of_a_run(runs, capsys):
    out = run_command("runs show base", capsys)
    run = RunDir(runs / "base")
    assert "step 8/8" in out
    assert f"{run.info()['num_parameters']:,}" in out
    assert re.search(r"--depth 1\b", out)
    assert "--runs-dir" not in out
    assert re.search(r"n_layer 1\b", out)
    for step, score in run.scores().items():
        assert re.search(rf"base@{step} +score {score:.4f}{' +best' if step == run.best() else ''}\n", out)
    last = run.samples()[-1]
    assert repr(last["text"]) in out.replace("\n", "")
    assert out.count("┤") == 12


def test_show_of_a_run_without_a_step(runs, capsys):
    for name in ("metrics.jsonl", "samples.jsonl", "status.json"):
        (runs / "base" / name).unlink()
    shutil.rmtree(runs / "base" / "checkpoints")
    out = run_command("runs show base", capsys)
    assert "starting" in out
    assert "none yet" in out


def test_compare_shows_what_differs(runs, train, capsys):
    train(runs, "fast", "--steps 5 --lr 0.05")
    capsys.readouterr()
    out = run_command("runs compare base fast", capsys)
    lines = [re.split(r" {2,}", line.strip()) for line in out.splitlines()[1:]]
    rows = {name: cells for name, *cells in lines}
    assert rows["--steps"] == ["8", "5"]
    assert rows["--lr"] == ["None", "0.05"]
    assert not {"--depth", "--seed", "--run"} & set(rows)
    steps = [int(name.removeprefix("loss at step ")) for name in rows if name.startswith("loss at step")]
    assert steps == [1, 2, 3, 4, 5]
    first = RunDir(runs / "base").rows("step")[0]["loss"]
    assert rows["loss at step 1"] == [f"{first:.4f}"] * 2
    bpb = [RunDir(runs / name).rows("eval")[-1]["metrics"]["bpb"] for name in ("base", "fast")]
    assert rows["last bpb"] == [f"{value:.4f}" for value in bpb]


class Terminal:
    """A stdin that a person sits at."""

    def isatty(self) -> bool:
        return True


def answer(text: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the next question answered; return the list that the questions go to."""
    questions: list[str] = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or text)
    return questions


def test_delete_takes_what_was_named_and_nothing_else(runs, capsys):
    run_command("runs delete base@4 --yes", capsys)
    assert list(RunDir(runs / "base").checkpoints()) == [8]
    shutil.copytree(runs / "base", runs / "other")
    run_command("runs delete base --yes", capsys)
    assert [path.name for path in runs.iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("text", "is_there"), [("y", False), ("YES", False), ("", True), ("n", True), ("base", True)]
)
def test_delete_asks(text, is_there, runs, capsys, monkeypatch):
    questions = answer(text, monkeypatch)
    run_command("runs delete base", capsys)
    assert questions == [f"delete {Path('runs/base')}? [y/N] "]
    assert (runs / "base").exists() == is_there


def test_delete_tells_which_runs_began_from_it(runs, capsys, monkeypatch):
    shutil.copytree(runs / "base", runs / "child")
    info = (runs / "child" / "run.json").read_text(encoding="utf-8")
    info = info.replace('"parent": null', '"parent": "runs/base/checkpoints/step-00000008"')
    (runs / "child" / "run.json").write_text(info, encoding="utf-8")
    questions = answer("n", monkeypatch)
    run_command("runs delete base", capsys)
    run_command("runs delete base@4", capsys)
    assert "child began from it" in questions[0]
    assert "child" not in questions[1]
    assert "base@8" in run_command("runs list", capsys)


def test_delete_refuses_when_nobody_can_be_asked(runs, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert "--yes" in fail("runs delete base", capsys)
    assert (runs / "base").exists()


def test_delete_refuses_a_run_in_training(runs, capsys):
    with RunDir(runs / "base").lock():
        assert "in training" in fail("runs delete base --yes", capsys)
    assert (runs / "base").exists()


@pytest.mark.parametrize("names", ["base nope", "base base@5"])
def test_delete_deletes_nothing_if_one_name_is_wrong(names, runs, capsys):
    fail(f"runs delete {names} --yes", capsys)
    assert list(RunDir(runs / "base").checkpoints()) == [4, 8]


@pytest.mark.parametrize("name", [".", "..", "../runs"])
def test_delete_refuses_folders_that_are_no_run(name, runs, capsys):
    fail(f"runs delete {name} --yes", capsys)
    assert (runs / "base").exists()


def test_a_narrow_terminal_keeps_whole_words(runs, capsys, monkeypatch):
    monkeypatch.setattr(runs_view, "PIPED_WIDTH", 50)
    header, base = run_command("runs list", capsys).splitlines()
    assert " ".join(header.split()) == "run stage state step loss score"
    assert "…" not in base


def test_sparkline_bars_are_means_of_equal_shares():
    assert sparkline([8, 8, 6, 6, 1, 1], 3) == sparkline([8, 6, 1], 3) == "█▆▁"
    assert sparkline([2, 2], 10) == "▁▁"
    assert sparkline([], 10) == ""


def test_curve_draws_a_falling_line_from_corner_to_corner():
    lines = curve([1, 2, 3, 4, 5], [4, 3, 2, 1, 0], width=10, height=5)
    plot = [line.split("┤")[1] for line in lines[:5]]
    assert plot[0][0] != chr(0x2800)
    assert plot[-1][-1] != chr(0x2800)
    ink = [[index for index, char in enumerate(row) if char != chr(0x2800)] for row in plot]
    assert all(min(after) >= max(before) - 1 for before, after in pairwise(ink))
    assert lines[0].startswith("4.000")
    assert lines[4].startswith("0.000")
    assert lines[-1].split() == ["1", "step", "5"]


def test_curve_stays_in_one_piece_where_it_is_steep():
    lines = curve([1, 2], [9, 0], width=4, height=6)
    assert all(line.split("┤")[1].strip(chr(0x2800)) for line in lines[:6])


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0]])
def test_curve_of_a_flat_line(values):
    assert len(curve(list(range(len(values))), values, height=4)) == 6


def test_smooth_is_the_mean_of_the_last_values():
    values = [float(value**2 % 7) for value in range(30)]
    expected = [sum(values[max(0, i - 4) : i + 1]) / len(values[max(0, i - 4) : i + 1]) for i in range(30)]
    assert smooth(values, 5) == pytest.approx(expected)


@pytest.mark.parametrize("module", [runs_view, text_plot])
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert result.failed == 0
