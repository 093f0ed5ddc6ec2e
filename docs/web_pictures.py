"""Draw the chat page's pictures from a finished demo: `python docs/web_pictures.py` after `picochat demo`.

Other runs may be named as arguments. Needs Chromium at /usr/bin/chromium, or where the environment variable
CHROMIUM says.
"""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import Page, sync_playwright

from picochat.serve.app import create_app
from picochat.serve.models import load_models

RUNS = ("demo", "demo-sft")
FACT = "Where does Mara live?"
STORY = "Tell me a story about Tom."
PROBLEM = "Sam has 74 mugs and Fred has 20. How many more mugs does Sam have than Fred?"


@contextmanager
def served() -> Iterator[str]:
    """Serve the demo's models as `picochat serve` does; yield the page's address."""
    app = create_app(load_models(sys.argv[1:] or RUNS, device="auto", dtype="auto"))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


def ask(page: Page, text: str) -> None:
    """Send a question and wait for the whole answer."""
    count = page.locator(".message.assistant").count()
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")
    page.locator(".message.assistant[aria-busy=false]").nth(count).wait_for()


def draw_wide(page: Page, path: Path) -> None:
    """A sum, a story whose tokens are coloured by probability, and the options beside them."""
    page.click("#show-options")
    page.fill("#option-seed", "1")
    page.press("#option-seed", "Tab")
    ask(page, FACT)
    page.click("#new")
    for text in (PROBLEM, STORY):
        ask(page, text)
    page.locator(".thinking summary").first.click()
    page.locator("[data-action=tokens]").last.click()
    # One that the model was in doubt about, or else any.
    tokens = page.locator(".message:last-child :is(.level-2, .level-3, .level-4)[role=option]")
    (tokens if tokens.count() else page.locator(".message:last-child [role=option]")).last.hover()
    page.evaluate("document.querySelector('#options').scrollTop = 230")
    page.screenshot(path=path)


def draw_phone(page: Page, path: Path) -> None:
    """A fact and a sum, on a phone in the dark."""
    for text in (FACT, PROBLEM):
        ask(page, text)
    page.locator(".thinking summary").last.click()
    page.locator("#prompt").blur()
    page.screenshot(path=path)


def main() -> None:
    """Write web.png and web-phone.png beside this file."""
    folder = Path(__file__).parent
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        wide = browser.new_page(viewport={"width": 1400, "height": 900})
        phone = browser.new_page(
            viewport={"width": 390, "height": 780},
            device_scale_factor=2,
            is_mobile=True,
            has_touch=True,
            color_scheme="dark",
        )
        for page in (wide, phone):
            page.goto(url)
            page.wait_for_selector("#model option", state="attached")
        draw_wide(wide, folder / "web.png")
        draw_phone(phone, folder / "web-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
