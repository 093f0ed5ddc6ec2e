"""What pages say of their run, whatever it is doing."""

import threading
import time
from pathlib import Path
from typing import Any

import marimo as mo
import pytest

from notebooks import curve_views, live, status, words
from picochat.arguments import parse_options
from picochat.commands.pretrain import Pretrain
from picochat.model.config import ModelConfig
from picochat.train.events import EvalDone
from picochat.train.history import History
from picochat.train.pretrain import build_pretrain
from picochat.train.run import Run

LONG = 60.0


def options(folder: Path, **changes: Any) -> Pretrain:
    text = folder / "text.txt"
    text.write_text("\n\n".join(f"the cat sat on mat {i}" for i in range(150)), encoding="utf-8")
    usual = {
        **{"data": (str(text),), "runs_dir": str(folder / "runs"), "vocab_size": 280, "depth": 1},
        **{"batch_size": 2, "seq_len": 16, "steps": 6, "eval_every": 0, "save_every": 0, "sample_every": 0},
        **{"eval_tokens": 60, "device": "cpu", "dtype": "float32", "prompts": ()},
    }
    return Pretrain(**{**usual, **changes})


def until(condition) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def said(controller) -> str:
    return mo.as_html(status.status(controller)).text


def test_a_run_from_its_preparation_to_its_end(tmp_path, monkeypatch):
    """And a way on that is true: the command that is named does train it further."""
    may_build, may_go_on = threading.Event(), threading.Event()

    def build(options: Pretrain, /, *, progress) -> Run:
        progress("tokenizing", 1, 4)
        assert may_build.wait(LONG)
        run = build_pretrain(options, progress=progress)
        loss = run.trainer.loss

        class Held:
            weight = staticmethod(loss.weight)

            def __call__(self, model, batch):
                assert may_go_on.wait(LONG)
                return loss(model, batch)

        run.trainer.loss = Held()
        return run

    controller = live.Behind("pretrain", options(tmp_path), build)
    until(lambda: "getting ready: tokenizing, 25%" in said(controller))
    assert "step" not in said(controller), "there is none yet"
    assert "is being made" in status.model_line(controller, controller.options).text
    may_build.set()
    until(lambda: "waiting for you" in said(controller))
    assert "280 tokens, trained on this text" in status.model_line(controller, controller.options).text

    controller.step(3)
    until(lambda: "making the first step" in said(controller))
    controller.pause()
    assert "pausing after this step" in said(controller)
    controller.step(2)
    may_go_on.set()
    until(lambda: controller.state == "paused" and controller.progress[0] >= 2)
    may_go_on.clear()
    controller.run()
    until(lambda: controller.state == "running")
    assert "about 5 s left" in said(controller)
    assert "tokens a second" in said(controller)
    may_go_on.set()
    until(lambda: controller.state == "finished")
    text = said(controller)
    assert "The model is saved" in text
    assert "step-00000006" in text
    assert "just app sft" in text
    again = f"--run pretrain-1 --runs-dir {tmp_path / 'runs'} --resume --steps 12"
    assert again in text
    controller.close()
    controller.join(LONG)

    found = parse_options(Pretrain, prog="x", args=again.split(), summary="")
    further = live.Behind("pretrain", found, build_pretrain)
    further.step(1)
    until(lambda: further.progress == (7, 12))
    further.close()
    further.join(LONG)


def test_a_reset_needs_nothing_of_the_page(tmp_path):
    """A page that is loaded again leaves the cells of the one before without their names."""
    space: dict[str, Any] = {"build_pretrain": build_pretrain, "live": live}
    code = "def make(options):\n    return live.Behind('pretrain', options, build_pretrain)\n"
    exec(code, space)  # noqa: S102 (as marimo runs a cell)
    controller = space["make"](options(tmp_path))
    controller.step(1)
    until(lambda: controller.progress[0] == 1)
    space.clear()
    controller.reset()
    until(lambda: controller.directory is not None and controller.directory.name == "pretrain-2")
    assert controller.error is None
    controller.close()
    controller.join(LONG)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "5 s"), (33, "35 s"), (55, "1 min"), (230, "4 min"), (89 * 60, "89 min"), (9000, "2.5 hours")],
)
def test_time_in_words(seconds, expected):
    assert status.duration(seconds) == expected


def test_the_slider_stops_at_saved_models(tmp_path):
    def stops(**changes: Any) -> list[int]:
        return live.saved_steps(options(tmp_path, **changes))

    assert stops(steps=300, save_every=25) == [*range(0, 300, 25), 300]
    assert stops(steps=7, save_every=0) == [0, 7]
    assert stops(steps=7, save_every=3) == [0, 3, 6, 7]
    many = stops(steps=100_000, save_every=20)
    assert len(many) <= 102
    assert all(step % 20 == 0 for step in many)


def test_what_is_set_on_a_page_is_kept_where_somebody_looks(monkeypatch):
    assert live.kept("test.text", "usual") == {"value": "usual"}
    monkeypatch.setattr(live, "is_live", lambda: True)
    first = live.kept("test.text", "usual")
    assert first["value"] == "usual"
    first["on_change"]("mine")
    assert live.kept("test.text", "usual")["value"] == "mine"


def test_where_a_model_begins_is_computed():
    config = ModelConfig.from_depth(1, vocab_size=1024, sequence_len=8)
    history = History([EvalDone(step=0, metrics={"bpb": 3.25, "val_loss": 6.93}, seconds=1.0)])
    text = curve_views.beginning_note(history, config).text
    for words_ in ("6.93 nats a token", "ln 1,024 = 6.93", "1,024 = 10.0", "3.1 bytes", "3.2 bits per byte"):
        assert words_ in text
    resumed = History([EvalDone(step=50, metrics={"bpb": 1.0, "val_loss": 2.0}, seconds=1.0)])
    assert curve_views.beginning_note(resumed, config).text == mo.md("").text


def test_words_are_told_folded_away():
    assert "half" not in words.glossary("token").text
    assert "a piece of text" in words.glossary("token").text
    assert all(word in words.glossary().text for word in ("nat", "seed", "bos"))
