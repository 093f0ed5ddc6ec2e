"""Measures how soon the pretraining page answers while its model trains, in headless Chromium.

`just measure-notebooks`. A time is what a user waits: from the key or the click until the page shows it.
Browser, page and training share the machine; a busy one makes all of it worse.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import Page, sync_playwright

from tests.chromium import launch
from tests.notebooks.browser import DEEP_QUERY, Notebook, served

TARGET_MS = 300
TIMES = 15
WORDS = ("river", "bridge")
WATCH = """
() => {
  const query = selector => deepQuery(selector).filter(element => element.isConnected);
  const plot = title => query('.js-plotly-plot').find(
    p => (p._fullLayout?.yaxis?.title?.text || '').startsWith(title));
  let found = {};
  const kept = (name, find) => found[name]?.isConnected ? found[name] : (found[name] = find());
  let pressed = null;
  for (const kind of ['keydown', 'click', 'input'])
    window.addEventListener(kind, event => { pressed ??= event.timeStamp; }, true);
  window.answered = null;
  window.watchFor = isShown => {
    pressed = window.answered = null;
    const look = () => {
      if (pressed !== null && isShown()) window.answered = performance.now() - pressed;
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  };
  window.shown = {
    head: () => kept('head', () => plot('looks'))?._fullLayout.title?.text || '',
    loss: () => kept('loss', () => plot('loss'))?._fullLayout.yaxis.type || '',
    tokens: () => kept('tokens', () => query('.picochat-tokens').at(-1))?.textContent || '',
    page: () => document.body.innerText,
  };
}
"""


def main() -> None:
    """Open the page as it comes, let it train, use each control some times, and print a table."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        # Enough steps for all of it.
        args = ("--steps", "5000", *sys.argv[1:])
        with served("pretrain", args, Path(folder), launch(playwright)) as notebook:
            measure(notebook.load())


def measure(notebook: Notebook) -> None:
    """Use the controls while the model trains, and print how long each took to show."""
    page = notebook.page
    notebook.until(lambda: "waiting for you" in notebook.text(), "ready", 600)
    notebook.until(lambda: notebook.figure("looks"), "the picture of a head")
    page.evaluate("() => {" + DEEP_QUERY + f"window.deepQuery = deepQuery; ({WATCH})();" + "}")
    notebook.press("Run")
    notebook.until(lambda: len(notebook.curve("loss", "training")[0]) > 20, "it trains", 120)
    text = page.get_by_role("textbox", name="your text")
    log_loss = page.locator("marimo-switch", has_text="log loss").get_by_role("switch")
    layer, head = notebook.slider("layer"), notebook.slider("head")
    arrows = ("ArrowRight", "ArrowLeft")

    def times(act: Callable[[int], object], is_shown: Callable[[int], str]) -> list[float]:
        return [_timed(page, lambda n=n: act(n), is_shown(n)) for n in range(TIMES)]

    rows = {
        "layer": times(
            lambda n: layer.press(arrows[n % 2]), lambda n: f"shown.head().startsWith('layer {(n + 1) % 2}')"
        ),
        "head": times(
            lambda n: head.press(arrows[n % 2]), lambda n: f"shown.head().includes('head {(n + 1) % 2}')"
        ),
        "log axis": times(
            lambda _: log_loss.click(), lambda n: f"shown.loss() === '{('log', 'linear')[n % 2]}'"
        ),
        "your text, coloured": times(
            lambda n: text.fill(f"Rosa lives by the {WORDS[n % 2]}."),
            lambda n: f"shown.tokens().includes('{WORDS[n % 2][:3]}')",
        ),
    }
    pauses = []
    for _ in range(TIMES):
        pauses.append(
            _timed(page, lambda: notebook.press("Pause"), "/pausing|waiting for you/.test(shown.page())")
        )
        notebook.until(lambda: "waiting for you" in notebook.text(), "paused")
        notebook.press("Run")
        notebook.until(lambda: "training" in notebook.text(), "it trains")
        page.wait_for_timeout(700)
    rows["Pause, a word"] = pauses
    width = max(map(len, rows))
    print(f"{'':<{width}}  {'median':>8}  {'worst':>8}  target")
    for name, took in rows.items():
        print(f"{name:<{width}}  {statistics.median(took):>5.0f} ms  {max(took):>5.0f} ms  {TARGET_MS} ms")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _timed(page: Page, act: Callable[[], object], is_shown: str) -> float:
    """Return the milliseconds from the key or click of `act` until `is_shown` holds; then rest a little."""
    assert not page.evaluate(is_shown), is_shown
    page.evaluate(f"watchFor(() => {is_shown})")
    act()
    page.wait_for_function("answered !== null", polling=50, timeout=30_000)
    took = page.evaluate("answered")
    page.wait_for_timeout(500)
    return took


if __name__ == "__main__":
    main()
