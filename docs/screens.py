"""Draw the workbench's pictures from a finished demo: `python docs/screens.py` after `picochat demo`.

Pictures are SVG; `--png` writes PNG besides, to look at them where no browser is (needs cairosvg).
"""

import asyncio
import html
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from picochat.commands.text_plot import DOTS
from workbench.app import Workbench

SIZE = (120, 36)
PATIENCE = 600.0
CHAT = (
    "Where does Mara live?",
    "Sam has 74 mugs and Fred has 20. How many more mugs does Sam have than Fred?",
    "Tell me about Mara and the fox.",
)
QUESTION = "Hal ties up 59 candles in bundles of 8. How many candles are left over?"


async def wait(done: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not done():
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)


async def chat(app: Workbench, pilot: Pilot[None]) -> None:
    """Questions to the demo's model, its tokens coloured, one of them looked at."""
    screen: Any = app.screen
    app.open_checkpoint("demo-sft")
    await wait(lambda: app.loaded)
    await pilot.press("f5", *["left"] * 16, "escape", "f6")
    for number, question in enumerate(CHAT, 1):
        if number == len(CHAT):
            # A bolder one, in which something unlikely is said.
            await pilot.press("f5", *["right"] * 24, "escape")
        screen.query_one("Prompt").text = question
        await pilot.press("enter")
        # A question and an answer each.
        wanted = 2 * number
        await wait(lambda n=wanted: len(screen.conversation.nodes) == n and screen.writing is None)
    await pilot.press("alt+up", "home", "n")
    await wait(lambda: "after" in str(screen.panel.picture.content))


async def checkpoints(app: Workbench, pilot: Pilot[None]) -> None:
    """The tree of the demo's runs."""
    await pilot.press("f3")
    screen: Any = app.screen
    await wait(lambda: screen.rows)
    keys = [row.key for row in screen.rows]
    screen.query_one("StillTable").move_cursor(row=keys.index("demo-pretrain"))
    await wait(lambda: screen.query_one("Plot").lines)


async def monitor(app: Workbench, pilot: Pilot[None]) -> None:
    """The GRPO run with its rollouts."""
    await pilot.press("f4")
    screen: Any = app.screen
    await wait(lambda: screen.found)
    screen.attach("demo")
    await pilot.press("2")
    await wait(lambda: screen.query("Plot").first().lines)


async def tensors(app: Workbench, pilot: Pilot[None]) -> None:
    """What SFT changed in the weights."""
    folders = [sorted((app.runs_dir / name / "checkpoints").glob("step-*"))[-1] for name in
               ("demo-pretrain", "demo-sft")]  # fmt: skip
    await app.switch_mode("tensors")
    screen: Any = app.screen
    screen.open(folders[0] / "model.safetensors")
    screen.compare(folders[1] / "model.safetensors")
    await wait(lambda: len(screen.measured) == len(screen.file.tensors) and not screen._busy)


async def compare(app: Workbench, pilot: Pilot[None]) -> None:
    """The answers of SFT and GRPO to one question."""
    await app.switch_mode("compare")
    screen: Any = app.screen
    await pilot.pause()
    screen.open("demo-sft", "demo")
    await wait(lambda: all(side.loaded for side in screen.sides))
    screen.query_one("#prompt", Input).value = QUESTION
    screen.query_one("#option-temperature", Input).value = "1"
    screen.query_one("#prompt", Input).focus()
    for seed in range(1, 30):
        screen.query_one("#option-seed", Input).value = str(seed)
        await pilot.press("enter")
        await wait(lambda: all(side.finished for side in screen.sides))
        if screen.query_one("#text0").parting is not None:
            return


def dots_for_braille(svg: str) -> str:
    """Return the picture with circles in the place of braille characters, which not every font has."""
    braille = re.compile("[\u2801-\u28ff]")

    def replace(match: re.Match[str]) -> str:
        attributes, text = match[1], html.unescape(match[2])
        if not braille.search(text):
            return match[0]
        x, y, length = (
            float(re.search(rf'\b{name}="([\d.]+)"', attributes)[1]) for name in ("x", "y", "textLength")
        )
        style = re.search(r'class="[^"]*"', attributes)[0]
        cell, circles = length / len(text), []
        for place, char in enumerate(text):
            dots = ord(char) - 0x2800 if braille.match(char) else 0
            for column, bits in enumerate(DOTS):
                for row, bit in enumerate(bits):
                    if dots & bit:
                        circles.append(
                            f'<circle {style} cx="{x + cell * (place + 0.25 + 0.5 * column):.1f}" '
                            f'cy="{y - 15.5 + 6.1 * row:.1f}" r="2.1"/>'
                        )
        rest = html.escape(braille.sub("\u00a0", text), quote=False)
        return f"<text{attributes}>{rest}</text>{''.join(circles)}"

    return re.sub(r"<text([^>]*)>([^<]*)</text>", replace, svg)


PICTURES = {
    "chat": chat,
    "checkpoints": checkpoints,
    "monitor": monitor,
    "tensors": tensors,
    "compare": compare,
}


async def draw(name: str, runs_dir: str, *, as_png: bool) -> None:
    """Write workbench-NAME.svg beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        app = Workbench(runs_dir=runs_dir, chats_dir=folder, settings_dir=Path(folder))
        async with app.run_test(size=SIZE) as pilot:
            await PICTURES[name](app, pilot)
            await pilot.pause()
            svg = app.export_screenshot(title="picochat workbench")
    svg = dots_for_braille(svg)
    path = Path(__file__).with_name(f"workbench-{name}.svg")
    path.write_text(svg, encoding="utf-8")
    if as_png:
        import cairosvg

        # The font of the page is not at hand here, and letters of another width would overlap.
        cairosvg.svg2png(
            svg.replace("Fira Code", "DejaVu Sans Mono").encode(), write_to=str(path.with_suffix(".png"))
        )


def main() -> None:
    """Draw the pictures named on the command line, or all."""
    names = [name for name in sys.argv[1:] if name in PICTURES] or list(PICTURES)
    runs_dir = next((arg.partition("=")[2] for arg in sys.argv if arg.startswith("--runs-dir=")), "runs")
    for name in names:
        asyncio.run(draw(name, runs_dir, as_png="--png" in sys.argv))


if __name__ == "__main__":
    main()
