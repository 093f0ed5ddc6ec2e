"""The run directory: what readers see while a run writes, and how names are resolved."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from picochat.errors import UserError
from picochat.train.run_dir import (
    CHECKPOINT_FILES,
    HOST,
    RunDir,
    find_run,
    is_checkpoint,
    list_runs,
    read_json,
    read_object,
    read_rows,
    resolve_checkpoint,
    run_of,
    runs_of,
    write_json,
)


def make_checkpoint(run: RunDir, step: int, score: float | None, *, is_complete: bool = True) -> Path:
    path = run.path / "checkpoints" / f"step-{step:08d}"
    path.mkdir(parents=True)
    for name in CHECKPOINT_FILES:
        (path / name).write_text("", encoding="utf-8")
    write_json(path / "state.json", {"score": score})
    if is_complete:
        write_json(path / "MANIFEST.json", {"sha256": {}})
    return path


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "runs" / "a")
    run.path.mkdir(parents=True)
    write_json(run.path / "run.json", {"stage": "pretrain", "options": {}, "parent": None, "created": 0.0})
    return run


def write_lines(path: Path, *rows: object) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_json_is_strict_and_replaced_whole(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_reader_never_sees_a_part_of_a_file(tmp_path):
    path = tmp_path / "x.json"
    values = [{"key": "x" * 20_000}, {"key": "y" * 30_000}]
    write_json(path, values[0])
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            for value in values:
                write_json(path, value)

    thread = threading.Thread(target=write)
    thread.start()
    seen = [read_json(path) for _ in range(300)]
    is_over.set()
    thread.join()
    assert all(value in values for value in seen)


def test_read_object_names_what_is_missing(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    assert read_object(tmp_path / "x.json", "a") == {"a": 1}
    with pytest.raises(UserError, match=r"x\.json: lacks b, c"):
        read_object(tmp_path / "x.json", "a", "b", "c")


def test_an_unfinished_last_line_is_left_out(tmp_path):
    path = tmp_path / "m.jsonl"
    assert list(read_rows(path)) == []
    write_lines(path, {"event": "step", "step": 1})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"event": "step", "st')
    assert [row["step"] for row in read_rows(path)] == [1]


def test_after_a_resume_the_last_row_of_a_step_wins(run):
    rows = [
        ("step", 1, 5.0),
        ("step", 2, 4.0),
        ("eval", 2, 4.1),
        ("step", 3, 3.0),
        ("step", 2, 4.5),
        ("step", 3, 3.5),
    ]
    write_lines(run.path / "metrics.jsonl", *({"event": e, "step": s, "loss": x} for e, s, x in rows))
    assert [(row["step"], row["loss"]) for row in run.rows("step")] == [(1, 5.0), (2, 4.5), (3, 3.5)]
    assert [row["loss"] for row in run.rows("eval")] == [4.1]
    assert [(row["event"], row["step"]) for row in run.rows()] == [
        ("step", 1),
        ("step", 2),
        ("eval", 2),
        ("step", 3),
    ]


def test_after_a_resume_the_last_sample_of_a_prompt_wins(run):
    rows = [(1, "p", "old"), (1, "q", "kept"), (1, "p", "new"), (2, "p", "later")]
    write_lines(
        run.path / "samples.jsonl",
        *({"event": "sample", "step": s, "prompt": p, "text": t} for s, p, t in rows),
    )
    assert [(row["prompt"], row["text"]) for row in run.samples()] == [
        ("p", "new"),
        ("q", "kept"),
        ("p", "later"),
    ]


@pytest.mark.parametrize(
    ("state", "age", "shown"),
    [
        ("running", 0, "running"),
        ("running", 3600, "crashed"),
        ("paused", 3600, "crashed"),
        ("finished", 3600, "finished"),
        ("stopped", 3600, "stopped"),
    ],
)
def test_a_silent_run_has_crashed(state, age, shown, run):
    write_json(run.path / "status.json", {"state": state, "step": 1, "heartbeat": time.time() - age})
    assert run.status()["state"] == shown


def write_status(run, **fields):
    status = {"state": "running", "step": 1, "pid": os.getpid(), "host": HOST, "heartbeat": time.time()}
    write_json(run.path / "status.json", {**status, **fields})


def test_a_run_that_holds_its_lock_is_in_a_long_step(run):
    write_status(run, heartbeat=time.time() - 3600)
    with run.lock():
        assert run.status()["state"] == "running"
    assert run.status()["state"] == "crashed", "the process number alone may be another program's by now"


def test_a_run_whose_process_is_gone_has_crashed_at_once(run):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_status(run, pid=ended.pid)
    assert run.status()["state"] == "crashed"
    write_status(run, pid=os.getpid())
    assert run.status()["state"] == "running"


def test_a_run_of_another_host_is_not_judged_by_this_ones_processes(run):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_status(run, pid=ended.pid, host="elsewhere")
    assert run.status()["state"] == "running"
    write_status(run, pid=ended.pid, host="elsewhere", heartbeat=time.time() - 3600)
    assert run.status()["state"] == "silent"
    with run.lock():
        assert run.status()["state"] == "running", "the lock is seen over the network"


def test_watchers_do_not_take_each_other_for_the_run(run):
    with run.lock():
        pass
    ends = time.monotonic() + 0.5

    def watch(_: int) -> list[bool]:
        seen = []
        while time.monotonic() < ends:
            seen.append(run.is_live())
        return seen

    with ThreadPoolExecutor(2) as pool:
        assert not any(live for seen in pool.map(watch, range(2)) for live in seen)


def test_only_complete_checkpoints_count(run):
    make_checkpoint(run, 500, 2.0)
    make_checkpoint(run, 1000, 1.0, is_complete=False)
    make_checkpoint(run, 100_000_000, 3.0)
    (run.path / "checkpoints" / ".step-00000700.tmp-1").mkdir()
    (run.path / "checkpoints" / "notes.txt").touch()
    assert list(run.checkpoints()) == [500, 100_000_000]
    assert run.scores() == {500: 2.0, 100_000_000: 3.0}


def test_best_is_the_lowest_score_and_of_equals_the_newest(run):
    assert run.best() is None
    make_checkpoint(run, 1, None)
    assert run.best() is None
    for step, score in ((2, 1.5), (3, 1.0), (4, 1.0), (5, 1.2)):
        make_checkpoint(run, step, score)
    assert run.best() == 4


def test_a_command_is_taken_once(run):
    assert run.take_command() is None
    run.send("pause")
    run.send("stop")
    assert run.take_command() == "stop"
    assert run.take_command() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '"stop"', '{"command": "rm"}', '{"command": 1}'])
def test_a_wrong_command_is_dropped(text, run):
    (run.path / "control.json").write_text(text, encoding="utf-8")
    assert run.take_command() is None
    assert not (run.path / "control.json").exists()


def test_a_run_is_live_while_its_lock_is_held(run):
    assert not run.is_live()
    with run.lock():
        assert run.is_live()
    assert not run.is_live()


def test_size_counts_every_file(run):
    before = run.size()
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "x").write_bytes(b"12345")
    assert run.size() == before + 5


def test_runs_are_found_by_name_and_by_path(run, monkeypatch):
    monkeypatch.chdir(run.path.parent.parent)
    (run.path.parent / "no-run").mkdir()
    assert [found.name for found in list_runs(Path("runs"))] == ["a"]
    assert list_runs(Path("nowhere")) == []
    for name in ("a", "runs/a", str(run.path)):
        assert find_run(name).path.resolve() == run.path.resolve()
    with pytest.raises(UserError, match="no run called 'b'; runs in runs: a"):
        find_run("b")


def test_checkpoints_are_resolved_from_names_and_paths(run, monkeypatch):
    monkeypatch.chdir(run.path.parent.parent)
    paths = {step: make_checkpoint(run, step, score) for step, score in ((500, 1.0), (1000, 2.0))}
    for spec, step in {
        "a": 1000,
        "a@500": 500,
        "a@best": 500,
        "runs/a": 1000,
        "runs/a@500": 500,
        str(run.path): 1000,
        f"{run.path}@best": 500,
        str(paths[500]): 500,
    }.items():
        assert resolve_checkpoint(spec).resolve() == paths[step].resolve(), spec


def test_the_run_of_a_checkpoint_is_found(run, monkeypatch, tmp_path):
    path = make_checkpoint(run, 500, None)
    alone = tmp_path / "alone"
    alone.mkdir()
    assert run_of(path) == RunDir(run.path.resolve())
    assert run_of(alone) is None
    monkeypatch.chdir(path.parent)
    assert run_of(Path(path.name)) == RunDir(run.path.resolve())
    (run.path / "alone").mkdir()
    monkeypatch.chdir(run.path)
    assert run_of(Path("alone")) is None


def test_a_bare_folder_of_three_files_is_a_checkpoint(tmp_path):
    """The layout of the Rust picochat; an @ in its path means nothing."""
    path = tmp_path / "rust@home"
    path.mkdir()
    for name in CHECKPOINT_FILES:
        assert not is_checkpoint(path)
        (path / name).touch()
    assert resolve_checkpoint(path) == path


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a", "no complete checkpoint yet"),
        ("b", "no run called 'b'"),
        ("half", "lacks config.json, tokenizer.json"),
    ],
)
def test_what_can_not_be_resolved_is_explained(spec, message, run, monkeypatch):
    monkeypatch.chdir(run.path.parent.parent)
    Path("half").mkdir()
    (Path("half") / "model.safetensors").touch()
    with pytest.raises(UserError, match=message):
        resolve_checkpoint(spec)


@pytest.mark.parametrize(
    ("spec", "message"), [("a@7", "no checkpoint '7'.* 500 "), ("a@x", "'x'"), ("a@best", "never")]
)
def test_a_checkpoint_that_is_not_there_is_explained(spec, message, run, monkeypatch):
    monkeypatch.chdir(run.path.parent.parent)
    make_checkpoint(run, 500, None)
    with pytest.raises(UserError, match=message):
        resolve_checkpoint(spec)


def test_runs_of_a_stage_newest_first(tmp_path):
    stages = {
        "a": ("sft", 1.0),
        "b": ("grpo", 2.0),
        "c": ("sft", 3.0),
        "d": ("pretrain", 4.0),
        "e": ("sft", 5.0),
    }
    for name, (stage, created) in stages.items():
        directory = RunDir(tmp_path / name)
        directory.path.mkdir()
        write_json(
            directory.path / "run.json", {"stage": stage, "options": {}, "parent": None, "created": created}
        )
        if name != "e":  # which was never saved
            make_checkpoint(directory, 1, None)
    assert [run.name for run in runs_of(tmp_path, "sft")] == ["c", "a"]
    assert [run.name for run in runs_of(tmp_path, "sft", "grpo")] == ["c", "b", "a"]
    assert runs_of(tmp_path / "nowhere", "sft") == []


def test_what_can_be_resumed(run):
    status = {"step": 3, "heartbeat": time.time()}
    for state, can in {"stopped": True, "paused": True, "finished": False}.items():
        write_json(run.path / "status.json", {**status, "state": state})
        assert run.can_resume() == can
    write_json(run.path / "status.json", {**status, "state": "paused"})
    with run.lock():
        assert not run.can_resume()
