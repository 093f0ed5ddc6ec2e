"""Watching a run through its folder while something writes there."""

import doctest
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from picochat.errors import UserError
from picochat.train import watch
from picochat.train.run_dir import RunDir, write_json
from picochat.train.watch import Watch, WatchedRun


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    path = tmp_path / "base"
    path.mkdir()
    info = {"stage": "pretrain", "options": {"steps": 10}, "parent": None, "created": 0.0}
    write_json(path / "run.json", info)
    tell(path, "running", 0)
    return RunDir(path)


def tell(path: Path, state: str, step: int, heartbeat: float | None = None) -> None:
    now = time.time() if heartbeat is None else heartbeat
    write_json(path / "status.json", {"state": state, "step": step, "steps": 10, "heartbeat": now})


def add(run: RunDir, *rows: dict[str, Any], file: str = "metrics.jsonl", end: str = "\n") -> None:
    with (run.path / file).open("a", encoding="utf-8") as stream:
        stream.write("\n".join(json.dumps(row) for row in rows) + end)


def step(number: int, loss: float) -> dict[str, Any]:
    return {"event": "step", "step": number, "loss": loss, "seconds": 0.5, "lr": {"head": 0.1}, "mfu": None}


def points(watched: WatchedRun, metric: str) -> list[tuple[int, float]]:
    steps, values = watched.curve(metric)
    return list(zip(steps.tolist(), values.tolist(), strict=True))


def test_only_what_is_new_is_read_and_a_half_line_waits(run: RunDir):
    watched = WatchedRun(run)
    assert watched.look(), "the status is news"
    assert not watched.look()
    add(run, step(1, 3.0), step(2, 2.5))
    assert watched.look()
    assert points(watched, "loss") == [(1, 3.0), (2, 2.5)]
    whole = json.dumps(step(3, 2.0))
    add(run, file="metrics.jsonl", end=whole[:20])
    assert not watched.look()
    add(run, file="metrics.jsonl", end=whole[20:] + "\n")
    assert watched.look()
    assert points(watched, "loss")[-1] == (3, 2.0)
    assert watched.metrics() == ["loss", "seconds", "lr head"]
    assert points(watched, "unheard of") == []


def test_a_resumed_run_takes_back_what_followed_its_checkpoint(run: RunDir):
    watched = WatchedRun(run)
    add(run, *(step(n, 10.0 - n) for n in range(1, 6)))
    watched.look()
    add(run, step(4, 1.5))
    watched.look()
    assert points(watched, "loss") == [(1, 9.0), (2, 8.0), (3, 7.0), (4, 1.5)]
    assert points(watched, "lr head")[-1] == (4, 0.1)


def test_a_file_that_is_written_anew_is_read_anew(run: RunDir):
    watched = WatchedRun(run)
    sample = {"event": "sample", "step": 2, "prompt": "a", "text": "b"}
    add(run, *(step(n, 10.0 - n) for n in range(1, 6)))
    add(run, sample, {**sample, "prompt": "c"}, file="samples.jsonl")
    watched.look()
    (run.path / "metrics.jsonl").write_text(json.dumps({"event": "step", "step": 7, "loss": 1.5}) + "\n")
    (run.path / "samples.jsonl").write_text("")
    assert watched.look()
    assert points(watched, "loss") == [(7, 1.5)]
    assert watched.metrics() == ["loss"]
    assert watched.samples() == []


def test_evaluations_samples_and_state(run: RunDir):
    watched = WatchedRun(run)
    add(run, {"event": "eval", "step": 2, "metrics": {"bpb": 1.5}, "seconds": 1.0}, step(2, 2.0))
    add(run, {"event": "saved", "step": 2, "path": "x", "seconds": 0.1})
    add(run, {"event": "sample", "step": 2, "prompt": "a", "text": "b"}, file="samples.jsonl")
    tell(run.path, "running", 2)
    watched.look()
    assert points(watched, "held-out bpb") == [(2, 1.5)]
    assert watched.samples() == [(2, "a", "b")]
    assert watched.is_going
    assert watched.seconds_left == pytest.approx(8 * 0.5)
    tell(run.path, "finished", 10)
    assert watched.look()
    assert not watched.is_going
    assert watched.seconds_left is None
    assert doctest.testmod(watch).failed == 0


def test_a_heartbeat_is_no_news_but_its_end_is(run: RunDir):
    watched = WatchedRun(run)
    watched.look()
    tell(run.path, "running", 0, time.time() + 1)
    assert not watched.look()
    tell(run.path, "running", 0, time.time() - 1000)
    assert watched.look()
    assert watched.status["state"] == "crashed"


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"event": "step"}', '{"step": 1}'])
def test_a_damaged_file_is_named(run: RunDir, line: str):
    (run.path / "metrics.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics.jsonl: holds a line that is"):
        WatchedRun(run).look()


def test_who_waits_is_woken_by_news_of_any_run(run: RunDir, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("run.json", "status.json"):
        (other / name).write_text((run.path / name).read_text(encoding="utf-8"), encoding="utf-8")
    watched = Watch([run, RunDir(other)])
    version = watched.version
    began = time.monotonic()
    assert watched.wait(version, 0.4) == version
    assert 0.3 < time.monotonic() - began < 5
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(watched.wait(version, 30))) for _ in range(3)]
    for thread in threads:
        thread.start()
    add(RunDir(other), step(1, 3.0))
    for thread in threads:
        thread.join()
    assert found == [version + 1] * 3
    assert points(watched.runs[1], "loss") == [(1, 3.0)]


def test_a_hundred_thousand_steps_are_read_once(run: RunDir):
    line = json.dumps(step(0, 2.0)).replace('"step": 0', '"step": %d')
    (run.path / "metrics.jsonl").write_text(
        "".join(line % number + "\n" for number in range(1, 100_001)), encoding="utf-8"
    )
    watched = WatchedRun(run)
    began = time.process_time()
    watched.look()
    whole = time.process_time() - began
    add(run, step(100_001, 1.0))
    began = time.process_time()
    assert watched.look()
    assert points(watched, "loss")[-1] == (100_001, 1.0)
    assert time.process_time() - began < whole / 4
    assert len(watched.curve("loss")[0]) == 100_001
