"""The checkpoints, driven by keys."""

import json
import time
from pathlib import Path

from textual.widgets import DataTable

from picochat.train.run_dir import write_json
from tests.workbench.driving import run, wait
from tests.workbench.driving import shown as screen_text
from workbench.screens.chat import ChatScreen
from workbench.screens.checkpoints import CheckpointsScreen
from workbench.screens.dialogs import Confirm


def write_run(path: Path) -> None:
    folder = path / "checkpoints" / "step-00000002"
    folder.mkdir(parents=True)
    run = {"stage": "sft", "options": {"lr": 0.5, "steps": 2}, "parent": None, "created": time.time()}
    write_json(path / "run.json", run)
    write_json(path / "status.json", {"state": "finished", "step": 2, "heartbeat": time.time()})
    write_json(folder / "MANIFEST.json", {})
    write_json(folder / "state.json", {"score": 1.25})
    rows = [{"event": "step", "step": step, "loss": 3.0 - step} for step in (1, 2)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (path / "metrics.jsonl").write_text(text, encoding="utf-8")


def test_checkpoints_are_shown_loaded_and_deleted(tmp_path):
    path = tmp_path / "runs" / "good"
    write_run(path)
    (tmp_path / "runs" / "odd").mkdir()
    (tmp_path / "runs" / "odd" / "run.json").write_text("{}", encoding="utf-8")

    async def script(pilot):
        await pilot.press("f3")
        await wait(pilot, lambda: isinstance(pilot.app.screen, CheckpointsScreen))
        screen = pilot.app.screen
        await wait(pilot, lambda: screen.query_one(DataTable).row_count == 3)
        shown = screen_text(pilot)
        assert "1.2500" in shown
        assert "--lr 0.5" in shown
        assert "damaged" in shown
        await pilot.press("p")
        await pilot.pause()
        assert not (path / "control.json").exists()
        await pilot.press("down", "enter")
        await wait(pilot, lambda: pilot.app.loaded and pilot.app.load_name == "good@2")
        await wait(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))
        await wait(pilot, lambda: "good@2" in screen_text(pilot))
        await pilot.press("f3")
        await wait(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("d")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("n")
        await wait(pilot, lambda: pilot.app.screen is screen)
        assert (path / "checkpoints" / "step-00000002").exists()
        await pilot.press("d")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await wait(pilot, lambda: not (path / "checkpoints" / "step-00000002").exists())

    run(tmp_path, script)


def test_a_live_run_is_paused_through_its_folder(tmp_path):
    from filelock import FileLock

    path = tmp_path / "runs" / "busy"
    write_run(path)
    status = {"state": "running", "step": 2, "heartbeat": time.time()}
    write_json(path / "status.json", status)

    async def script(pilot):
        await pilot.press("f3")
        await wait(pilot, lambda: pilot.app.screen.query(DataTable))
        await wait(pilot, lambda: pilot.app.screen.query_one(DataTable).row_count == 2)
        await pilot.press("p")
        await wait(pilot, (path / "control.json").exists)

    with FileLock(path / ".lock"):
        run(tmp_path, script)
    assert json.loads((path / "control.json").read_text(encoding="utf-8"))["command"] == "pause"
