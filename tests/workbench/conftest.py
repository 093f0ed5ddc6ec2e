"""Every test of the workbench has a calm terminal, and settings and files of its own."""

from pathlib import Path

import pytest

from tests.workbench.make_runs import NOW


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No animations, no settings of the user, and a folder of its own."""
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PICOCHAT_CONFIG", str(tmp_path / "settings"))
    for name in ("NO_COLOR", "TMUX", "DISPLAY", "WAYLAND_DISPLAY", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything on a screen depend on nothing but the files."""

    class Stopped:
        time = staticmethod(lambda: NOW)

    monkeypatch.setattr("picochat.train.run_dir.time", Stopped)
    monkeypatch.setattr("workbench.clock.now", lambda: NOW)
