"""The notebook of practice as an app: every control is pressed, and the page answers while it trains."""

import re
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from picochat.train.run_dir import RunDir

pytestmark = pytest.mark.browser


@pytest.fixture
def arguments(small_base: Path, problem_file: Path, own_rewards: Path, tmp_path: Path) -> list[str]:
    """A folder of runs with `talk` beside the notebook's server, and what is given to the notebook."""
    shutil.copytree(small_base / "talk", tmp_path / "runs" / "talk")
    shutil.copy(own_rewards / "notebook_rewards.py", tmp_path)
    return [
        *("--gsm8k", f"{problem_file}:1", "--eval-gsm8k", str(problem_file), "--eval-problems", "4"),
        *("--reward", "notebook_rewards:vowels", "--prompts", "3", "--group-size", "4", "--max-tokens", "8"),
        *("--steps", "500", "--eval-every", "100", "--save-every", "0", "--device", "cpu"),
    ]


def steps(notebook) -> int:
    """Return the longest curve of the page."""
    sizes = [len(t["x"] or []) for f in notebook.figures() for t in f["traces"] if t["name"] == "entropy"]
    return max(sizes, default=0)


def beside_the_page(figures: list[dict[str, Any]], width: float) -> list[str]:
    """Return the figures that reach out of the page or lie over the next one."""
    places = [(f["left"], f["top"], f["left"] + f["width"], f["top"] + f["height"]) for f in figures]
    out = [f["y_title"] for f, place in zip(figures, places, strict=True) if place[2] > width]
    over = [
        f"{a} over {b}"
        for a, b in combinations(places, 2)
        if min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1
    ]
    return out + over


def test_every_control(open_notebook, arguments, tmp_path):
    page = open_notebook("grpo", *arguments)
    page.until(lambda: "No step was made yet" in page.text(), "it is ready")
    page.until(lambda: "after 0 steps" in page.text(), "both models have answered")
    page.press("Step 1")
    page.until(lambda: "answer 1 of step 1, token by token" in page.text(), "the step is opened")
    page.until_equal(
        lambda: sum(len(trace["x"]) for trace in page.figure("reward")["traces"][:2]), 12, "all rewards"
    )

    for number in (1, 2):
        field = page.page.locator("marimo-number", has_text="problem (0").locator("input")
        field.fill(str(number))
        field.press("Enter")
        page.until(lambda number=number: f"Problem {number} of 3 in step 1" in page.text(), "another problem")
    page.slider("answer").press("ArrowRight")
    page.until(lambda: "Problem 2, answer 2 of step 1, token by token" in page.text(), "another answer")
    colours = page.page.locator("marimo-dropdown", has_text="colour tokens by").locator("select")
    for choice, legend in (("divergence", "part in the divergence"), ("how open", "entropy, nats")):
        label = page.until(
            lambda choice=choice: next(o for o in colours.inner_text().splitlines() if o.startswith(choice)),
            "a choice",
        )
        colours.select_option(label)
        page.until(lambda legend=legend: legend in page.text(), "other colours")

    page.press("Step 10")
    page.until(lambda: steps(page) == 11, "ten more")
    page.until(lambda: "Problem 2 of 3 in step 11" in page.text(), "the table follows")
    page.until(lambda: "Problem 2, answer 2 of step 11" in page.text(), "and so do the tokens")
    table = page.page.locator("table").first
    newest = table.inner_text()
    page.slider("step: first").press("Home")
    page.until(lambda: table.inner_text() != newest, "the first step")
    page.until(lambda: "only the newest step" in page.text(), "the tokens of that step are gone")
    page.until(lambda: "token by token" not in page.text(), "no tokens of another step stand below it")
    page.slider("step: first").press("End")
    page.until(lambda: table.inner_text() == newest, "the newest step")
    page.press("Run")
    page.until(lambda: steps(page) > 14, "the curves grow")
    page.slider("problems of each kind").press("Home")
    page.page.locator("marimo-dropdown", has_text="wrong now").locator("select").select_option("wrong now")
    page.slider("mean over steps").press("Home")
    before = steps(page)
    page.until(lambda: steps(page) > before + 1, "it goes on meanwhile")
    page.press("Pause")
    page.until(lambda: "waiting for you" in page.text(), "it stops")
    directory = RunDir(tmp_path / "runs" / "grpo-1")
    page.until(lambda: steps(page) == directory.status()["step"], "all is drawn")
    page.page.set_viewport_size({"width": 800, "height": 1000})
    page.until(lambda: not beside_the_page(page.figures(), 800), "the figures follow the window")
    page.press("Save")
    [step] = page.until(lambda: list(directory.checkpoints()), "a checkpoint")
    page.press("Reset")
    page.until(lambda: "No step was made yet" in page.text(), "it begins again")
    assert list(directory.checkpoints()) == [step]


def test_another_run_is_built(open_notebook, arguments):
    page = open_notebook("grpo", *arguments)
    page.until(lambda: "No step was made yet" in page.text(), "it is ready")
    page.page.get_by_text("a run to go on with").click()
    page.page.locator("marimo-number", has_text=re.compile(r"^\s*steps")).locator("input").fill("2")
    page.press("Build this run")
    page.until(lambda: "of 2" in page.text(), "another run")
    page.press("Run")
    page.until(lambda: "finished" in page.text() and steps(page) == 2, "it ends")


def test_without_a_base_it_says_what_to_do(open_notebook, small_base, tmp_path):
    page = open_notebook("grpo")
    page.page.get_by_text("There is no fine-tuned model").wait_for(timeout=60_000)
    shutil.copytree(small_base / "talk", tmp_path / "runs" / "talk")
    page.press("Look for runs again")
    page.until(lambda: "begins with the model talk" in page.text(), "the model is found")
