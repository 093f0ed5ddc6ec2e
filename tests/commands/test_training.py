"""`picochat pretrain` and `picochat sft`: what they print, how they stop, how they go on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from picochat import cli
from picochat.commands.training import _stopped_by_signals, resumed_options
from picochat.commands.training_view import Meter, duration
from picochat.train.events import StepDone
from picochat.train.options import PretrainOptions
from picochat.train.run_dir import RunDir


def losses(run: RunDir) -> list[tuple[int, str]]:
    """Return the steps and their losses, to the last bit."""
    return [(row["step"], row["loss"].hex()) for row in run.rows("step")]


def test_a_run_tells_how_it_goes(tmp_path, train, capsys):
    train(tmp_path, "a", "--steps 24 --eval-every 12 --sample-every 24 --save-every 12")
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert re.fullmatch(r"pretrain \S+a: [\d,]+ parameters on cpu, 24 steps of 4 x 32 tokens", lines[0])
    steps = [
        line for line in lines if re.match(r"step \d+/24  loss \d+\.\d{4}  [\d,]+ tok/s  MFU .* left", line)
    ]
    assert [line.split("/")[0] for line in steps] == ["step 20", "step 24"]
    scores = [line for line in lines if re.fullmatch(r"step \d+  bpb \d+\.\d{4}  val_loss \d+\.\d{4}", line)]
    assert [line.split()[1] for line in scores] == ["0", "12", "24"]
    prompts = [line.split("'")[1] for line in lines if "' -> " in line]
    assert prompts == [*PretrainOptions().prompts] * 2
    assert sum(" saved " in line for line in lines) == 2
    checkpoint = RunDir(tmp_path / "a").checkpoints()[24]
    assert f"checkpoint: {checkpoint}" in lines
    assert f"picochat sft --load {tmp_path / 'a'}" in out
    assert "\x1b" not in out


def test_control_json_stops_and_resume_completes_the_same_curve(
    tmp_path, train, runs_dir, capsys, monkeypatch
):
    run = RunDir(tmp_path / "a")
    take_command = RunDir.take_command

    def ask_at_step_3(self: RunDir):
        if (self.path / "metrics.jsonl").exists() and len(self.rows("step")) == 3:
            self.send("stop")
        return take_command(self)

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "take_command", ask_at_step_3)
        train(tmp_path, "a", "--steps 8")
    out = capsys.readouterr().out
    assert run.status()["state"] == "stopped"
    assert list(run.checkpoints()) == [3]
    assert out.splitlines()[-1].endswith(f"resume: picochat pretrain --run a --runs-dir {tmp_path} --resume")

    cli.main(["pretrain", "--run", "a", "--runs-dir", str(tmp_path), "--resume"])
    assert "from step 3 to 8" in capsys.readouterr().out
    assert run.status()["state"] == "finished"
    assert losses(run) == losses(RunDir(runs_dir / "base"))


def test_flags_override_the_options_of_a_resumed_run(tmp_path, runs_dir):
    shutil.copytree(runs_dir / "base", tmp_path / "base")
    run = RunDir(tmp_path / "base")
    before = run.info()
    cli.main(
        [
            "pretrain",
            "--runs-dir",
            str(tmp_path),
            "--resume",
            "--run",
            "base",
            "--steps=10",
            "--save-every",
            "1",
        ]
    )
    after = run.info()
    changed = {name for name, value in after["options"].items() if value != before["options"][name]}
    assert changed == {"steps", "save_every", "runs_dir", "resume"}
    assert {**after, "options": None} == {**before, "options": None}
    assert list(run.checkpoints())[-2:] == [9, 10]


def test_a_resume_that_fails_leaves_the_run_as_it_was(tmp_path, runs_dir, capsys):
    shutil.copytree(runs_dir / "base", tmp_path / "base")
    before = {
        name: (tmp_path / "base" / name).read_bytes() for name in ("run.json", "status.json", "metrics.jsonl")
    }
    with pytest.raises(SystemExit) as end:
        cli.main(["pretrain", "--runs-dir", str(tmp_path), "--run", "base", "--resume", "--depth", "2"])
    assert end.value.code == 2
    assert "h.1." in capsys.readouterr().err
    assert before == {name: (tmp_path / "base" / name).read_bytes() for name in before}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("pretrain --run base", ["base", "--resume"]),
        ("sft --run base --resume", ["another stage", "picochat pretrain"]),
        ("sft --load base --seq-len 33", ["--seq-len 33", "32"]),
        ("sft --load base --seq-len 32 --data chat.jsonl", ["chat.jsonl:2", "narrator"]),
        ("sft --load base@5", ["base", "'5'"]),
        ("eval bpb --load base --data nope.txt", ["nope.txt"]),
    ],
)
def test_mistakes_about_runs_are_one_line(args, words, runs_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        [{"role": "narrator", "content": "c"}],
    ]
    text = "".join(json.dumps({"messages": row}) + "\n" for row in rows)
    (tmp_path / "chat.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        cli.main([*args.split(), "--runs-dir", str(runs_dir)])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert re.fullmatch(r"error: [^\n]*\n", err)
    assert all(word in err for word in words), err


def test_sft_trains_on_weighted_files_from_a_run(tmp_path, runs_dir, monkeypatch, capsys):
    shutil.copytree(runs_dir / "base", tmp_path / "runs" / "base")
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        rows = [
            [{"role": "user", "content": f"{name}{i}"}, {"role": "assistant", "content": "yes"}]
            for i in range(30)
        ]
        text = "".join(json.dumps({"messages": row}) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    options = (
        "--load base --data a.jsonl:1.0 --data b.jsonl:0.5 --steps 4 --batch-size 2 --seq-len 32 --device cpu"
    )
    cli.main(["sft", *options.split()])
    out = capsys.readouterr().out
    run = RunDir(tmp_path / "runs" / "sft-1")
    assert run.info()["options"]["data"] == ["a.jsonl:1.0", "b.jsonl:0.5"]
    assert Path(run.info()["parent"]) == Path("runs/base/checkpoints/step-00000008")
    assert out.endswith("next: picochat grpo --load sft-1\n      picochat chat --load sft-1\n")
    assert run.rows("eval")[-1]["metrics"]["val_loss"] < run.rows("eval")[0]["metrics"]["val_loss"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can catch")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_with_0(number, tmp_path, text_file):
    tiny = "--depth 1 --batch-size 4 --seq-len 32 --vocab-size 300 --steps 100000 --save-every 0 --device cpu"
    command = [
        sys.executable,
        "-m",
        "picochat",
        "pretrain",
        "--data",
        str(text_file),
        "--run",
        "a",
        *tiny.split(),
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run = RunDir(tmp_path / "runs" / "a")
    deadline = time.monotonic() + 60
    while len(run.rows("step")) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "picochat pretrain --run a --resume" in err
    assert "Traceback" not in err
    step = run.rows("step")[-1]["step"]
    assert list(run.checkpoints()) == [step]
    assert f"stopped at step {step} of 100000" in out
    assert run.status()["state"] == "stopped"


class FakeRun:
    """As much of a run as the handling of signals needs."""

    stage = "pretrain"
    stops = 0

    def __init__(self, path: Path) -> None:
        self.directory = RunDir(path)
        self.options = type("Options", (), {"runs_dir": "runs"})
        self.trainer = type("Trainer", (), {"world": type("World", (), {"is_main": False})})

    def request_stop(self) -> None:
        self.stops += 1


def test_the_second_ctrl_c_interrupts(tmp_path):
    run = FakeRun(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with _stopped_by_signals(run):
        signal.raise_signal(signal.SIGINT)
        assert run.stops == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def step(number: int, loss: float) -> StepDone:
    return StepDone(
        step=number,
        loss=loss,
        tokens=1,
        tokens_seen=1,
        seconds=1,
        tokens_per_second=1,
        mfu=None,
        lr={},
        grad_norm=1,
    )


def test_the_meter_averages_and_foresees(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    meter = Meter(step=10, steps=60)
    for number in range(11, 41):
        meter.add(step(number, float(number)))
    now = 160.0
    assert meter.mean == sum(range(21, 41)) / 20
    assert meter.seconds_left == pytest.approx(60 / 30 * 20)


def test_durations():
    assert [duration(seconds) for seconds in (0, 9.9, 60, 3600, 90061)] == [
        "0:00",
        "0:09",
        "1:00",
        "1:00:00",
        "25:01:01",
    ]


@pytest.mark.parametrize("args", ["--steps 3", "--no-resume --run base", "--run base", "--resum --run base"])
def test_only_resume_asks_for_stored_options(args, runs_dir):
    assert resumed_options(PretrainOptions, "pretrain", [*args.split(), "--runs-dir", str(runs_dir)]) is None


@pytest.mark.parametrize("folder", ["--runs-dir {}", "--runs-dir={}", "--runs_dir {}"])
def test_stored_options_are_those_of_the_run(folder, runs_dir):
    args = f"--steps 99 --resume {folder.format(runs_dir)} --run=base".split()
    options = resumed_options(PretrainOptions, "pretrain", args)
    assert options is not None
    assert (options.run, options.runs_dir, options.depth, options.steps) == ("base", str(runs_dir), 1, 8)
