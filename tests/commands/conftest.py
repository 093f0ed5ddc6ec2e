"""A run that was trained through the command line, and short ways to train more."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from picochat import cli

SENTENCE = "the cat and a dog ran to big old house where Tom sat on red mats with Ann"
TINY = (
    "--depth 1 --batch-size 4 --seq-len 32 --vocab-size 300 --warmup 2 --eval-every 4 --sample-every 4 "
    "--save-every 4 --eval-tokens 500 --device cpu --dtype float32"
)

Train = Callable[..., None]


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty paragraphs of nonsense."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(
        "\n\n".join(" ".join(draw.choices(SENTENCE.split(), k=30)) for _ in range(60)), encoding="utf-8"
    )
    return path


@pytest.fixture(scope="session")
def train(text_file: Path) -> Train:
    """Train a run by `picochat pretrain`: train(runs_dir, name, options)."""

    def train(runs_dir: Path, name: str, options: str = "") -> None:
        args = f"{TINY} --run {name} {options}".split()
        cli.main(["pretrain", "--data", str(text_file), "--runs-dir", str(runs_dir), *args])

    return train


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory, train: Train) -> Path:
    """A folder with the run `base` of 8 steps. Not to be changed."""
    folder = tmp_path_factory.mktemp("work") / "runs"
    train(folder, "base", "--steps 8")
    return folder
