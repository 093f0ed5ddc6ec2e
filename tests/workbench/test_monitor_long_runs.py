"""Long runs on the screen that watches them: read in slices, drawn quickly, in little memory."""

import time
from pathlib import Path

import psutil
import pytest

from picochat.train.tail import Tail
from tests.workbench.make_runs import drive, step_row, write_rows, write_run
from tests.workbench.monitoring import enter
from tests.workbench.screen_text import screen_text, wait_until
from workbench.screens.monitor import MonitorScreen
from workbench.series import MOST_POINTS, Series
from workbench.widgets.plot import Plot

pytestmark = pytest.mark.usefixtures("still")


def test_a_long_run_is_read_in_slices(monkeypatch):
    path = write_run(Path("runs/a"), done=1, saved=())
    write_rows(path / "metrics.jsonl", [step_row(step, 1.0) for step in range(1, 5_000)])
    monkeypatch.setattr("workbench.run_reader.SHOW_SECONDS", 0.0)
    seen = set()
    draw = MonitorScreen._draw

    def noted(screen):
        draw(screen)
        if screen.watched:
            seen.add(screen._reader("a").share_read)

    monkeypatch.setattr(MonitorScreen, "_draw", noted)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        plot = screen.query_one(Plot)
        await wait_until(app, lambda: plot.lines and plot.lines[0].steps[-1] == 4_999)

    drive(script)
    assert len(seen) > 5, "the screen is drawn while the file is read"


MANY = 1_000_000


def write_many_rows() -> Path:
    """Write a run of a million steps; return its metrics."""
    path = write_run(Path("runs/a"), done=1, saved=()) / "metrics.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(
            f'{{"event": "step", "step": {step}, "loss": {2 + step % 7}, "lr": {{"matrices": 0.02}}}}\n'
            for step in range(1, MANY + 1)
        )
    return path


def test_a_million_rows_keep_nobody_waiting(monkeypatch):
    write_many_rows()
    parsed, at_first, parse, draw = [], [], Tail._parse, MonitorScreen._draw

    def counted(tail, lines):
        parsed.append(len(lines))
        return parse(tail, lines)

    def noted(screen):
        draw(screen)
        if screen.watched:
            at_first.append(sum(parsed))

    monkeypatch.setattr(Tail, "_parse", counted)
    monkeypatch.setattr(MonitorScreen, "_draw", noted)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        plot = screen.query_one(Plot)
        await wait_until(app, lambda: plot.lines)
        await pilot.press("l")
        await wait_until(app, lambda: plot.is_log and "reading" in screen_text(app))
        assert screen._reader("a").is_behind, "keys are obeyed meanwhile"

    drive(script)
    assert 0 < at_first[0] < 10_000, "the screen is there before much is read"
    assert max(parsed) < 5_000, "nothing comes between two slices of so many rows"


@pytest.mark.slow
def test_a_million_rows_take_little_memory():
    size = write_many_rows().stat().st_size
    process = psutil.Process()

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen._readers)
        before, most = process.memory_info().rss, 0
        reader = screen._reader("a")
        limit = time.monotonic() + 600
        while reader.curves.last_step.get("step") != MANY:
            assert time.monotonic() < limit, screen_text(app)
            await pilot.pause(0.05)
            most = max(most, process.memory_info().rss - before)
        assert all(len(series) <= MOST_POINTS + 1000 for series in reader.curves.series.values())
        assert most < size / 3, f"{most / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB"

    drive(script)


def test_drawing_is_quick():
    series = Series()
    series.steps.extend(range(16_000))
    series.values.extend(1.0 / (1 + step % 97) for step in range(16_000))
    path = write_run(Path("runs/a"), done=1)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "a")
        curves = screen._reader("a").curves
        for name in ("loss", "grad_norm", "tokens_per_second", "eval bpb"):
            curves.series[name] = series
        began = time.process_time()
        screen._draw()
        for plot in screen.query(Plot):
            plot._draw()
        assert time.process_time() - began < 2.0

    drive(script)
    assert path.exists()
