"""The pretraining notebook without a browser: as a script, exported, run by another program, by hand."""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import marimo
import plotly.graph_objects as go
import pytest

from notebooks import live, pretrain_form
from notebooks import pretrain as notebook
from picochat import cli
from picochat.errors import UserError
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.controller import Controller
from picochat.train.events import Changed
from picochat.train.history import History
from picochat.train.options import PretrainOptions
from picochat.train.pretrain import build_pretrain
from picochat.train.run_dir import RunDir
from picochat.train.run_options import name_run
from tests.notebooks.scripts import run_python

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "pretrain.py"
WORDS = ("the cat sat on the mat", "a dog ran to the big old house", "where is the cat", "on a mat")
SETTING = [
    *("--data", "text.txt", "--vocab-size", "280", "--depth", "1", "--batch-size", "2", "--seq-len", "16"),
    *("--steps", "6", "--warmup", "2", "--eval-every", "3", "--eval-tokens", "60", "--sample-every", "3"),
    *("--save-every", "3", "--device", "cpu", "--dtype", "float32", "--prompts", "the"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    text = "\n\n".join(f"{WORDS[i % 4]} and {WORDS[i % 3]}" for i in range(120))
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def command_curve(folder: Path) -> list[tuple[int, str]]:
    """The curve of `picochat pretrain` in the same setting."""
    cli.main(["pretrain", "--run", "command", *SETTING])
    return curve("command")


def curve(name: str) -> list[tuple[int, str]]:
    return [(row["step"], row["loss"].hex()) for row in RunDir(Path("runs") / name).rows("step")]


def options(**changes: Any) -> Any:
    return pretrain_form.PretrainPage(**{"data": ("text.txt",), **changes})


@pytest.mark.script
def test_as_a_script_it_is_the_command(folder, command_curve):
    done = run_python(NOTEBOOK, "--", "--run", "script", *SETTING)
    assert done.returncode == 0, done.stderr
    assert curve("script") == command_curve
    assert RunDir(Path("runs/script")).status()["state"] == "finished"
    assert "step 6/6" in done.stdout
    assert "checkpoint: runs/script/checkpoints/step-00000006" in done.stdout.replace("\\", "/")
    assert [row["step"] for row in RunDir(Path("runs/script")).rows("finished")] == [6]


@pytest.mark.script
def test_the_exported_script_runs_too(folder, command_curve):
    exported = run_python("-m", "marimo", "export", "script", NOTEBOOK, "-o", "flat.py")
    assert exported.returncode == 0, exported.stderr
    flat = run_python("flat.py", "--run", "flat", *SETTING)
    assert flat.returncode == 0, flat.stderr
    assert curve("flat") == command_curve


@pytest.mark.script
def test_a_mistake_is_one_line(folder):
    for arguments in (["--steps", "x"], ["--depth", "0"], ["--data", "missing.txt"], ["--stepz", "3"]):
        done = run_python(NOTEBOOK, "--", *arguments)
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in done.stderr


def test_run_by_a_program_every_picture_is_drawn(folder, command_curve, monkeypatch):
    """The whole page, as it is drawn in an export: no cell fails, no picture shows trouble."""
    shown: list[Any] = []
    monkeypatch.setattr(marimo.output, "replace", shown.append)
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--run", "program", *SETTING])
    _, definitions = notebook.app.run()
    assert curve("program") == command_curve
    assert len(shown) == 15
    texts = [marimo.as_html(picture).text for picture in shown]
    assert not [text for text in texts if "danger" in text or "waiting for the model" in text]
    assert sum(isinstance(picture, go.Figure) for picture in shown) == 5
    controller = definitions["controller"]
    assert controller.progress == (6, 6)
    controller.close()
    controller.join(20)


def test_driven_by_hand_it_is_the_command(folder, command_curve):
    chosen = live.options(pretrain_form.PretrainPage, prog="", args=["--run", "hand", *SETTING])
    controller = live.Behind("pretrain", chosen, live.keeping_start(build_pretrain))
    controls = live.buttons(controller, many=2)
    for name in ("Step 1", "Step 2", "Pause", "Save", "Run"):
        press(controls, name)
        settle(controller)
    assert controller.state == "finished"
    assert curve("hand") == command_curve
    assert list(RunDir(Path("runs/hand")).checkpoints()) == [0, 3, 6]
    press(controls, "Reset")
    settle(controller)
    assert controller.progress == (0, 6)
    assert controller.directory is not None
    assert controller.directory.name == "pretrain-1"
    assert list(controller.directory.checkpoints()) == [0], "the page can look back at the untrained model"
    press(controls, "Step 1")
    settle(controller)
    controller.close()
    controller.join(20)
    assert curve("pretrain-1") == command_curve[:1]


def press(controls: Any, name: str) -> None:
    """Do what a click does: the page sends a new value to the button."""
    button = controls.elements[name]
    button._update(button._value_frontend + 1)


def settle(controller: Controller) -> None:
    controller.call(lambda run: None).exception(60)
    end = time.monotonic() + 60
    while controller.state not in ("paused", "finished"):
        assert controller.state != "failed", controller.error
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_defaults_are_those_of_the_command_but_for_the_size():
    page, command = pretrain_form.PretrainPage().row(), PretrainOptions().row()
    assert page.keys() == command.keys()
    changed = {name for name in page if page[name] != command[name]}
    assert changed <= {"vocab_size", "depth", "seq_len", "batch_size", "steps", "warmup", "eval_every",
        "eval_tokens", "sample_every", "save_every", "keep", "prompts"}  # fmt: skip


FORM = {
    "run": pretrain_form.NEW, "data": " a.txt, b ,", "tokenizer": "", "tokenizer_file": " ",
    "vocab_size": 300, "depth": 3, "seq_len": 32, "batch_size": 4, "steps": 9, "lr": 0.01, "seed": 5,
}  # fmt: skip


def test_the_form_is_taken_as_it_is():
    given = options(eval_every=7, resume=True, run="x")
    assert pretrain_form.choose(given, None) is given
    chosen = pretrain_form.choose(given, FORM)
    assert (chosen.run, chosen.resume, chosen.eval_every) == (None, False, 7)
    assert chosen.data == ("a.txt", "b")
    assert chosen.tokenizer is None
    assert (chosen.depth, chosen.lr, chosen.seed, chosen.steps) == (3, 0.01, 5, 9)
    with pytest.raises(UserError, match="--batch-size must be at least 1"):
        pretrain_form.choose(given, {**FORM, "batch_size": 0})


def test_a_run_is_chosen_to_go_on_with(folder, command_curve):
    chosen = pretrain_form.choose(options(), {**FORM, "run": "command"})
    assert (chosen.run, chosen.resume, chosen.steps, chosen.vocab_size) == ("command", True, 6, 280)
    offered = pretrain_form.form_of(options())
    assert "command" in json.dumps(offered.element.elements["run"]._args.args)


def test_tokenizers_that_are_there_are_offered(folder, command_curve):
    (folder / "tok").mkdir()
    tokenizer = Tokenizer.load(next(iter(RunDir(Path("runs/command")).checkpoints().values())))
    tokenizer.save(folder / "tok")
    offered = pretrain_form.form_of(options()).element.elements["tokenizer"]
    assert list(offered.options) == [
        pretrain_form.LEARNED,
        "tok (280 tokens)",
        "that of the run command (280 tokens)",
    ]
    assert offered.value == ""
    given = pretrain_form.form_of(options(tokenizer="tok")).element.elements["tokenizer"]
    assert (given.value, len(given.options)) == ("tok", 3)
    chosen = pretrain_form.choose(options(), {**FORM, "tokenizer": "tok"})
    assert chosen.tokenizer == "tok"
    chosen = pretrain_form.choose(options(), {**FORM, "tokenizer": "tok", "tokenizer_file": " other "})
    assert chosen.tokenizer == "other", "what is typed goes first"


def test_names_are_taken_that_are_free(folder):
    assert live.name_freely(options(), "pretrain").run == "pretrain-1"
    assert live.name_freely(options(run="mine"), "pretrain").run == "mine"
    for name in ("pretrain-1", "mine", "mine-2"):
        (Path("runs") / name).mkdir(parents=True)
    assert live.name_freely(options(), "pretrain").run == "pretrain-2"
    assert live.name_freely(options(run="mine"), "pretrain").run == "mine-3"
    assert live.name_freely(options(run="mine", resume=True), "pretrain").run == "mine"
    assert name_run(options(), "pretrain").run == "pretrain-2"


def test_what_a_change_is_called():
    history = History(
        [
            Changed(step=3, lr_scale=0.5, batch_size=8),
            Changed(step=5, lr_scale=0.5, batch_size=16),
            Changed(step=7, lr_scale=0.5, batch_size=16),
            Changed(step=9, lr_scale=1.0, batch_size=8),
        ]
    )
    assert live.change_marks(history, 8) == [(3, "lr ×0.5"), (5, "batch 16"), (9, "lr ×1, batch 8")]


@pytest.mark.script
def test_the_page_is_shown_as_it_was_exported(folder):
    done = run_python("-m", "marimo", "export", "html", NOTEBOOK, "-o", "page.html", "--", *SETTING)
    assert done.returncode == 0, done.stderr
    page = (folder / "page.html").read_text(encoding="utf-8")
    for word in ("marimo-plotly", "picochat-tokens", "bits per byte", "layer 0, head 0, step 6", "finished"):
        assert word in page
    assert not re.search("MarimoException|Traceback", page)
