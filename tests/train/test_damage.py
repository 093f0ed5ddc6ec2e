"""Checkpoints that are damaged in every way: each is refused by name, and runs go around it."""

import hashlib
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import picochat
from picochat import cli
from picochat.errors import UserError
from picochat.train.checkpoint import (
    RESUMED_FILES,
    load_checkpoint,
    newest_valid,
    prune,
    remove_checkpoint,
    set_aside,
    sweep,
    verify,
)
from picochat.train.run import Run
from picochat.train.run_dir import CHECKPOINT_FILES, RunDir, read_json, write_json
from picochat.train.trainer import SpoiledError
from tests.train.driving import finish


@pytest.fixture
def run(tmp_path: Path, base_dir: Path) -> RunDir:
    """A copy of the finished run, with checkpoints of steps 6, 9 and 12."""
    shutil.copytree(base_dir / "base", tmp_path / "a")
    return RunDir(tmp_path / "a")


@pytest.fixture
def newest(run: RunDir) -> Path:
    """The checkpoint of step 12."""
    return run.checkpoints()[12]


def list_anew(path: Path) -> None:
    """Make the manifest fit the files, as if they had been saved so."""
    files = [file for file in sorted(path.iterdir()) if file.name != "MANIFEST.json"]
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    write_json(path / "MANIFEST.json", {"sha256": digests})


def spoil(file: Path, value: float) -> str:
    """Put `value` into the last tensor of a file; return the name of the tensor."""
    tensors = load_file(file)
    name = list(tensors)[-1]
    tensors[name].view(-1)[-1] = value
    save_file(tensors, file)
    list_anew(file.parent)
    return name


# Manifests.


@pytest.mark.parametrize(
    "manifest",
    [{"sha256": {}}, {"sha256": []}, {"sha256": None}, {"sha256": "all"}, {}, [], None, "sha256"],
    ids=str,
)
def test_a_manifest_that_lists_nothing_is_damage(manifest: Any, run, newest):
    write_json(newest / "MANIFEST.json", manifest)
    with pytest.raises(UserError, match=r"MANIFEST\.json: .*damaged"):
        load_checkpoint(newest)
    path, problems = newest_valid(run)
    assert path == run.checkpoints()[9]
    assert list(problems) == [newest]


@pytest.mark.parametrize("name", RESUMED_FILES)
def test_a_manifest_without_a_needed_file_is_damage(name: str, run, newest):
    digests = read_json(newest / "MANIFEST.json")["sha256"]
    del digests[name]
    write_json(newest / "MANIFEST.json", {"sha256": digests})
    path, problems = newest_valid(run)
    assert path == run.checkpoints()[9]
    assert f"MANIFEST.json: does not list {name}, so the checkpoint is damaged" in problems[newest]
    if name in CHECKPOINT_FILES:
        with pytest.raises(UserError, match=f"does not list {re.escape(name)}"):
            load_checkpoint(newest)
    else:
        load_checkpoint(newest)  # what only training needs is not missed


# Links.

links = pytest.mark.skipif(os.name == "nt", reason="Windows lets not every user make links")


@links
def test_a_link_in_place_of_a_checkpoint_goes_and_what_it_leads_to_stays(run, tmp_path):
    """As where a user has moved a checkpoint to another disk."""
    elsewhere, path = tmp_path / "elsewhere", run.checkpoints()[6]
    path.rename(elsewhere)
    before = sorted(elsewhere.iterdir())

    def link() -> Path:
        path.symlink_to(elsewhere, target_is_directory=True)
        return path

    link()
    load_checkpoint(path)
    prune(run, keep=2)
    assert list(run.step_folders()) == [9, 12]
    set_aside(link())
    set_aside(link())
    assert path.with_name("step-00000006.damaged").is_symlink()
    link().rename(path.with_name(".step-00000006.tmp-7"))  # as if killed while it was removed
    sweep(run.path)
    assert not list(path.parent.glob(".*"))
    assert sorted(elsewhere.iterdir()) == before


@links
def test_a_file_that_is_a_link_counts_as_what_it_leads_to(run, newest, tmp_path):
    """As in the cache of Hugging Face: the checksum says whether it is the right file."""
    elsewhere, file = tmp_path / "weights", newest / "model.safetensors"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    load_checkpoint(newest)
    assert newest_valid(run) == (newest, {})
    kept = elsewhere.read_bytes()
    elsewhere.write_bytes(kept[:-1])
    with pytest.raises(UserError, match=r"model\.safetensors: differs from its checksum"):
        load_checkpoint(newest)
    elsewhere.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: is missing"):
        load_checkpoint(newest)
    elsewhere.write_bytes(kept)
    remove_checkpoint(newest)
    assert elsewhere.read_bytes() == kept


# Runs that go around the damage.


def flip(newest: Path, _: Path) -> None:
    file = newest / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(newest: Path, _: Path) -> None:
    file = newest / "optimizer.safetensors"
    os.truncate(file, file.stat().st_size // 2)


def swap(newest: Path, other: Path) -> None:
    for name in ("model.safetensors", "optimizer.safetensors"):
        shutil.copyfile(other / name, newest / name)


def lose_manifest(newest: Path, _: Path) -> None:
    (newest / "MANIFEST.json").unlink()


def empty_manifest(newest: Path, _: Path) -> None:
    write_json(newest / "MANIFEST.json", {"sha256": {}})


def nan_weight(newest: Path, _: Path) -> None:
    spoil(newest / "model.safetensors", math.nan)


def inf_moment(newest: Path, _: Path) -> None:
    spoil(newest / "optimizer.safetensors", math.inf)


DAMAGE = {
    flip: "model.safetensors: differs from its checksum",
    cut: "optimizer.safetensors: differs from its checksum",
    swap: "model.safetensors: differs from its checksum",
    lose_manifest: "MANIFEST.json: is missing",
    empty_manifest: "MANIFEST.json: does not list model.safetensors",
    nan_weight: "model.safetensors: .* holds NaN or infinity",
    inf_moment: "optimizer.safetensors: .* holds NaN or infinity",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_run_goes_around_a_damaged_checkpoint(
    damage: Callable[[Path, Path], None], run, newest, base_dir, begin, curve
):
    """To the same curve and the same weights."""
    damage(newest, run.checkpoints()[9])
    again = begin(run.path.parent, resume=True)
    assert again.trainer.step == 9
    (note,) = again.notes
    assert re.search(DAMAGE[damage], note)
    assert note.endswith("set aside as step-00000012.damaged, going on from step-00000009")
    assert list(again)[-1].event == "finished"
    whole = RunDir(base_dir / "base")
    assert curve(run) == curve(whole)
    for name in RESUMED_FILES:
        assert (newest / name).read_bytes() == (whole.checkpoints()[12] / name).read_bytes(), name


@pytest.mark.parametrize("name", [*CHECKPOINT_FILES, "state.json"])
def test_a_step_that_is_asked_for_and_damaged_is_an_error_that_names_the_file(name: str, run, newest):
    """No other step takes its place, nor is it set aside."""
    file = newest / name
    file.write_bytes(file.read_bytes() + b" ")
    for spec in (f"{run.path}@12", f"{run.path}@best", str(run.path)):
        with pytest.raises(UserError, match=re.escape(f"{file}: differs from its checksum")):
            picochat.load(spec)
    picochat.load(f"{run.path}@9")
    assert list(run.checkpoints()) == [6, 9, 12]


# What is no number.


def is_sound(run: RunDir) -> bool:
    for path in run.checkpoints().values():
        verify(path, RESUMED_FILES)
        for name in ("model.safetensors", "optimizer.safetensors"):
            if not all(tensor.isfinite().all() for tensor in load_file(path / name).values()):
                return False
    return True


def spoil_moment(run: Run, name: str = "lm_head.weight") -> None:
    run.trainer.optimizer.adamw[name].m[0, 0] = math.nan


@pytest.fixture
def spoiled(tmp_path: Path, begin: Callable[..., Run]) -> Iterator[Run]:
    """A run whose second step has spoiled the weights without a word: their update is not measured there."""
    run = begin(tmp_path, "spoiled", save_every=1, eval_every=0)
    while run.trainer.step < 1:
        next(run)
    next(run)  # the save
    spoil_moment(run)
    next(run)
    assert not run.model.lm_head.weight.isfinite().all()
    assert run.trainer.step == 2
    yield run
    run.close()


def test_spoiled_weights_are_never_saved(spoiled, begin):
    """Nor can the run go on with them, but from the checkpoint before."""
    words = r"step-00000002: not saved, since lm_head\.weight holds NaN or infinity; .* --resume"
    with pytest.raises(UserError, match=words):
        next(spoiled)
    status = spoiled.directory.status()
    assert status["state"] == "failed"
    assert re.search(words, status["message"])
    assert not spoiled.trainer.is_sound
    assert list(spoiled.directory.step_folders()) == [1]
    assert not list((spoiled.directory.path / "checkpoints").glob(".*"))
    spoiled.close()
    again = begin(spoiled.directory.path.parent, "spoiled", resume=True)
    assert again.notes == []
    assert list(again)[-1].event == "finished"
    assert is_sound(again.directory)


def test_spoiled_moments_are_never_saved(tmp_path, begin, open_runs):
    """Even where they leave the weights alone: infinite squares stop a weight's learning for good."""
    run = begin(tmp_path, steps=3, save_every=0, eval_every=0)
    open_runs.append(run)
    while run.trainer.step < 2:
        next(run)
    run.trainer.optimizer.adamw["x0_lambdas"].v[0] = math.inf
    with pytest.raises(UserError, match=r"adamw\.x0_lambdas\.v holds NaN or infinity"):
        list(run)
    assert not run.directory.step_folders()


def test_a_step_with_spoiled_weights_does_not_say_that_they_are_untouched(spoiled):
    with pytest.raises(
        SpoiledError, match=r"step 3: loss nan.*; an earlier update has spoiled lm_head"
    ) as error:
        next(spoiled.trainer)
    assert "untouched" not in str(error.value)
    with pytest.raises(RuntimeError, match="load a checkpoint"):
        next(spoiled.trainer)


def test_an_update_that_spoils_the_weights_is_named_where_it_is_measured(tmp_path, begin, open_runs):
    run = begin(tmp_path)
    open_runs.append(run)
    next(run)  # the validation before the first step, whose update is measured
    spoil_moment(run)
    with pytest.raises(SpoiledError, match=r"step 1: \|update\| / \|weights\| is nan for head"):
        next(run)
    assert run.directory.status()["state"] == "failed"
    assert run.directory.rows("step") == []


def test_a_validation_that_is_no_number_is_named(tmp_path, begin, open_runs):
    run = begin(tmp_path, eval_every=3)
    open_runs.append(run)
    run.evaluate = lambda: {"bpb": math.nan if run.trainer.step else 1.0, "val_loss": 2.0}
    with pytest.raises(UserError, match=r"step 3: validation gives bpb nan; resume") as error:
        list(run)
    assert "\n" not in str(error.value)
    assert run.directory.status()["message"] == str(error.value)
    assert [row["step"] for row in run.directory.rows("eval")] == [0]


def test_damage_is_told_set_aside_and_gone_around(tmp_path, stage, whole_curves, curve):
    run = stage(tmp_path)
    while run.trainer.step < 7:
        next(run)
    run.close()
    newest = run.directory.checkpoints()[6]
    (newest / "tokenizer.json").unlink()
    run = stage(tmp_path, resume=True)
    assert len(run.notes) == 1
    assert "step-00000006" in run.notes[0]
    assert "tokenizer.json: is missing" in run.notes[0]
    assert "set aside as step-00000006.damaged, going on from step-00000003" in run.notes[0]
    assert run.trainer.step == 3
    finish(run)
    assert curve(run.directory) == whole_curves[run.stage]
    assert list(run.directory.checkpoints()) == [6, 9, 12]


def test_the_command_line_tells_of_damage(tmp_path, base_dir, capsys):
    shutil.copytree(base_dir / "base", tmp_path / "base")
    newest = tmp_path / "base" / "checkpoints" / "step-00000012"
    (newest / "optimizer.safetensors").write_bytes(b"")
    cli.main(["pretrain", "--runs-dir", str(tmp_path), "--run", "base", "--resume"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{newest / 'optimizer.safetensors'}: differs from its checksum")
    assert lines[0].endswith("set aside as step-00000012.damaged, going on from step-00000009")
    assert "from step 9 to 12" in lines[1]


def test_a_run_whose_checkpoints_are_all_damaged_is_left_alone(tmp_path, begin, base_dir):
    shutil.copytree(base_dir / "base", tmp_path / "a")
    for path in RunDir(tmp_path / "a").checkpoints().values():
        (path / "model.safetensors").write_bytes(b"")
    before = sorted(path for path in (tmp_path / "a").rglob("*"))
    with pytest.raises(UserError, match="no sound checkpoint"):
        begin(tmp_path, resume=True)
    assert sorted(path for path in (tmp_path / "a").rglob("*")) == before


def test_an_old_damaged_checkpoint_does_not_end_the_training(tmp_path, begin):
    run = begin(tmp_path, eval_every=1, save_every=1)
    while run.trainer.step < 4:
        next(run)
    (run.directory.checkpoints()[2] / "state.json").unlink()
    assert finish(run)[-1] == "finished 12"
