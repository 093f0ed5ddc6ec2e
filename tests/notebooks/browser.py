"""Drives a notebook as an app in headless Chromium.

The fixture `open_notebook` is known to all tests (see tests/conftest.py): `open_notebook(name, *args)` serves
notebooks/NAME.py and returns a `Notebook`. At the end the test fails on every error of a cell or the console.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which something that should have happened never will; the machine may be busy."""
SESSION_SECONDS = 2
"""Time that the server keeps a session whose page was closed."""
TAKEN_AWAY = ("reading '_redrawFromAutoMarginCount'", "PlotlyPlugin:  TypeError: t.emit is not a function")
"""What Plotly says of a figure that was taken away while it was drawn (plotly/plotly.js issue 5159), in the
middle of it or when it would tell that it has been drawn: it does no harm, and a page can not keep it from
happening."""

DEEP_QUERY = """
function deepQuery(selector, root = document) {
  const found = [...root.querySelectorAll(selector)];
  for (const element of root.querySelectorAll('*'))
    if (element.shadowRoot) found.push(...deepQuery(selector, element.shadowRoot));
  return found;
}
"""

READ_FIGURES = """
return deepQuery('.js-plotly-plot').filter(p => p.data && p._fullLayout).map(p => {
  const layout = p._fullLayout, box = p.getBoundingClientRect();
  const list = values => Array.from(values || []);
  return {
    title: layout.title?.text || '',
    x_title: layout.xaxis?.title?.text || '', y_title: layout.yaxis?.title?.text || '',
    x_range: layout.xaxis?.range, y_range: layout.yaxis?.range,
    left: box.left, top: box.top, width: box.width, height: box.height,
    traces: p._fullData.map(trace => ({
      name: trace.name, type: trace.type, text: trace.text || null,
      x: list(trace.x), y: list(trace.y), z: list(trace.z).map(list),
    })),
  };
});
"""


class NotThereError(AssertionError):
    """What a page is asked for is not on it: not yet, or it is being drawn anew."""


class Notebook:
    """A served notebook and a page that shows it."""

    def __init__(self, server: subprocess.Popen[bytes], url: str, page: "Page", log: Path) -> None:
        self.server, self.url, self.page, self.log = server, url, page, log
        self.console_errors: list[str] = []
        self._watch(page)

    def _watch(self, page: "Page") -> None:
        def on_console(message: Any) -> None:
            # Plotly asks a content network for MathJax, which nothing here needs and no test can reach.
            is_foreign = message.location.get("url", "").startswith("http") and not message.location[
                "url"
            ].startswith(self.url)
            is_late = any(word in message.text for word in TAKEN_AWAY)
            if message.type == "error" and not is_foreign and not is_late:
                self.console_errors.append(message.text)

        page.on("console", on_console)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))

    def load(self) -> "Notebook":
        """Load the page and wait until its cells have run."""
        self.page.goto(self.url)
        self.page.locator("h1").first.wait_for(timeout=PATIENCE * 1000)
        return self

    def another(self) -> "Notebook":
        """Open the notebook in a second tab."""
        page = self.page.context.new_page()
        return Notebook(self.server, self.url, page, self.log).load()

    def press(self, name: str) -> None:
        """Press the button called `name`."""
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def text(self) -> str:
        """Return what the page says."""
        return self.page.locator("body").inner_text()

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """Wait until the condition holds; return what it returned."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(NotThereError):
                if found := condition():
                    return found
            assert time.monotonic() < end, f"{what}: not within {seconds:g} s\n{self.text()[-3000:]}"
            self.page.wait_for_timeout(50)

    def until_equal(self, read: Callable[[], Any], expected: Any, what: str) -> None:
        """Wait until `read` returns what is expected: a picture comes after the word that says so."""
        seen: Any = None

        def is_expected() -> bool:
            nonlocal seen
            seen = read()
            return seen == expected

        with contextlib.suppress(AssertionError):
            self.until(is_expected, what)
        assert seen == expected, what

    def figures(self) -> list[dict[str, Any]]:
        """Return the plotly figures of the page: their axes, where they are, and their traces."""
        return self.page.evaluate("() => {" + DEEP_QUERY + READ_FIGURES + "}")

    def figure(self, y_title: str) -> dict[str, Any]:
        """Return the first figure whose y axis has a title that begins so."""
        for figure in self.figures():
            if figure["y_title"].startswith(y_title):
                return figure
        raise NotThereError(f"no figure has {y_title!r} at its y axis")

    def curve(self, y_title: str, name: str) -> tuple[list[float], list[float]]:
        """Return the points of a curve of a figure; none while it is not there."""
        for figure in self.figures():
            for trace in figure["traces"] if figure["y_title"].startswith(y_title) else []:
                if trace["name"] == name:
                    return trace["x"], trace["y"]
        return [], []

    def cell_errors(self) -> list[str]:
        """Return the errors that cells show."""
        found = "deepQuery('.marimo-error, [data-testid=\"cell-error\"], .tracebacks')"
        return self.page.evaluate("() => {" + DEEP_QUERY + f"return {found}.map(e => e.innerText);" + "}")

    def num_threads(self) -> int:
        """Return how many threads the server has. Linux only."""
        return len(os.listdir(f"/proc/{self.server.pid}/task"))

    def check(self) -> None:
        """Fail on every error that there was so far."""
        assert self.console_errors == []
        assert self.cell_errors() == []

    def slider(self, label: str) -> "Locator":
        """Return the handle of a slider; it takes arrow keys, Home and End."""
        return self.page.locator("marimo-slider", has_text=label).get_by_role("slider").first


OpenNotebook = Callable[..., Notebook]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextlib.contextmanager
def served(
    name: str, args: Sequence[str], folder: Path, browser: "Browser", **context: Any
) -> Iterator[Notebook]:
    """Serve a notebook as an app in `folder`; yield a page of the browser to load it in."""
    port = free_port()
    log = folder / f"server-{port}.log"
    command = [
        *(sys.executable, "-m", "marimo", "run", str(ROOT / "notebooks" / f"{name}.py")),
        *("--headless", "--no-token", "--host", "127.0.0.1", "--port", str(port)),
        *("--session-ttl", str(SESSION_SECONDS)),
        *("--", *args),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MARIMO_SKIP_UPDATE_CHECK": "1"}
    with log.open("wb") as file:
        server = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, env=env)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, server, log)
        window = browser.new_context(viewport={"width": 1200, "height": 1000}, **context)
        with contextlib.closing(window):
            yield Notebook(server, url, window.new_page(), log)
    finally:
        server.terminate()
        server.wait(PATIENCE)


@pytest.fixture
def open_notebook(chromium: "Browser", tmp_path: Path) -> Iterator[OpenNotebook]:
    """Serve a notebook and load it: open_notebook("pretrain", "--steps", "9"). Runs go to tmp_path/runs."""
    with contextlib.ExitStack() as pages:
        opened: list[Notebook] = []

        def open_notebook(name: str, *args: str, color_scheme: Any = "light") -> Notebook:
            page = served(name, args, tmp_path, chromium, color_scheme=color_scheme)
            opened.append(pages.enter_context(page))
            return opened[-1].load()

        yield open_notebook
        for notebook in opened:
            if notebook.page in notebook.page.context.pages:
                notebook.check()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            said = log.read_text(encoding="utf-8", errors="replace")
            assert server.poll() is None, f"the server ended:\n{said}"
            assert time.monotonic() < end, f"the server does not answer:\n{said}"
            time.sleep(0.1)
