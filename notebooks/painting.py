"""Views that repaint themselves while a run goes on behind the page, and let the user go first.

A view is a cell of its own that draws once and leaves a painter thread behind, which draws again whenever
there is news. Cells never run again for it, so the page answers while the model trains.
"""

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import marimo as mo

from notebooks.status import trouble
from picochat.train.controller import Controller, NoRunError

SHARE_OF_DRAWING = 0.3
"""A painter draws for at most this share of the time; the rest is for training."""
PATIENCE = 0.08
"""Seconds that a cell waits for the worker; what comes later is drawn by the painter."""
FIRST_FOR_USER = 0.4
"""Seconds from the use of a control in which no step is begun and no other picture drawn."""
QUICK = 0.3
"""A view that is drawn anew as often as that is a line of text: it waits for no picture."""


def is_live() -> bool:
    """Whether somebody looks at the notebook in a browser; not so in scripts, exports and tests."""
    return mo.app_meta().request is not None


class Session:
    """One loaded page. A global of the notebook holds it; painters end when it is gone, with the page."""

    def __init__(self) -> None:
        self.drawn: set[object] = set()
        """What draws the views that were filled once."""

    def is_new(self, draw: Callable[..., object]) -> bool:
        """Whether nothing was drawn by `draw` yet, or by the same lines of a cell."""
        lines = getattr(draw, "__code__", draw)
        is_new = lines not in self.drawn
        self.drawn.add(lines)
        return is_new


def view(
    draw: Callable[..., object],
    controller: Controller,
    session: object,
    *,
    every: float = 0.5,
    ask: Callable[[], "Future[Any]"] | None = None,
    meanwhile: Callable[[], Any] | None = None,
) -> None:
    """Fill the output of the present cell with draw(), now and, in a browser, again whenever there is news.

    ask: sends a question to the worker (`Controller.call`); `draw` is given the answer. It must not be used
    to change anything: it is asked again for every repaint.
    meanwhile: returns an answer that needs no worker, or None; drawn at once, so that a control is not held
    up by the step that is being made.
    every: least seconds between two repaints; up to 0.3 for a line of text.
    session: painters end when it is gone.

    On a page that is being loaded the pictures come after all the text, each in its place.
    """
    version = controller.version
    live = is_live()
    is_quick = every <= QUICK
    is_loading = live and not is_quick and isinstance(session, Session) and session.is_new(draw)
    if live and not is_loading and not is_quick:
        _user_first(controller)
    is_there = False
    picture: object = mo.md("*preparing …*")
    if not is_loading:
        now = _soonest(ask, meanwhile) if live and ask is not None and meanwhile is not None else ask
        picture, is_there = _drawn(draw, now, PATIENCE if live else None, is_quick=is_quick)
    mo.output.replace(picture)
    if live:
        painter = _Painter(draw, ask, controller, weakref.ref(session), every)
        if is_there:
            painter.drawn, painter.shown = version, _text(picture)
        mo.Thread(target=painter.paint, name="picochat-painter", daemon=True).start()


def _soonest(ask: Callable[[], "Future[Any]"], meanwhile: Callable[[], Any]) -> Callable[[], "Future[Any]"]:
    """Return what asks the worker only where `meanwhile` has no answer."""

    def now() -> "Future[Any]":
        answer = meanwhile()
        if answer is None:
            return ask()
        future: Future[Any] = Future()
        future.set_result(answer)
        return future

    return now


def _text(picture: object) -> str | None:
    """Return what tells whether two pictures are the same; None if nothing does."""
    return picture.text if isinstance(picture, mo.Html) else None


def _drawn(
    draw: Callable[..., object],
    ask: Callable[[], "Future[Any]"] | None,
    patience: float | None,
    *,
    is_quick: bool = False,
) -> tuple[object, bool]:
    """Return the picture, or what went wrong with it; a page never stays still without a word.

    And whether that is all there is to show now; else an answer is on its way.
    """
    try:
        answers = () if ask is None else (ask().result(patience),)
        if is_quick:
            return draw(*answers), True
        with _turn:
            return draw(*answers), True
    except NotYet:
        return mo.md("*waiting for the model to finish its step …*"), False
    except NoRunError:
        return mo.md("*there is no model to look at*"), True
    except CancelledError:
        return mo.md("*this model was put aside for another one*"), True
    except Exception as error:
        return trouble(error), True


_turn = threading.RLock()
"""Pictures are drawn one after the other: several threads that draw leave no time to the one that trains."""
_others_from = 0.0
"""When painters may draw again; of `time.perf_counter`."""


def _user_first(controller: object) -> None:
    """Leave the processors to the answer that the user waits for, the browser's share of it included."""
    global _others_from
    _others_from = time.perf_counter() + FIRST_FOR_USER
    if isinstance(controller, Controller):
        controller.hold(FIRST_FOR_USER)


class _Painter:
    """Draws a view again and again, in a thread of its own. What looks as before is not sent again."""

    def __init__(
        self,
        draw: Callable[..., object],
        ask: Callable[[], "Future[Any]"] | None,
        controller: Controller,
        session: "weakref.ref[object]",
        every: float,
    ) -> None:
        self._draw, self._ask, self._controller = draw, ask, controller
        self._session, self._every = session, every
        self.drawn: int | None = None
        """Version of the controller that is on the page; None if nothing of it is."""
        self.shown: str | None = None
        """What the page has now."""

    def paint(self) -> None:
        """Draw whenever there is news, until the page is gone."""
        thread = mo.current_thread()

        def is_over() -> bool:
            return thread.should_exit or self._session() is None

        if self.drawn is not None:
            self._rest(self._every, is_over)
        while not is_over():
            version = self._controller.version
            if version == self.drawn:
                if self._controller.is_closed:
                    return
                self._controller.wait(version, 0.5)
                continue
            if self._every > QUICK and (left := _others_from - time.perf_counter()) > 0:
                time.sleep(left)
                continue
            self.drawn = version
            began = time.thread_time()
            picture, _ = _drawn(self._draw, self._ask, None, is_quick=self._every <= QUICK)
            if is_over():
                return
            text = _text(picture)
            if text is None or text != self.shown:
                mo.output.replace(picture)
            self.shown = text
            self._rest(max(self._every, (time.thread_time() - began) / SHARE_OF_DRAWING), is_over)

    def _rest(self, seconds: float, is_over: Callable[[], bool]) -> None:
        doing = _doing(self._controller)
        end = time.perf_counter() + seconds
        while not is_over() and (left := end - time.perf_counter()) > 0:
            if self._every <= QUICK and _doing(self._controller) != doing:
                break  # a button was pressed
            time.sleep(min(left, 0.05))


def _doing(controller: Controller) -> tuple[object, ...]:
    # What is watched is not always a run of this process.
    return getattr(controller, "state", None), getattr(controller, "is_pausing", None)
