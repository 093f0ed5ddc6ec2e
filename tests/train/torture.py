"""Faults for a run in training: what is done to it, and what has to hold afterwards."""

import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from picochat import cli
from picochat.errors import UserError
from picochat.train.checkpoint import verify
from picochat.train.run_dir import RunDir, read_rows

# Forked from a process that has imported torch already; Windows can not.
context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
if sys.platform != "win32":
    context.set_forkserver_preload(["picochat.cli", "picochat.train.pretrain", "picochat.train.sft"])

EARLY = "kill -9 at any instant from the start"
"""Also while it reads its data or a checkpoint."""
INTERRUPTS = ("kill -9", EARLY, "stop by control.json")
if sys.platform != "win32":
    INTERRUPTS += ("SIGTERM", "Ctrl-C", "Ctrl-C twice", "full disk")
DAMAGE = ("flipped bit", "file cut", "file gone", "folder without its manifest", "half a line of metrics")
"""What is done to the files after a kill -9."""

EXIT_CODES = {"kill -9": (-9, 1), EARLY: (-9, 1), "Ctrl-C twice": (0, 130), "full disk": (0, 2)}
"""What a process may end with, 0 if not listed."""


def train(args: list[str], environment: dict[str, str], max_bytes: int) -> None:
    """Be one process of a training."""
    os.environ |= environment
    if max_bytes:
        import resource

        # As if the disk were full: no file can grow over this.
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    cli.main(args)


@dataclass
class Ledger:
    """How often each fault was tried, and how often something was lost."""

    tried: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        """Return the table to print."""
        rows = [f"{'fault':<40} {'tried':>6} {'survived':>9} {'lost':>6}"]
        for name, count in sorted(self.tried.items()):
            rows.append(f"{name:<40} {count:>6} {count - self.lost[name]:>9} {self.lost[name]:>6}")
        total, lost = self.tried.total(), self.lost.total()
        return "\n".join([*rows, f"{'all':<40} {total:>6} {total - lost:>9} {lost:>6}"])


@dataclass
class Torture:
    """One run, harmed again and again until it is finished."""

    run: RunDir
    stage: str
    draw: random.Random
    ranks: int = 1
    newest: int = 0
    """Step of the newest checkpoint that has to be there."""
    faults: list[str] = field(default_factory=list)
    size_of_row: int = 600
    damaged: tuple[Path, int] | None = None
    """The checkpoint that was damaged last, and its inode: another folder in its place is a new one."""
    seconds_to_start: float = 1.0
    """Time from the start of the processes to their first row, as it was last."""

    def round(self, faults: tuple[str, ...]) -> bool:
        """Resume the run and harm it; return whether it came to its end instead."""
        fault = self.draw.choice(faults)
        self.faults.append(fault)
        before = self.size()
        processes = self.start(max_bytes=self.newest_size() // 2 if fault == "full disk" else 0)
        if fault == EARLY:
            time.sleep(self.draw.uniform(0, 1.2 * self.seconds_to_start))
        elif fault != "full disk":
            began = time.monotonic()
            self.wait(processes, before + 1)
            self.seconds_to_start = time.monotonic() - began
            self.wait(processes, before + self.draw.randint(1, 15 * self.size_of_row))
            time.sleep(self.draw.uniform(0, 0.02))
        if fault != "full disk":
            self.interrupt(processes, fault)
        for process in processes:
            process.join(60)
            assert process.exitcode is not None, f"{fault}: it hangs"
        self.check([process.exitcode or 0 for process in processes], fault)
        finished = self.run.status()["state"] == "finished"
        if fault in DAMAGE and not finished:
            self.damage(fault)
        return finished

    def finish(self) -> RunDir:
        """Resume the run and let it come to its end unharmed, in processes like those that are harmed."""
        for process in self.start(max_bytes=0):
            process.join(120)
            assert process.exitcode == 0
        return self.run

    def start(self, max_bytes: int) -> list[BaseProcess]:
        args = [self.stage, "--runs-dir", str(self.run.path.parent), "--run", self.run.name, "--resume"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        peers = {"WORLD_SIZE": str(self.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes: list[BaseProcess] = []
        for rank in range(self.ranks):
            environment = {**peers, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(context.Process(target=train, args=(args, environment, max_bytes), daemon=True))
            processes[-1].start()
        return processes

    def size(self) -> int:
        return (self.run.path / "metrics.jsonl").stat().st_size

    def newest_size(self) -> int:
        paths = list(self.run.checkpoints().values())
        return max((file.stat().st_size for path in paths for file in path.iterdir()), default=0)

    def wait(self, processes: list[BaseProcess], size: int) -> None:
        deadline = time.monotonic() + 120
        while all(process.is_alive() for process in processes) and self.size() < size:
            assert time.monotonic() < deadline, "it writes nothing"
            time.sleep(0.001)

    def interrupt(self, processes: list[BaseProcess], fault: str) -> None:
        process = self.draw.choice(processes)
        if not process.is_alive():
            return
        assert process.pid is not None
        if fault == "stop by control.json":
            self.run.send("stop")
        elif fault == "SIGTERM":
            os.kill(process.pid, signal.SIGTERM)
        elif fault in ("Ctrl-C", "Ctrl-C twice"):
            os.kill(process.pid, signal.SIGINT)
            if fault == "Ctrl-C twice":
                time.sleep(self.draw.uniform(0, 0.003))
                if process.is_alive():
                    os.kill(process.pid, signal.SIGINT)
        else:
            process.kill()

    def check(self, exit_codes: list[int], fault: str) -> None:
        state, checkpoints = self.run.status()["state"], self.run.checkpoints()
        if state != "finished" and self.ranks == 1:
            expected = EXIT_CODES.get(fault, EXIT_CODES["kill -9"] if fault in DAMAGE else (0,))
            assert exit_codes[0] in expected, f"{fault} ended with {exit_codes[0]}"
        if fault == EARLY:
            # It may be gone before it has looked at what was damaged, which is set aside by a later one then.
            checkpoints = {step: path for step, path in checkpoints.items() if not self.is_damaged(path)}
        for path in checkpoints.values():
            verify(path)
        newest = max(checkpoints, default=0)
        assert newest >= self.newest, f"{fault} lost a complete checkpoint"
        self.newest = newest
        if state == "stopped":
            # The last line, not the highest step: a killed process may have gone further than the checkpoint
            # to which a damaged one sent its successor back.
            last = list(read_rows(self.run.path / "metrics.jsonl"))[-1]
            told = (last["event"], last["step"], last.get("state"))
            assert told == ("finished", newest, "stopped"), f"{fault}: stopped at {newest}, told {told}"

    def is_damaged(self, path: Path) -> bool:
        return self.damaged == (path, path.stat().st_ino)

    def damage(self, fault: str) -> None:
        """Harm the newest checkpoint, if there is an older one to fall back on, or the metrics."""
        if fault == "half a line of metrics":
            with (self.run.path / "metrics.jsonl").open("ab") as file:
                file.write(b'{"event": "step", "st')
            return
        checkpoints = list(self.run.checkpoints().values())
        if len(checkpoints) < 2:
            return
        newest = checkpoints[-1]
        self.damaged = (newest, newest.stat().st_ino)
        # A change in the manifest's own white space is no damage.
        file = self.draw.choice(sorted(newest.glob("[!M]*")))
        if fault == "folder without its manifest":
            (newest / "MANIFEST.json").unlink()
        elif fault == "file gone":
            file.unlink()
        elif fault == "file cut":
            with file.open("rb+") as opened:
                opened.truncate(self.draw.randrange(file.stat().st_size))
        else:
            data = bytearray(file.read_bytes())
            data[self.draw.randrange(len(data))] ^= 1 << self.draw.randrange(8)
            file.write_bytes(data)
        try:
            verify(newest)
            is_sound = (newest / "MANIFEST.json").is_file()
        except UserError:
            is_sound = False
        assert not is_sound, f"{fault} in {file.name} was not noticed"
        self.newest = list(self.run.checkpoints())[-2] if (newest / "MANIFEST.json").is_file() else 0


def torment(
    torture: Torture, faults: tuple[str, ...], ledger: Ledger, holds: Callable[[RunDir], bool]
) -> str:
    """Harm a run until it is finished; return what went wrong, nothing if all is well."""
    is_finished = False
    try:
        while not is_finished:
            is_finished = torture.round(faults)
            ledger.tried[name(torture)] += 1
        assert holds(torture.run), "the curve is another one"
    except AssertionError as error:
        ledger.tried[name(torture)] += not is_finished
        ledger.lost[name(torture)] += 1
        return f"{torture.run.path}: {error} (after {', '.join(torture.faults)})"
    return ""


def name(torture: Torture) -> str:
    """Return the last fault as it stands in the table."""
    fault = torture.faults[-1]
    return fault if torture.ranks == 1 else f"{fault}, one of {torture.ranks} ranks"
