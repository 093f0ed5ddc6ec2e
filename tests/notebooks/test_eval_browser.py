"""The eval notebook in a browser, beside a run that trains in another process."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from picochat.train.run_dir import RunDir
from tests.notebooks.test_eval import write_problems

if TYPE_CHECKING:
    from tests.notebooks.browser import Notebook, OpenNotebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

TEXT = "the cat sat on the mat, and the hat is that of the cat\n\nthe dog sat on the log in the fog\n\n" * 20
TRAINING = """
pretrain --data text.txt --val-data text.txt --vocab-size 300 --depth 1 --seq-len 64 --batch-size 2
--steps 1000000 --eval-every 40 --eval-tokens 256 --sample-every 40 --save-every 40 --run base --device cpu
"""


@pytest.fixture
def training(tmp_path: Path) -> Iterator[RunDir]:
    """A run that trains in another process."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    log = (tmp_path / "training.log").open("w", encoding="utf-8")
    command = [sys.executable, "-m", "picochat", *TRAINING.split()]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    run = RunDir(tmp_path / "runs" / "base")
    end = time.monotonic() + 120
    while len(run.checkpoints()) < 2:
        assert process.poll() is None, (tmp_path / "training.log").read_text(encoding="utf-8")
        assert time.monotonic() < end, "the training does not begin"
        time.sleep(0.1)
    yield run
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(60)
    log.close()


def says(notebook: "Notebook", text: str, seconds: float = 180) -> None:
    """Wait until the page says something."""
    notebook.page.get_by_text(text).first.wait_for(timeout=1000 * seconds)


def steps_drawn(notebook: "Notebook") -> float:
    """Return the last step of the loss curve that the page shows."""
    return max(notebook.curve("loss", "base")[0], default=0)


def test_it_follows_a_run_that_trains_elsewhere(open_notebook: "OpenNotebook", training: RunDir):
    notebook = open_notebook("eval")
    page = notebook.page
    notebook.until(lambda: steps_drawn(notebook) > 0, "the curve")

    # It grows by itself, while the page answers.
    for number in range(3):
        seen = steps_drawn(notebook)
        page.get_by_text("logarithmic values").click()
        notebook.until(lambda: steps_drawn(notebook) > seen, f"more of the curve, {number}")  # noqa: B023
    metric = page.locator("marimo-dropdown", has_text="curve").locator("select")
    metric.select_option("held-out bits per byte")
    notebook.until(lambda: len(notebook.curve("held-out bits per byte", "base")[0]) > 1, "another curve")
    metric.select_option("loss")
    notebook.slider("mean over steps").press("ArrowLeft")
    page.get_by_text("logarithmic steps").click()
    notebook.until(lambda: steps_drawn(notebook) > 0, "the loss again")
    page.locator("th", has_text="Once upon a time …").wait_for()

    page.get_by_text("all that was measured").click()
    notebook.until(lambda: "lr head" in metric.inner_text(), "what else was measured")

    page.set_viewport_size({"width": 800, "height": 1000})
    box = page.get_by_text("logarithmic values").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] < 800, "what has no room begins another line"
    page.set_viewport_size({"width": 1200, "height": 1000})

    # It can be paused, told to go on, and to save what it is now.
    notebook.press("Pause")
    notebook.until(lambda: training.status()["state"] == "paused", "the pause")
    page.get_by_text("paused", exact=True).first.wait_for()
    notebook.until(
        lambda: page.get_by_role("button", name="Pause", exact=True).is_disabled(), "nothing to pause"
    )
    step = training.status()["step"]
    notebook.until(lambda: steps_drawn(notebook) == step, "the last step before the pause")
    notebook.press("Go on")
    notebook.until(lambda: steps_drawn(notebook) > step, "what follows the pause")
    kept = set(training.checkpoints())
    notebook.press("Save a checkpoint")
    notebook.until(lambda: any(saved % 40 for saved in set(training.checkpoints()) - kept), "the checkpoint")


KINDS = {
    "right": lambda marks: set(marks) == {"good"},
    "wrong": lambda marks: set(marks) == {"bad"},
    "changed": lambda marks: len(set(marks)) == 2 or "part" in marks,
}


def marks(notebook: "Notebook") -> list[list[str]]:
    """Return for each problem that is shown how the models did: good, bad or part."""
    return notebook.page.locator(".pc-example").evaluate_all(
        "problems => problems.map(problem => [...problem.querySelectorAll('.answer')]"
        ".map(answer => answer.classList[1]))"
    )


def figures_with(notebook: "Notebook", x_title: str) -> list[dict[str, Any]]:
    """Return the figures whose x axis has this title."""
    return [figure for figure in notebook.figures() if figure["x_title"].startswith(x_title)]


def test_every_control(open_notebook: "OpenNotebook", training: RunDir, tmp_path: Path):
    training.send("stop")
    while training.status()["state"] not in ("stopped", "finished"):
        time.sleep(0.1)
    steps = list(training.checkpoints())
    models = [f"base@{steps[0]}", f"base@{steps[-1]}"]
    notebook = open_notebook(
        "eval",
        "--load",
        *models,
        *write_problems(tmp_path, 200),
        "--max-problems",
        "200",
        "--max-tokens",
        "8",
    )
    says(notebook, "Nothing measured yet")
    assert notebook.page.get_by_role("button", name="Stop", exact=True).is_disabled()
    says(notebook, "so there is nothing to pause")
    my_own_text(notebook)
    measuring(notebook, models)
    differences_growth_and_calibration(notebook, models, [steps[0], steps[-1]])
    problem_by_problem(notebook)
    notebook.press("Write a report")
    says(notebook, "Wrote")
    assert "base@" in (tmp_path / "report.html").read_text(encoding="utf-8")


def my_own_text(notebook: "Notebook") -> None:
    """In place of the built-in world's."""
    page = notebook.page
    page.get_by_text("Your own files").click()
    text = page.get_by_label("bits per byte")
    text.fill("text.txt")
    text.press("Enter")


def measuring(notebook: "Notebook", models: list[str]) -> None:
    """It fills the figures. It can be stopped, what was found stays, and it can be begun again."""
    page = notebook.page
    notebook.press("Measure")
    notebook.until(lambda: figures_with(notebook, "bits per byte"), "the first figure", 180)
    measure = page.get_by_role("button", name="Measure", exact=True)
    notebook.until(measure.is_disabled, "nothing else is begun meanwhile")
    notebook.press("Stop")
    says(notebook, "stopped; what was measured stays")
    notebook.until(lambda: figures_with(notebook, "bits per byte"), "what was measured")
    notebook.slider("problems of each kind").press("Home")
    page.get_by_text("4", exact=True).first.wait_for()
    notebook.press("Measure")
    says(notebook, "measured (", seconds=300)
    notebook.until_equal(
        lambda: [
            [(trace["name"], len(trace["x"])) for trace in figure["traces"]]
            for figure in figures_with(notebook, "score, %")
        ],
        [[(models[0], 4), (models[1], 4), ("chance", 1)]],
        "all scores",
    )
    page.get_by_text("also how it got there").click()
    says(notebook, "accuracy if not thinking")


def differences_growth_and_calibration(notebook: "Notebook", models: list[str], steps: list[int]) -> None:
    page = notebook.page
    for x_title in ("difference", "problems", "confidence"):
        notebook.until_equal(lambda title=x_title: len(figures_with(notebook, title)), 1, x_title)
    notebook.until_equal(
        lambda: [
            {tuple(trace["x"]) for trace in figure["traces"]}
            for figure in notebook.figures()
            if figure["title"] == "Scores over training"
        ],
        [{tuple(steps)}],
        "the scores over training",
    )
    page.locator("marimo-dropdown", has_text="from").locator("select").first.select_option(models[1])
    says(notebook, "Choose two models")
    page.locator("marimo-dropdown", has_text="from").locator("select").first.select_option(models[0])
    notebook.until(lambda: figures_with(notebook, "difference"), "the difference again")


def problem_by_problem(notebook: "Notebook") -> None:
    page = notebook.page
    page.locator("marimo-dropdown", has_text="task").locator("select").select_option("multiple choice")
    notebook.until(lambda: page.locator(".pc-example .option").count() >= 4 * 2 * 3, "rated choices")
    for kind, is_kind in KINDS.items():
        page.get_by_role("radio", name=kind).click()
        notebook.until(lambda: all(map(is_kind, marks(notebook))), f"only {kind} ones")  # noqa: B023
    page.get_by_role("radio", name="all").click()
    notebook.until(lambda: len(marks(notebook)) == 4, "all problems")
    search = page.get_by_placeholder("any text")
    search.fill("no problem holds this")
    says(notebook, "No such problem.")


def test_without_a_run_it_says_what_to_do(open_notebook: "OpenNotebook"):
    notebook = open_notebook("eval")
    says(notebook, "Train a model first")
    notebook.press("Measure")
    says(notebook, "choose a checkpoint first")
