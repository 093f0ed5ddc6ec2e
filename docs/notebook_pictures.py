"""Take the README's pictures of notebooks in use: `python docs/notebook_pictures.py sft grpo` after the demo.

Needs Chromium and playwright. The runs that are made for it stand beside the demo's, as `picture-NAME`.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "sft": ("--load", "demo-pretrain", "--run", "picture-sft", "--steps", "60"),
    "grpo": (
        "--load",
        "demo-sft",
        "--run",
        "picture-grpo",
        "--steps",
        "12",
        "--prompts",
        "8",
        "--lr",
        "0.002",
    ),
}
"""What a notebook is started with."""
WIDTH = 1000
SECONDS = 3600
"""The machine may be busy."""


def main() -> None:
    """Take the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=list(SETTINGS))
    parser.add_argument("--runs-dir", default="runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the pictures")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--steps", type=int, help="train for fewer steps")
    given = parser.parse_args()
    for name in given.names:
        steps = () if given.steps is None else ("--steps", str(given.steps))
        arguments = (*SETTINGS[name], "--runs-dir", given.runs_dir, *steps)
        with served(name, *arguments) as url, shown(url, is_dark=given.dark) as page:
            train(page)
            clip = {"sft": clip_of_sft, "grpo": clip_of_grpo}[name](page)
            path = given.out / f"notebook-{name}{'-dark' if given.dark else ''}.png"
            page.screenshot(path=path, clip=clip)
            print(path)


@contextmanager
def served(name: str, *arguments: str) -> Iterator[str]:
    """Serve a notebook as an app; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    notebook = str(ROOT / "notebooks" / f"{name}.py")
    command = [
        sys.executable,
        "-m",
        "marimo",
        "run",
        notebook,
        "--headless",
        "--no-token",
        "--port",
        str(port),
    ]
    server = subprocess.Popen([*command, "--", *arguments])
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


@contextmanager
def shown(url: str, *, is_dark: bool) -> Iterator[Page]:
    """Open a page in headless Chromium, high enough that all of it is drawn."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 4200}, color_scheme="dark" if is_dark else "light"
        )
        page.set_default_timeout(1000 * SECONDS)
        page.goto(url)
        yield page
        browser.close()


def train(page: Page) -> None:
    """Make all steps, and wait until everything is drawn."""
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("finished", exact=True).wait_for()
    page.get_by_text("waiting for the model").first.wait_for(state="hidden")
    page.wait_for_timeout(20_000)


def clip_of_sft(page: Page) -> dict[str, float]:
    """Return the place of the batch, the loss and the answers."""
    page.get_by_text("conversation number").wait_for()
    return between(page, "1. What the model sees", "What to try next")


def clip_of_grpo(page: Page) -> dict[str, float]:
    """Return the place of an opened step and the first curves."""
    return between(page, "1. One step, opened", "3. Held-out problems, before and after")


def between(page: Page, first: str, last: str) -> dict[str, float]:
    """Return the part of the page from one heading to another."""
    places = [page.get_by_role("heading", name=name, exact=True).bounding_box() for name in (first, last)]
    top, bottom = (place["y"] for place in places if place is not None)
    return {"x": 0, "y": top - 10, "width": WIDTH, "height": bottom - top - 10}


if __name__ == "__main__":
    main()
