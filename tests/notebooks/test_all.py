"""What holds for several notebooks: what they share in live.py."""

import time
from concurrent.futures import Future
from pathlib import Path
from unittest.mock import MagicMock
from weakref import ref

import marimo as mo
import pytest

from notebooks import live
from picochat.commands.sft import Sft
from picochat.errors import UserError

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.mark.script
@pytest.mark.parametrize(("name", "made_by"), [("sft", "pretrain"), ("grpo", "sft")])
def test_without_a_base_it_says_what_to_do(name, made_by, tmp_path, script):
    done = script(FOLDER / f"{name}.py", "--", "--runs-dir", str(tmp_path), "--steps", "1")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: --load is missing: name the run or checkpoint to begin with"
    page = live.no_base(name, str(tmp_path), mo.md(""), needed="trained", made_by=made_by).text
    assert f"just app {made_by}" in page
    assert str(tmp_path) in page


def test_what_is_given_is_not_changed():
    values = {"eval_every": 20, "eval_tokens": 8192}
    assert live.where_default(Sft(), **values) == values
    assert live.where_default(Sft(eval_every=7), **values) == {"eval_tokens": 8192}


class Still:
    """A controller without news."""

    version = 0


@pytest.fixture
def shown(monkeypatch) -> list[object]:
    """What a page shows, from now on, without painters."""
    shown: list[object] = []
    monkeypatch.setattr(live, "is_live", lambda: True)
    monkeypatch.setattr(live.mo.output, "replace", shown.append)
    monkeypatch.setattr(live.mo, "Thread", MagicMock())
    return shown


def test_a_view_takes_the_answer_that_is_there(shown):
    def worker() -> Future:
        future: Future = Future()
        future.set_result("asked")
        return future

    session = seen()
    for there in ("there", None):
        live.view(str, Still(), session, ask=worker, meanwhile=lambda there=there: there)
    assert shown == ["there", "asked"]


def seen() -> live.Session:
    """A page whose view was filled before."""
    session = live.Session()
    assert session.is_new(str)
    return session


def test_a_page_that_is_loaded_says_so_before_it_draws(shown):
    """The text comes first, and a placeholder where a picture will be; a line of text is there at once."""
    session = live.Session()

    def draw() -> str:
        return "drawn"

    live.view(lambda: "status", Still(), session, every=0.3)
    live.view(draw, Still(), session)
    live.view(draw, Still(), session)
    status, waiting, drawn = shown
    assert (status, drawn) == ("status", "drawn")
    assert "preparing" in mo.as_html(waiting).text


def test_an_answer_that_fails_is_told_on_the_page(shown):
    """A checkpoint that is looked back at may be damaged."""

    def fail() -> None:
        raise UserError("model.safetensors: is missing")

    live.view(str, Still(), seen(), ask=Future, meanwhile=fail)
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
    monkeypatch.setattr(live.mo, "current_thread", lambda: MagicMock(should_exit=False))
    session = live.Session()
    left = list(pictures)
    page = live._Painter(
        lambda: mo.Html(left.pop(0) if left else pictures[-1]), None, Busy(), ref(session), 0
    )
    page.paint()
    assert "".join(picture.text for picture in shown) == sent


def test_figures_without_a_text_are_always_sent(shown, monkeypatch):
    monkeypatch.setattr(live.mo, "current_thread", lambda: MagicMock(should_exit=False))
    session = live.Session()
    live._Painter(lambda: "figure", None, Busy(), ref(session), 0).paint()
    assert len(shown) > 5


def test_other_pictures_wait_for_what_the_user_asked(shown, monkeypatch):
    monkeypatch.setattr(live.mo, "current_thread", lambda: MagicMock(should_exit=False))
    session = seen()
    live.view(str, Still(), session, every=1.0)
    asked = time.perf_counter()
    live._Painter(lambda: "figure", None, Busy(), ref(session), 0.31).paint()
    assert time.perf_counter() - asked >= live.FIRST_FOR_USER * 0.9
