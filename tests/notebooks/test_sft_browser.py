"""The notebook of fine-tuning as an app: every control is pressed, and the page answers while it trains."""

import re
import shutil
from pathlib import Path

import pytest

from picochat.train.run_dir import RunDir

pytestmark = pytest.mark.browser

LOSS = "loss on answers"


@pytest.fixture
def arguments(small_base: Path, chat_file: Path, tmp_path: Path) -> list[str]:
    """A folder of runs with `base` beside the notebook's server, and what is given to the notebook."""
    shutil.copytree(small_base / "base", tmp_path / "runs" / "base")
    return [
        *("--data", f"{chat_file}:1", "--seq-len", "48", "--batch-size", "2", "--steps", "5000"),
        *("--eval-tokens", "100", "--eval-every", "500", "--save-every", "0", "--device", "cpu"),
    ]


def points(notebook) -> int:
    return len(notebook.curve(LOSS, "training")[0])


def test_every_control(open_notebook, arguments, tmp_path):
    page = open_notebook("sft", *arguments)
    page.until(lambda: page.figure("row"), "the batch is drawn")
    assert page.curve(LOSS, "training") == ([], [])
    page.until(lambda: "after 0 steps" in page.text(), "both models have answered")
    page.press("Step 1")
    page.until(lambda: points(page) == 1, "a step")
    page.press("Step 10")
    page.until(lambda: points(page) == 11, "ten more")
    page.until(lambda: "after 11 steps" in page.text(), "the answers follow the steps")

    page.until(lambda: "Conversation 1 of" in page.text(), "a conversation is shown")
    page.slider("conversation number").press("ArrowRight")
    page.until(lambda: "Conversation 2 of" in page.text(), "another conversation")
    switch(page, "colour by how surprised").click()
    page.until(lambda: "loss of a learned token" in page.text(), "losses of tokens")

    page.press("Run")
    page.until(lambda: points(page) > 40, "the curve grows")
    page.page.get_by_label("questions, one a line").fill("where Tom ran\nhow many mats")
    before = points(page)
    page.until(
        lambda: "how many mats" in page.page.locator("table").inner_text(), "it answers while it trains"
    )
    page.until(lambda: points(page) > before, "it went on meanwhile")
    page.slider("mean over steps").press("Home")
    switch(page, "log steps").click()
    page.until(lambda: page.figure(LOSS)["x_range"][0] < 1, "a logarithmic axis")

    page.press("Pause")
    page.until(lambda: "waiting for you" in page.text(), "it stops")
    page.until(lambda: points(page) == RunDir(tmp_path / "runs" / "sft-1").status()["step"], "all is drawn")
    page.press("Save")
    [step] = page.until(lambda: list(RunDir(tmp_path / "runs" / "sft-1").checkpoints()), "a checkpoint")
    page.press("Reset")
    page.until(lambda: "sft-2" in page.text() and points(page) == 0, "it begins again")
    assert list(RunDir(tmp_path / "runs" / "sft-1").checkpoints()) == [step]


def switch(page, label: str):
    return page.page.locator("marimo-switch", has_text=label).get_by_role("switch")


def test_a_model_that_is_not_there(open_notebook, arguments):
    page = open_notebook("sft", *arguments, "--load", "nope")
    page.page.get_by_text("no run called 'nope'").first.wait_for(timeout=60_000)
    assert "Press Step 1" not in page.text()
    page.page.get_by_text("a run to go on with").click()
    page.page.locator("marimo-dropdown", has_text="begin with the model").locator("select").select_option(
        "base"
    )
    page.press("Build this run")
    page.until(lambda: "begins with the model base" in page.text(), "mended")
    page.until(lambda: "waiting for you" in page.text(), "ready")
    page.until(lambda: "no run called" not in page.text(), "the mistake is told no longer")


def test_a_run_is_chosen_and_gone_on_with(open_notebook, arguments, tmp_path):
    page = open_notebook("sft", *arguments)
    page.until(lambda: page.figure("row"), "the batch is drawn")
    page.press("Step 10")
    page.until(lambda: points(page) == 10, "ten steps")
    page.page.get_by_text("a run to go on with").click()
    page.page.locator("marimo-number", has_text=re.compile(r"^\s*steps")).locator("input").fill("7")
    page.page.locator("marimo-number", has_text="rows per step").locator("input").fill("1")
    page.press("Build this run")
    page.until(lambda: "of 7" in page.text(), "another run")
    page.press("Run")
    page.until(lambda: points(page) == 7 and "finished" in page.text(), "it ends")
    # The first was saved when it was left.
    page.press("Look for runs again")
    choice = page.page.locator("marimo-dropdown", has_text="a new run").locator("select")
    page.until(lambda: "sft-1" in choice.inner_text(), "the run is offered")
    choice.select_option("sft-1")
    page.press("Build this run")
    page.until(lambda: points(page) == 10, "it is as it was left")
    page.press("Step 1")
    page.until(lambda: points(page) == 11, "it goes on")
    assert RunDir(tmp_path / "runs" / "sft-2").status()["state"] == "finished"


def test_without_a_base_it_says_what_to_do(open_notebook, small_base, tmp_path):
    page = open_notebook("sft")
    page.page.get_by_text("There is no pretrained model").wait_for(timeout=60_000)
    shutil.copytree(small_base / "base", tmp_path / "runs" / "base")
    page.press("Look for runs again")
    page.until(lambda: "begins with the model base" in page.text(), "the model is found")
