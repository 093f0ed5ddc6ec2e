"""The pretraining notebook as an app, in a browser: every control, while a model trains."""

import os
import random
import re
import statistics
import time
from pathlib import Path

import pytest

from picochat.train.run_dir import RunDir
from tests.notebooks.browser import SESSION_SECONDS, Notebook, NotThereError, OpenNotebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PROMPT = "Rosa lives in Seagate. Rosa keeps a cat. Rosa"
SMALL = [
    *("--data", "text.txt", "--vocab-size", "300", "--seq-len", "32", "--batch-size", "2"),
    *("--eval-tokens", "200", "--eval-every", "50", "--sample-every", "100", "--save-every", "20"),
    *("--device", "cpu", "--prompts", "the cat"),
]
ANSWER = 5.0
"""Seconds that a control may take at most: browser, page and training may share two slow cores."""
TYPICAL_ANSWER = 2.0
"""The median of a handful of controls."""


@pytest.fixture
def small_text(tmp_path: Path) -> Path:
    draw = random.Random(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "to", "big", "old", "house", "where"]
    paragraphs = [" ".join(draw.choices(words, k=20)) for _ in range(200)]
    (tmp_path / "text.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    return tmp_path


def step_of(page: Notebook) -> int:
    found = re.search(r"step ([\d,]+) of", page.text())
    if found is None:
        raise NotThereError(f"no step is named in {page.text()[:3000]}")
    return int(found[1].replace(",", ""))


def is_ready(page: Notebook) -> bool:
    return "waiting for you" in page.text()


def heads(page: Notebook) -> dict:
    """The figure with the map of one head; its title tells layer, head and step."""
    return page.figure("looks")


def training_points(page: Notebook) -> int:
    return len(page.curve("loss", "training")[0])


def test_it_opens_on_the_built_in_world(open_notebook: OpenNotebook):
    page = open_notebook("pretrain")
    page.until(lambda: is_ready(page), "the built-in world is ready", 600)
    page.until(lambda: len(page.figures()) == 4, "all pictures of the untrained model are drawn")
    for part in (
        "step 0 of 1,000",
        "runs/pretrain-1",
        "1,024 tokens, trained on this text",
        "makes 3.",  # bits per byte of the untrained model
    ):
        page.until(lambda part=part: part in page.text().replace("\\", "/"), part)
    page.until_equal(lambda: page.text().count("No step was made yet"), 2, "what has nothing to show says so")
    assert re.search(r"Rosa.*Seagate|Seagate.*Rosa", page.text().partition("Is it learning?")[0])
    page.press("Step 1")
    page.until(lambda: training_points(page) == 1 and is_ready(page), "a step")
    page.until(lambda: len(page.figures()) == 9 + 1, "and all others")
    page.until_equal(lambda: page.curve("loss", "validation")[0], [0], "the loss before the first step")


def test_every_control(small_text: Path, open_notebook: OpenNotebook):
    page = open_notebook("pretrain", "--steps", "4000", *SMALL)
    page.until(lambda: is_ready(page), "ready", 240)
    page.until(lambda: len(page.figures()) == 4, "all pictures are drawn")
    page.press("Step 1")
    page.until(lambda: training_points(page) == 1 and is_ready(page), "a step")
    page.press("Step 10")
    page.until(lambda: training_points(page) == 11 and is_ready(page), "ten steps")

    page.press("Run")
    page.until(lambda: training_points(page) > 14, "the curve grows")
    latencies = controls_answer(page)
    before = training_points(page)
    page.until(lambda: training_points(page) > before, "it went on meanwhile")

    began = time.monotonic()
    page.press("Pause")
    page.until(lambda: is_ready(page), "it pauses", ANSWER)
    latencies["pause"] = time.monotonic() - began
    step = step_of(page)
    page.page.wait_for_timeout(1500)
    assert step_of(page) == step, "no step after a pause"
    print("seconds:", {name: round(seconds, 2) for name, seconds in latencies.items()})
    assert max(latencies.values()) < ANSWER
    assert statistics.median(latencies.values()) < TYPICAL_ANSWER

    changes_are_marked(page)
    time_travel(page)
    save_and_reset(page, small_text)
    page.check()


def controls_answer(page: Notebook) -> dict[str, float]:
    """Use the controls while the model trains; return how long each took to show."""
    latencies = {}

    def measure(name: str, act, is_shown) -> None:
        began = time.monotonic()
        act()
        page.until(is_shown, name, ANSWER)
        latencies[name] = time.monotonic() - began

    def title() -> str:
        return heads(page)["title"]

    def num_rows() -> int:
        return len(heads(page)["traces"][0]["z"])

    measure("layer", lambda: page.slider("layer").press("ArrowRight"), lambda: title().startswith("layer 1"))
    measure("head", lambda: page.slider("head").press("ArrowRight"), lambda: "head 1" in title())
    before = page.until(num_rows, "the map of the head")
    text = page.page.get_by_role("textbox", name="your text")
    measure(
        "prompt",
        lambda: text.fill("Rosa lives"),
        lambda: num_rows() < before,
    )
    measure("prompt back", lambda: text.fill(PROMPT), lambda: num_rows() == before)
    switch = page.page.locator("marimo-switch", has_text="log loss").get_by_role("switch")
    measure("log", switch.click, lambda: page.figure("loss")["y_range"][0] < 1)
    switch.click()
    return latencies


def changes_are_marked(page: Notebook) -> None:
    page.slider("learning rate").press("ArrowLeft")
    page.page.get_by_role("combobox").last.select_option(label="16")
    page.page.wait_for_timeout(2000)  # both have to reach the notebook before the button does
    page.press("Apply")

    def mark() -> dict | None:
        traces = page.figure("loss")["traces"]
        return next((trace for trace in traces if trace["name"] == "changed by you"), None)

    trace = page.until(mark, "the change is marked on the curve")
    assert trace["text"] == ["lr ×0.5, batch 16"]
    assert trace["x"] == [step_of(page)]
    before = training_points(page)
    page.press("Step 1")
    page.until(lambda: training_points(page) == before + 1, "a step with the change")


def time_travel(page: Notebook) -> None:
    """Back to the untrained model: what it expects, and how it attends, is other than now."""
    now = page.until(lambda: heads(page), "the map of the head")
    page.slider("the model as of step").press("Home")
    then = page.until(
        lambda: (shown := heads(page))["title"].endswith("step 0") and shown, "the first checkpoint"
    )
    assert now["traces"][0]["z"] != then["traces"][0]["z"]
    page.slider("the model as of step").press("End")
    page.until(lambda: not heads(page)["title"].endswith("step 0"), "back to now")


def save_and_reset(page: Notebook, folder: Path) -> None:
    step = step_of(page)
    page.press("Save")
    first = RunDir(folder / "runs" / "pretrain-1")
    page.until(lambda: step in first.checkpoints(), "a checkpoint")
    page.press("Reset")
    page.until(lambda: "pretrain-2" in page.text() and is_ready(page), "another run")
    page.until(lambda: training_points(page) == 0, "an empty curve")
    page.until_equal(lambda: step_of(page), 0, "the first step is to come")
    assert first.status()["state"] in ("stopped", "paused")


def test_a_page_loaded_again_finds_its_run(small_text: Path, open_notebook: OpenNotebook):
    page = open_notebook("pretrain", "--steps", "100000", "--depth", "1", *SMALL)
    page.until(lambda: is_ready(page), "ready", 240)
    page.press("Run")
    page.until(lambda: training_points(page) > 20, "it trains")
    page.load()
    page.until(lambda: training_points(page) > 20, "the page loaded again has the curve")
    page.until(lambda: "training" in page.text(), "and it is still training")
    second = page.another()
    second.until(lambda: training_points(second) > 20, "a second tab sees it too")
    second.press("Pause")
    second.until(lambda: is_ready(second), "it pauses from there")
    page.until(lambda: is_ready(page), "and the first tab sees that")
    second.check()
    assert [path.name for path in (small_text / "runs").iterdir()] == ["pretrain-1"]


def test_figures_shrink_with_the_window(small_text: Path, open_notebook: OpenNotebook):
    page = open_notebook("pretrain", "--steps", "5", "--depth", "1", *SMALL)
    page.until(lambda: is_ready(page), "ready", 240)
    page.press("Step 1")
    page.until(lambda: len(page.figures()) >= 9, "all pictures are drawn")
    for width in (1200, 800, 600):
        page.page.set_viewport_size({"width": width, "height": 1000})
        page.until(
            lambda width=width: all(
                figure["left"] + figure["width"] <= width
                for figure in page.figures()
                if not figure["y_title"].startswith("looks")
            ),
            f"no figure is cut off at {width} pixels",
            ANSWER,
        )


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_a_closed_page_leaves_no_painter(small_text: Path, open_notebook: OpenNotebook):
    page = open_notebook("pretrain", "--steps", "100000", "--depth", "1", *SMALL)
    page.until(lambda: is_ready(page), "ready", 240)
    page.until(lambda: len(page.figures()) >= 4, "all pictures are drawn")
    one_page = page.num_threads()
    others = [page.another() for _ in range(2)]
    for other in others:
        other.until(lambda other=other: len(other.figures()) >= 4, "all pictures are drawn")
    page.until(lambda: page.num_threads() >= one_page + 10, "every page has its painters")
    for other in others:
        other.page.close()
    page.until(lambda: page.num_threads() <= one_page + 2, "the threads of closed pages end")
    page.press("Step 1")
    page.until(lambda: training_points(page) == 1, "the run is still there")


def test_after_a_reload_and_after_the_end(small_text: Path, open_notebook: OpenNotebook):
    """Another session's cells are gone, and their names with them; the run and its builder are not."""
    page = open_notebook("pretrain", "--steps", "60", "--depth", "1", *SMALL)
    page.until(lambda: is_ready(page), "ready", 240)
    open_form(page)
    page.page.locator("marimo-number", has_text=re.compile(r"^\s*steps")).locator("input").fill("12")
    page.press("Build this model")
    page.until(lambda: "of 12" in page.text() and is_ready(page), "another run")
    page.press("Step 1")
    page.until(lambda: training_points(page) == 1 and is_ready(page), "a step")
    text = page.page.get_by_role("textbox", name="your text")
    text.fill("a dog ran")
    page.page.locator("marimo-switch", has_text="log steps").get_by_role("switch").click()
    page.page.wait_for_timeout(1500)
    page.load()
    page.until(lambda: "of 12" in page.text() and is_ready(page), "the run is found")
    page.page.wait_for_timeout(1000 * (SESSION_SECONDS + 3))  # until the session of the page before is closed
    assert page.page.get_by_role("textbox", name="your text").input_value() == "a dog ran"
    assert page.page.locator("marimo-switch", has_text="log steps").get_by_role("switch").is_checked()
    page.press("Reset")
    page.until(lambda: says(page, "NameError") or ("pretrain-2" in page.text() and is_ready(page)), "reset")
    assert not says(page, "Error")

    page.press("Run")
    page.until(lambda: says(page, "The model is saved"), "it ends")
    for part in ("Next page", "--run pretrain-2 --resume --steps 24"):
        page.until(lambda part=part: says(page, part), part)
    for name in ("Step 1", "Step 10", "Run", "Pause"):
        page.until(lambda name=name: button(page, name).is_disabled(), f"{name} can not be pressed")
    assert not button(page, "Save").is_disabled()
    for _ in range(2):
        page.press("Save")
        page.until(lambda: says(page, "It is saved already"), "a save says where")
        page.page.wait_for_timeout(500)
        assert not says(page, "AssertionError")
        page.load()
        page.until(lambda: says(page, "The model is saved"), "the end is found again")
    page.press("Reset")
    page.until(lambda: "pretrain-3" in page.text() and is_ready(page), "another run")
    page.until(lambda: not button(page, "Run").is_disabled(), "with all controls")
    page.press("Step 1")
    page.until(lambda: training_points(page) == 1, "a step")


def says(page: Notebook, text: str) -> int:
    """Whether the page says so, in callouts too, whose text `Notebook.text` does not see."""
    return page.page.get_by_text(text).count()


def button(page: Notebook, name: str):
    return page.page.get_by_role("button", name=name, exact=True).first


def test_zoom_is_kept_while_it_trains(small_text: Path, open_notebook: OpenNotebook):
    page = open_notebook("pretrain", "--steps", "100000", "--depth", "1", *SMALL)
    page.until(lambda: is_ready(page), "ready", 240)
    page.press("Run")
    page.until(lambda: training_points(page) > 60, "it trains")
    page.page.locator("marimo-plotly").first.scroll_into_view_if_needed()
    figure = page.until(lambda: page.figure("loss"), "the curve")
    page.page.mouse.move(figure["left"] + 0.3 * figure["width"], figure["top"] + 150)
    page.page.mouse.down()
    page.page.mouse.move(figure["left"] + 0.6 * figure["width"], figure["top"] + 250, steps=5)
    page.page.mouse.up()
    zoomed = page.until(
        lambda: (shown := page.figure("loss"))["x_range"] != figure["x_range"] and shown, "zoomed"
    )
    assert zoomed["x_range"][1] - zoomed["x_range"][0] < 0.6 * (figure["x_range"][1] - figure["x_range"][0])
    before = training_points(page)
    page.until(lambda: training_points(page) > before + 50, "it goes on")
    after = page.until(lambda: page.figure("loss"), "the curve")
    assert after["x_range"] == zoomed["x_range"]
    assert after["y_range"] == zoomed["y_range"]


def test_another_model_and_an_older_run(small_text: Path, open_notebook: OpenNotebook):
    page = open_notebook("pretrain", "--steps", "60", "--depth", "1", *SMALL)
    page.until(lambda: is_ready(page), "ready", 240)
    page.press("Step 10")
    page.until(lambda: training_points(page) == 10 and is_ready(page), "ten steps")
    open_form(page)
    page.page.get_by_role("textbox", name="layers").fill("2")
    page.press("Build this model")
    page.until(lambda: "pretrain-2" in page.text() and is_ready(page), "another model")
    first = RunDir(small_text / "runs" / "pretrain-1")
    page.until(lambda: list(first.checkpoints()) == [0, 10], "the one before was saved")
    page.load()
    page.until(lambda: "pretrain-2" in page.text(), "the page loaded again is about the newest")
    open_form(page)
    page.page.get_by_label("run", exact=True).select_option("pretrain-1")
    page.press("Build this model")
    page.until(lambda: "pretrain-1" in page.text() and is_ready(page), "the first run again")
    page.until(lambda: training_points(page) == 10, "with its curve")
    page.press("Run")
    page.until(lambda: "finished" in page.text(), "it is trained to its end")
    assert list(first.checkpoints())[-1] == 60


def open_form(page: Notebook) -> None:
    page.page.get_by_role("button", name="Another model").click()
    page.page.get_by_role("button", name="Build this model").wait_for()


def test_a_mistake_is_told_on_the_page(small_text: Path, open_notebook: OpenNotebook):
    page = open_notebook("pretrain", "--data", "missing.txt")
    mistake = page.page.get_by_text("missing.txt: no such file or folder")
    page.until(mistake.count, "the mistake is told")
    open_form(page)
    page.page.get_by_label("text (txt, jsonl, parquet)").fill("text.txt")
    page.page.get_by_role("textbox", name="vocabulary").fill("300")
    page.press("Build this model")
    page.until(lambda: is_ready(page), "mended")
    page.until(lambda: not mistake.count(), "and it is told no longer")
