"""`picochat demo`: the whole pipeline on the built-in world, ending in a chat."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from picochat.train.options import GrpoOptions, PretrainOptions, RunOptions, SftOptions
from picochat.train.run_dir import RunDir

if TYPE_CHECKING:
    from rich.table import Table

    from picochat.commands.training import Build
    from picochat.eval.generative import TaskResult

Options = TypeVar("Options", bound=RunOptions)

QUESTIONS = (
    "Where does Mara live?",
    "Ben has 44 shells. He finds 18 more. How many shells does Ben have now?",
)
"""What to ask a finished model."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Build a chatting model from nothing: tokenizer, pretraining, SFT, GRPO, held-out questions, a chat.

    What is done already is not done again: call it again to go on with an interrupted demo or to chat.
    """

    name: str | None = None
    """Name of the finished run, demo or demo-small; the stages before it are NAME-pretrain and so on."""
    runs_dir: str = "runs"
    """Folder that holds the runs."""
    small: bool = False
    """A small model and a few steps of each stage: shows in about a minute that everything works."""
    seed: int = 0
    """Seed of weights, data order and samples."""
    chat: bool = True
    """End in a chat."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What products are computed in."""

    @property
    def run_name(self) -> str:
        """Name of the finished run."""
        return self.name or ("demo-small" if self.small else "demo")

    def execute(self) -> None:
        """Run what is left of the pipeline, show the table, chat."""
        from rich.console import Console

        from picochat.train.grpo import build_grpo
        from picochat.train.pretrain import build_pretrain
        from picochat.train.sft import build_sft

        base = self._stage("pretrain", self._pretrain_options(), build_pretrain)
        tuned = self._stage("sft", self._sft_options(base), build_sft)
        practised = self._stage("grpo", self._grpo_options(tuned), build_grpo)
        table = self.table([base, tuned, practised])
        print()
        Console().print(table)
        if self.chat:
            self._chat(practised)

    def _common(self, name: str) -> dict[str, Any]:
        return {
            "run": name,
            "runs_dir": self.runs_dir,
            "seed": self.seed,
            "device": self.device,
            "dtype": self.dtype,
        }

    def _pretrain_options(self) -> PretrainOptions:
        sizes: dict[str, Any] = {"steps": 40, "depth": 2, "batch_size": 8} if self.small else {}
        return PretrainOptions(**self._common(f"{self.run_name}-pretrain"), **sizes)

    def _sft_options(self, parent: RunDir) -> SftOptions:
        sizes: dict[str, Any] = {"steps": 20, "batch_size": 8} if self.small else {}
        return SftOptions(**self._common(f"{self.run_name}-sft"), load=str(parent.path), **sizes)

    def _grpo_options(self, parent: RunDir) -> GrpoOptions:
        sizes: dict[str, Any] = {}
        if self.small:
            sizes = {
                "steps": 2,
                "prompts": 4,
                "group_size": 4,
                "max_draws": 1,
                "max_tokens": 32,
                "eval_problems": 8,
            }
        return GrpoOptions(**self._common(self.run_name), load=str(parent.path), **sizes)

    def _stage(self, stage: str, options: Options, build: "Build[Options]") -> RunDir:
        """See one stage through, from where an earlier call left it."""
        from picochat.commands.training import train
        from picochat.train.run_options import stored_options

        directory = RunDir(options.directory)
        if directory.exists():
            if directory.status()["state"] == "finished":
                print(f"{stage}: {directory.path} is there already")
                return directory
            options = stored_options(type(options), stage, options.run, options.runs_dir)
        print(f"\n== {stage} ==")
        train(stage, options, build)
        if directory.status()["state"] != "finished":
            print("`picochat demo` goes on from here")
            sys.exit(0)
        return directory

    def _scores(self, directory: RunDir) -> "dict[str, TaskResult]":
        """Return the held-out scores of a run's newest checkpoint."""
        from picochat.data.builtin.write import default_world_dir
        from picochat.eval.world import held_out_scores
        from picochat.progress import progress
        from picochat.train.load import load

        model, tokenizer = load(directory.path, device=self.device)
        with progress(None, f"asking {directory.name}", "held-out questions") as update:
            return held_out_scores(
                model,
                tokenizer,
                default_world_dir(),
                max_problems=12 if self.small else 150,
                progress=update,
            )

    def table(self, directories: list[RunDir]) -> "Table":
        """Return what each stage did and how its model does on held-out questions."""
        from rich.table import Table

        scores = [self._scores(directory) for directory in directories]
        table = Table(title="Held-out questions, answered greedily (95 % interval)")
        for heading in ("stage", "steps", "time", "loss", *scores[0]):
            table.add_column(heading, justify="left" if heading == "stage" else "right")
        for directory, results in zip(directories, scores, strict=True):
            steps = directory.rows("step")
            seconds = sum(row["seconds"] for row in steps)
            last = directory.rows("eval")[-1]["metrics"]
            table.add_row(
                directory.info()["stage"],
                str(steps[-1]["step"]),
                f"{int(seconds) // 60}:{int(seconds) % 60:02}",
                f"{last['val_loss']:.3f}" if "val_loss" in last else "",
                *(_percent(result) for result in results.values()),
            )
        return table

    def _chat(self, directory: RunDir) -> None:
        from picochat.commands.chat import Chat

        print(f"\nTry {' or '.join(repr(question) for question in QUESTIONS)}")
        Chat(load=str(directory.path), device=self.device, dtype=self.dtype).execute()


def _percent(result: "TaskResult") -> str:
    low, high = result.interval.low, result.interval.high
    return f"{result.accuracy:.0%} ({low * 100:.0f}-{high * 100:.0f})"
