"""`picochat eval arc|mmlu|gsm8k|tools|qa|reasoning|all`: scores of models on tasks."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from picochat.data.bad_rows import BadRows
from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.eval.suite import Job, Method, load_problems
from picochat.tasks.gsm8k import Gsm8k
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Task

if TYPE_CHECKING:
    from picochat.eval.scores import ModelScores, TaskScore

NOT_BUILT_IN = "mmlu"
"""The task that the built-in world has no problems of."""


def _greedy() -> SamplingOptions:
    return SamplingOptions(temperature=0, seed=0)


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """What all evaluations on tasks have in common."""

    load: tuple[str, ...]
    """Models: runs or checkpoints (NAME, NAME@500, NAME@best or a folder); several are compared."""
    max_problems: int | None = None
    """Ask at most so many problems of a task, taken at equal distances; all if not given."""
    num_samples: int = 1
    """Answers per problem, where the model writes; several give pass@k and need a temperature over 0."""
    batch_size: int = 32
    """Answers or choices at a time; it changes speed and memory, not the result."""
    out: str | None = None
    """Folder for scores.json and a JSONL file per model and task with every prompt and answer."""
    html: str | None = None
    """File for a report with plots and all examples; it works offline."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with a row that is no problem; skipped rows are counted."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What products are computed in; in float32 not even the last digits depend on the batch size."""
    runs_dir: str = "runs"
    """Folder that holds the runs."""
    sampling: Annotated[SamplingOptions, tyro.conf.arg(name="")] = field(default_factory=_greedy)
    """How answers are written."""

    shows_reasoning: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.load:
            raise UserError("--load names no model; give a run or a checkpoint")
        for name in ("max_problems", "num_samples", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        if self.num_samples > 1 and self.sampling.is_greedy:
            raise UserError(
                "--num-samples over 1 needs --temperature over 0: greedy answers are all the same"
            )

    @abstractmethod
    def jobs(self, bad_rows: BadRows) -> list[Job]:
        """Return what is to be asked."""

    def execute(self) -> None:
        """Evaluate each model, print a table and write what was asked for."""
        checkpoints = self.checkpoints()
        self.report(self.measure(), checkpoints)

    def measure(self) -> "list[ModelScores]":
        """Return what each model scored; the records are in `out` then."""
        from picochat.eval.scores import ModelScores, short_names

        # What can be wrong is found before the first long evaluation.
        names = short_names(self.load)
        bad_rows = BadRows.of(self.on_bad_row)
        jobs = self.jobs(bad_rows)
        if bad_rows.count:
            print(bad_rows.summary())
        if self.html is not None:
            if Path(self.html).is_dir():
                raise UserError(f"--html {self.html}: is a folder; name a file, for instance report.html")
            Path(self.html).parent.mkdir(parents=True, exist_ok=True)
        return [
            ModelScores(name=name, spec=spec, tasks=self._evaluate(name, spec, jobs))
            for name, spec in zip(names, self.load, strict=True)
        ]

    def checkpoints(self) -> list[Path]:
        """Return the folder of each model."""
        from picochat.train.run_dir import resolve_checkpoint

        return [resolve_checkpoint(spec, Path(self.runs_dir)) for spec in self.load]

    def report(self, models: "Sequence[ModelScores]", checkpoints: Sequence[Path]) -> None:
        """Print a table of the scores and write what was asked for. checkpoints: of the models."""
        from picochat.commands.eval_view import print_scores
        from picochat.eval.suite import write_scores

        print_scores(models, shows_reasoning=self.shows_reasoning)
        if self.out is not None:
            write_scores(Path(self.out) / "scores.json", models)
        if self.html is not None:
            from picochat.eval.report import write_report

            write_report(models, checkpoints, Path(self.html))
            print(f"report: {self.html}")

    def _evaluate(self, name: str, spec: str, jobs: Sequence[Job]) -> "dict[str, TaskScore]":
        from picochat.eval.suite import evaluate, file_name
        from picochat.progress import progress
        from picochat.train.load import load

        model, tokenizer = load(spec, device=self.device, dtype=self.dtype, runs_dir=self.runs_dir)
        scores = {}
        for job in jobs:
            records = None
            if self.out is not None:
                records = Path(self.out) / file_name(name) / f"{job.task.name}.jsonl"
                records.parent.mkdir(parents=True, exist_ok=True)
            with progress(len(job.problems), f"{name} {job.task.name}", "problems") as update:
                scores[job.task.name] = evaluate(
                    model,
                    tokenizer,
                    job,
                    sampling=self.sampling,
                    num_samples=self.num_samples,
                    batch_size=self.batch_size,
                    records=records,
                    progress=update,
                )
        return scores


@dataclass(frozen=True, kw_only=True)
class EvalTask(EvalOptions):
    """One task."""

    data: tuple[str, ...] = ()
    """Files of problems. Without: the built-in world's test file."""
    few_shot: int = 0
    """Solved examples shown before each problem."""
    examples: str | None = None
    """File the examples are taken from. Without: the built-in world's training file."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.few_shot < 0:
            raise UserError(f"--few-shot must be at least 0, not {self.few_shot}")
        if self.few_shot and self.examples is None and (self.data or self.name == NOT_BUILT_IN):
            raise UserError("--few-shot needs --examples: a file of solved problems that are not asked")

    def jobs(self, bad_rows: BadRows) -> list[Job]:
        """Return the one job."""
        return [self._job(bad_rows, "written")]

    def task(self) -> Task:
        """Return how the problems are read and judged."""
        return TASKS[self.name]

    def _job(self, bad_rows: BadRows, method: Method) -> Job:
        task = self.task()
        examples = self.examples
        if self.few_shot and examples is None:
            examples = _builtin_file(self.name, "train")
        problems = load_problems(
            task,
            self.data or (_builtin_file(self.name, "test"),),
            max_problems=self.max_problems,
            few_shot=self.few_shot,
            examples=examples,
            bad_rows=bad_rows,
        )
        return Job(task=task, problems=problems, method=method)


@dataclass(frozen=True, kw_only=True)
class EvalChoices(EvalTask):
    """A multiple-choice task."""

    scoring: Method = "letter"
    """letter: the likeliest letter after "The answer is"; text: the likeliest choice, per byte; written: the
    model writes an answer, which has to name the letter."""

    def jobs(self, bad_rows: BadRows) -> list[Job]:
        """Return the one job."""
        return [self._job(bad_rows, self.scoring)]


@dataclass(frozen=True, kw_only=True)
class EvalArc(EvalChoices):
    """Multiple-choice questions in ARC's formats."""

    name: ClassVar[str] = "arc"


@dataclass(frozen=True, kw_only=True)
class EvalMmlu(EvalChoices):
    """MMLU: files or folders of official CSV, or rows of the Hugging Face version."""

    name: ClassVar[str] = "mmlu"


@dataclass(frozen=True, kw_only=True)
class EvalGsm8k(EvalTask):
    """Word problems in GSM8K's format."""

    name: ClassVar[str] = "gsm8k"

    lenient: bool = False
    """Without a `####` take the last number of the answer: for models that never learnt the format."""

    def task(self) -> Task:
        """Return GSM8K with the rule that was asked for."""
        return Gsm8k(lenient=self.lenient)


@dataclass(frozen=True, kw_only=True)
class EvalTools(EvalTask):
    """Prompts for the calculator."""

    name: ClassVar[str] = "tools"
    shows_reasoning: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class EvalQa(EvalTask):
    """Simple questions."""

    name: ClassVar[str] = "qa"


@dataclass(frozen=True, kw_only=True)
class EvalReasoning(EvalOptions):
    """How models come to their answers: thinking, self-correction, tool calls."""

    gsm8k: tuple[str, ...] = ()
    """Files of word problems. Without: the built-in world's test file."""
    tools: tuple[str, ...] = ()
    """Files of prompts for the calculator. Without: the built-in world's test file."""

    shows_reasoning: ClassVar[bool] = True

    def jobs(self, bad_rows: BadRows) -> list[Job]:
        """Return the jobs whose answers take steps."""
        return _jobs({"gsm8k": self.gsm8k, "tools": self.tools}, bad_rows, self.max_problems)


@dataclass(frozen=True, kw_only=True)
class EvalAll(EvalOptions):
    """All tasks at once."""

    arc: tuple[str, ...] = ()
    """Files of multiple-choice questions. Without, here and below: the built-in world's test file."""
    mmlu: tuple[str, ...] = ()
    """Files or folders of MMLU; left out if not given."""
    gsm8k: tuple[str, ...] = ()
    """Files of word problems."""
    tools: tuple[str, ...] = ()
    """Files of prompts for the calculator."""
    qa: tuple[str, ...] = ()
    """Files of simple questions."""
    scoring: Method = "letter"
    """How multiple choice is scored: letter, text or written (see `picochat eval arc --help`)."""

    shows_reasoning: ClassVar[bool] = True

    def jobs(self, bad_rows: BadRows) -> list[Job]:
        """Return a job per task."""
        files = {"arc": self.arc, "mmlu": self.mmlu, "gsm8k": self.gsm8k, "tools": self.tools, "qa": self.qa}
        if not self.mmlu:
            del files["mmlu"]
        return _jobs(files, bad_rows, self.max_problems, choice_method=self.scoring)


def _jobs(
    files: dict[str, tuple[str, ...]],
    bad_rows: BadRows,
    max_problems: int | None,
    *,
    choice_method: Method = "letter",
) -> list[Job]:
    jobs = []
    for name, paths in files.items():
        problems = load_problems(
            TASKS[name],
            paths or (_builtin_file(name, "test"),),
            max_problems=max_problems,
            bad_rows=bad_rows,
        )
        method = choice_method if problems[0].choices else "written"
        jobs.append(Job(task=TASKS[name], problems=problems, method=method))
    return jobs


def _builtin_file(name: str, split: str) -> Path:
    from picochat.data.builtin.write import WorldFiles, default_world_dir

    if name == NOT_BUILT_IN:
        raise UserError("the built-in world has no MMLU; give files or folders as --data")
    return WorldFiles(root=default_world_dir()).jsonl(name, split)
