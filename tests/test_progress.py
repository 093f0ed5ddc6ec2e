"""Progress when piped: silent until there is something to say, then a line now and then."""

import picochat.progress
from picochat.progress import progress


def test_lines_when_piped(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(picochat.progress.time, "monotonic", lambda: now)
    with progress(None, "tokenizing", "B") as update:
        for step in range(21):
            update(step * 100_000, 2_000_000)
            now += 1
    assert capsys.readouterr().err.splitlines() == [
        "tokenizing: 500 kB of 2 MB (25%), 15 s left",
        "tokenizing: 1 MB of 2 MB (50%), 10 s left",
        "tokenizing: 1.5 MB of 2 MB (75%), 5 s left",
        "tokenizing: 2 MB of 2 MB (100%)",
    ]


def test_a_total_that_is_not_known_and_other_units(capsys, monkeypatch):
    monkeypatch.setattr(picochat.progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with progress(None, "reading", "rows") as update:
        update(12_345)
    assert capsys.readouterr().err == "reading: 12,345 rows\n"


def test_nothing_done_is_nothing_said(capsys):
    with progress(100, "tokenizing", "B"):
        pass
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(picochat.progress.sys.stderr, "isatty", lambda: True, raising=False)
    with progress(100, "tokenizing", "B") as update:
        update(50)
        update(100)
    assert "tokenizing" in capsys.readouterr().err
