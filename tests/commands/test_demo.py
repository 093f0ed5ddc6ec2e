"""The demo end to end, in a setting so small that nothing is learned."""

from dataclasses import replace
from pathlib import Path

import pytest

from picochat.commands.demo import Demo
from picochat.train.run_dir import RunDir


@pytest.fixture
def tiny_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """Return a demo of two steps a stage with a model of one layer."""
    sizes = {
        "pretrain": {
            "steps": 2,
            "depth": 1,
            "batch_size": 2,
            "seq_len": 128,
            "eval_tokens": 256,
            "prompts": (),
        },
        "sft": {"steps": 2, "batch_size": 2, "eval_tokens": 256, "prompts": ()},
        "grpo": {
            "steps": 1,
            "prompts": 2,
            "group_size": 2,
            "max_draws": 1,
            "max_tokens": 8,
            "eval_problems": 2,
        },
    }
    for stage, changes in sizes.items():
        name = f"_{stage}_options"
        original = getattr(Demo, name)
        monkeypatch.setattr(
            Demo,
            name,
            lambda self, *args, make=original, changes=changes: replace(make(self, *args), **changes),
        )
    monkeypatch.setattr("picochat.eval.world.ANSWER_TOKENS", 8)
    return Demo(small=True, runs_dir=str(tmp_path), chat=False)


def test_demo_runs_every_stage_shows_the_table_and_does_nothing_twice(
    tiny_demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_demo.execute()
    first = capsys.readouterr().out
    stages = {
        name: RunDir(tmp_path / name).info()["stage"] for name in ("demo-small-pretrain", "demo-small-sft")
    }
    assert stages == {"demo-small-pretrain": "pretrain", "demo-small-sft": "sft"}
    assert RunDir(tmp_path / "demo-small").info()["parent"].startswith(str(tmp_path / "demo-small-sft"))
    for heading in ("stage", "pretrain", "sft", "grpo", "facts", "Held-out questions"):
        assert heading in first

    curve = RunDir(tmp_path / "demo-small").rows("step")
    tiny_demo.execute()
    again = capsys.readouterr().out
    assert again.count("is there already") == 3
    assert RunDir(tmp_path / "demo-small").rows("step") == curve


def test_an_interrupted_demo_goes_on_where_it_was(
    tiny_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from picochat.train.run import Run

    advance = Run.__next__

    def stopping(run: Run):
        event = advance(run)
        if event.event == "step" and run.stage == "pretrain":
            run.request_stop()
        return event

    monkeypatch.setattr(Run, "__next__", stopping)
    with pytest.raises(SystemExit) as stopped:
        tiny_demo.execute()
    assert stopped.value.code == 0
    base = RunDir(tmp_path / "demo-small-pretrain")
    assert (base.status()["state"], base.status()["step"]) == ("stopped", 1)

    monkeypatch.setattr(Run, "__next__", advance)
    tiny_demo.execute()
    assert [row["step"] for row in base.rows("step")] == [1, 2]
    assert RunDir(tmp_path / "demo-small").status()["state"] == "finished"
