"""Views that repaint themselves: what a page shows, and when."""

import time
from concurrent.futures import Future
from unittest.mock import MagicMock
from weakref import ref

import marimo as mo
import pytest

from notebooks import painting
from picochat.errors import UserError


class Still:
    """A controller without news."""

    version = 0


@pytest.fixture
def shown(monkeypatch) -> list[object]:
    """What a page shows, from now on, without painters."""
    shown: list[object] = []
    monkeypatch.setattr(painting, "is_live", lambda: True)
    monkeypatch.setattr(painting.mo.output, "replace", shown.append)
    monkeypatch.setattr(painting.mo, "Thread", MagicMock())
    return shown


def test_a_view_takes_the_answer_that_is_there(shown):
    def worker() -> Future:
        future: Future = Future()
        future.set_result("asked")
        return future

    session = seen()
    for there in ("there", None):
        painting.view(str, Still(), session, ask=worker, meanwhile=lambda there=there: there)
    assert shown == ["there", "asked"]


def seen() -> painting.Session:
    """A page whose view was filled before."""
    session = painting.Session()
    assert session.is_new(str)
    return session


def test_a_page_that_is_loaded_says_so_before_it_draws(shown):
    """The text comes first, and a placeholder where a picture will be; a line of text is there at once."""
    session = painting.Session()

    def draw() -> str:
        return "drawn"

    painting.view(lambda: "status", Still(), session, every=0.3)
    painting.view(draw, Still(), session)
    painting.view(draw, Still(), session)
    status, waiting, drawn = shown
    assert (status, drawn) == ("status", "drawn")
    assert "preparing" in mo.as_html(waiting).text


def test_an_answer_that_fails_is_told_on_the_page(shown):
    """A checkpoint that is looked back at may be damaged."""

    def fail() -> None:
        raise UserError("model.safetensors: is missing")

    painting.view(str, Still(), seen(), ask=Future, meanwhile=fail)
    (page,) = shown
    assert "model.safetensors: is missing" in page.text


class Busy:
    """A controller that has news each time somebody looks, for a while."""

    is_closed = True
    _looked = 0

    @property
    def version(self) -> int:
        self._looked = min(self._looked + 1, 20)
        return self._looked

    def wait(self, version: int, timeout: float) -> int:
        raise AssertionError("there is news already")


@pytest.mark.parametrize(("pictures", "sent"), [("aaabbbaab", "abab"), ("aaaaaa", "a")])
def test_what_looks_as_before_is_not_sent_again(shown, monkeypatch, pictures, sent):
    """A browser would draw it anew, and be late for the user."""
    monkeypatch.setattr(painting.mo, "current_thread", lambda: MagicMock(should_exit=False))
    session = painting.Session()
    left = list(pictures)
    page = painting._Painter(
        lambda: mo.Html(left.pop(0) if left else pictures[-1]), None, Busy(), ref(session), 0
    )
    page.paint()
    assert "".join(picture.text for picture in shown) == sent


def test_figures_without_a_text_are_always_sent(shown, monkeypatch):
    monkeypatch.setattr(painting.mo, "current_thread", lambda: MagicMock(should_exit=False))
    session = painting.Session()
    painting._Painter(lambda: "figure", None, Busy(), ref(session), 0).paint()
    assert len(shown) > 5


def test_other_pictures_wait_for_what_the_user_asked(shown, monkeypatch):
    monkeypatch.setattr(painting.mo, "current_thread", lambda: MagicMock(should_exit=False))
    session = seen()
    painting.view(str, Still(), session, every=1.0)
    asked = time.perf_counter()
    painting._Painter(lambda: "figure", None, Busy(), ref(session), 0.31).paint()
    assert time.perf_counter() - asked >= painting.FIRST_FOR_USER * 0.9
