"""Draw pictures of the notebooks from real sessions: `python docs/notebook_pictures.py` after a demo."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
PATIENCE = 300_000
"""Milliseconds after which something that should have happened never will."""


def main() -> None:
    """Write docs/notebook-tokenizer.png and docs/notebook-eval.png."""
    runs_dir = sys.argv[1] if len(sys.argv) > 1 else "runs"
    with open_page("tokenizer") as page:
        page.get_by_text("merges learned").wait_for()
        page.locator(".pc-token.ring").first.wait_for()
        shoot(page, "2. Your text as tokens", height=945, name="notebook-tokenizer.png")
    options = ("--runs-dir", runs_dir, "--load", "demo-sft", "demo", "--max-problems", "50")
    with open_page("eval", *options) as page:
        page.get_by_role("button", name="Measure", exact=True).click()
        page.get_by_text("measured (").wait_for()
        shoot(page, "3. The scores", height=1610, name="notebook-eval.png")


def shoot(page: Page, heading: str, *, height: int, name: str) -> None:
    """Write a picture of the page that begins at a heading."""
    page.wait_for_timeout(8000)  # figures come a little after their texts
    page.set_viewport_size({"width": 1200, "height": height})
    page.get_by_role("heading", name=heading).evaluate("heading => heading.scrollIntoView()")
    page.wait_for_timeout(3000)
    page.screenshot(path=str(DOCS / name))


@contextmanager
def open_page(notebook: str, *options: str) -> Iterator[Page]:
    """Serve a notebook as an app and open it in a headless browser."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    path = DOCS.parent / "notebooks" / f"{notebook}.py"
    command = [sys.executable, "-m", "marimo", "run", str(path), "--headless", "--no-token"]
    server = subprocess.Popen([*command, "--port", str(port), "--", *options])
    try:
        _until(lambda: socket.create_connection(("127.0.0.1", port)).close())
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1200, "height": 1000}, device_scale_factor=1.5)
            page.set_default_timeout(PATIENCE)
            page.goto(f"http://127.0.0.1:{port}")
            yield page
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _until(connect: Callable[[], None]) -> None:
    for _ in range(600):
        try:
            return connect()
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server does not answer")


if __name__ == "__main__":
    main()
