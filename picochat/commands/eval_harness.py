"""`picochat eval harness`: tasks of lm-evaluation-harness."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from picochat.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EvalHarness:
    """Tasks of EleutherAI's lm-evaluation-harness; needs `pip install "picochat[eval]"`."""

    load: tuple[str, ...]
    """Models: runs or checkpoints (NAME, NAME@500, NAME@best or a folder); several are compared."""
    tasks: tuple[str, ...]
    """Names of tasks: the harness's own (their data is fetched), or of files in --include."""
    include: tuple[str, ...] = ()
    """Folders with task files (YAML). A task file may run code of its own: use only those you trust."""
    few_shot: int | None = None
    """Solved examples before each problem; as the task says if not given."""
    chat: bool = False
    """Ask in the chat format, for models that were taught it; examples are turns. Without: as plain text."""
    max_problems: int | None = None
    """Ask only the first so many problems of a task."""
    batch_size: int = 32
    """Answers or choices at a time."""
    out: str | None = None
    """Folder for scores.json and a JSONL file per model and task."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What products are computed in."""
    runs_dir: str = "runs"
    """Folder that holds the runs."""

    def __post_init__(self) -> None:
        if not self.load:
            raise UserError("--load names no model; give a run or a checkpoint")
        if not self.tasks:
            raise UserError("--tasks names no task; give names such as arc_easy, or of files in --include")
        for name in ("max_problems", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}")

    def execute(self) -> None:
        """Evaluate each model, print a table and write what was asked for."""
        from picochat.eval.scores import short_names
        from picochat.train.run_dir import resolve_checkpoint

        if find_spec("lm_eval") is None:
            raise UserError('eval harness needs lm-evaluation-harness: pip install "picochat[eval]"')
        names = short_names(self.load)
        for spec in self.load:
            resolve_checkpoint(spec, Path(self.runs_dir))
        for folder in self.include:
            if not Path(folder).is_dir():
                raise UserError(f"--include {folder}: no such folder")
        results = [
            self._evaluate(name, self._task_manager(), spec)
            for name, spec in zip(names, self.load, strict=True)
        ]
        _print(names, results)
        if self.out is not None:
            rows = dict(zip(names, results, strict=True))
            path = Path(self.out) / "scores.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows, indent=1, default=str) + "\n", encoding="utf-8", newline="\n")

    def _task_manager(self) -> Any:
        from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

        manager = TaskManager(include_path=list(self.include) or None)
        missing = [task for task in self.tasks if not manager.match_tasks([task])]
        if missing:
            where = ", ".join(self.include) or "the harness (--include names folders of your own)"
            raise UserError(f"no task {', '.join(missing)} in {where}")
        return manager

    def _evaluate(self, name: str, manager: Any, spec: str) -> dict[str, dict[str, Any]]:
        """Return the metrics of each task."""
        from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]

        from picochat.eval.harness import HarnessModel
        from picochat.train.load import load

        model, tokenizer = load(spec, device=self.device, dtype=self.dtype, runs_dir=self.runs_dir)
        untyped: Any = simple_evaluate  # its decorator hides its parameters
        found = untyped(
            HarnessModel(model, tokenizer, chat=self.chat, batch_size=self.batch_size),
            tasks=list(self.tasks),
            num_fewshot=self.few_shot,
            limit=self.max_problems,
            task_manager=manager,
            apply_chat_template=self.chat,
            fewshot_as_multiturn=self.chat,
            log_samples=self.out is not None,
            bootstrap_iters=1000,
        )
        assert found is not None, "only the processes of a distributed run but the first get nothing"
        if self.out is not None:
            self._write_samples(name, found["samples"])
        return found["results"]

    def _write_samples(self, name: str, samples: dict[str, list[dict[str, Any]]]) -> None:
        from picochat.eval.suite import file_name

        assert self.out is not None
        folder = Path(self.out) / file_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        for task, rows in samples.items():
            with (folder / f"{file_name(task)}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def _print(names: Sequence[str], results: Sequence[dict[str, dict[str, Any]]]) -> None:
    """Print the metrics, a column per model, with 95 % intervals where the harness has a standard error."""
    from rich.markup import escape
    from rich.table import Table

    from picochat.commands.runs_view import make_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in names:
        table.add_column(escape(name), justify="right", overflow="fold")
    for task, metrics in results[0].items():
        for key, value in metrics.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = f"{metric}_stderr,{filtered}"
            kind = "" if filtered == "none" else f" ({filtered})"
            cells = [_cell(model[task][key], model[task].get(error)) for model in results]
            table.add_row(escape(f"{task} {metric}{kind}"), *cells)
    make_console().print(table)


def _cell(value: float, error: Any) -> str:
    return f"{value:.4f} ± {1.96 * error:.4f}" if isinstance(error, float) else f"{value:.4f}"
