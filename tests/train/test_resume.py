"""Stopped runs go on as those that were not, to the last bit of every file of the last checkpoint."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import picochat
from picochat import cli
from picochat.kernels.compilation import obstacle
from picochat.train.checkpoint import RESUMED_FILES
from picochat.train.events import StepDone
from picochat.train.run import Run
from picochat.train.run_dir import RunDir


def go_to(run: Run, step: int) -> None:
    """Train up to a step and stop there, saved."""
    for event in run:
        if isinstance(event, StepDone) and event.step == step:
            run.request_stop()
    assert run.state == "stopped"
    assert list(run.directory.checkpoints())[-1] == step


def last_files(run: RunDir) -> dict[str, bytes]:
    """Return what the last checkpoint holds: weights, moments, position."""
    newest = list(run.checkpoints().values())[-1]
    return {name: (newest / name).read_bytes() for name in RESUMED_FILES}


@pytest.mark.parametrize("stop", [1, 5])
def test_in_bfloat16_with_several_micro_batches(stop: int, tmp_path, stage, curve):
    """Weights and moments are float32 whatever the products are computed in: nothing is lost by saving."""
    options = {"dtype": "bfloat16", "grad_accum": 2, "steps": 6}
    whole = stage(tmp_path, "whole", **options)
    list(whole)
    assert whole.model.compute_dtype == torch.bfloat16
    go_to(stage(tmp_path, **options), stop)
    run = stage(tmp_path, resume=True)
    assert (run.trainer.step, run.trainer.grad_accum, run.options.dtype) == (stop, 2, "bfloat16")
    list(run)
    assert curve(run.directory) == curve(whole.directory)
    assert last_files(run.directory) == last_files(whole.directory)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # torch's own modules use what it calls deprecated
def test_through_torch_compile(tmp_path, begin, curve):
    if problem := obstacle("cpu"):
        pytest.skip(f"torch.compile does not work here: {problem}")
    whole = begin(tmp_path, "whole", kernels="compile", steps=6)
    list(whole)
    go_to(begin(tmp_path, kernels="compile", steps=6), 3)
    run = begin(tmp_path, resume=True)
    assert run.model.kernels == "compile"
    assert any("torch.compile" in note for note in run.notes)
    list(run)
    assert curve(run.directory) == curve(whole.directory)
    assert last_files(run.directory) == last_files(whole.directory)


def test_over_the_end_of_an_epoch(tmp_path, text_file, begin, curve):
    """Stopped before the last step of an epoch, between two epochs, and after the first step of one."""
    data = tmp_path / "short.txt"
    paragraphs = text_file.read_text(encoding="utf-8").split("\n\n")
    data.write_text("\n\n".join(paragraphs[:6]), encoding="utf-8")
    whole = begin(tmp_path, "whole", data=(str(data),))
    epochs = [whole.trainer.batches.epoch for event in whole if isinstance(event, StepDone)]
    new = epochs.index(1)  # so many steps were done when the second epoch began with the next
    assert 2 <= new < len(epochs) - 2
    for stop in (new - 1, new, new + 1, new + 2):
        name = f"stopped-{stop}"
        go_to(begin(tmp_path, name, data=(str(data),)), stop)
        run = begin(tmp_path, name, resume=True)
        list(run)
        assert curve(run.directory) == curve(whole.directory)
        assert last_files(run.directory) == last_files(whole.directory)


@pytest.mark.parametrize("folder", ["with space", "schöne Läufe 🙂", "new\nline"])
def test_in_a_folder_of_any_spelling(folder: str, tmp_path, text_file, begin, whole_curves, curve, capsys):
    if os.name == "nt" and "\n" in folder:
        pytest.skip("Windows has no such names")
    home = tmp_path / folder
    home.mkdir()
    data = shutil.copy(text_file, home / "some text.txt")
    go_to(begin(home / "runs", "my run", data=(str(data),)), 4)
    cli.main(["pretrain", "--runs-dir", str(home / "runs"), "--run", "my run", "--resume"])
    assert "step 12/12" in capsys.readouterr().out
    run = RunDir(home / "runs" / "my run")
    assert run.status()["state"] == "finished"
    assert curve(run) == whole_curves["pretrain"]
    for spec in (run.path, f"{run.path}@12", f"{run.path}@best", run.checkpoints()[9]):
        model, tokenizer = picochat.load(spec)
        assert model(torch.tensor([tokenizer.encode("the cat")])).isfinite().all()


def test_a_second_process_is_refused_and_disturbs_nothing(tmp_path, begin, open_runs, whole_curves, curve):
    run = begin(tmp_path)
    open_runs.append(run)
    while run.trainer.step < 4:
        next(run)
    before = sorted(path for path in tmp_path.rglob("*"))
    args = ["pretrain", "--runs-dir", str(tmp_path), "--run", "a", "--resume"]
    second = subprocess.run([sys.executable, "-m", "picochat", *args], capture_output=True, text=True)
    assert second.returncode == 2
    assert second.stderr == f"error: {tmp_path / 'a'}: another process is training this run; stop it first\n"
    assert sorted(path for path in tmp_path.rglob("*")) == before
    list(run)
    assert curve(run.directory) == whole_curves["pretrain"]


def test_the_parent_folder_may_be_moved(tmp_path, begin, whole_curves, curve):
    """A run holds no path of its own folder."""
    go_to(begin(tmp_path / "here"), 4)
    Path(tmp_path / "here").rename(tmp_path / "there")
    run = begin(tmp_path / "there", resume=True)
    list(run)
    assert curve(run.directory) == whole_curves["pretrain"]
