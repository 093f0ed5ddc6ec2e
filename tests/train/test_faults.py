"""Disks that fail, fill up, or stop with the process, at every single call."""

import errno
import io
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from safetensors import SafetensorError

from picochat import cli
from picochat.train import checkpoint
from picochat.train import run as run_module
from picochat.train.checkpoint import newest_valid, sweep, verify
from picochat.train.events import Saved
from picochat.train.run import Run

CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "open")


class Crash(BaseException):
    """The process is gone."""


class FailingDisk:
    """Counts what changes the disk, and lets the k-th such call fail: with an errno, or with all after it.

    What is opened to be written is two such calls: the open, and a first write that fails halfway.
    """

    def __init__(self, failing: int, failure: int | str) -> None:
        self.failing, self.failure, self.count = failing, failure, 0

    def check(self, path: object = None) -> None:
        self.count += 1
        is_dead = self.failure == "crash" and self.count > self.failing
        if self.count == self.failing or is_dead:
            if isinstance(self.failure, int):
                name = str(path) if isinstance(path, str | Path) else None
                raise OSError(self.failure, os.strerror(self.failure), name)
            raise Crash

    @contextmanager
    def installed(self) -> Iterator["FailingDisk"]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self.wrap(getattr(os, name)))
            open_file, save_file = io.open, checkpoint.save_file

            def open_checked(file, mode="r", *args, **options):
                if not set(mode) & set("wa+"):
                    return open_file(file, mode, *args, **options)
                self.check(file)
                opened = open_file(file, mode, *args, **options)
                opened.write = self.half_written(opened.write)
                return opened

            def save_checked(tensors, path):
                try:
                    self.check()
                except (OSError, Crash) as error:
                    Path(path).write_bytes(b"half of")
                    if isinstance(error, OSError):
                        raise SafetensorError(f"I/O error: {error.strerror}") from error
                    raise
                save_file(tensors, path)

            patch.setattr(io, "open", open_checked)
            patch.setattr(checkpoint, "save_file", save_checked)
            yield self

    def half_written(self, write):
        def checked(data):
            try:
                self.check()  # an error of a write names no file
            except (OSError, Crash):
                write(data[: len(data) // 2])
                raise
            return write(data)

        return checked

    def wrap(self, function):
        def checked(*args, **options):
            self.check(args[0])
            return function(*args, **options)

        return checked


FAILURES = [errno.EIO, errno.ENOSPC, "crash"]
NAMES = ["EIO", "ENOSPC", "crash"]


@pytest.fixture
def paused(tmp_path, begin) -> Iterator[Run]:
    """A run that waits after step 6, with checkpoints of steps 2 and 4; a new one will replace that of 2."""
    run = begin(tmp_path, save_every=2, eval_every=0, keep=2)
    while run.trainer.step < 6:
        next(run)
    assert list(run.directory.checkpoints()) == [2, 4]
    run.directory.send("pause")
    next(run)
    yield run
    run.close()


@pytest.mark.parametrize("failure", FAILURES, ids=NAMES)
def test_a_save_leaves_the_old_or_the_new_checkpoint(failure, paused, tmp_path):
    folder = paused.directory.path / "checkpoints"
    shutil.copytree(folder, tmp_path / "before")
    outcomes, failing = set(), 0
    while True:
        failing += 1
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "before", folder)
        paused.request_checkpoint()
        error = None
        with FailingDisk(failing, failure).installed() as disk:
            try:
                assert isinstance(next(paused), Saved)
            except (OSError, Crash) as caught:
                error = caught
        if disk.count < failing:
            break
        newest, problems = newest_valid(paused.directory)
        assert not problems
        for path in paused.directory.checkpoints().values():
            verify(path)
        steps = list(paused.directory.checkpoints())
        assert steps in ([2, 4], [2, 4, 6], [4, 6])
        outcomes.add((type(error), newest.name))
        if isinstance(error, OSError):
            assert error.filename or "step-00000006" in str(error)
        # The next try succeeds, and what was left is swept.
        sweep(paused.directory.path)
        paused.request_checkpoint()
        assert isinstance(next(paused), Saved)
        assert list(paused.directory.checkpoints()) == [4, 6]
        sweep(paused.directory.path)
        assert sorted(path.name for path in folder.iterdir()) == ["step-00000004", "step-00000006"]
    kind = Crash if failure == "crash" else OSError
    assert {(kind, "step-00000004"), (kind, "step-00000006")} <= outcomes
    assert failing > 20


@pytest.mark.parametrize("failure", FAILURES, ids=NAMES)
def test_a_resume_that_fails_can_be_tried_again(failure, paused, tmp_path, begin):
    paused.close()
    newest = paused.directory.checkpoints()[4]
    failing = 0
    while True:
        failing += 1
        (newest / "state.json").unlink(missing_ok=True)  # so that it is set aside
        run = None
        with FailingDisk(failing, failure).installed() as disk, suppress(OSError, Crash):
            run = begin(tmp_path, resume=True)
        if run is not None:
            run.close()
        if disk.count < failing:
            break
        assert run is None or failure != "crash"
        again = begin(tmp_path, resume=True)
        assert again.trainer.step == 2
        again.close()
        assert again.directory.info()["stage"] == "pretrain"
        aside = newest.with_name("step-00000004.damaged")
        aside.rename(newest)
    assert failing > 5


@pytest.mark.parametrize("failure", [errno.EINTR, "crash"], ids=["EINTR", "crash"])
def test_the_first_save_leaves_the_new_checkpoint_or_none(failure, tmp_path, begin, open_runs):
    """There is no older one to fall back on: the run then begins again."""
    run = begin(tmp_path, save_every=0, eval_every=0)
    open_runs.append(run)
    while run.trainer.step < 2:
        next(run)
    folder = run.directory.path / "checkpoints"
    outcomes, failing = set(), 0
    while True:
        failing += 1
        shutil.rmtree(folder, ignore_errors=True)
        error = None
        with FailingDisk(failing, failure).installed() as disk:
            try:
                run.save()
            except (OSError, Crash) as caught:
                error = caught
        if disk.count < failing:
            break
        sweep(run.directory.path)
        outcomes.add(bool(run.directory.checkpoints()))
        assert error is not None or run.directory.checkpoints()  # not all that is swept matters
        left = list(folder.iterdir()) if folder.exists() else []
        assert left == list(run.directory.checkpoints().values())
        if left:
            assert newest_valid(run.directory) == (left[0], {})
    assert outcomes == {True, False}
    run.close()
    shutil.rmtree(folder)
    again = begin(tmp_path, resume=True)
    open_runs.append(again)
    assert again.trainer.step == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such timer")
def test_signals_that_interrupt_a_save_do_not_harm_it(paused):
    """Every call to the system may end with EINTR while a timer ticks; it is made again (PEP 475)."""
    ticks = []
    before = signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        paused.request_checkpoint()
        assert isinstance(next(paused), Saved)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ticks
    assert newest_valid(paused.directory) == (paused.directory.checkpoints()[6], {})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_is_an_os_error_that_names_the_checkpoint(paused):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    paused.request_checkpoint()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"step-00000006: could not be written: .*[Ff]ile too large"):
            next(paused)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(paused.directory.step_folders()) == [2, 4]
    assert not list((paused.directory.path / "checkpoints").glob(".*"))


def complaint(args: list[str], capsys) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main(args)
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_metrics_are_one_line_and_let_go_of_the_run(paused, tmp_path, capsys, begin, monkeypatch):
    paused.close()
    full = Path("/dev/full")
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "open_for_append", lambda path: full.open("a"))
        err = complaint(["pretrain", "--runs-dir", str(tmp_path), "--run", "a", "--resume"], capsys)
    assert err == "error: /dev/full: No space left on device\n"
    begin(tmp_path, resume=True).close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_one_line(number, paused, tmp_path, capsys, monkeypatch):
    paused.close()
    replace = os.replace

    def refuse(source, target, **_):
        if Path(target).name == "status.json":
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    err = complaint(["pretrain", "--runs-dir", str(tmp_path), "--run", "a", "--resume"], capsys)
    assert err == f"error: {tmp_path / 'a' / 'status.json'}: {os.strerror(number)}\n"
    assert not list((tmp_path / "a").glob(".status*"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_read_only_folder_is_one_line(tmp_path, text_file, capsys):
    tmp_path.chmod(0o500)
    try:
        err = complaint(["pretrain", "--data", str(text_file), "--runs-dir", str(tmp_path / "runs")], capsys)
    finally:
        tmp_path.chmod(0o700)
    assert re.fullmatch(r"error: [^\n]*runs[^\n]*: Permission denied", err.splitlines()[-1])


def test_a_file_in_place_of_the_runs_is_one_line(tmp_path, text_file, capsys):
    (tmp_path / "runs").write_text("", encoding="utf-8")
    err = complaint(["pretrain", "--data", str(text_file), "--runs-dir", str(tmp_path / "runs")], capsys)
    assert re.fullmatch(r"error: [^\n]*runs[^\n]*", err.splitlines()[-1])
