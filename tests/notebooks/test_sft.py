"""The notebook of fine-tuning: as a script, driven by hand, and what its pages are made of."""

import json
import re
from pathlib import Path

import pytest

from notebooks import curve_views
from notebooks import sft as notebook
from picochat import cli
from picochat.arguments import parse_options
from picochat.commands.sft import Sft
from picochat.data.builtin.write import WorldFiles
from picochat.train.batch_view import view_batch
from picochat.train.before_after import Beginning
from picochat.train.history import History
from picochat.train.run_dir import RunDir
from picochat.train.sft import build_sft

ROOT = Path(__file__).parents[2]
STEPS = 5


@pytest.fixture(scope="module")
def given(small_base: Path, chat_file: Path) -> list[str]:
    """What is given to the command and to the notebook alike."""
    return [
        *("--runs-dir", str(small_base), "--load", "base", "--data", f"{chat_file}:1", "--seq-len", "48"),
        *("--batch-size", "2", "--steps", str(STEPS), "--eval-tokens", "100", "--eval-every", "2"),
        *("--sample-every", "0", "--save-every", "2", "--device", "cpu", "--dtype", "float32"),
    ]


@pytest.fixture(scope="module")
def by_command(small_base: Path, given: list[str], curve_of) -> list[tuple[int, str]]:
    """The curve of `picochat sft`."""
    cli.main(["sft", "--run", "by-command", *given])
    found = curve_of(small_base / "by-command")
    assert [step for step, _ in found] == list(range(1, STEPS + 1))
    return found


@pytest.mark.script
def test_as_a_script_it_is_the_command(small_base, given, by_command, script, curve_of):
    done = script(ROOT / "notebooks" / "sft.py", "--", "--run", "by-script", *given)
    assert done.returncode == 0, done.stderr
    assert curve_of(small_base / "by-script") == by_command
    assert RunDir(small_base / "by-script").status()["state"] == "finished"
    assert f"checkpoint: {small_base / 'by-script'}" in done.stdout


@pytest.mark.script
def test_as_a_flat_script_too(small_base, given, by_command, script, exported, curve_of):
    done = script(exported("sft"), "--run", "by-flat-script", *given)
    assert done.returncode == 0, done.stderr
    assert curve_of(small_base / "by-flat-script") == by_command


def test_driven_by_hand_it_is_the_command(small_base, given, by_command, drive, curve_of):
    """Steps one by one, looked at in all ways meanwhile."""
    options = parse_options(Sft, prog="x", args=["--run", "by-hand", *given], summary="")
    beginnings = []

    def look(run):
        beginnings.append(Beginning(run))
        return view_batch(run), beginnings[0].compare(run, ["the cat"], max_tokens=5)

    drive(lambda: build_sft(options), look, STEPS)
    assert curve_of(small_base / "by-hand") == by_command


def chosen(**values):
    usual = {"base": "b", "own": "", "with_builtin": True, "builtin_weight": 1.0}
    return {**usual, "steps": 3, "batch_size": 4, "lr": 0.01, "seed": 7, **values}


def test_what_is_filled_in_becomes_options():
    options = notebook.chosen_options(Sft(load="a"), chosen())
    assert (options.load, options.data, options.steps, options.batch_size) == ("b", (), 3, 4)
    assert (options.lr, options.seed) == (0.01, 7)


def test_own_files_stand_alone_or_beside_the_built_in_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook, "default_world_dir", lambda: tmp_path)
    own = " mine.jsonl:0.5\n\nmore.jsonl \n"
    alone = notebook.chosen_options(Sft(), chosen(own=own, with_builtin=False))
    assert alone.data == ("mine.jsonl:0.5", "more.jsonl")
    both = notebook.chosen_options(Sft(), chosen(own=own, builtin_weight=2.0))
    assert both.data[0] == f"{WorldFiles(root=tmp_path).jsonl('chat', 'train')}:2.0"
    assert both.data[1:] == alone.data


def test_pictures_of_a_run(small_base, by_command):
    history = History.of(RunDir(small_base / "by-command"))
    training, validation = curve_views.loss_view(history, smooth_over=1, y_title="loss").data
    assert [(step, loss.hex()) for step, loss in zip(training.x, training.y, strict=True)] == by_command
    assert list(validation.x) == [0, 2, 4, STEPS]
    assert "No step was made yet" in curve_views.loss_view(History(), smooth_over=1, y_title="loss").text


def test_a_conversation_is_shown_token_by_token(small_base, given):
    options = parse_options(Sft, prog="x", args=["--run", "looked-at", *given], summary="")
    run = build_sft(options)
    try:
        seen = view_batch(run)
        for number in (1, 1000):
            for by_loss in (False, True):
                page = notebook.conversation_view(seen, run.tokenizer, number, by_loss).text
                assert "assistant_start" in page
                assert bool(re.search(r"loss \d", page)) == by_loss
        assert "of the tokens are learned" in notebook.batch_view(seen, run.tokenizer).text
    finally:
        run.close()
    assert json.loads((small_base / "looked-at" / "run.json").read_text())["stage"] == "sft"
