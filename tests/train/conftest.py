"""Small trainers and runs that start in milliseconds."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from picochat.data.batch import IGNORE, Batch
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.options import OptimizerOptions
from picochat.optim.schedule import Schedule
from picochat.train.controller import Controller
from picochat.train.pretrain import pretrain
from picochat.train.run import Run
from picochat.train.run_dir import RunDir
from picochat.train.sft import sft
from picochat.train.trainer import CrossEntropy, Trainer
from tests.train.driving import LONG, Control, slow_down, workers

WORDS = [
    "the",
    "cat",
    "and",
    "a",
    "dog",
    "ran",
    "to",
    "big",
    "old",
    "house",
    "where",
    "Tom",
    "sat",
    "on",
    "mats",
]

NO_ROWS = slice(0, 0)


class RandomBatches:
    """Batches from a counter; a share of the targets is masked, unevenly over the rows, or whole rows are."""

    def __init__(
        self,
        *,
        batch_size: int = 8,
        seq_len: int = 12,
        masked: bool = False,
        masked_rows: slice = NO_ROWS,
    ) -> None:
        self.shape, self.masked, self.masked_rows, self.count = (batch_size, seq_len), masked, masked_rows, 0

    def __next__(self) -> Batch:
        generator = torch.Generator().manual_seed(self.count)
        self.count += 1
        ids_BT = torch.randint(40, self.shape, generator=generator)
        targets_BT = (ids_BT * 3 + 1) % 40
        if self.masked:
            share_B1 = torch.arange(self.shape[0])[:, None] / self.shape[0]
            targets_BT[torch.rand(self.shape, generator=generator) < share_B1] = IGNORE
        targets_BT[self.masked_rows] = IGNORE
        return Batch(ids_BT=ids_BT, targets_BT=targets_BT)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def make_trainer(
    *,
    steps: int = 8,
    masked: bool = False,
    masked_rows: slice = NO_ROWS,
    loss: Any = None,
    **options: Any,
) -> Trainer:
    """A trainer of 2 layers of width 32. `options` are those of the trainer and of the optimizer."""
    model = GPT(ModelConfig(sequence_len=16, vocab_size=40, n_layer=2, n_head=2, n_kv_head=1, n_embd=32))
    initialize(model, seed=0)
    names = ("optimizer", "lr", "weight_decay")
    groups = build_groups(model, OptimizerOptions(**{n: options.pop(n) for n in names if n in options}))
    return Trainer(
        model,
        GroupedOptimizer(groups, peers=options.get("world")),
        Schedule(steps=steps, warmup=2),
        RandomBatches(masked=masked, masked_rows=masked_rows),
        loss or CrossEntropy(),
        **options,
    )


@pytest.fixture(scope="session")
def small_trainer() -> Callable[..., Trainer]:
    """See `make_trainer`."""
    return make_trainer


def curve_of(run: RunDir) -> "Curve":
    """Return the steps and their losses, to the last bit."""
    return [(row["step"], row["loss"].hex()) for row in run.rows("step")]


TINY = {
    "batch_size": 2,
    "seq_len": 16,
    "steps": 12,
    "eval_every": 5,
    "eval_tokens": 60,
    "sample_every": 0,
    "save_every": 3,
    "device": "cpu",
    "dtype": "float32",
    "prompts": (),
}

Begin = Callable[..., Run]
Curve = list[tuple[int, str]]


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "text.txt"
    paragraphs = [" ".join(draw.choices(WORDS, k=draw.randint(3, 30))) for _ in range(300)]
    path.write_text("\n\n".join(paragraphs), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(1)

    def row() -> dict[str, Any]:
        question, answer = (" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(2))
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    path = tmp_path_factory.mktemp("chat") / "chat.jsonl"
    path.write_text("".join(json.dumps(row()) + "\n" for _ in range(200)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def begin(text_file: Path) -> Begin:
    """Return a run of `pretrain`, not yet started: begin(runs_dir, name, options)."""

    def begin(runs_dir: Path, name: str = "a", **options: Any) -> Run:
        if not options.get("resume"):
            options = {**TINY, "data": (str(text_file),), "vocab_size": 280, "depth": 1, **options}
        return pretrain(run=name, runs_dir=str(runs_dir), **options)

    return begin


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    """A folder of runs with `base`, finished. Not to be changed."""
    folder = tmp_path_factory.mktemp("work") / "runs"
    for _ in begin(folder, "base"):
        pass
    return folder


@pytest.fixture(scope="session")
def begin_sft(base_dir: Path, chat_file: Path) -> Begin:
    """Return a run of `sft` on `base`, not yet started: begin_sft(runs_dir, name, options)."""

    def begin(runs_dir: Path, name: str = "a", **options: Any) -> Run:
        if not options.get("resume"):
            parent = str(base_dir / "base")
            options = {**TINY, "seq_len": 16, "load": parent, "data": (f"{chat_file}:1",), **options}
        return sft(run=name, runs_dir=str(runs_dir), **options)

    return begin


@pytest.fixture(params=["pretrain", "sft"])
def stage(request: pytest.FixtureRequest, begin: Begin, begin_sft: Begin) -> Begin:
    """Both stages, one after the other."""
    return begin if request.param == "pretrain" else begin_sft


@pytest.fixture(scope="session")
def whole_curves(
    tmp_path_factory: pytest.TempPathFactory, begin: Begin, begin_sft: Begin
) -> dict[str, Curve]:
    """The curves of uninterrupted runs, by stage."""
    curves = {}
    for name, start in (("pretrain", begin), ("sft", begin_sft)):
        run = start(tmp_path_factory.mktemp(name))
        for _ in run:
            pass
        curves[name] = curve_of(run.directory)
        assert [step for step, _ in curves[name]] == list(range(1, TINY["steps"] + 1))
    return curves


@pytest.fixture(scope="session")
def curve() -> Callable[[RunDir], Curve]:
    """See `curve_of`."""
    return curve_of


@pytest.fixture
def open_runs() -> Iterator[list[Run]]:
    """Runs put in here are closed at the end of the test."""
    runs: list[Run] = []
    yield runs
    for run in runs:
        run.close()


@pytest.fixture
def control(begin: Begin) -> Iterator[Control]:
    """Return a controller of a tiny run: control(runs_dir, name, options). No worker outlives the test."""
    made: list[Controller] = []

    def control(runs_dir: Path, name: str = "a", *, slow: float = 0.0, **options: Any) -> Controller:
        def build() -> Run:
            run = begin(runs_dir, name, **options)
            return slow_down(run, slow) if slow else run

        made.append(Controller(build))
        return made[-1]

    yield control
    for controller in made:
        controller.close()
        controller.join(LONG)
    assert workers() == []
