"""What the screens know of runs: growing files, curves in bounded memory, folders in every state, actions."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from picochat.errors import UserError
from picochat.train.run_dir import RunDir, write_json
from tests.workbench.make_runs import (
    NOW,
    rollout_row,
    step_row,
    write_rows,
    write_run,
    write_weights,
    write_world,
)
from workbench import run_actions
from workbench.run_reader import RunReader
from workbench.run_tree import ORDERS, tree_rows
from workbench.runs import Scanner, last_lines, summary
from workbench.series import MOST_POINTS, TIDY_ROWS, Curves, Series, smoothed

pytestmark = pytest.mark.usefixtures("still")


# Curves


def test_curves_hold_every_number_and_nothing_else():
    curves = Curves()
    rows = [step_row(1, 3.0, reward=0.5), {**step_row(2, 2.0), "loss": None, "grad_norm": "x"}, {"step": "x"}]
    curves.feed([*rows, {"event": "eval", "step": 2, "metrics": {"bpb": 1.5}}, {"event": "step"}])
    assert list(curves.series["loss"].values) == [3.0]
    assert list(curves.series["reward"].values) == [0.5]
    assert list(curves.series["eval bpb"].steps) == [2]
    assert list(curves.series["lr matrices"].values) == [0.02, 0.02]


def test_after_a_resume_the_last_row_of_a_step_wins():
    curves = Curves()
    steps = [(1, 1.0), (2, 2.0), (3, 3.0), (2, 20.0), (3, 30.0)]
    curves.feed({"event": "step", "step": step, "loss": loss} for step, loss in steps)
    evals = [(2, 5.0), (3, 6.0), (3, 7.0)]
    curves.feed({"event": "eval", "step": step, "metrics": {"bpb": bpb}} for step, bpb in evals)
    loss, bpb = curves.series["loss"], curves.series["eval bpb"]
    assert (list(loss.steps), list(loss.values)) == ([1, 2, 3], [1.0, 20.0, 30.0])
    assert (list(bpb.steps), list(bpb.values)) == ([2, 3], [5.0, 7.0])


def test_a_long_run_fits_and_keeps_its_spikes():
    curves = Curves()
    spikes = {123_456: 99.0, 54_321: -99.0}
    curves.feed(
        {"event": "step", "step": step, "loss": spikes.get(step, 1.0), "mfu": 0.5} for step in range(200_000)
    )
    for series in curves.series.values():
        assert len(series) <= MOST_POINTS + TIDY_ROWS * len(curves.series)
        assert len(series) == len(series.values)
        assert list(series.steps) == sorted(set(series.steps))
        assert series.steps[-1] == 199_999
    loss = dict(zip(curves.series["loss"].steps, curves.series["loss"].values, strict=True))
    assert {step: value for step, value in loss.items() if value != 1.0} == spikes


def series_of(points: dict[int, float]) -> Series:
    series = Series()
    series.steps.extend(points)
    series.values.extend(points.values())
    return series


def test_smoothing_is_unbiased_and_depends_on_steps_not_points():
    constant = series_of(dict.fromkeys((1, 2, 5, 50, 51), 4.0))
    assert list(smoothed(constant, 20).values) == pytest.approx([4.0] * 5)
    dense, sparse = (
        smoothed(series_of({step: float(step >= 200) for step in range(0, 400, gap)}), 40) for gap in (1, 2)
    )
    assert dense.values[240] == pytest.approx(sparse.values[120], abs=0.03)
    assert 0.8 < dense.values[240] < 0.95


# Folders


def test_every_kind_of_folder_is_told(tmp_path):
    write_world(Path("runs"))
    found = {facts.name: facts for facts in Scanner(Path("runs")).scan()}
    assert {name: facts.kind for name, facts in found.items()} == {
        "base": "run", "demo": "run", "tuned": "run", "odd": "damaged", "void": "empty", "rust": "weights",
    }  # fmt: skip
    assert found["demo"].is_live
    assert found["demo"].parent == "tuned@200"
    assert found["base"].score == pytest.approx(0.305)
    assert [c.step for c in found["base"].checkpoints] == [100, 200]
    assert found["rust"].num_parameters == 8 * 8 * 3 + 32 * 8 + 20 * 8 + 2
    assert "not JSON" in found["odd"].problem


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", "[]"),
        ("run.json", '{"stage": 1, "options": {}, "parent": null, "created": 0}'),
        ("run.json", '{"stage": "sft", "options": [], "parent": null, "created": 0}'),
        ("run.json", '{"stage": "sft", "options": {}, "parent": 5, "created": 0}'),
        ("status.json", "{"),
        ("status.json", '{"state": "running"}'),
    ],
)
def test_damage_is_told_and_not_fatal(file, text):
    path = write_run(Path("runs/a"))
    (path / file).write_text(text, encoding="utf-8")
    [facts] = Scanner(Path("runs")).scan()
    assert facts.kind == "damaged"
    assert file in facts.problem


def test_odd_values_are_no_reason_to_fail():
    path = write_run(Path("runs/a"), saved=(100,))
    (path / "metrics.jsonl").write_text('{"event": "step", "step": 1, "loss": "x"}\n[]\n{', encoding="utf-8")
    write_rows(path / "samples.jsonl", [{"event": "sample"}])
    (path / "checkpoints/step-00000100/state.json").write_text("{", encoding="utf-8")
    (path / "checkpoints/step-00000150").mkdir()
    [facts] = Scanner(Path("runs")).scan()
    assert (facts.kind, facts.losses, facts.loss) == ("run", (), None)
    assert [(c.step, c.is_complete, c.score) for c in facts.checkpoints] == [
        (100, True, None),
        (150, False, None),
    ]
    reader = RunReader(path)
    reader.read()
    assert reader.samples == []


def test_a_run_that_is_starting_or_failed_to_is_told():
    folder = Path("runs/a")
    folder.mkdir(parents=True)
    log = folder / "log.txt"
    log.write_text("$ picochat\nreading\r50%\r80%", encoding="utf-8")
    os.utime(log, (NOW, NOW))
    [facts] = Scanner(Path("runs")).scan()
    assert (facts.state, facts.problem) == ("starting", "80%")
    log.write_text("$ picochat\nerror: no such file\n", encoding="utf-8")
    [facts] = Scanner(Path("runs")).scan()
    assert (facts.state, facts.problem) == ("failed", "error: no such file")
    assert last_lines(log, 9) == ["$ picochat", "error: no such file"]


def test_a_crashed_run_is_told_with_its_last_words():
    path = write_run(Path("runs/a"), state="running", done=10, saved=(), heartbeat=NOW - 500)

    def told() -> tuple[str, str]:
        [facts] = Scanner(Path("runs")).scan()
        return facts.state, facts.problem

    assert told() == ("crashed", "")
    log = path / "log.txt"
    log.write_text("Traceback\n  RuntimeError: out of memory\n\n", encoding="utf-8")
    os.utime(log, (NOW - 499, NOW - 499))
    assert told() == ("crashed", "RuntimeError: out of memory")
    # It was gone on with from a terminal, whose lines went there.
    os.utime(log, (NOW - 5000, NOW - 5000))
    assert told() == ("crashed", "")
    write_json(
        path / "status.json", {"state": "failed", "message": "NaN", "step": 10, "heartbeat": NOW - 500}
    )
    assert told() == ("failed", "NaN")


def test_a_million_rows_are_summed_up_at_once():
    path = Path("metrics.jsonl")
    row = json.dumps({"event": "step", "step": 1, "loss": 2.0})
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, 1_000_000, 10_000):
            text = row.replace('"loss": 2.0', f'"loss": {3 - start / 500_000}')
            file.write((text + "\n") * 10_000)
    began = time.process_time()
    losses, last, _ = summary(path)
    assert time.process_time() - began < 0.5
    assert len(losses) == 48
    assert losses[0] == 3.0
    assert losses[0] > losses[20] > losses[-1]
    assert last == pytest.approx(1.02)


def test_what_did_not_change_is_not_read_again(monkeypatch):
    write_world(Path("runs"))
    scanner = Scanner(Path("runs"))
    first = scanner.scan()

    def fail(*_):
        raise AssertionError("read again")

    monkeypatch.setattr("workbench.runs.summary", fail)
    monkeypatch.setattr("workbench.runs._checkpoint", fail)
    assert scanner.scan() == first


def test_a_reader_follows_a_run_and_its_resume():
    path = write_run(Path("runs/a"), done=10, saved=())
    reader = RunReader(path)
    assert reader.read()
    assert not reader.read()
    write_rows(path / "metrics.jsonl", [step_row(9, 7.0), step_row(10, 8.0)], mode="a")
    write_rows(path / "rollouts.jsonl", [rollout_row(1), rollout_row(2)])
    reader.read()
    assert list(reader.curves.series["loss"].values[-2:]) == [7.0, 8.0]
    assert len(reader.curves.series["loss"]) == 10
    write_rows(path / "rollouts.jsonl", [{**rollout_row(2), "gold": "6"}], mode="a")
    reader.read()
    assert [group["gold"] for group in reader.rollouts] == ["5", "6"]
    write_rows(path / "metrics.jsonl", [step_row(1, 1.0)])
    reader.read()
    assert len(reader.curves.series["loss"]) == 1


def test_the_log_is_read_while_rows_come():
    path = write_run(Path("runs/a"), done=10, saved=())
    (path / "log.txt").write_text("begun\n", encoding="utf-8")
    reader = RunReader(path)
    reader.read()
    assert len(reader.curves.series["loss"]) == 10
    assert reader.log == ["begun"]


@pytest.mark.parametrize("name", ["metrics", "samples", "rollouts"])
def test_what_a_replaced_file_said_is_forgotten(name):
    path = write_run(Path("runs/a"), stage="grpo", done=50, saved=())
    write_rows(path / "rollouts.jsonl", [rollout_row(1), rollout_row(2)])
    reader = RunReader(path)

    def told() -> dict[str, int]:
        known = {"metrics": reader.curves.series, "samples": reader.samples, "rollouts": reader.rollouts}
        return {name: len(found) for name, found in known.items()}

    reader.read()
    before = told()
    assert all(before.values())
    assert reader.events
    (path / f"{name}.jsonl").write_bytes(b"")
    assert reader.read()
    assert told() == {**before, name: 0}
    assert bool(reader.events) == (name != "metrics")


# The tree


def names(rows):
    return [("  " * row.depth + row.key) for row in rows]


def test_the_tree_follows_the_lineage():
    write_world(Path("runs"))
    found = Scanner(Path("runs")).scan()
    rows = tree_rows(found, folded={"base"})
    assert names(rows) == [
        "rust", "base", "  tuned", "  tuned/200", "    demo", "    demo/50", "odd", "void",
    ]  # fmt: skip
    assert [row.is_best for row in tree_rows(found) if row.facts.name == "base"] == [False, False, True]
    # Those that a match began from stay, so that the tree holds together.
    assert names(tree_rows(found, words="GRPO run", folded={"base", "tuned", "demo"})) == [
        "base",
        "  tuned",
        "    demo",
    ]
    for order in ORDERS:
        assert {row.facts.name for row in tree_rows(found, order=order)} == {f.name for f in found}
    assert names(tree_rows(found, order="name", words="tuned", folded={f.name for f in found})) == [
        "demo",
        "tuned",
    ]


def test_a_circle_of_parents_is_shown_once():
    write_run(Path("runs/a"), parent="runs/b/checkpoints/step-00000200")
    write_run(Path("runs/b"), parent="runs/a/checkpoints/step-00000200")
    write_run(Path("runs/c"), parent="runs/c/checkpoints/step-00000200")
    found = Scanner(Path("runs")).scan()
    assert sorted(row.key for row in tree_rows(found, folded={"a", "b", "c"})) == ["a", "b", "c"]


def test_a_run_called_like_a_checkpoint_has_a_row_of_its_own():
    write_run(Path("runs/a"), saved=(100,))
    write_run(Path("runs/a@100"), saved=())
    rows = tree_rows(Scanner(Path("runs")).scan())
    assert sorted(row.name for row in rows) == ["a", "a@100", "a@100"]
    assert len({row.key for row in rows}) == 3


# Actions


def test_a_run_in_training_is_neither_deleted_nor_renamed():
    path = write_run(Path("runs/a"), state="running")
    child = write_run(Path("runs/b"), parent="runs/a/checkpoints/step-00000200")
    with RunDir(path).lock():
        for target in (path, path / "checkpoints" / "step-00000100"):
            with pytest.raises(UserError, match="in training"):
                run_actions.delete(target)
        with pytest.raises(UserError, match="in training"):
            run_actions.rename(RunDir(path), "c", Path("runs"))
    write_json(path / "status.json", {"state": "running", "step": 1, "heartbeat": 0, "host": "elsewhere"})
    with pytest.raises(UserError, match="elsewhere"):
        run_actions.delete(path)
    with RunDir(child).lock(), pytest.raises(UserError, match="b is in training"):
        run_actions.rename(RunDir(child), "c", Path("runs"))


def test_deleting_leaves_nothing():
    path = write_run(Path("runs/a"))
    run_actions.delete(path / "checkpoints" / "step-00000100")
    assert [p.name for p in (path / "checkpoints").iterdir()] == ["step-00000200"]
    run_actions.delete(path)
    assert list(Path("runs").iterdir()) == []
    for text in ("{", "[]", "{}"):
        damaged = write_run(Path("runs/b"))
        (damaged / "status.json").write_text(text, encoding="utf-8")
        with RunDir(damaged).lock(), pytest.raises(UserError, match="in training"):
            run_actions.delete(damaged)
        run_actions.delete(damaged)
    write_weights(Path("runs/rust"))
    run_actions.delete(Path("runs/rust"))
    assert list(Path("runs").iterdir()) == []


def test_a_renamed_run_keeps_its_children():
    write_world(Path("runs"))
    write_json(Path("runs/demo/status.json"), {"state": "stopped", "step": 60, "heartbeat": NOW})
    assert [run.name for run in run_actions.children(Path("runs"), Path("runs/tuned"))] == ["demo"]
    run_actions.rename(RunDir(Path("runs/tuned")), "taught", Path("runs"))
    parent = RunDir(Path("runs/demo")).info()["parent"]
    assert parent == "runs/taught/checkpoints/step-00000200"
    assert Path(parent).is_dir()
    for name in ("", "a/b", ".a", "a@1", "base"):
        with pytest.raises(UserError):
            run_actions.rename(RunDir(Path("runs/taught")), name, Path("runs"))


def test_commands_need_somebody_who_listens():
    path = write_run(Path("runs/a"), state="running")
    run = RunDir(path)
    with pytest.raises(UserError, match="not in training"):
        run_actions.steer(run, "pause")
    with run.lock():
        assert "asked a to pause" in run_actions.steer(run, "pause")
    assert run.take_command() == "pause"
    write_json(path / "status.json", {"state": "running", "step": 1, "heartbeat": NOW, "host": "elsewhere"})
    run_actions.steer(run, "stop")
    assert run.take_command() == "stop"


def test_a_started_process_outlives_the_one_that_started_it():
    code = (
        "import sys; from pathlib import Path; from workbench import run_actions\n"
        "run_actions.sys.executable = sys.argv[1]\n"
        "print(run_actions.start('pretrain', ['--steps', '3'], name='a', runs_dir=Path('runs')))"
    )
    # In the place of Python: a program that writes down its arguments after a while, in its own session.
    stand_in = Path("program")
    stand_in.write_text('#!/bin/sh\nsleep 0.5\necho "$@"\nps -o sid= -p $$ > session\n', encoding="utf-8")
    stand_in.chmod(0o755)
    command = [sys.executable, "-c", code, str(stand_in.resolve())]
    pid = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    limit = time.monotonic() + 30
    while not (Path("session").exists() and Path("session").read_text()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert int(Path("session").read_text()) == pid, "a session of its own is not ended with the terminal"
    shown = "picochat pretrain --run a --runs-dir runs --steps 3"
    assert last_lines(Path("runs/a/log.txt"), 9) == [f"$ {shown}", f"-m {shown}"]
    with pytest.raises(UserError, match="taken"):
        run_actions.start("pretrain", [], name="a", runs_dir=Path("runs"))
    assert run_actions.free_name("pretrain", Path("runs")) == "pretrain-1"


def test_numbers_beyond_all_bounds_are_left_out():
    curves = Curves()
    curves.feed([{"event": "step", "step": 1, "loss": math.inf}, {"event": "step", "step": 2, "loss": 1e305}])
    assert curves.series == {}
