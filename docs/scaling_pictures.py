"""Take the picture of how a training step scales: `python docs/scaling_pictures.py`.

Reads build/scaling.html (`just bench-scaling`). Needs Chromium at /usr/bin/chromium, or where the variable
CHROMIUM says.
"""

import os
from pathlib import Path

from playwright.sync_api import sync_playwright

PAGE = Path("build/scaling.html")


def main() -> None:
    """Write scaling-speed.png beside this file."""
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 440}, device_scale_factor=1.5)
        page.goto(PAGE.resolve().as_uri())
        page.locator(".main-svg").nth(3).wait_for(state="attached")
        page.screenshot(path=Path(__file__).with_name("scaling-speed.png"), full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
