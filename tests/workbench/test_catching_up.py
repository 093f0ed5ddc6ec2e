"""An answer that comes faster than it is drawn: keys find the app idle, and nothing is lost."""

from tests.workbench.driving import answered, chat, complete, run, send, wait
from workbench.screens import answering
from workbench.widgets.token_text import TokenText

PER_FRAME = 10


def note_drawn(monkeypatch) -> list[int]:
    """Let few tokens be drawn in a frame; return the list of how many each draws."""
    drawn: list[int] = []
    flush = TokenText.flush

    def noted(widget: TokenText, limit: int | None = None) -> None:
        before = len(widget.tokens)
        flush(widget, limit)
        drawn.append(len(widget.tokens) - before)

    monkeypatch.setattr(TokenText, "flush", noted)
    monkeypatch.setattr(answering, "TOKENS_PER_FRAME", PER_FRAME)
    return drawn


def test_what_came_before_the_end_is_drawn_in_frames(tmp_path, monkeypatch):
    drawn = note_drawn(monkeypatch)

    async def script(pilot):
        await send(pilot, "story 200")
        await answered(pilot, 1)
        (answer,) = complete(chat(pilot))
        assert len(answer.tokens) == 200
        assert answer.reason == "stop"

    run(tmp_path, script)
    assert sum(drawn) == 200
    assert max(drawn) <= PER_FRAME * (answering.MOST_LEFT_OUT + 1)


def test_a_stop_waits_for_no_frames(tmp_path, monkeypatch):
    note_drawn(monkeypatch)

    async def script(pilot):
        screen = await send(pilot, "story 5000")
        await wait(pilot, lambda: screen.writing and screen.writing.widget.num_waiting > 1000)
        await pilot.press("escape")
        await answered(pilot, 1)
        (answer,) = complete(screen)
        assert len(answer.tokens) > 1000  # frames alone would have needed seconds for them

    run(tmp_path, script)
