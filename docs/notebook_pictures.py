"""Take the pictures of the notebooks, from finished runs: `python docs/notebook_pictures.py pretrain`.

Needs Chromium. The notebooks run in a folder with copies of the runs, so that looking changes nothing.
"""

import argparse
import base64
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0
WIDTH, HEIGHT = 1080, 1250


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is to be seen of a notebook."""

    args: tuple[str, ...] = ()
    """What it is started with."""
    ready: str
    """A text that stands on the page when it is ready."""
    parts: tuple[str, ...] = ("h1",)
    """What stands at the top of each part of the picture, side by side: selectors of the page."""
    fill: tuple[tuple[str, str], ...] = ()
    """Text boxes by label, and what is written into them."""
    press: tuple[tuple[str, str], ...] = ()
    """Buttons by name, and the text that tells that what they began is done."""


PICTURES = {
    "tokenizer": Picture(
        ready="merges learned",
        parts=(
            "h2:has-text('Your text as tokens')",
            "h2:has-text('What a larger vocabulary buys')",
            "h2:has-text('Two tokenizers')",
        ),
    ),
    "pretrain": Picture(
        args=("--run", "demo-pretrain", "--resume"),
        ready="finished",
        parts=("h1", "h2:has-text('Look inside')", "h3:has-text('look at')"),
        fill=(("your text", "Mara lives in Foxdale. Mara keeps a cat. Mara"),),
    ),
    "sft": Picture(
        args=("--run", "demo-sft", "--resume"),
        ready="the model it began with",
        parts=("h2:has-text('What the model sees')", "h2:has-text('The same questions')"),
    ),
    "grpo": Picture(
        args=("--run", "demo", "--resume", "--steps", "1000"),
        ready="Held-out problems",
        press=(("Step 1", ", token by token"),),
        parts=("h2:has-text('One step, opened')", "h3:has-text('token by token')"),
    ),
    "eval": Picture(
        args=("--load", "demo-sft", "demo", "--max-problems", "50"),
        ready="Measure",
        press=(("Measure", "measured ("),),
        parts=(
            "h2:has-text('The scores')",
            "h2:has-text('Where two of them differ')",
            "h2:has-text('Problem by problem')",
        ),
    ),
}


def main() -> None:
    """Write notebook-NAME.png, light, or with --dark notebook-NAME-dark.png, beside this file."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(PICTURES), help=", ".join(PICTURES))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder with the demo's runs")
    parser.add_argument("--dark", action="store_true", help="as it looks at night")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        shutil.copytree(given.runs_dir, Path(folder) / "runs")
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        for name in given.names:
            out = given.out / f"notebook-{name}{'-dark' if given.dark else ''}.png"
            take(browser, name, Path(folder), out, is_dark=given.dark)
            print(out)
        browser.close()


def take(browser: "Browser", name: str, folder: Path, out: Path, *, is_dark: bool) -> None:
    """Serve a notebook and write its picture."""
    picture = PICTURES[name]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "marimo", "run", str(ROOT / "notebooks" / f"{name}.py"), "--headless"),
        *("--no-token", "--host", "127.0.0.1", "--port", str(port), "--", *picture.args),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark" if is_dark else "light"
        )
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_text(picture.ready).first.wait_for(timeout=PATIENCE * 1000)
        for label, text in picture.fill:
            page.get_by_role("textbox", name=label).fill(text)
        for name, done in picture.press:
            page.get_by_role("button", name=name, exact=True).click()
            page.get_by_text(done).first.wait_for(timeout=PATIENCE * 1000)
        page.mouse.move(1, 1)  # off the figures, which show tools under it
        page.wait_for_timeout(8000)
        shots = [shot(page, selector) for selector in picture.parts]
        page.close()
    finally:
        server.terminate()
        server.wait()
    join(browser, shots, out)


def wait_for(url: str) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def shot(page: "Page", selector: str) -> bytes:
    """Return what is seen with the given heading at the top."""
    heading = page.locator(selector).first
    heading.wait_for(timeout=PATIENCE * 1000)
    heading.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(1500)
    return page.screenshot()


def join(browser: "Browser", shots: Sequence[bytes], out: Path) -> None:
    """Write the parts side by side."""
    images = "".join(
        f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" style="display:block">'
        for png in shots
    )
    page = browser.new_page(viewport={"width": WIDTH * len(shots), "height": HEIGHT})
    page.set_content(f'<body style="margin:0;display:flex">{images}</body>')
    page.screenshot(path=str(out))
    page.close()


if __name__ == "__main__":
    main()
