"""Small runs for the notebooks of fine-tuning and practice to begin with."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from picochat.train.asked import Asked
from picochat.train.controller import Controller
from picochat.train.pretrain import pretrain
from picochat.train.run import Run
from picochat.train.run_dir import RunDir
from picochat.train.sft import sft
from tests.notebooks.scripts import run_python

TEXT = "the cat and a dog ran to big old house where Tom sat on mats how many pens has Ann"
WORDS = TEXT.split()
COMMON = {"device": "cpu", "dtype": "float32", "eval_every": 0, "sample_every": 0, "save_every": 0}


def sentence(draw: random.Random, at_most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, at_most)))


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(1)
    path = tmp_path_factory.mktemp("chat") / "chat.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(60):
            turns = [("user", sentence(draw, 6)), ("assistant", sentence(draw, 6))]
            messages = [{"role": role, "content": content} for role, content in turns]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


@pytest.fixture(scope="session")
def problem_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("problems") / "train.jsonl"
    rows = [{"question": f"Ann has {i} pens and {i % 7}?", "answer": f"#### {i + i % 7}"} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory, chat_file: Path) -> Path:
    """A folder of runs with `base`, pretrained, and `talk`, fine-tuned; others may be added."""
    draw = random.Random(0)
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text("\n\n".join(sentence(draw, 30) for _ in range(200)), encoding="utf-8")
    runs = tmp_path_factory.mktemp("runs")
    base = {"data": (str(text),), "vocab_size": 290, "depth": 1, "seq_len": 96, "batch_size": 2, "steps": 4}
    list(pretrain(run="base", runs_dir=str(runs), prompts=(), eval_tokens=100, **base, **COMMON))
    talk = {"load": "base", "data": (f"{chat_file}:1",), "batch_size": 2, "steps": 3}
    list(sft(run="talk", runs_dir=str(runs), prompts=(), eval_tokens=100, **talk, **COMMON))
    return runs


Curve = list[tuple[int, str]]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def curve_of() -> Callable[[Path], Curve]:
    """Return the steps of a run and their losses, to the last bit."""
    return lambda folder: [(row["step"], row["loss"].hex()) for row in RunDir(folder).rows("step")]


@pytest.fixture(scope="session")
def script() -> Callable[..., subprocess.CompletedProcess]:
    """Run a Python file to its end: script(path, arguments, cwd=...)."""
    return run_python


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a notebook as a flat script."""

    def exported(name: str) -> Path:
        flat = tmp_path_factory.mktemp("flat") / f"{name}_flat.py"
        command = ["export", "script", str(ROOT / "notebooks" / f"{name}.py"), "-o", str(flat)]
        subprocess.run([sys.executable, "-m", "marimo", *command], check=True, capture_output=True)
        return flat

    return exported


@pytest.fixture(scope="session")
def drive() -> Callable[..., None]:
    """Make the steps of a run one by one, as a page does, and look at it before and after each."""

    def drive(build: Callable[[], Run], look: Callable[[Run], object], steps: int) -> None:
        controller = Controller(build)
        try:
            seen = Asked(controller, lambda run, step: (run.trainer.step, look(run)))
            for step in range(steps + 1):
                assert seen.ask(step).result(60)[0] == step
                controller.step(1)
                until = time.monotonic() + 60
                while controller.progress[0] < min(step + 1, steps):
                    assert time.monotonic() < until
                    time.sleep(0.01)
        finally:
            controller.close()
            controller.join(60)

    return drive


REWARDS = """
def vowels(problem, completion):
    return sum(letter in "aeiou" for letter in completion.text) / 10
"""


@pytest.fixture(scope="session")
def own_rewards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a reward that every model can earn."""
    folder = tmp_path_factory.mktemp("rewards")
    (folder / "notebook_rewards.py").write_text(REWARDS, encoding="utf-8")
    return folder
